//! The runs of an experiment as commands for other engines.

use std::path::Path;

use crate::plan::Plan;
use crate::process::shell_words;
use crate::{Result, started};

/// How another program, such as a cluster's queue, starts the runs of a plan: for [`commands`],
/// [`Slurm`](crate::Slurm) and [`HyperQueue`](crate::HyperQueue).
#[derive(Clone, Copy, Debug)]
pub struct RunCommand<'a> {
    /// The program `s2s`.
    pub s2s: &'a Path,
    /// Whether the experiment file may differ from the one that was started.
    pub accepts_changes: bool,
    /// Whether a finished run keeps only what its report needs; see
    /// [`Options::is_lean`](crate::Options::is_lean).
    pub is_lean: bool,
}

impl RunCommand<'_> {
    /// Checks that the runs can be tasks of an engine, without recording anything.
    pub(crate) fn check(&self, plan: &Plan) -> Result<()> {
        plan.check_independent()?;
        match started::check_unchanged(plan) {
            Err(crate::Error::Changed { .. }) if self.accepts_changes => Ok(()),
            checked => checked,
        }
    }

    /// The command of a run, without its number, which is the last word.
    pub(crate) fn words(&self, plan: &Plan) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut words = vec![path(self.s2s), "experiment".to_owned(), path(&plan.path)];
        words.extend(["--out".to_owned(), path(&plan.folder)]);
        if self.is_lean {
            words.push("--lean".to_owned());
        }
        words.push("--index".to_owned());
        words
    }
}

/// A shell command for each run, in the order of [`Plan::jobs`]. Each can be repeated: it starts the run,
/// resumes it, or does nothing if it is finished. Run them in the working directory of this process.
///
/// The experiment counts as started: its file and the numbers of its runs are recorded in its folder.
///
/// # Errors
/// [`Error::Plan`](crate::Error::Plan) for a plan with halving or a budget, whose runs depend on each other;
/// [`Error::Changed`](crate::Error::Changed) if the experiment is not the one that was started;
/// [`Error::Damaged`](crate::Error::Damaged) if its record cannot be read;
/// [`Error::RunLog`](crate::Error::RunLog) if it cannot be written.
pub fn commands(plan: &Plan, command: &RunCommand<'_>) -> Result<Vec<String>> {
    plan.check_independent()?;
    started::check(plan, command.accepts_changes)?;
    let numbers = started::numbers(plan)?.into_iter();
    let start = shell_words(command.words(plan));
    Ok(numbers.map(|number| format!("{start} {number}")).collect())
}
