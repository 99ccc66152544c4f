//! Whether a run survives what may happen to it: `s2s` as a process, killed, starved, raced.
//!
//! ```text
//! ROWS ─> a row's trials, many processes each ─> Outcome ─> table, report.json
//! ```
//!
//! A row stands for a promise of the README. To add one, add a function `fn(&Bench) -> Result<Outcome>`
//! and a line to [`ROWS`].

mod disk;
mod hostile;
mod kill;
mod numbers;
mod process;
mod race;
mod signal;
mod strace;
mod suite;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use s2s_lab::process::{command, stdout};
use s2s_lab::utc_date;
use s2s_runlog::{write_file, write_json};
use s2s_viz::Table;
use serde::{Deserialize, Serialize};

use crate::bench::setting::cpu_name;
use crate::release;

/// Kill, starve and race training, and compare the bytes that it ends with
///
/// Each row of the table is a promise and the trials that it was put to with the release binary.
/// All that is drawn is keyed by --seed, which the report repeats: a failure names its trial. The
/// rows that let system calls fail need strace and the right to trace (Debian: apt-get install
/// strace), the one with small disks the right to mount; without, they are skipped, and the table
/// says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask torture                        # some minutes
  cargo xtask torture --only R1 --kills 1000
  cargo xtask torture --exhaustive           # every system call, every size: an hour and more

It writes runs/torture/report.md and runs/torture/report.json. The exit code is 1 if a promise was
broken.")]
pub(crate) struct Args {
    /// Processes killed at random times
    #[arg(long, value_name = "N", default_value = "100")]
    kills: NonZeroUsize,

    /// Every system call and every size, not a sample of them
    #[arg(long)]
    exhaustive: bool,

    /// Only the rows of this promise; may be given several times
    #[arg(long, value_name = "PROMISE", value_parser = clap::builder::PossibleValuesParser::new(promises()))]
    only: Vec<String>,

    /// Decides all that is drawn
    #[arg(long, default_value = "0")]
    seed: u64,
}

/// A promise, and how it is put to the test.
struct Row {
    promise: &'static str,
    what: &'static str,
    run: fn(&Bench) -> Result<Outcome>,
}

const fn row(promise: &'static str, what: &'static str, run: fn(&Bench) -> Result<Outcome>) -> Row {
    Row { promise, what, run }
}

/// In the order of the promises.
const ROWS: [Row; 23] = [
    row(
        "R1",
        "killed at a random time, again and again, then resumed: the same bytes",
        kill::at_random_times,
    ),
    row(
        "R1",
        "killed at a system call on the run folder, then resumed: the same bytes",
        kill::at_system_calls,
    ),
    row(
        "R1",
        "the same where the system cannot swap two names in one step",
        kill::without_swaps,
    ),
    row(
        "R2",
        "stopped at a step or within an evaluation, then resumed: the same bytes",
        suite::resuming,
    ),
    row(
        "R3",
        "states that a loss of power may leave: nothing saved is lost",
        suite::power_loss,
    ),
    row(
        "R4",
        "write, fsync, rename or mkdir fails once: an error with its cause, then the same bytes",
        disk::failing_calls,
    ),
    row(
        "R4",
        "disks too small for the run, then large enough: the same bytes",
        disk::small_disks,
    ),
    row("R4", "a full standard output or error", disk::full_streams),
    row(
        "R5",
        "1, 2, 3, 4, 8 threads and ten processes: one hash an architecture",
        numbers::same_bytes,
    ),
    row(
        "R6",
        "batches of 1, 2, 7, 64, 256 and shuffled: the same answers",
        numbers::same_answers,
    ),
    row(
        "R7",
        "a checkpoint cut or changed at a byte: refused with exit code 3",
        hostile::cut_or_changed,
    ),
    row(
        "R7",
        "foreign files, headers and numbers that lie, under a manifest: refused, memory bounded",
        hostile::lying,
    ),
    row(
        "R7",
        "FIFOs, folders, links and devices in a checkpoint: refused, without waiting",
        hostile::no_files,
    ),
    row(
        "R8",
        "inputs made up by libFuzzer for configuration, checkpoint, corpus, lines and records",
        hostile::fuzzed,
    ),
    row(
        "R9",
        "a number that is not finite, planted: named, and in no checkpoint",
        suite::diverging,
    ),
    row(
        "R9",
        "learning rates that blow up: named, and in no checkpoint",
        numbers::blown_up,
    ),
    row(
        "R10",
        "SIGINT or SIGTERM at a random time: saved, 130 or 143, and the same bytes",
        signal::once,
    ),
    row("R10", "a second signal: stopped at once", signal::twice),
    row(
        "R11",
        "eight processes in one folder: one works, all others name it",
        race::one_wins,
    ),
    row(
        "R12",
        "metrics of runs killed ten times: no line lost, none twice",
        kill::metrics,
    ),
    row(
        "R13",
        "a log that cannot be written: the run ends, and says which",
        disk::failing_logs,
    ),
    row(
        "R14",
        "commands that fail, and that print to nobody: what they say, and their exit code",
        hostile::failures,
    ),
    row(
        "unsafe",
        "tests of kernels and models under the address sanitizer",
        suite::sanitized,
    ),
];

