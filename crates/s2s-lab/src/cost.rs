//! The wall time of runs, from their records.

use std::collections::BTreeMap;

use s2s_runlog::{LengthTiming, RunDir, TimingRecord, read_lines};

use crate::cell::Job;
use crate::plan::Plan;

/// Seconds of training, validation and evaluation by length of a run, over all its processes. This is
/// what a budget limits and what estimates are made of.
pub(crate) fn run_secs(plan: &Plan, job: &Job) -> f64 {
    let Ok(run) = RunDir::open(&job.folder) else {
        return 0.0;
    };
    let timing: Vec<TimingRecord> = read_lines(run.timing()).unwrap_or_default();
    let training: f64 = timing.iter().map(|t| t.train_secs + t.eval_secs).sum();
    let of_group = |name: &str| -> f64 {
        let path = run.lengths_timing(Some(name));
        let timing: Vec<LengthTiming> = read_lines(path).unwrap_or_default();
        timing.iter().map(|t| t.secs).sum()
    };
    let groups = plan.lengths_of(job);
    training + groups.map(|group| of_group(&group.name)).sum::<f64>()
}

/// Mean times of finished runs: of the same cell, or else of all.
pub(crate) struct Estimates {
    of_cell: BTreeMap<String, (f64, usize)>,
}

impl Estimates {
    /// From the times of finished runs.
    pub(crate) fn new<'a>(finished: impl Iterator<Item = (&'a Job, f64)>) -> Self {
        let mut of_cell = BTreeMap::new();
        for (job, secs) in finished.filter(|(_, secs)| *secs > 0.0) {
            let entry = of_cell.entry(job.cell.clone()).or_insert((0.0, 0));
            *entry = (entry.0 + secs, entry.1 + 1);
        }
        Self { of_cell }
    }

    /// The expected time of a run; `None` if no run is finished.
    pub(crate) fn of(&self, job: &Job) -> Option<f64> {
        let all = || {
            let sums = self.of_cell.values();
            sums.copied().reduce(|a, b| (a.0 + b.0, a.1 + b.1))
        };
        let (sum, count) = self.of_cell.get(&job.cell).copied().or_else(all)?;
        Some(sum / count as f64)
    }
}
