//! What a run spends beside training and evaluating the model.
//!
//! ```text
//! s2s train       timing.jsonl: steps, evaluations, and the rest: logs, pictures and checkpoints
//! s2s bench data  what a step takes for its data: batch, coins and metrics
//! ```

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use s2s_runlog::{RunDir, TimingRecord, read_lines};
use s2s_viz::Table;
use serde::Serialize;

use super::contest::{Clock, NOTEBOOK};
use super::process::Programs;
use super::setting::percent;

/// The share of a run's time that data, metrics, logs and checkpoints may take together.
const BOUND: f64 = 0.02;

/// Batches to time: each takes well below a millisecond.
const N_BATCHES: usize = 1000;

/// A configuration, trained until an evaluation after one that is measured: what follows the last
/// evaluation shows in no record.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    config: &'static [&'static str],
    train: &'static [&'static str],
}

const CASES: [Case; 2] = [
    Case {
        name: "default",
        config: &[],
        train: &["--set=train.max_steps=1000"],
    },
    Case {
        name: "notebook",
        config: &[NOTEBOOK],
        // An epoch has 125 steps.
        train: &["--set=train.max_steps=126", "--set=train.eval_every=125"],
    },
];

/// Where the time of a run goes, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Spent {
    name: &'static str,
    /// Training steps, but for their data.
    model: f64,
    evaluations: f64,
    /// Batches, coins and metrics of the training steps.
    data: f64,
    /// Logs, pictures and checkpoints.
    records: f64,
}

/// Trains each case for a while in `folder`.
pub(super) fn measure(programs: &Programs, folder: &Path) -> Result<Vec<Spent>> {
    CASES
        .iter()
        .map(|case| {
            eprintln!("overhead: {}", case.name);
            let run = RunDir::open(train(programs, case, &folder.join(case.name))?)?;
            let timing: Vec<TimingRecord> = read_lines(run.timing())?;
            let args: Vec<&str> = ["data"].iter().chain(case.config).copied().collect();
            let line = programs.bench(&args, Clock::Wall, N_BATCHES)?;
            Spent::new(case.name, &timing, 1e-3 * line.median_ms)
        })
        .collect()
}

/// Makes a run in a folder of its own, on all cores, and says where.
fn train<'a>(programs: &Programs, case: &Case, folder: &'a Path) -> Result<&'a Path> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let mut command = Command::new(&programs.s2s);
    command.arg("train").args(case.config).args(case.train);
    command.arg("--run-dir").arg(folder);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}", message.trim_end());
    }
    Ok(folder)
}

impl Spent {
    /// From the records of a run and the time that a step takes for its data.
    fn new(name: &'static str, timing: &[TimingRecord], data_secs: f64) -> Result<Self> {
        let [measured @ .., last] = timing else {
            bail!("the run {name} has not been evaluated");
        };
        let before = measured
            .last()
            .with_context(|| format!("the run {name} has been evaluated only once"))?;
        let train: f64 = measured.iter().map(|record| record.train_secs).sum();
        let evaluations: f64 = measured.iter().map(|record| record.eval_secs).sum();
        let data = data_secs * before.step as f64;
        Ok(Self {
            name,
            model: train - data,
            evaluations,
            data,
            records: last.elapsed_secs - last.train_secs - last.eval_secs - train - evaluations,
        })
    }

    fn total(&self) -> f64 {
        self.model + self.evaluations + self.data + self.records
    }

    fn overhead(&self) -> f64 {
        (self.data + self.records) / self.total()
    }

    pub(super) fn is_within_bound(&self) -> bool {
        self.overhead() <= BOUND
    }
}

fn table(all: &[Spent]) -> Table {
    let share = |of: fn(&Spent) -> f64| -> Vec<String> {
        let shares = all.iter().map(|spent| of(spent) / spent.total());
        shares.map(percent).collect()
    };
    Table::new()
        .column("configuration", all.iter().map(|spent| spent.name))
        .column("seconds", all.iter().map(|s| format!("{:.1}", s.total())))
        .column("model", share(|spent| spent.model))
        .column("evaluations", share(|spent| spent.evaluations))
        .column("data, metrics", share(|spent| spent.data))
        .column("logs, checkpoints", share(|spent| spent.records))
        .column(
            "overhead",
            all.iter().map(|spent| percent(spent.overhead())),
        )
}

pub(super) fn page(all: &[Spent], setting: &str) -> String {
    format!(
        "## Overhead\n\n{}\n\
         Shares of the wall time of training, on all cores. The overhead is what data, metrics, logs and \
         checkpoints take together; it may be {} at most.\n\n{setting}",
        table(all).markdown(),
        percent(BOUND),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, elapsed_secs: f64) -> TimingRecord {
        TimingRecord {
            step,
            elapsed_secs,
            train_secs: 10.0,
            eval_secs: 2.0,
            tokens_per_second: 1.0,
        }
    }

    #[test]
    fn what_is_neither_step_nor_evaluation_is_overhead() {
        let timing = [record(5, 12.5), record(10, 25.0), record(15, 38.0)];
        let spent = Spent::new("run", &timing, 0.1).unwrap();
        let expected = Spent {
            name: "run",
            model: 19.0,
            evaluations: 4.0,
            data: 1.0,
            records: 2.0,
        };
        assert_eq!(spent, expected);
        assert_eq!(spent.total(), 26.0);
        assert!(!spent.is_within_bound());
        let small = Spent {
            data: 0.2,
            records: 0.2,
            ..spent
        };
        assert!(small.is_within_bound());
    }

    #[test]
    fn one_evaluation_alone_measures_nothing() {
        assert!(Spent::new("run", &[record(5, 12.5)], 0.1).is_err());
        assert!(Spent::new("run", &[], 0.1).is_err());
    }
}
