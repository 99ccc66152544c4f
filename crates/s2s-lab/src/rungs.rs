//! Which cells successive halving continues.

use s2s_runlog::{MetricsRecord, RunDir, read_lines};

use crate::cell::Job;
use crate::halving::Halving;
use crate::plan::Plan;

impl Halving {
    /// The positions of the cells that train up to number `rung` of the steps. The records up to the
    /// number before decide, so the answer stays the same when runs are extended.
    pub(crate) fn survivors(&self, plan: &Plan, rung: usize) -> Vec<usize> {
        let mut cells: Vec<usize> = (0..plan.experiment.cells.len()).collect();
        let jobs = plan.jobs();
        for &steps in &self.steps[..rung] {
            let scores = cells.iter().map(|&cell| {
                let jobs = jobs.iter().filter(|job| job.index == cell);
                (self.score(jobs, steps), cell)
            });
            let mut scores: Vec<(f64, usize)> = scores.collect();
            scores.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            scores.truncate(cells.len().div_ceil(self.keep));
            cells = scores.into_iter().map(|(_, cell)| cell).collect();
        }
        cells.sort_unstable();
        cells
    }

    /// Lower is better; infinite for a run without a record.
    fn score<'a>(&self, jobs: impl Iterator<Item = &'a Job>, steps: u64) -> f64 {
        let scores: Vec<f64> = jobs.map(|job| self.score_of(job, steps)).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    fn score_of(&self, job: &Job, steps: u64) -> f64 {
        let metrics = RunDir::open(&job.folder).and_then(|run| read_lines(run.metrics()));
        let metrics: Vec<MetricsRecord> = metrics.unwrap_or_default();
        let sign = if self.curve.is_share() { -1.0 } else { 1.0 };
        let reached = metrics.iter().filter(|record| record.step <= steps);
        let values = reached.map(|record| sign * self.curve.value(record));
        values.fold(f64::INFINITY, f64::min)
    }
}
