//! Successive halving: all cells train briefly, and only the best continue.

use s2s_runlog::{MetricsRecord, RunDir, read_lines};
use serde::Deserialize;

use crate::measure::Curve;
use crate::plan::{Job, Plan};

/// The configuration keys that the extension of a run changes.
pub(crate) const CHANGED_KEYS: [&str; 3] = [
    "train.max_steps",
    "train.schedule.steps",
    "train.teacher_forcing.steps",
];

/// The `[halving]` table: all cells train for the first number of steps. Of these, one in `keep` is
/// extended to the second number, and so on. An extended run equals one that was extended by hand with
/// `s2s resume --set train.max_steps=N --keep-schedule`.
///
/// Jamieson, Talwalkar (2016), Non-stochastic Best Arm Identification and Hyperparameter Optimization.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halving {
    /// Numbers of steps, rising.
    pub steps: Vec<u64>,
    /// One in so many cells is kept, rounded up.
    #[serde(default = "default_keep")]
    pub keep: usize,
    /// What decides: the best value that each run has reached, as the mean over the seeds of a cell.
    #[serde(default = "default_curve")]
    pub curve: Curve,
}

fn default_keep() -> usize {
    3
}

fn default_curve() -> Curve {
    Curve::ValLoss
}

impl Halving {
    pub(crate) fn problem(&self) -> Option<String> {
        let is_rising = self.steps.windows(2).all(|pair| pair[0] < pair[1]);
        if self.steps.len() < 2 || self.steps[0] == 0 || !is_rising {
            let steps = &self.steps;
            return Some(format!(
                "[halving] steps: expected at least two rising numbers, got {steps:?}"
            ));
        }
        (self.keep < 2).then(|| format!("[halving] keep: expected at least 2, got {}", self.keep))
    }

    /// The changes that all cells have.
    pub(crate) fn sets(&self) -> [String; 2] {
        let first = self.steps.first().copied().unwrap_or_default();
        [
            "train.epochs=0".to_owned(),
            format!("train.max_steps={first}"),
        ]
    }

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
