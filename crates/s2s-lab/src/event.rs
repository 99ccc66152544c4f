//! The progress of an experiment.

use std::fmt;
use std::path::PathBuf;

/// What happens during [`run_experiment`](crate::run_experiment). Its `Display` is one line for a person.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The state of all selected runs is known; the first is about to start. With halving, this comes after
    /// each [`Event::Rung`], for the runs of its cells.
    Planned {
        /// Number of selected runs.
        n_runs: usize,
        /// Number of these that need no more work.
        n_finished: usize,
    },
    /// With halving: these cells train up to this number of steps.
    Rung {
        /// The number of steps.
        steps: u64,
        /// The number of cells.
        n_cells: usize,
    },
    /// A run finished before the program `s2s` was last built, so that a new run might give other results.
    /// It is kept.
    Outdated {
        /// The name of the run.
        run: String,
        /// Its folder.
        folder: PathBuf,
    },
    /// The training of a run starts.
    Training(RunPosition),
    /// The training of a run resumes.
    Resuming(RunPosition),
    /// The evaluation of a run by length starts.
    Evaluating {
        /// The run.
        task: RunPosition,
        /// The name of the group of lengths.
        group: String,
    },
    /// The training of a run ended.
    Trained {
        /// The run.
        task: RunPosition,
        /// How it ended, as text: the exact match on the test split and the wall time, or that it diverged.
        ending: String,
        /// Estimated seconds until all runs are done; `None` for the last one.
        left_secs: Option<f64>,
    },
    /// Another process is working on a run. The run is left to it; with
    /// [`Select::Index`](crate::Select::Index), this process waits for its end.
    Elsewhere(RunPosition),
    /// A line that a run wrote to standard error. Only if one run is trained at a time.
    Message(String),
    /// A run failed, and others continue. Only with
    /// [`Options::keeps_going`](crate::Options::keeps_going).
    Failed {
        /// The run.
        task: RunPosition,
        /// Why.
        reason: String,
    },
    /// The budget is spent; these runs were not started.
    BudgetSpent {
        /// Number of runs that were not started.
        n_left: usize,
    },
}

/// A run with work to do, as events name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPosition {
    /// The name of the run, such as `additive-seed0`.
    pub run: String,
    /// Its position among the runs with work to do, from 1.
    pub number: usize,
    /// The number of runs with work to do.
    pub total: usize,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planned { n_runs, n_finished } => {
                write!(
                    f,
                    "{}, {n_finished} already finished",
                    count(*n_runs, "run")
                )
            }
            Self::Rung { steps, n_cells } => {
                write!(f, "halving: {} up to step {steps}", count(*n_cells, "cell"))
            }
            Self::Outdated { run, folder } => write!(
                f,
                "note: {run} finished before s2s was last built; to repeat it, remove {}",
                folder.display()
            ),
            Self::Training(task) => write!(f, "{task}: training"),
            Self::Resuming(task) => write!(f, "{task}: resuming"),
            Self::Evaluating { task, group } => write!(f, "{task}: evaluating lengths {group:?}"),
            Self::Trained {
                task,
                ending,
                left_secs,
            } => {
                write!(f, "{task}: {ending}")?;
                match left_secs {
                    Some(secs) => write!(f, "; about {} left", duration(*secs)),
                    None => Ok(()),
                }
            }
            Self::Elsewhere(task) => write!(f, "{task}: another process is working on it"),
            Self::Message(line) => f.write_str(line),
            Self::Failed { task, reason } => write!(f, "{task}: failed: {reason}"),
            Self::BudgetSpent { n_left } => {
                let (runs, were) = (
                    count(*n_left, "run"),
                    if *n_left == 1 { "was" } else { "were" },
                );
                write!(f, "the budget is spent; {runs} {were} not started")
            }
        }
    }
}

impl fmt::Display for RunPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}/{}] {}", self.number, self.total, self.run)
    }
}

/// A number of things, as text: `1 run`, `2 runs`. The plural is the noun with an `s`.
pub fn count(n: usize, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// Seconds as a person writes them: `45 s`, `12 min`, `3.5 h`.
pub fn duration(secs: f64) -> String {
    match secs {
        secs if secs < 90.0 => format!("{secs:.0} s"),
        secs if secs < 5400.0 => format!("{:.0} min", secs / 60.0),
        secs => format!("{:.1} h", secs / 3600.0),
    }
}
