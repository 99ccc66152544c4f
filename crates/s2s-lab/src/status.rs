//! The runs of an experiment and how far they are, without starting any.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use s2s_viz::Table;

use crate::cell::Job;
use crate::cost::{Estimates, run_secs};
use crate::event::{count, duration};
use crate::plan::Plan;
use crate::select::Select;
use crate::state::{self, State};
use crate::{Result, failure, parallel, started};

/// How far the selected runs of a plan are.
#[derive(Clone, Debug)]
pub struct Status {
    /// A line for each run: its number, name, state, time and changes.
    pub table: Table,
    /// One line: the number of runs in each state, and an estimate of the time that is left, from the runs
    /// that are finished.
    pub summary: String,
    /// The name and the state of each run. States are `pending` (not started), `unfinished` (interrupted),
    /// `running`, `trained` (evaluations by length are missing), `done`, `diverged`, `conflict` (its folder
    /// does not belong to the experiment), and, with a reason after a colon, `failed` and `damaged`.
    pub states: Vec<(String, String)>,
    /// A line for each cell.
    pub cells: Vec<CellStatus>,
    /// Whether no state will change before a command is run: each run is done, diverged, failed, damaged or
    /// in conflict.
    pub is_settled: bool,
}

/// How far the selected runs of a cell are.
#[derive(Clone, Debug, PartialEq)]
pub struct CellStatus {
    /// The name of the cell.
    pub name: String,
    /// Number of runs that are done or diverged.
    pub n_done: usize,
    /// Number of runs that a process is working on.
    pub n_running: usize,
    /// Number of runs that failed, are damaged or in conflict.
    pub n_failed: usize,
    /// Number of runs.
    pub n_runs: usize,
    /// Estimated seconds of work that is left, summed over the runs; `None` if there is work left but no run
    /// has been measured yet.
    pub left_secs: Option<f64>,
}

/// Reads from the run folders how far the selected runs are; starts no run. The estimate in
/// [`Status::summary`] is for `parallel` runs at a time.
///
/// # Errors
/// [`Error::NoSuchRun`](crate::Error::NoSuchRun) if no run is selected;
/// [`Error::Damaged`](crate::Error::Damaged) if the numbers of the runs cannot be read.
pub fn status(plan: &Plan, select: &Select, parallel: NonZeroUsize) -> Result<Status> {
    let jobs = select.jobs(plan)?;
    let numbers = numbers(plan, &jobs)?;
    let look = |job: &Job| (state(plan, job), run_secs(plan, job));
    let looks = parallel::map(&jobs, look);
    let (states, secs): (Vec<String>, Vec<f64>) = looks.into_iter().unzip();
    let known = jobs.iter().zip(&states).zip(&secs);
    let done = known.filter(|((_, state), _)| is_done(state));
    let estimates = Estimates::new(done.map(|((job, _), secs)| (job, *secs)));
    let left = |job: &Job, state: &str, secs: f64| match is_done(state) {
        true => Some(0.0),
        false => estimates.of(job).map(|all| (all - secs).max(0.0)),
    };
    let lefts = jobs.iter().zip(&states).zip(&secs);
    let lefts = lefts.map(|((job, state), secs)| left(job, state, *secs));
    let lefts: Vec<Option<f64>> = lefts.collect();
    let times = states.iter().zip(&secs).zip(&lefts);
    let times = times.map(|((state, secs), left)| match (is_done(state), left) {
        (true, _) => duration(*secs),
        (false, Some(left)) => format!("about {}", duration(*left)),
        (false, None) => String::new(),
    });
    let changes = jobs.iter().map(|job| plan.cell_of(job).changes().join(" "));
    let table = Table::new()
        .column("number", numbers)
        .column("run", jobs.iter().map(Job::name))
        .column("state", &states)
        .column("time", times)
        .column("changes", changes);

    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for state in &states {
        *counts.entry(word(state)).or_default() += 1;
    }
    let counts = counts.iter().map(|(state, n)| format!("{n} {state}"));
    let counts: Vec<String> = counts.collect();
    let is_open = |state: &String| OPEN.contains(&state.as_str());
    Ok(Status {
        table,
        summary: format!(
            "{}: {}{}",
            count(jobs.len(), "run"),
            counts.join(", "),
            left_text(&lefts, parallel)
        ),
        is_settled: !states.iter().any(is_open),
        cells: cells(&jobs, &states, &lefts),
        states: jobs.iter().map(Job::name).zip(states).collect(),
    })
}

/// The time that is left, as a part of a sentence.
fn left_text(lefts: &[Option<f64>], parallel: NonZeroUsize) -> String {
    match lefts.iter().copied().collect::<Option<Vec<f64>>>() {
        Some(all) if all.iter().all(|secs| *secs == 0.0) => String::new(),
        Some(all) => {
            let secs = all.iter().sum::<f64>() / parallel.get() as f64;
            let at_a_time = match parallel.get() {
                1 => "one run".to_owned(),
                n => format!("{n} runs"),
            };
            format!("; about {} left, {at_a_time} at a time", duration(secs))
        }
        None => "; no run has been measured yet".to_owned(),
    }
}

fn cells(jobs: &[Job], states: &[String], lefts: &[Option<f64>]) -> Vec<CellStatus> {
    let mut cells: Vec<CellStatus> = Vec::new();
    for ((job, state), left) in jobs.iter().zip(states).zip(lefts) {
        if cells.last().is_none_or(|last| last.name != job.cell) {
            cells.push(CellStatus {
                name: job.cell.clone(),
                n_done: 0,
                n_running: 0,
                n_failed: 0,
                n_runs: 0,
                left_secs: Some(0.0),
            });
        }
        let Some(cell) = cells.last_mut() else {
            continue;
        };
        cell.n_runs += 1;
        cell.n_done += usize::from(is_done(state));
        cell.n_running += usize::from(state == "running");
        cell.n_failed += usize::from(["failed", "damaged", "conflict"].contains(&word(state)));
        cell.left_secs = cell.left_secs.zip(*left).map(|(sum, secs)| sum + secs);
    }
    cells
}

/// The number of each of these jobs.
fn numbers(plan: &Plan, jobs: &[Job]) -> Result<Vec<usize>> {
    let all = plan.jobs();
    let numbers = started::numbers(plan)?;
    let numbers = all.iter().map(|job| &job.folder).zip(numbers);
    let number_of: BTreeMap<_, usize> = numbers.collect();
    Ok(jobs.iter().map(|job| number_of[&job.folder]).collect())
}

/// States of runs that a process may still change.
const OPEN: [&str; 4] = ["pending", "running", "unfinished", "trained"];

fn is_done(state: &str) -> bool {
    matches!(state, "done" | "diverged")
}

/// A state without its reason.
fn word(state: &str) -> &str {
    state.split(':').next().unwrap_or_default()
}

fn state(plan: &Plan, job: &Job) -> String {
    let is_running = || state::is_in_use(job);
    match state::inspect(plan, job) {
        Ok(State::Diverged) => "diverged".to_owned(),
        Ok(State::Finished) if state::is_done(plan, job) => match state::damage(job) {
            Some(reason) => format!("damaged: {reason}"),
            None => "done".to_owned(),
        },
        Ok(_) if is_running() => "running".to_owned(),
        Ok(found) => match failure::read(job) {
            Some(reason) => format!("failed: {reason}"),
            None => match found {
                State::Finished => "trained",
                State::Unfinished => "unfinished",
                State::Absent | State::Diverged => "pending",
            }
            .to_owned(),
        },
        Err(_) => "conflict".to_owned(),
    }
}
