//! The time that a run spends outside the model.
//!
//! ```text
//! s2s train       timing.jsonl: steps, evaluations, and the rest, during which training waits
//!                 /proc: processor time of logs, plots and checkpoints, which another thread writes
//! s2s bench data  the data of a step: batch, teacher-forcing draws and metrics
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use s2s_lab::process::{self, command, command_line};
use s2s_lab::statistics::percent;
use s2s_runlog::{RunDir, TimingRecord, read_lines};
use s2s_viz::Table;
use serde::Serialize;

use super::contest::{Clock, NOTEBOOK};
use super::process::Programs;

/// The maximum share of a run's time for data, metrics, logs and checkpoints together.
const BOUND: f64 = 0.02;

/// Batches to time; each takes well below a millisecond.
const N_BATCHES: usize = 1000;

/// The thread of `s2s train` that trains.
const TRAINING: &str = "training";

/// The thread of `s2s train` that writes.
const WRITING: &str = "command";

/// Time between two readings of the processor time of the thread that writes.
const PERIOD: Duration = Duration::from_millis(50);

/// A configuration and the number of its steps. The last evaluation is not measured, because no record
/// contains the time after it.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    config: &'static [&'static str],
    train: &'static [&'static str],
}

#[rustfmt::skip] // a line or two per case
const CASES: [Case; 2] = [
    Case { name: "default", config: &[], train: &["--set=train.max_steps=1000"] },
    // One epoch has 125 steps.
    Case { name: "notebook", config: &[NOTEBOOK],
        train: &["--set=train.max_steps=251", "--set=train.eval_every=125"] },
];

/// The time of a run, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Spent {
    name: &'static str,
    /// Training steps without their data.
    model: f64,
    evaluations: f64,
    /// Batches, teacher-forcing draws and metrics of the training steps.
    data: f64,
    /// Training waits for logs, plots and checkpoints.
    waits: f64,
    /// Their processor time, divided by the number of cores.
    records: f64,
}

/// Trains each case in `folder`.
pub(super) fn measure(programs: &Programs, folder: &Path) -> Result<Vec<Spent>> {
    CASES
        .iter()
        .map(|case| {
            eprintln!("overhead: {}", case.name);
            let folder = folder.join(case.name);
            let cores = available_parallelism()?.get() as f64;
            let records = train(programs, case, &folder)? / cores;
            let timing: Vec<TimingRecord> = read_lines(RunDir::open(folder)?.timing())?;
            let args: Vec<&str> = ["data"].iter().chain(case.config).copied().collect();
            let line = programs.bench(&args, Clock::Wall, N_BATCHES)?;
            Spent::new(case.name, &timing, 1e-3 * line.median_ms, records)
        })
        .collect()
}

/// Trains in an empty folder, on all cores. Returns the processor time of the thread that writes while
/// the other one trains, in seconds.
fn train(programs: &Programs, case: &Case, folder: &Path) -> Result<f64> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let mut s2s = command(&programs.s2s);
    s2s.arg("train").args(case.config).args(case.train);
    s2s.arg("--run-dir").arg(folder);
    // A file, because a pipe that nobody reads would fill up.
    let log = folder.with_extension("log");
    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut child = process::spawn(s2s.stdout(Stdio::null()).stderr(file))?;
    let writing = watch(&mut child)?;
    if !child.wait()?.success() {
        let message = fs::read_to_string(&log).unwrap_or_default();
        bail!("`{}` failed: {}", command_line(&s2s), message.trim_end());
    }
    writing.with_context(|| {
        format!("/proc/PID/task has no times of the threads {TRAINING:?} and {WRITING:?}")
    })
}

/// Reads the processor time of the thread that writes until the process ends. The records of the last
/// evaluation are written after training and do not count.
fn watch(child: &mut Child) -> Result<Option<f64>> {
    let (mut first, mut last) = (None, None);
    while child.try_wait()?.is_none() {
        if let Some(now) = writing_secs(child.id()) {
            first.get_or_insert(now);
            last = Some(now);
        }
        sleep(PERIOD);
    }
    Ok(last.zip(first).map(|(last, first)| last - first))
}

/// The processor time of the thread that writes; `None` while no thread trains.
fn writing_secs(process: u32) -> Option<f64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let tasks: Vec<PathBuf> = tasks.flatten().map(|task| task.path()).collect();
    let named = |name: &str| {
        let comm = |task: &PathBuf| fs::read_to_string(task.join("comm"));
        tasks
            .iter()
            .find(|task| comm(task).is_ok_and(|comm| comm.trim_end() == name))
    };
    named(TRAINING)?;
    let writing = named(WRITING)?;
    let text = fs::read_to_string(writing.join("schedstat")).ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(1e-9 * nanoseconds)
}

impl Spent {
    /// `data_secs` is the time for the data of a step, `records` that of the thread that writes.
    fn new(
        name: &'static str,
        timing: &[TimingRecord],
        data_secs: f64,
        records: f64,
    ) -> Result<Self> {
        let [measured @ .., last] = timing else {
            bail!("the run {name} has no evaluation");
        };
        let before = measured
            .last()
            .with_context(|| format!("the run {name} has only one evaluation"))?;
        let train: f64 = measured.iter().map(|record| record.train_secs).sum();
        let evaluations: f64 = measured.iter().map(|record| record.eval_secs).sum();
        let data = data_secs * before.step as f64;
        Ok(Self {
            name,
            model: train - data,
            evaluations,
            data,
            waits: last.elapsed_secs - last.train_secs - last.eval_secs - train - evaluations,
            records,
        })
    }

    fn total(&self) -> f64 {
        self.model + self.evaluations + self.data + self.waits
    }

    fn overhead(&self) -> f64 {
        (self.data + self.waits + self.records) / self.total()
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
        .column("waits", share(|spent| spent.waits))
        .column("logs, checkpoints", share(|spent| spent.records))
        .column(
            "overhead",
            all.iter().map(|spent| percent(spent.overhead())),
        )
}

pub(super) fn page(all: &[Spent], setting: &str) -> String {
    format!(
        "## Overhead\n\n{}\n\
         Shares of the wall time of training on all cores. Another thread writes logs and checkpoints \
         during training: \"logs, checkpoints\" is its processor time divided by the number of cores, \
         \"waits\" the time that training waits for it. The overhead is the sum of both and of data and \
         metrics; its bound is {}.\n\n{setting}",
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
    fn overhead_is_all_time_outside_steps_and_evaluations() {
        let timing = [record(5, 12.5), record(10, 25.0), record(15, 38.0)];
        let spent = Spent::new("run", &timing, 0.1, 1.0).unwrap();
        let expected = Spent {
            name: "run",
            model: 19.0,
            evaluations: 4.0,
            data: 1.0,
            waits: 2.0,
            records: 1.0,
        };
        assert_eq!(spent, expected);
        assert_eq!((spent.total(), spent.overhead()), (26.0, 4.0 / 26.0));
        assert!(!spent.is_within_bound());
        let small = Spent {
            data: 0.2,
            waits: 0.2,
            records: 0.05,
            ..spent
        };
        assert!(small.is_within_bound());
    }

    #[test]
    fn a_single_evaluation_is_not_enough() {
        assert!(Spent::new("run", &[record(5, 12.5)], 0.1, 0.0).is_err());
        assert!(Spent::new("run", &[], 0.1, 0.0).is_err());
    }
}
