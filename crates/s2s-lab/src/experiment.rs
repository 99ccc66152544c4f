//! The driver of an experiment.

use std::num::NonZeroUsize;
use std::path::Path;

use s2s_runlog::{RunDir, TimingRecord, read_lines};

use crate::event::Event;
use crate::launch::{self, Spent, Work};
use crate::outcome::Outcome;
use crate::plan::{Job, Plan};
use crate::report::Report;
use crate::state::{self, State};
use crate::{Error, Result, parallel, pattern, started};

/// How to run an experiment.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The program that trains.
    pub s2s: &'a Path,
    /// Runs at a time. A single run gets all cores; parallel runs get one thread each.
    pub parallel: NonZeroUsize,
    /// Threads of each run, instead of that.
    pub threads: Option<NonZeroUsize>,
    /// Which runs.
    pub select: Select,
    /// Whether the other runs continue after one has failed.
    pub keeps_going: bool,
    /// Whether the experiment file may differ from the one that was started.
    pub accepts_changes: bool,
    /// Whether a finished run keeps only what its report needs: no plots, page, events or last
    /// checkpoint.
    pub is_lean: bool,
}

/// Which runs of an experiment are trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// All.
    All,
    /// Those whose names match a pattern with `*` for any characters; a pattern without `*` may match
    /// any part of a name.
    Only(String),
    /// The one with this number. If another process is working on it, its end is waited for.
    Index(usize),
}

/// Trains and evaluates every selected run of a plan that is not finished.
///
/// Every run is one process that starts it, resumes it, or finds it finished. A run that another process
/// is working on is left to that process. `on_event` is called from several threads.
///
/// # Errors
/// Before any run starts, if the experiment is not the one that was started or a folder does not belong
/// to it. Later, [`Error::Runs`] if a run fails; the next call resumes.
pub fn run_experiment(
    plan: &Plan,
    options: &Options<'_>,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    started::check(plan, options.accepts_changes)?;
    let mut jobs = selected(plan, &options.select)?;
    if plan.experiment.budget.is_limited() {
        let seeds = &plan.experiment.seeds;
        jobs.sort_by_key(|job| seeds.iter().position(|seed| *seed == job.seed)); // stable
    }
    let Some(halving) = &plan.experiment.halving else {
        return run_jobs(plan, options, jobs, None, on_event);
    };
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
            break;
        }
    }
    Ok(())
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
    let (work, spent) = unfinished(plan, jobs, steps, options.s2s, on_event)?;
    on_event(Event::Planned {
        n_runs,
        n_finished: n_runs - work.len(),
    });
    launch::run_all(plan, options, &work, spent, on_event)
}

/// The results of the runs that are finished, whoever ran them.
///
/// # Errors
/// [`Error::NoResults`] if no run is finished; [`Error::RunLog`] if a record cannot be read.
pub fn collect(plan: Plan) -> Result<Report> {
    let jobs = plan.jobs();
    let read = |job: &Job| match state::is_done(&plan, job) {
        true => Outcome::read(job.clone(), &plan).map(Some),
        false => Ok(None),
    };
    let (mut outcomes, mut pending) = (Vec::new(), Vec::new());
    for (job, found) in jobs.iter().zip(parallel::map(&jobs, read)) {
        match found? {
            Some(outcome) => outcomes.push(outcome),
            None => pending.push(job.clone()),
        }
    }
    if outcomes.is_empty() {
        let folder = plan.folder;
        return Err(Error::NoResults { folder });
    }
    let mut report = Report::new(plan, outcomes);
    report.pending = pending;
    Ok(report)
}

fn selected(plan: &Plan, select: &Select) -> Result<Vec<Job>> {
    let jobs = plan.jobs();
    let n_runs = jobs.len();
    match select {
        Select::All => Ok(jobs),
        Select::Only(text) => {
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
        Select::Index(wanted) => {
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

/// The runs with work to do, and what the others have cost. All runs are checked before the first one
/// starts.
fn unfinished(
    plan: &Plan,
    jobs: Vec<Job>,
    steps: Option<u64>,
    s2s: &Path,
    on_event: &dyn Fn(Event),
) -> Result<(Vec<Work>, Spent)> {
    let (mut all, mut conflicts, mut spent) = (Vec::new(), Vec::new(), Spent::default());
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
            Ok(State::Diverged) => {
                spent.add(train_secs(&job));
                continue;
            }
            Err(conflict) => {
                conflicts.push(conflict);
                continue;
            }
        };
        if !trains {
            spent.add(train_secs(&job));
            if launch::is_newer(s2s, &job) {
                on_event(Event::Outdated {
                    run: job.name(),
                    folder: job.folder.clone(),
                });
            }
        }
        let mut evaluations = Vec::new();
        for group in plan.lengths_of(&job) {
            match state::is_evaluated(&job.folder, group) {
                Ok(true) => {}
                Ok(false) => evaluations.push(group.clone()),
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
        true => Ok((all, spent)),
        false => Err(Error::Conflicts(conflicts)),
    }
}

/// Seconds of training and validation of a run, over all its processes.
pub(crate) fn train_secs(job: &Job) -> f64 {
    let Ok(run) = RunDir::open(&job.folder) else {
        return 0.0;
    };
    let timing: Vec<TimingRecord> = read_lines(run.timing()).unwrap_or_default();
    timing.iter().map(|t| t.train_secs + t.eval_secs).sum()
}
