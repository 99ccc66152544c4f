//! The runs of an experiment as commands for other engines.

use std::path::Path;

use crate::plan::Plan;
use crate::process::shell_words;
use crate::{Result, started};

/// A shell command for each run, in the order of the runs. Each can be repeated: it starts the run,
/// resumes it, or does nothing if it is finished. Run them in the working directory of this process.
///
/// # Errors
/// [`Error::Changed`](crate::Error::Changed) if the experiment is not the one that was started.
pub fn commands(plan: &Plan, s2s: &Path, accepts_changes: bool) -> Result<Vec<String>> {
    plan.check_independent()?;
    started::check(plan, accepts_changes)?;
    let numbers = started::numbers(plan)?.into_iter();
    Ok(numbers
        .map(|number| shell_words(words(plan, s2s, number)))
        .collect())
}

/// The command of the run with this number.
pub(crate) fn words(plan: &Plan, s2s: &Path, number: usize) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let (s2s, file, folder) = (path(s2s), path(&plan.path), path(&plan.folder));
    let options = [
        "--out".to_owned(),
        folder,
        "--index".to_owned(),
        number.to_string(),
    ];
    [s2s, "experiment".to_owned(), file]
        .into_iter()
        .chain(options)
        .collect()
}
