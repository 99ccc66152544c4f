//! Fault injection: `s2s` as a process that is killed, starved of disk space, raced and fed with bad
//! files.
//!
//! ```text
//! ROWS ─> trials of a row, many processes each ─> Outcome ─> table, report.json
//! ```
//!
//! A row tests a promise of docs/reliability.md. To add one, write a function
//! `fn(&Bench) -> Result<Outcome>` and add it to [`ROWS`]. Rows that train do so on generated numbers
//! and on text.

mod data;
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

use self::data::Data;
use crate::bench::setting::cpu_name;
use crate::release;

/// Kill, starve and race training, and compare the resulting bytes
///
/// Each row of the table is a promise and the trials that test it with the release binary. --seed
/// determines all random draws, and the report contains it, so a failed trial can be repeated. Rows
/// that make system calls fail need strace and permission to trace (Debian: apt-get install strace);
/// the row with small disks needs permission to mount. Without these, the
/// table marks the rows as skipped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask torture                        # some minutes
  cargo xtask torture --only R1 --kills 1000
  cargo xtask torture --exhaustive           # every system call, every size: an hour or more

Output: runs/torture/report.md and runs/torture/report.json. The exit code is 1 if a trial failed.")]
pub(crate) struct Args {
    /// Processes to kill at random times, for each kind of data
    #[arg(long, value_name = "N", default_value = "100")]
    kills: NonZeroUsize,

    /// Test every system call and every size instead of a sample
    #[arg(long)]
    exhaustive: bool,

    /// Only the rows of this promise; may be repeated
    #[arg(long, value_name = "PROMISE", value_parser = clap::builder::PossibleValuesParser::new(promises()))]
    only: Vec<String>,

    /// Seed of all random draws
    #[arg(long, default_value = "0")]
    seed: u64,
}

/// A promise and its test.
struct Row {
    promise: &'static str,
    what: &'static str,
    trials: Trials,
}

/// How the trials of a row are made.
#[derive(Clone, Copy)]
enum Trials {
    /// Training runs, on each kind of data.
    Runs(fn(&Bench) -> Result<Outcome>),
    /// Training runs on text.
    TextRuns(fn(&Bench) -> Result<Outcome>),
    /// Tests of the workspace.
    Tests(fn() -> Result<Outcome>),
}

