//! Everything that must hold before a change is merged, cheapest first.

use std::env;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Run all checks, cheapest first, and stop at the first that fails
///
/// Format, dependencies, advisories, clippy, docs, tests; a warning is a failure. cargo-deny, which
/// looks at the dependencies, is installed into target/tools where it is missing, which takes some
/// minutes. Advisories are left out where their database cannot be reached. The exit code is that of
/// the check that failed.
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
    /// Not part of a Rust installation: installed where it is missing.
    tool: Option<Tool>,
    /// What has to succeed before, or the check is left out.
    needs: Option<&'static [&'static str]>,
}

/// A subcommand of cargo's from the registry.
#[derive(Clone, Copy, Debug)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Where tools are installed.
const TOOLS: &str = "target/tools";

impl Check {
    const fn new(name: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            name,
            arguments,
            variable: None,
            tool: None,
            needs: None,
        }
    }
}

const NAMES: [&str; 6] = [
    "format",
    "dependencies",
    "advisories",
    "clippy",
    "docs",
    "tests",
];

const CHECKS: [Check; 6] = [
    Check::new(NAMES[0], &["fmt", "--all", "--check"]),
    Check {
        tool: Some(DENY),
        ..Check::new(
            NAMES[1],
            &[
                "deny",
                "--config=xtask/deny.toml",
                "check",
                "licenses",
                "bans",
                "sources",
            ],
        )
    },
    Check {
        tool: Some(DENY),
        needs: Some(&["deny", "--config=xtask/deny.toml", "fetch", "db"]),
        ..Check::new(
            NAMES[2],
            &["deny", "--config=xtask/deny.toml", "check", "advisories"],
        )
    },
    Check::new(
        NAMES[3],
        &["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"],
    ),
    Check {
        variable: Some(("RUSTDOCFLAGS", "-Dwarnings")),
        ..Check::new(NAMES[4], &["doc", "--workspace", "--no-deps"])
    },
    Check::new(NAMES[5], &["test", "--workspace"]),
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
        if let Some(tool) = check.tool {
            provide(tool)?;
        }
        if let Some(needed) = check.needs
            && !cargo(needed)?.status()?.success()
        {
            let reason = format!("skipped: `cargo {}` failed", needed.join(" "));
            summary.push(line(check, &reason));
            continue;
        }
        eprintln!("\n=== {}: {}", check.name, in_words(check));
        let status = cargo(check.arguments)?
            .envs(check.variable)
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

/// Cargo, with the tools that are installed here among its subcommands.
fn cargo(arguments: &[&str]) -> Result<Command> {
    let here = env::current_dir()?.join(TOOLS).join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(env::split_paths(&path).chain([here]))?;
    let mut command = Command::new("cargo");
    command.args(arguments).env("PATH", path);
    Ok(command)
}

/// Installs a tool, unless there is one of that name.
fn provide(tool: Tool) -> Result<()> {
    let Tool { name, version } = tool;
    let subcommand = name.trim_start_matches("cargo-");
    let mut asked = cargo(&[subcommand, "--version"])?;
    asked.stdout(Stdio::null()).stderr(Stdio::null());
    if asked.status().context("starting cargo")?.success() {
        return Ok(());
    }
    let version = format!("--version={version}");
    let install = ["install", name, &version, "--locked", "--root", TOOLS];
    eprintln!("\n=== {name} is missing: cargo {}", install.join(" "));
    let status = cargo(&install)?.status().context("starting cargo")?;
    match status.success() {
        true => Ok(()),
        false => bail!(
            "{name} is missing and could not be installed: install it, or leave its checks out by \
             --skip"
        ),
    }
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
    const UNREACHED: Check = Check {
        needs: Some(&["no-such-command"]),
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
    fn what_is_skipped_or_cannot_be_known_does_not_fail() {
        check(&[FAILS, PASSES], &["fails"], 0);
        check(&[UNREACHED, PASSES], &[], 0);
    }

    #[test]
    fn a_failed_check_is_repeated_by_what_is_printed() {
        let docs = CHECKS[4];
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
