//! Everything that must hold before a change is merged, cheapest first.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Run all checks, cheapest first, and stop at the first failure
///
/// Measured tables, format, dependencies, advisories, clippy, the crates without their default features,
/// packages, docs, tests, those of the kernels again with narrower instruction sets, and the Python package;
/// a warning is a failure.
/// With S2S_SIMD=portable or avx2, the whole suite runs with that instruction set, and nothing again; the
/// workflow in .github does this, too.
/// cargo-deny, which checks the dependencies, is installed into target/tools if it is missing, which
/// takes some minutes; so is maturin, which builds the Python package. Advisories are skipped if their
/// database cannot be reached.
///
/// With --gpu, also clippy and a release build with CUDA, whether it starts without the libraries of
/// CUDA, and a check of the Metal build. They need no GPU: scripts/cuda_env.sh finds or downloads a
/// CUDA toolkit. The first CUDA build takes about 15 minutes of processor time. Metal is skipped if
/// Rust's target aarch64-apple-darwin is not installed.
///
/// The exit code is that of the check that failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask ci
  cargo xtask ci --skip tests                 # if you have just run them
  cargo xtask ci --gpu --skip tests --skip docs")]
pub(crate) struct Args {
    /// Skip the check of this name; may be given several times
    #[arg(long, value_name = "CHECK", value_parser = NAMES)]
    skip: Vec<String>,
    /// Also check the builds with CUDA and Metal
    #[arg(long)]
    gpu: bool,
}

/// One cargo command.
#[derive(Clone, Copy, Debug)]
struct Check {
    name: &'static str,
    arguments: &'static [&'static str],
    variable: Option<(&'static str, &'static str)>,
    /// A tool that is not part of a Rust installation, and is installed if it is missing.
    tool: Option<Tool>,
    /// A cargo command that must succeed first; otherwise the check is skipped.
    needs: Option<&'static [&'static str]>,
    /// A target of rustc; if it is not installed, the check is skipped.
    target: Option<&'static str>,
    /// Whether the command runs in the environment of `scripts/cuda_env.sh`.
    uses_cuda: bool,
}

/// A cargo subcommand from the registry.
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
            target: None,
            uses_cuda: false,
        }
    }
}

const NAMES: [&str; 16] = [
    "tables",
    "format",
    "dependencies",
    "advisories",
    "clippy",
    "features",
    "packages",
    "docs",
    "tests",
    "tests-portable",
    "tests-avx2",
    "wheel",
    "metal",
    "cuda-clippy",
    "cuda-build",
    "cuda-start",
];

const CHECKS: [Check; 12] = [
    Check::new("tables", &["xtask", "docs", "--check"]),
    Check::new("format", &["fmt", "--all", "--check"]),
    Check {
        tool: Some(DENY),
        ..Check::new(
            "dependencies",
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
            "advisories",
            &["deny", "--config=xtask/deny.toml", "check", "advisories"],
        )
    },
    Check::new(
        "clippy",
        &["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"],
    ),
    Check::new("features", FEATURES),
    Check::new("packages", PACKAGES),
    Check {
        variable: Some(("RUSTDOCFLAGS", "-Dwarnings")),
        ..Check::new("docs", &["doc", "--workspace", "--no-deps"])
    },
    Check::new("tests", &["test", "--workspace"]),
    Check {
        variable: Some((INSTRUCTION_SET, "portable")),
        ..Check::new("tests-portable", KERNEL_TESTS)
    },
    Check {
        variable: Some((INSTRUCTION_SET, AVX2)),
        ..Check::new("tests-avx2", KERNEL_TESTS)
    },
    Check::new("wheel", &["xtask", "wheel", "--profile=dev", "--test"]),
];

/// The crates that have default features, without them.
const FEATURES: &[&str] = &[
    "check",
    "-p=s2s-viz",
    "-p=s2s-train",
    "--no-default-features",
];