/// In the order of the promises.
#[rustfmt::skip] // two lines per row
const ROWS: [Row; 24] = [
    Row { promise: "R1", what: "killed at a random time, again and again, then resumed: the same bytes",
        trials: Trials::Runs(kill::at_random_times) },
    Row { promise: "R1", what: "killed at a system call on the run folder, then resumed: the same bytes",
        trials: Trials::Runs(kill::at_system_calls) },
    Row { promise: "R1", what: "the same on a system that cannot swap two names in one step",
        trials: Trials::Runs(kill::without_swaps) },
    Row { promise: "R2", what: "stopped at a step or during an evaluation, then resumed: the same bytes",
        trials: Trials::Tests(suite::resuming) },
    Row { promise: "R2", what: "the text changed since the run started: rejected",
        trials: Trials::TextRuns(hostile::changed_text) },
    Row { promise: "R3", what: "states that a power loss can leave: no saved data is lost",
        trials: Trials::Tests(suite::power_loss) },
    Row { promise: "R4", what: "write, fsync, rename or mkdir fails once: an error with its cause, then the same bytes",
        trials: Trials::Runs(disk::failing_calls) },
    Row { promise: "R4", what: "a disk too small for the run, then large enough: the same bytes",
        trials: Trials::Runs(disk::small_disks) },
    Row { promise: "R4", what: "a full standard output or error",
        trials: Trials::Runs(disk::full_streams) },
    Row { promise: "R5", what: "1, 2, 3, 4, 8 threads and ten processes: one hash per architecture",
        trials: Trials::Runs(numbers::same_bytes) },
    Row { promise: "R6", what: "batches of 1, 2, 7, 64, 256 and shuffled: the same predictions",
        trials: Trials::Runs(numbers::same_answers) },
    Row { promise: "R7", what: "a checkpoint cut or changed at a byte: rejected with exit code 3",
        trials: Trials::Runs(hostile::cut_or_changed) },
    Row { promise: "R7", what: "foreign files, wrong headers and wrong numbers, with a matching manifest: rejected, memory bounded",
        trials: Trials::Runs(hostile::lying) },
    Row { promise: "R7", what: "FIFOs, folders, links and devices in a checkpoint: rejected without waiting",
        trials: Trials::Runs(hostile::no_files) },
    Row { promise: "R8", what: "inputs generated by libFuzzer for configuration, checkpoint, corpus, lines and records",
        trials: Trials::Tests(hostile::fuzzed) },
    Row { promise: "R9", what: "an injected NaN or infinity: named, and in no checkpoint",
        trials: Trials::Tests(suite::diverging) },
    Row { promise: "R9", what: "learning rates that diverge: named, and in no checkpoint",
        trials: Trials::Runs(numbers::blown_up) },
    Row { promise: "R10", what: "SIGINT, SIGTERM, SIGHUP or SIGUSR1 at a random time: saved, the exit code of the signal, and the same bytes",
        trials: Trials::Runs(signal::once) },
    Row { promise: "R10", what: "a second signal: ends at once",
        trials: Trials::Runs(signal::twice) },
    Row { promise: "R11", what: "eight processes in one folder: one trains, the others name it",
        trials: Trials::Runs(race::one_wins) },
    Row { promise: "R12", what: "metrics of runs killed ten times: no line missing, none repeated",
        trials: Trials::Runs(kill::metrics) },
    Row { promise: "R13", what: "a log that cannot be written: the run finishes and names it",
        trials: Trials::Runs(disk::failing_logs) },
    Row { promise: "R14", what: "failing commands and closed outputs: message and exit code",
        trials: Trials::Tests(hostile::failures) },
    Row { promise: "unsafe", what: "tests of kernels and models with the address sanitizer",
        trials: Trials::Tests(suite::sanitized) },
];

fn promises() -> Vec<&'static str> {
    let mut promises: Vec<&str> = ROWS.iter().map(|row| row.promise).collect();
    promises.dedup();
    promises
}

/// What trials need.
#[derive(Clone)]
struct Bench {
    s2s: PathBuf,
    folder: PathBuf,
    kills: usize,
    is_exhaustive: bool,
    seed: u64,
    data: Data,
}

impl Bench {
    /// The path of an absent folder.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(path)
    }

    /// The random draws of a trial.
    fn draws(&self, row: &str, trial: usize) -> Draws {
        let key = format!("{} {} {row} {trial}", self.seed, self.data.name());
        // FNV-1a
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Draws(ChaCha8Rng::seed_from_u64(hash))
    }

    /// All items, or a random sample of `n` of them in their order.
    fn sample<T>(&self, row: &str, all: Vec<T>, n: usize) -> Vec<T> {
        if self.is_exhaustive || all.len() <= n {
            return all;
        }
        let mut draws = self.draws(row, 0);
        let mut n_left = all.len();
        let mut n_wanted = n;
        let mut chosen = Vec::new();
        for item in all {
            if draws.below(n_left) < n_wanted {
                chosen.push(item);
                n_wanted -= 1;
            }
            n_left -= 1;
        }
        chosen
    }
}

/// Random numbers.
struct Draws(ChaCha8Rng);

