//! Inputs that nobody would write: libFuzzer finds them, and what reads them must not panic.
//!
//! ```text
//! xtask/fuzz/src/targets.rs ─> a program with coverage ─> libFuzzer, target by target ─> report.json
//! ```
//!
//! The counts in the report add up over the times that it is run; a test of `s2s-cli` gives each
//! target the inputs in `xtask/fuzz/corpus`.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use s2s_runlog::{list_folder, read_json, write_file, write_json};
use s2s_viz::Table;
use serde::{Deserialize, Serialize};

/// Feed what reads files and lines with inputs that libFuzzer makes up
///
/// Needs a C++ compiler, and builds candle once more, which takes minutes. Each target ends after so
/// many inputs or seconds, whichever comes first, or at the first input that makes it panic, run over
/// a number, take 2 GiB or 20 seconds. The next time it goes on from what was found.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask fuzz --seconds 60
  cargo xtask fuzz --only predict --inputs 10000000

It adds up in runs/fuzz/report.json. The exit code is 1 if a target broke: the input stands in
runs/fuzz/broken; once it is mended, copy it to xtask/fuzz/corpus, and a test will see to it.")]
pub(crate) struct Args {
    /// Seconds for each target
    #[arg(long, value_name = "N", default_value = "3600")]
    seconds: NonZeroU64,

    /// Inputs for each target
    #[arg(long, value_name = "N", default_value = "10000000")]
    inputs: NonZeroU64,

    /// Only this target; may be given several times
    #[arg(long, value_name = "TARGET", value_parser = TARGETS)]
    only: Vec<String>,
}

/// The functions of `targets.rs`.
const TARGETS: [&str; 5] = ["config", "checkpoint", "corpus", "predict", "run"];

const FOLDER: &str = "runs/fuzz";

/// Where inputs stand that a test gives to each target, and that libFuzzer begins with.
const CORPUS: &str = "xtask/fuzz/corpus";

/// What came of the targets, all times together.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) targets: BTreeMap<String, Tally>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) inputs: u64,
    pub(crate) seconds: f64,
    /// Inputs that broke the target and have not been removed since.
    pub(crate) broken: usize,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let program = build()?;
    let mut report = report()?;
    for target in TARGETS {
        if args.only.is_empty() || args.only.iter().any(|name| name == target) {
            eprintln!("{target}");
            let tally = report.targets.entry(target.to_owned()).or_default();
            let started = Instant::now();
            tally.inputs += feed(&program, target, args)?;
            tally.seconds += started.elapsed().as_secs_f64();
            tally.broken = list_folder(broken(target))?.len();
            write_json(Path::new(FOLDER).join("report.json"), &report)?;
        }
    }
    let page = page(&report);
    write_file(Path::new(FOLDER).join("report.md"), page.as_bytes())?;
    print!("{page}");
    Ok(
        match report.targets.values().all(|tally| tally.broken == 0) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
    )
}

/// What the times before came to.
pub(crate) fn report() -> Result<Report> {
    let path = Path::new(FOLDER).join("report.json");
    match path.exists() {
        true => Ok(read_json(path)?),
        false => Ok(Report::default()),
    }
}

fn build() -> Result<PathBuf> {
    let status = Command::new("cargo")
        .args(["build", "--release"])
        .current_dir("xtask/fuzz") // where its flags stand
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("`cd xtask/fuzz && cargo build --release` failed: {status}");
    }
    let program = Path::new("target/fuzz/release/fuzz");
    program.canonicalize().context("finding the fuzzer")
}

fn broken(target: &str) -> PathBuf {
    Path::new(FOLDER).join("broken").join(target)
}

/// Lets libFuzzer feed a target: how many inputs it came to.
fn feed(program: &Path, target: &str, args: &Args) -> Result<u64> {
    let found = Path::new(FOLDER).join("found").join(target);
    for folder in [&found, &broken(target)] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let log = Path::new(FOLDER).join(format!("{target}.log"));
    let file = fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={}", args.seconds))
        .arg(format!("-runs={}", args.inputs))
        .args(["-print_final_stats=1", "-max_len=4096"])
        .args(["-timeout=20", "-rss_limit_mb=2048"])
        .arg(format!("-artifact_prefix={}/", broken(target).display()))
        .arg(&found)
        .arg(Path::new(CORPUS).join(target))
        .env("FUZZ_TARGET", target)
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file);
    if Path::new("/dev/shm").exists() {
        command.env("TMPDIR", "/dev/shm"); // what is written is read again at once
    }
    let status = command.status().context("starting the fuzzer")?;
    let text = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
    let inputs = inputs(&String::from_utf8_lossy(&text));
    match inputs {
        Some(inputs) if status.success() => Ok(inputs),
        Some(inputs) => {
            eprintln!("  broken after {inputs} inputs: see {}", log.display());
            Ok(inputs)
        }
        None => bail!("{target} did not start: see {}", log.display()),
    }
}

/// `stat::number_of_executed_units: 4096`, or the last `#4096` of a program that was ended.
fn inputs(log: &str) -> Option<u64> {
    let line = |line: &str| {
        let counted = line.strip_prefix("stat::number_of_executed_units:");
        let shown = line
            .strip_prefix('#')
            .and_then(|rest| rest.split('\t').next());
        counted.or(shown)?.trim().parse().ok()
    };
    log.lines().rev().find_map(line)
}

fn page(report: &Report) -> String {
    let rows = &report.targets;
    Table::new()
        .column("target", rows.keys())
        .column("inputs", rows.values().map(|tally| tally.inputs))
        .column("broken", rows.values().map(|tally| tally.broken))
        .column(
            "seconds",
            rows.values().map(|tally| format!("{:.0}", tally.seconds)),
        )
        .markdown()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_counted_also_where_the_fuzzer_was_ended() {
        let whole = "#2\tINITED cov: 3\n#8\tDONE\nstat::number_of_executed_units: 9\nstat::x: 1\n";
        assert_eq!(inputs(whole), Some(9));
        assert_eq!(
            inputs("#2\tINITED cov: 3\n#4096\tpulse  cov: 3\n"),
            Some(4096)
        );
        assert_eq!(inputs("no such target"), None);
    }
}