fn promises() -> Vec<&'static str> {
    let mut promises: Vec<&str> = ROWS.iter().map(|row| row.promise).collect();
    promises.dedup();
    promises
}

/// What a row has to work with.
struct Bench {
    s2s: PathBuf,
    folder: PathBuf,
    kills: usize,
    is_exhaustive: bool,
    seed: u64,
}

impl Bench {
    /// A folder of a trial's own, in which there is nothing.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(path)
    }

    /// The draws of a trial.
    fn draws(&self, row: &str, trial: usize) -> Draws {
        let key = format!("{} {row} {trial}", self.seed);
        // FNV-1a: a seed for each key.
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Draws(ChaCha8Rng::seed_from_u64(hash))
    }

    /// All of them, or a sample of `n` that is keyed and in order.
    fn sample<T>(&self, row: &str, all: Vec<T>, n: usize) -> Vec<T> {
        if self.is_exhaustive || all.len() <= n {
            return all;
        }
        let mut draws = self.draws(row, 0);
        let mut left = all.len();
        let mut wanted = n;
        let mut chosen = Vec::new();
        for item in all {
            if draws.below(left) < wanted {
                chosen.push(item);
                wanted -= 1;
            }
            left -= 1;
        }
        chosen
    }
}

/// Numbers that a trial draws.
struct Draws(ChaCha8Rng);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    /// In [0, 1).
    fn share(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What came of a row.
#[derive(Debug, Default)]
struct Outcome {
    trials: usize,
    /// A sentence each, with what it takes to repeat the trial.
    failures: Vec<String>,
    /// What else the table is to say, such as why a row was skipped.
    note: String,
}

impl Outcome {
    fn skipped(why: &str) -> Self {
        Self {
            note: format!("skipped: {why}"),
            ..Self::default()
        }
    }

    /// Counts a trial; an error says what is broken.
    fn count(&mut self, trial: &str, result: Result<()>) {
        self.trials += 1;
        if let Err(error) = result {
            eprintln!("  broken: {trial}: {error:#}");
            self.failures.push(format!("{trial}: {error:#}"));
        }
    }
}

/// `report.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Report {
    setting: Vec<(String, String)>,
    rows: Vec<Line>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    promise: String,
    what: String,
    trials: usize,
    failures: Vec<String>,
    seconds: f64,
    note: String,
}