impl Draws {
    /// In [0, n).
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    /// In [0, 1).
    fn share(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The start of the note of a skipped row.
const SKIPPED: &str = "skipped: ";

/// The result of a row.
#[derive(Debug, Default)]
struct Outcome {
    trials: usize,
    /// One sentence each, with what is necessary to repeat the trial.
    failures: Vec<String>,
    /// A remark for the table, such as why the row was skipped.
    note: String,
}

impl Outcome {
    fn skipped(reason: &str) -> Self {
        Self {
            note: format!("{SKIPPED}{reason}"),
            ..Self::default()
        }
    }

    /// Fails the row if the disturbance that it tests never happened.
    fn require(&mut self, n_happened: usize, what: &str) {
        if n_happened == 0 {
            self.failures.push(format!("no {what}: nothing was tested"));
        }
    }

    /// Counts a trial, and its failure if there is one.
    fn count(&mut self, trial: &str, result: Result<()>) {
        self.trials += 1;
        if let Err(error) = result {
            eprintln!("  failed: {trial}: {error:#}");
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
    /// What the runs were trained on; empty for tests.
    data: String,
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
        data: Data::Numbers,
    };
    data::write_text(&bench.folder, &mut bench.draws("text", 0))?;
    let mut lines = Vec::new();
    for row in &ROWS {
        if args.only.is_empty() || args.only.iter().any(|promise| promise == row.promise) {
            lines.extend(run_row(row, &bench)?);
        }
    }
    fs::remove_dir_all(&bench.folder).context("removing the runs")?;

    let report = Report {
        setting: setting(args, &bench)?,
        rows: lines,
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

/// A line of the table for each kind of data.
fn run_row(row: &Row, bench: &Bench) -> Result<Vec<Line>> {
    let line = |data: &str, trials: &dyn Fn() -> Result<Outcome>| -> Result<Line> {
        eprintln!("{}: {} {data}", row.promise, row.what);
        let started = Instant::now();
        let mut outcome = trials().with_context(|| format!("{}: {}", row.promise, row.what))?;
        if !outcome.note.starts_with(SKIPPED) {
            outcome.require(outcome.trials, "trial");
        }
        Ok(Line {
            promise: row.promise.to_owned(),
            what: row.what.to_owned(),
            data: data.to_owned(),
            trials: outcome.trials,
            failures: outcome.failures,
            seconds: started.elapsed().as_secs_f64(),
            note: outcome.note,
        })
    };
    let (trials, all): (_, &[Data]) = match row.trials {
        Trials::Runs(trials) => (trials, &[Data::Numbers, Data::Text]),
        Trials::TextRuns(trials) => (trials, &[Data::Text]),
        Trials::Tests(trials) => return Ok(vec![line("", &trials)?]),
    };
    let on = |data: &Data| {
        let data = *data;
        let bench = Bench {
            data,
            ..bench.clone()
        };
        line(data.name(), &|| trials(&bench))
    };
    all.iter().map(on).collect()
}

fn setting(args: &Args, bench: &Bench) -> Result<Vec<(String, String)>> {
    let mode = if args.exhaustive { "all" } else { "a sample" };
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
        .column("test", rows.iter().map(|row| &row.what))
        .column("data", rows.iter().map(|row| &row.data))
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
            data: Data::Numbers,
        }
    }

    #[test]
    fn a_sample_depends_on_the_row_and_keeps_the_order() {
        let all: Vec<usize> = (0..100).collect();
        let sample = bench(false).sample("row", all.clone(), 7);
        assert_eq!(sample.len(), 7);
        assert!(sample.is_sorted());
        assert_eq!(bench(false).sample("row", all.clone(), 7), sample);
        assert_ne!(bench(false).sample("other", all.clone(), 7), sample);
        assert_eq!(bench(true).sample("row", all.clone(), 7), all);
    }

    #[test]
    fn a_row_without_a_trial_fails_unless_it_is_skipped() {
        let failures = |tests| {
            let (promise, what, trials) = ("R1", "nothing", Trials::Tests(tests));
            let row = Row {
                promise,
                what,
                trials,
            };
            run_row(&row, &bench(false)).unwrap().remove(0).failures
        };
        let empty = failures(|| Ok(Outcome::default()));
        assert_eq!(empty, ["no trial: nothing was tested"]);
        assert!(failures(|| Ok(Outcome::skipped("no strace"))).is_empty());
    }

    #[test]
    fn a_report_has_a_line_per_row_and_lists_the_failures() {
        let line = |failures: &[&str], note: &str| Line {
            promise: "R1".to_owned(),
            what: "killed".to_owned(),
            data: "text".to_owned(),
            trials: 9,
            failures: failures.iter().map(ToString::to_string).collect(),
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
| promise | test   | data | trials | failures | seconds |                    |
| ------- | ------ | ---- | -----: | -------: | ------: | ------------------ |
| R1      | killed | text |      9 |        1 |       1 |                    |
| R1      | killed | text |      9 |        0 |       1 | skipped: no strace |

seed: 0
* R1: trial 3: bytes differ
"
        );
    }
}
