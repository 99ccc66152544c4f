//! The runs of an experiment and how far they are, without starting any.

use std::collections::BTreeMap;
use std::path::PathBuf;

use s2s_runlog::read_file;
use s2s_viz::Table;

use crate::event::duration;
use crate::experiment::train_secs;
use crate::plan::{Job, Plan};
use crate::state::{self, State};
use crate::{Result, parallel, started};

const MAX_BYTES: u64 = 1 << 16;

/// How far the runs of a plan are.
#[derive(Clone, Debug)]
pub struct Status {
    /// A line for each run: its number, name, state, changes and time.
    pub table: Table,
    /// The number of runs in each state, and an estimate of the time that is left, from the runs that are
    /// finished.
    pub summary: String,
    /// The name and the state of each run.
    pub states: Vec<(String, String)>,
    /// Whether no run can get any further without a command: each is done, diverged, failed or in
    /// conflict.
    pub is_settled: bool,
}

/// Looks at the folders of all runs.
///
/// # Errors
/// [`Error::RunLog`](crate::Error::RunLog) if the numbers of the runs cannot be read.
pub fn status(plan: &Plan) -> Result<Status> {
    let jobs = plan.jobs();
    let numbers = started::numbers(plan)?;
    let is_done = |state: &str| matches!(state, "done" | "diverged");
    let look = |job: &Job| {
        let state = state(plan, job);
        let secs = if is_done(&state) {
            train_secs(job)
        } else {
            0.0
        };
        (state, secs)
    };
    let (states, secs): (Vec<String>, Vec<f64>) = parallel::map(&jobs, look).into_iter().unzip();
    let estimates = Estimates::new(&jobs, &secs);
    let times = jobs.iter().zip(&secs).map(|(job, &secs)| match secs > 0.0 {
        true => duration(secs),
        false => estimates
            .of(job)
            .map_or(String::new(), |secs| format!("about {}", duration(secs))),
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
        let word = state.split(':').next().unwrap_or_default();
        *counts.entry(word).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(state, n)| format!("{n} {state}"))
        .collect();
    let open = jobs
        .iter()
        .zip(&states)
        .filter(|(_, state)| !is_done(state));
    let open: Vec<Option<f64>> = open.map(|(job, _)| estimates.of(job)).collect();
    let left = match open.iter().copied().collect::<Option<Vec<f64>>>() {
        Some(all) if all.is_empty() => String::new(),
        Some(all) => format!(
            "; about {} left, one run at a time",
            duration(all.iter().sum())
        ),
        None => "; no run has been measured yet".to_owned(),
    };
    let is_open = |state: &String| OPEN.contains(&state.as_str());
    Ok(Status {
        table,
        summary: format!("{} runs: {}{left}", jobs.len(), counts.join(", ")),
        is_settled: !states.iter().any(is_open),
        states: jobs.iter().map(Job::name).zip(states).collect(),
    })
}

/// States of runs that a process may still change.
const OPEN: [&str; 3] = ["pending", "unfinished", "trained"];

fn state(plan: &Plan, job: &Job) -> String {
    match state::inspect(plan, job) {
        Ok(State::Diverged) => "diverged".to_owned(),
        Ok(State::Finished) if state::is_done(plan, job) => "done".to_owned(),
        Ok(State::Finished) => "trained".to_owned(),
        Ok(found) => match failure(job) {
            Some(reason) => format!("failed: {reason}"),
            None if found == State::Unfinished => "unfinished".to_owned(),
            None => "pending".to_owned(),
        },
        Err(_) => "conflict".to_owned(),
    }
}

/// The file with the reason of a job's last failure; empty if it was started again since.
pub(crate) fn failure_file(job: &Job) -> PathBuf {
    let logs = job.folder.with_file_name("logs");
    logs.join(format!("{}.failure", job.name()))
}

fn failure(job: &Job) -> Option<String> {
    let bytes = read_file(failure_file(job), MAX_BYTES).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Mean times of finished runs: of the same cell, or else of all.
struct Estimates {
    of_cell: BTreeMap<String, (f64, usize)>,
}

impl Estimates {
    fn new(jobs: &[Job], secs: &[f64]) -> Self {
        let mut of_cell = BTreeMap::new();
        for (job, secs) in jobs.iter().zip(secs).filter(|(_, secs)| **secs > 0.0) {
            let entry = of_cell.entry(job.cell.clone()).or_insert((0.0, 0));
            *entry = (entry.0 + secs, entry.1 + 1);
        }
        Self { of_cell }
    }

    fn of(&self, job: &Job) -> Option<f64> {
        let all = || {
            let sums = self.of_cell.values();
            sums.copied().reduce(|a, b| (a.0 + b.0, a.1 + b.1))
        };
        let (sum, count) = self.of_cell.get(&job.cell).copied().or_else(all)?;
        Some(sum / count as f64)
    }
}
