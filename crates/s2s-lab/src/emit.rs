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
    started::check(plan, accepts_changes)?;
    let words = |number: usize| {
        let (s2s, file) = (s2s.display().to_string(), plan.path.display().to_string());
        let folder = plan.folder.display().to_string();
        let options = [
            "--out".to_owned(),
            folder,
            "--index".to_owned(),
            number.to_string(),
        ];
        shell_words(
            [s2s, "experiment".to_owned(), file]
                .into_iter()
                .chain(options),
        )
    };
    Ok(started::numbers(plan)?.into_iter().map(words).collect())
}
