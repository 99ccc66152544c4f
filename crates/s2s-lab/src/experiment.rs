//! The driver of an experiment.

use std::num::NonZeroUsize;
use std::path::Path;

use crate::event::Event;
use crate::launch::{self, Start, Work};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::report::Report;
use crate::state::{self, State};
use crate::{Error, Result};

/// Trains and evaluates every run of a plan that is not finished, `parallel` at a time, and collects
/// their results.
///
/// `s2s` is the program that trains. A single run at a time gets all cores; parallel runs get one
/// thread each. `on_event` is called from several threads.
///
/// # Errors
/// Before any run starts, if a cell's configuration is not valid or a folder does not belong to this
/// experiment. Later, if a run fails: no other run starts, and the next call resumes.
pub fn run_experiment(
    plan: Plan,
    s2s: &Path,
    parallel: NonZeroUsize,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let work = unfinished(&plan, s2s, on_event)?;
    let n_runs = plan.jobs().len();
    on_event(Event::Planned {
        n_runs,
        n_finished: n_runs - work.len(),
    });
    launch::run_all(s2s, &work, parallel, on_event)?;
    let read = |job| Outcome::read(job, &plan);
    let outcomes: Vec<Outcome> = plan.jobs().into_iter().map(read).collect::<Result<_>>()?;
    Ok(Report::new(plan, outcomes))
}

/// The runs with work to do. All runs are checked before the first one starts, so that a mistake in
/// the last cell does not cost the time of the others.
fn unfinished(plan: &Plan, s2s: &Path, on_event: &dyn Fn(Event)) -> Result<Vec<Work>> {
    let (mut all, mut conflicts) = (Vec::new(), Vec::new());
    for job in plan.jobs() {
        let wanted = launch::resolve(s2s, &job)?;
        let start = match state::inspect(&job.folder, &wanted) {
            Ok(State::Absent) => Some(Start::Train),
            Ok(State::Unfinished) => Some(Start::Resume),
            Ok(State::Finished) => None,
            Ok(State::Diverged) => continue,
            Err(conflict) => {
                conflicts.push(conflict);
                continue;
            }
        };
        if start.is_none() && launch::is_newer(s2s, &job) {
            on_event(Event::Outdated {
                run: job.name(),
                folder: job.folder.clone(),
            });
        }
        let mut evaluations = Vec::new();
        for group in plan.lengths_of(&job) {
            match state::is_evaluated(&job.folder, group) {
                Ok(true) => {}
                Ok(false) => evaluations.push(group.clone()),
                Err(conflict) => conflicts.push(conflict),
            }
        }
        if start.is_some() || !evaluations.is_empty() {
            all.push(Work {
                job,
                start,
                evaluations,
            });
        }
    }
    match conflicts.is_empty() {
        true => Ok(all),
        false => Err(Error::Conflicts(conflicts)),
    }
}