const FOLDER: &str = "runs/torture";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let s2s = release::build()?;
    let folder = Path::new(FOLDER).join("work");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let bench = Bench {
        s2s: s2s.canonicalize().context("finding s2s")?,
        folder: folder.canonicalize().context("finding the folder")?,
        kills: args.kills.get(),
        is_exhaustive: args.exhaustive,
        seed: args.seed,
    };
    let mut rows = Vec::new();
    for row in &ROWS {
        if args.only.is_empty() || args.only.iter().any(|promise| promise == row.promise) {
            eprintln!("{}: {}", row.promise, row.what);
            let started = Instant::now();
            let outcome =
                (row.run)(&bench).with_context(|| format!("{}: {}", row.promise, row.what))?;
            rows.push(Line {
                promise: row.promise.to_owned(),
                what: row.what.to_owned(),
                trials: outcome.trials,
                failures: outcome.failures,
                seconds: started.elapsed().as_secs_f64(),
                note: outcome.note,
            });
        }
    }
    fs::remove_dir_all(&bench.folder).context("removing the runs")?;

    let report = Report {
        setting: setting(args, &bench)?,
        rows,
    };
    let page = page(&report);
    write_json(Path::new(FOLDER).join("report.json"), &report)?;
    write_file(Path::new(FOLDER).join("report.md"), page.as_bytes())?;
    print!("{page}");
    eprintln!("\nreport: {FOLDER}/report.md");
    Ok(
        match report.rows.iter().all(|row| row.failures.is_empty()) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
    )
}

fn setting(args: &Args, bench: &Bench) -> Result<Vec<(String, String)>> {
    let mode = match args.exhaustive {
        true => "exhaustive",
        false => "a sample",
    };
    let setting = [
        ("date", utc_date(SystemTime::now())),
        ("CPU", cpu_name()),
        ("s2s", stdout(command(&bench.s2s).arg("--version"))?),
        ("seed", args.seed.to_string()),
        ("kills", args.kills.to_string()),
        ("system calls and sizes", mode.to_owned()),
    ];
    Ok(setting.map(|(key, value)| (key.to_owned(), value)).to_vec())
}

fn page(report: &Report) -> String {
    let rows = &report.rows;
    let table = Table::new()
        .column("promise", rows.iter().map(|row| &row.promise))
        .column("put to the test", rows.iter().map(|row| &row.what))
        .column("trials", rows.iter().map(|row| row.trials))
        .column("failures", rows.iter().map(|row| row.failures.len()))
        .column(
            "seconds",
            rows.iter().map(|row| format!("{:.0}", row.seconds)),
        )
        .column("", rows.iter().map(|row| &row.note));
    let setting = report.setting.iter();
    let setting: Vec<String> = setting
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    let failures = rows.iter().flat_map(|row| {
        let line = |failure| format!("* {}: {failure}\n", row.promise);
        row.failures.iter().map(line)
    });
    let failures: String = failures.collect();
    format!("{}\n{}\n{failures}", table.markdown(), setting.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(is_exhaustive: bool) -> Bench {
        Bench {
            s2s: PathBuf::new(),
            folder: PathBuf::new(),
            kills: 1,
            is_exhaustive,
            seed: 3,
        }
    }

    #[test]
    fn a_sample_is_keyed_and_in_order() {
        let all: Vec<usize> = (0..100).collect();
        let sample = bench(false).sample("row", all.clone(), 7);
        assert_eq!(sample.len(), 7);
        assert!(sample.is_sorted());
        assert_eq!(bench(false).sample("row", all.clone(), 7), sample);
        assert_ne!(bench(false).sample("other", all.clone(), 7), sample);
        assert_eq!(bench(true).sample("row", all.clone(), 7), all);
    }

    #[test]
    fn a_report_has_a_line_a_row_and_says_what_is_broken() {
        let line = |failures: &[&str], note: &str| Line {
            promise: "R1".to_owned(),
            what: "killed".to_owned(),
            trials: 9,
            failures: failures
                .iter()
                .map(|failure| (*failure).to_owned())
                .collect(),
            seconds: 1.25,
            note: note.to_owned(),
        };
        let report = Report {
            setting: vec![("seed".to_owned(), "0".to_owned())],
            rows: vec![
                line(&["trial 3: bytes differ"], ""),
                line(&[], "skipped: no strace"),
            ],
        };
        assert_eq!(
            page(&report),
            "\
| promise | put to the test | trials | failures | seconds |                    |
| ------- | --------------- | -----: | -------: | ------: | ------------------ |
| R1      | killed          |      9 |        1 |       1 |                    |
| R1      | killed          |      9 |        0 |       1 | skipped: no strace |

seed: 0
* R1: trial 3: bytes differ
"
        );
    }
}
