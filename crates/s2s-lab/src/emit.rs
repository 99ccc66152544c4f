//! The runs of an experiment as commands for other engines.

use std::path::Path;

use crate::plan::Plan;
use crate::process::shell_words;
use crate::{Result, started};

/// How an engine starts runs.
#[derive(Clone, Copy, Debug)]
pub struct Tasks<'a> {
    /// The program that trains.
    pub s2s: &'a Path,
    /// Whether the experiment file may differ from the one that was started.
    pub accepts_changes: bool,
    /// Whether a finished run keeps only what its report needs.
    pub is_lean: bool,
}

impl Tasks<'_> {
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

/// A shell command for each run, in the order of the runs. Each can be repeated: it starts the run,
/// resumes it, or does nothing if it is finished. Run them in the working directory of this process.
///
/// # Errors
/// [`Error::Changed`](crate::Error::Changed) if the experiment is not the one that was started.
pub fn commands(plan: &Plan, tasks: &Tasks<'_>) -> Result<Vec<String>> {
    plan.check_independent()?;
    started::check(plan, tasks.accepts_changes)?;
    let numbers = started::numbers(plan)?.into_iter();
    let start = shell_words(tasks.words(plan));
    Ok(numbers.map(|number| format!("{start} {number}")).collect())
}
