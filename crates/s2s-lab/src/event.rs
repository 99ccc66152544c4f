//! The progress of an experiment.

use std::fmt;
use std::path::PathBuf;

/// What happens while an experiment runs. Its `Display` is one line for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The state of all runs is known; the first is about to start.
    Planned {
        /// Runs in the experiment.
        n_runs: usize,
        /// Runs that need no more work.
        n_finished: usize,
    },
    /// A run finished before the binary was built.
    Outdated {
        /// The run.
        run: String,
        /// Its folder.
        folder: PathBuf,
    },
    /// The training of a run starts.
    Training(Task),
    /// The training of a run resumes.
    Resuming(Task),
    /// The evaluation of a run by length starts.
    Evaluating {
        /// The run.
        task: Task,
        /// The group of lengths.
        group: String,
    },
    /// The training of a run ended.
    Trained {
        /// The run.
        task: Task,
        /// How it ended.
        ending: String,
    },
}

/// A run with work to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The run.
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
                write!(f, "{n_runs} runs, {n_finished} already finished")
            }
            Self::Outdated { run, folder } => write!(
                f,
                "note: {run} finished before s2s was last built; to repeat it, remove {}",
                folder.display()
            ),
            Self::Training(task) => write!(f, "{task}: training"),
            Self::Resuming(task) => write!(f, "{task}: resuming"),
            Self::Evaluating { task, group } => write!(f, "{task}: evaluating lengths {group:?}"),
            Self::Trained { task, ending } => write!(f, "{task}: {ending}"),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}/{}] {}", self.number, self.total, self.run)
    }
}
