//! Which runs of an experiment.

use crate::cell::Job;
use crate::plan::Plan;
use crate::{Error, Result, pattern, started};

/// Which runs of an experiment are trained or listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// All runs.
    All,
    /// Those whose names match a pattern with `*` for any characters; a pattern without `*` may match
    /// any part of a name.
    Only(String),
    /// The one with this number, as in [`Status::table`](crate::Status::table). If another process is working
    /// on it, [`run_experiment`](crate::run_experiment) waits for that process.
    Index(usize),
}

impl Select {
    /// The selected runs of a plan.
    ///
    /// # Errors
    /// [`Error::NoSuchRun`] if there is none.
    pub(crate) fn jobs(&self, plan: &Plan) -> Result<Vec<Job>> {
        let jobs = plan.jobs();
        let n_runs = jobs.len();
        match self {
            Self::All => Ok(jobs),
            Self::Only(text) => {
                let pattern = match text.contains('*') {
                    true => text.clone(),
                    false => format!("*{text}*"),
                };
                let is_match = |job: &Job| pattern::matches(&pattern, &job.name());
                let found: Vec<Job> = jobs.into_iter().filter(is_match).collect();
                match found.is_empty() {
                    false => Ok(found),
                    true => Err(Error::NoSuchRun {
                        wanted: format!("{text:?}"),
                        available: format!("--dry-run lists the {n_runs} runs"),
                    }),
                }
            }
            Self::Index(wanted) => {
                let numbers = started::numbers(plan)?;
                let mut numbered = jobs.into_iter().zip(&numbers);
                match numbered.find(|(_, number)| *number == wanted) {
                    Some((job, _)) => Ok(vec![job]),
                    None => Err(Error::NoSuchRun {
                        wanted: wanted.to_string(),
                        available: match (numbers.iter().min(), numbers.iter().max()) {
                            (Some(min), Some(max)) => format!("the numbers are {min} to {max}"),
                            _ => "there are no runs".to_owned(),
                        },
                    }),
                }
            }
        }
    }
}
