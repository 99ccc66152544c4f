//! The driver of an experiment.

use std::path::Path;

use crate::cell::Job;
use crate::cost::run_secs;
use crate::error::chain;
use crate::event::Event;
use crate::launch::{self, Spent, Work};
use crate::options::Options;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::report::Report;
use crate::select::Select;
use crate::state::{self, Evaluation, State};
use crate::{Error, Result, parallel, started};

/// Trains and evaluates every selected run of a plan that is not finished.
///
/// Every run is one process that starts it, resumes it, or finds it finished. A run that another process
/// is working on is left to that process. `on_event` is called from several threads.
///
/// # Errors
/// Before any run starts: [`Error::Changed`] if the experiment is not the one that was started,
/// [`Error::Conflicts`] if folders do not belong to it, [`Error::NoSuchRun`] if no run is selected,
/// [`Error::Plan`] if a single run is selected by number from a plan with a budget, and [`Error::Damaged`] if
/// the record of the experiment cannot be read. Later: [`Error::Runs`] if a run fails, and
/// [`Error::Interrupted`] after a signal; the next call resumes.
pub fn run_experiment(
    plan: &Plan,
    options: &Options<'_>,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    if let Select::Index(_) = options.select {
        plan.check_unbudgeted()?;
    }
    started::check(plan, options.accepts_changes)?;
    let mut jobs = options.select.jobs(plan)?;
    if plan.experiment.budget.is_limited() {
        let seeds = &plan.experiment.seeds;
        jobs.sort_by_key(|job| seeds.iter().position(|seed| *seed == job.seed)); // stable
    }
    let Some(halving) = &plan.experiment.halving else {
        return run_jobs(plan, options, jobs, None, on_event);
    };
    let mut is_complete = true;
    for (rung, &steps) in halving.steps.iter().enumerate() {
        let survivors = halving.survivors(plan, rung);
        let mut jobs = jobs.clone();
        jobs.retain(|job| survivors.binary_search(&job.index).is_ok());
        on_event(Event::Rung {
            steps,
            n_cells: survivors.len(),
        });
        run_jobs(plan, options, jobs, Some(steps), on_event)?;
        // The next rung needs the results of all cells, also of those that this process did not select.
        let all = plan.jobs().into_iter();
        let mut all = all.filter(|job| survivors.binary_search(&job.index).is_ok());
        if all.any(|job| !state::is_done(plan, &job)) {
            is_complete = false;
            break;
        }
    }
    // No run is extended any more.
    let is_done = |job: &&Job| state::is_done(plan, job) && !state::is_in_use(job);
    match options.is_lean && is_complete {
        true => jobs.iter().filter(is_done).try_for_each(launch::make_lean),
        false => Ok(()),
    }
}

/// Does what is left of these jobs; with halving, up to this number of steps.
fn run_jobs(
    plan: &Plan,
    options: &Options<'_>,
    jobs: Vec<Job>,
    steps: Option<u64>,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    let n_runs = jobs.len();
    let work = unfinished(plan, jobs, steps, options.s2s, on_event)?;
    let spent = match plan.experiment.budget.is_limited() {
        true => spent(plan, &work),
        false => Spent::default(),
    };
    on_event(Event::Planned {
        n_runs,
        n_finished: n_runs - work.len(),
    });
    launch::run_all(plan, options, &work, spent, on_event)
}

/// What of the budget is spent: the time of all runs of the plan, and those runs whose training is
/// finished and is not extended.
fn spent(plan: &Plan, work: &[Work]) -> Spent {
    let jobs = plan.jobs();
    let trains = |job: &Job| work.iter().any(|work| work.trains && work.job == *job);
    let is_trained = |job: &&Job| {
        let state = state::inspect(plan, job);
        matches!(state, Ok(State::Finished | State::Diverged)) && !trains(job)
    };
    Spent {
        n_runs: jobs.iter().filter(is_trained).count(),
        secs: jobs.iter().map(|job| run_secs(plan, job)).sum(),
    }
}

/// The results of the runs of a plan that are finished, whoever ran them. The others are in
/// [`Report::pending`], and those with a record that cannot be read in [`Report::damaged`].
///
/// # Errors
/// [`Error::NoResults`] if no run is finished.
pub fn collect(plan: Plan) -> Result<Report> {
    let jobs = plan.jobs();
    let read = |job: &Job| {
        let is_done = state::is_done(&plan, job);
        is_done.then(|| Outcome::read(job.clone(), &plan))
    };
    let (mut outcomes, mut pending, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    for (job, found) in jobs.iter().zip(parallel::map(&jobs, read)) {
        match found {
            Some(Ok(outcome)) => outcomes.push(outcome),
            Some(Err(error)) => damaged.push((job.clone(), chain(&error))),
            None => pending.push(job.clone()),
        }
    }
    if outcomes.is_empty() {
        let folder = plan.folder;
        return Err(Error::NoResults { folder });
    }
    let mut report = Report::new(plan, outcomes);
    report.pending = pending;
    report.damaged = damaged;
    Ok(report)
}

/// The runs with work to do. All runs are checked before the first one starts.
fn unfinished(
    plan: &Plan,
    jobs: Vec<Job>,
    steps: Option<u64>,
    s2s: &Path,
    on_event: &dyn Fn(Event),
) -> Result<Vec<Work>> {
    let (mut all, mut conflicts) = (Vec::new(), Vec::new());
    for job in jobs {
        let reached = steps.and_then(|_| state::max_steps(&job.folder));
        if reached
            .zip(steps)
            .is_some_and(|(reached, steps)| reached > steps)
        {
            continue; // it was extended after this number of steps
        }
        let extends_to = steps.filter(|steps| reached.is_some_and(|reached| reached < *steps));
        let (trains, is_resumed) = match state::inspect(plan, &job) {
            Ok(State::Absent) => (true, false),
            Ok(State::Unfinished) => (true, true),
            Ok(State::Finished) => (extends_to.is_some(), extends_to.is_some()),
            Ok(State::Diverged) => continue,
            Err(conflict) => {
                conflicts.push(conflict);
                continue;
            }
        };
        if !trains && launch::is_newer(s2s, &job) {
            on_event(Event::Outdated {
                run: job.name(),
                folder: job.folder.clone(),
            });
        }
        let mut evaluations = Vec::new();
        for group in plan.lengths_of(&job) {
            match state::evaluation(&job.folder, group) {
                Ok(Evaluation::Complete) => {}
                Ok(Evaluation::Missing | Evaluation::Other) => evaluations.push(group.clone()),
                Err(conflict) => conflicts.push(conflict),
            }
        }
        if trains || !evaluations.is_empty() {
            all.push(Work {
                job,
                trains,
                is_resumed,
                // A run whose extension was interrupted no longer has the configuration of its cell.
                extends_to: steps.filter(|_| is_resumed),
                evaluations,
            });
        }
    }
    match conflicts.is_empty() {
        true => Ok(all),
        false => Err(Error::Conflicts(conflicts)),
    }
}