/// Makes a package of each crate without building it: the files that its manifest names exist, and its
/// dependencies have versions.
const PACKAGES: &[&str] = &[
    "package",
    "--workspace",
    "--exclude=xtask",
    "--no-verify",
    "--allow-dirty",
    "--offline",
    "--quiet",
];

/// Selects a narrower instruction set than the CPU has.
const INSTRUCTION_SET: &str = "S2S_SIMD";
const AVX2: &str = "avx2";

/// The tests of everything that is compiled for several instruction sets. `--workspace` selects the binaries of
/// the whole suite, which are built already; with `-p`, cargo would build others, with other features.
const KERNEL_TESTS: &[&str] = &["test", "--workspace", "--lib", "--test=parity"];

const APPLE: &str = "aarch64-apple-darwin";

/// The release profile for all CUDA checks, so that nvcc compiles candle's kernels once. The last one runs
/// tests that need no GPU.
const GPU_CHECKS: [Check; 4] = [
    Check {
        target: Some(APPLE),
        ..Check::new(
            "metal",
            &["check", "-p=s2s-cli", "--features=metal", "--target", APPLE],
        )
    },
    Check {
        uses_cuda: true,
        ..Check::new(
            "cuda-clippy",
            &[
                "clippy",
                "--release",
                "--workspace",
                "--all-targets",
                "--features=s2s-cli/cuda",
                "--",
                "-Dwarnings",
            ],
        )
    },
    Check {
        uses_cuda: true,
        ..Check::new(
            "cuda-build",
            &[
                "build",
                "--release",
                "-p=s2s-cli",
                "-p=s2s-model",
                "--features=s2s-cli/cuda",
                "--bin=s2s",
                "--test=model",
            ],
        )
    },
    Check {
        uses_cuda: true,
        ..Check::new(
            "cuda-start",
            &[
                "test",
                "--release",
                "-p=s2s-cli",
                "-p=s2s-model",
                "--features=s2s-cli/cuda",
                "--test=model",
                "--",
                "libraries::",
            ],
        )
    },
];

/// Runs cargo, with its arguments, in the environment that the script prints.
const WITH_CUDA: &str =
    "environment=$(scripts/cuda_env.sh) && eval \"$environment\" && exec cargo \"$@\"";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut checks = CHECKS.to_vec();
    if args.gpu {
        checks.extend(GPU_CHECKS);
    }
    run_checks(&checks, &args.skip)
}

fn run_checks(checks: &[Check], skip: &[String]) -> Result<ExitCode> {
    let mut summary = Vec::new();
    let mut n_skipped = 0;
    for check in checks {
        let started = Instant::now();
        if let Some(reason) = reason_to_skip(check, skip)? {
            summary.push(line(check, &format!("skipped: {reason}")));
            n_skipped += 1;
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
            n_skipped += 1;
            continue;
        }
        eprintln!("\n=== {}: {}", check.name, in_words(check));
        let mut command = if check.uses_cuda {
            with_cuda(check.arguments)
        } else {
            cargo(check.arguments)?
        };
        let status = command
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
    let verdict = match n_skipped {
        0 => "all checks passed".to_owned(),
        _ => format!("no check failed, {n_skipped} skipped"),
    };
    eprintln!("\n{}\n{verdict}", summary.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// Why a check does not run, if it does not.
fn reason_to_skip(check: &Check, skip: &[String]) -> Result<Option<String>> {
    if skip.iter().any(|name| name == check.name) {
        return Ok(Some("--skip".to_owned()));
    }
    let is_narrower = check
        .variable
        .is_some_and(|(name, _)| name == INSTRUCTION_SET);
    if is_narrower && env::var_os(INSTRUCTION_SET).is_some() {
        return Ok(Some(format!("{INSTRUCTION_SET} selects one for all tests")));
    }
    if check.variable == Some((INSTRUCTION_SET, AVX2)) && !has_avx2() {
        return Ok(Some("this CPU has no AVX2".to_owned()));
    }
    Ok(match check.target {
        Some(target) if !is_installed(target)? => Some(format!(
            "`rustup target add {target}` installs what it needs"
        )),
        _ => None,
    })
}

/// Whether the kernels have code for AVX2 that this CPU can run.
fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Whether Rust's standard library is installed for a target.
fn is_installed(target: &str) -> Result<bool> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .context("starting rustc")?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).exists())
}

