//! Everything that must hold before a change is merged, cheapest first.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Run all checks, cheapest first, and stop at the first that fails
///
/// Format, dependencies (if cargo-deny is installed), clippy, docs, tests; a warning is a failure.
/// The exit code is that of the check that failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask ci
  cargo xtask ci --skip tests    # where they have just been run")]
pub(crate) struct Args {
    /// Leave out a check, by its name; may be given several times
    #[arg(long, value_name = "CHECK", value_parser = NAMES)]
    skip: Vec<String>,
}

/// One command of cargo's.
#[derive(Clone, Copy, Debug)]
struct Check {
    name: &'static str,
    arguments: &'static [&'static str],
    variable: Option<(&'static str, &'static str)>,
    /// Not part of every Rust installation: passed over where it is missing.
    is_optional: bool,
}

impl Check {
    const fn new(name: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            name,
            arguments,
            variable: None,
            is_optional: false,
        }
    }
}

const NAMES: [&str; 5] = ["format", "dependencies", "clippy", "docs", "tests"];

const CHECKS: [Check; 5] = [
    Check::new(NAMES[0], &["fmt", "--all", "--check"]),
    Check {
        is_optional: true,
        ..Check::new(
            NAMES[1],
            &[
                "deny",
                "--config",
                "xtask/deny.toml",
                "check",
                "licenses",
                "bans",
                "sources",
            ],
        )
    },
    Check::new(
        NAMES[2],
        &["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"],
    ),
    Check {
        variable: Some(("RUSTDOCFLAGS", "-Dwarnings")),
        ..Check::new(NAMES[3], &["doc", "--workspace", "--no-deps"])
    },
    Check::new(NAMES[4], &["test", "--workspace"]),
];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    run_checks(&CHECKS, &args.skip)
}

fn run_checks(checks: &[Check], skip: &[String]) -> Result<ExitCode> {
    let mut summary = Vec::new();
    for check in checks {
        let started = Instant::now();
        if skip.iter().any(|name| name == check.name) {
            summary.push(line(check, "skipped: as asked"));
            continue;
        }
        if check.is_optional && !is_installed(check)? {
            let reason = format!("skipped: cargo-{} is not installed", check.arguments[0]);
            summary.push(line(check, &reason));
            continue;
        }
        eprintln!("\n=== {}: {}", check.name, in_words(check));
        let status = command(check)
            .status()
            .with_context(|| format!("starting `{}`", in_words(check)))?;
        let took = seconds(started.elapsed());
        if !status.success() {
            summary.push(line(check, &format!("FAILED after {took}")));
            eprintln!(
                "\n{}\nto repeat it: {}",
                summary.join("\n"),
                in_words(check)
            );
            // A signal leaves no code.
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(ExitCode::from(code.unwrap_or(1)));
        }
        summary.push(line(check, &took));
    }
    eprintln!("\n{}\nall checks passed", summary.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn command(check: &Check) -> Command {
    let mut command = Command::new("cargo");
    command.args(check.arguments).envs(check.variable);
    command
}

fn is_installed(check: &Check) -> Result<bool> {
    let status = Command::new("cargo")
        .args([check.arguments[0], "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("starting cargo")?;
    Ok(status.success())
}

/// The command as one would type it.
fn in_words(check: &Check) -> String {
    let variable = check
        .variable
        .map_or_else(String::new, |(name, value)| format!("{name}={value} "));
    format!("{variable}cargo {}", check.arguments.join(" "))
}

fn line(check: &Check, outcome: &str) -> String {
    format!("{:<14}{outcome}", check.name)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSES: Check = Check::new("passes", &["--version"]);
    const FAILS: Check = Check::new("fails", &["no-such-command"]);
    const ABSENT: Check = Check {
        is_optional: true,
        ..FAILS
    };

    #[track_caller]
    fn check(checks: &[Check], skip: &[&str], code: u8) {
        let skip: Vec<String> = skip.iter().map(ToString::to_string).collect();
        let got = run_checks(checks, &skip).unwrap();
        assert_eq!(format!("{got:?}"), format!("{:?}", ExitCode::from(code)));
    }

    #[test]
    fn the_first_failure_decides_the_exit_code() {
        check(&[PASSES, PASSES], &[], 0);
        check(&[PASSES, FAILS, PASSES], &[], 101); // cargo's own
    }

    #[test]
    fn what_is_skipped_or_not_installed_does_not_fail() {
        check(&[FAILS, PASSES], &["fails"], 0);
        check(&[ABSENT, PASSES], &[], 0);
    }

    #[test]
    fn a_failed_check_is_repeated_by_what_is_printed() {
        let docs = CHECKS[3];
        assert_eq!(
            in_words(&docs),
            "RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps"
        );
    }

    #[test]
    fn every_check_can_be_skipped_by_its_name() {
        assert_eq!(CHECKS.map(|check| check.name), NAMES);
    }
}