fn with_cuda(arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", WITH_CUDA, "cargo"]).args(arguments);
    command
}

/// Without this variable, candle counts the cores at every matrix product, and tests take four times as long.
const THREADS: &str = "RAYON_NUM_THREADS";

/// Cargo, with the subcommands in [`TOOLS`].
fn cargo(arguments: &[&str]) -> Result<Command> {
    let here = env::current_dir()?.join(TOOLS).join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(env::split_paths(&path).chain([here]))?;
    let mut command = Command::new("cargo");
    command.args(arguments).env("PATH", path);
    if env::var_os(THREADS).is_none() {
        command.env(THREADS, std::thread::available_parallelism()?.to_string());
    }
    Ok(command)
}

/// Installs a tool if it is missing.
fn provide(tool: Tool) -> Result<()> {
    let Tool { name, version } = tool;
    let subcommand = name.trim_start_matches("cargo-");
    let mut asked = cargo(&[subcommand, "--version"])?;
    asked.stdout(Stdio::null()).stderr(Stdio::null());
    if asked.status().context("starting cargo")?.success() {
        return Ok(());
    }
    let version = format!("--version={version}");
    // Without optimization, it builds in a fraction of the time, and still checks within seconds.
    let install = [
        "install", name, &version, "--locked", "--debug", "--root", TOOLS,
    ];
    eprintln!("\n=== {name} is missing: cargo {}", install.join(" "));
    let status = cargo(&install)?.status().context("starting cargo")?;
    match status.success() {
        true => Ok(()),
        false => bail!(
            "{name} is missing and could not be installed; install it, or skip its checks with --skip"
        ),
    }
}

/// The command as a user would type it.
fn in_words(check: &Check) -> String {
    let before = match (check.uses_cuda, check.variable) {
        (true, _) => "eval \"$(scripts/cuda_env.sh)\" && ".to_owned(),
        (false, Some((name, value))) => format!("{name}={value} "),
        (false, None) => String::new(),
    };
    format!("{before}cargo {}", check.arguments.join(" "))
}

fn line(check: &Check, outcome: &str) -> String {
    format!("{:<15}{outcome}", check.name)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSES: Check = Check::new("passes", &["--version"]);
    const FAILS: Check = Check::new("fails", &["no-such-command"]);
    const NEEDS_WHAT_FAILS: Check = Check {
        needs: Some(&["no-such-command"]),
        ..FAILS
    };
    const FOR_NO_TARGET: Check = Check {
        target: Some("aarch64-unknown-nothing"),
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
    fn a_skipped_check_does_not_fail() {
        check(&[FAILS, PASSES], &["fails"], 0);
        check(&[NEEDS_WHAT_FAILS, PASSES], &[], 0);
        check(&[FOR_NO_TARGET, PASSES], &[], 0);
    }

    #[test]
    fn the_printed_command_repeats_a_check() {
        let docs = CHECKS.iter().find(|check| check.name == "docs").unwrap();
        assert_eq!(
            in_words(docs),
            "RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps"
        );
        let cuda = in_words(&GPU_CHECKS[2]);
        assert!(cuda.starts_with("eval \"$(scripts/cuda_env.sh)\" && cargo build"));
    }

    #[test]
    fn every_check_can_be_skipped_by_its_name() {
        let checks = CHECKS.iter().chain(&GPU_CHECKS);
        assert!(checks.map(|check| check.name).eq(NAMES));
    }
}
