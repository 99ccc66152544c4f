//! What a dashboard shows of a run.

use s2s_runlog::{
    AttentionRecord, EvalRecord, MetricsRecord, RunDir, RunRecord, RunStatus, StepMetrics,
    TimingRecord, WrongRecord, read_json,
};
use serde::de::DeserializeOwned;

use crate::picture::records;

/// Points of a curve at most; more are merged in pairs.
const MAX_POINTS: usize = 512;

/// The state of a run, as far as it is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// The run's folder.
    pub(crate) run: String,
    /// Steps taken.
    pub(crate) step: u64,
    /// Steps of the whole run, if they are known.
    pub(crate) total_steps: Option<u64>,
    /// What the run does, or how it ended; empty while it trains.
    pub(crate) status: String,
    /// Target tokens per second of training.
    pub(crate) tokens_per_second: Option<f64>,
    /// Wall time per step, evaluations included.
    pub(crate) secs_per_step: Option<f64>,
    /// Wall time of a run that has ended.
    pub(crate) elapsed_secs: Option<f64>,
    /// Loss and accuracy in training.
    pub(crate) train: Curves,
    /// Loss and accuracy on the validation split.
    pub(crate) val: Curves,
    /// The latest attention of the probe sequences.
    pub(crate) probes: Vec<AttentionRecord>,
    /// The latest wrong outputs.
    pub(crate) wrong: Option<WrongRecord>,
}

impl Shown {
    /// A run as its records up to `last_step` show it. Files that cannot be read are left out.
    pub(crate) fn of(dir: &RunDir, total_steps: Option<u64>, last_step: u64) -> Self {
        let mut shown = Self {
            run: dir.path().display().to_string(),
            total_steps,
            ..Self::default()
        };
        let start: Option<EvalRecord> = read_json(dir.initial()).ok();
        if let Some(start) = start {
            shown.add_start(start.loss, start.token_accuracy);
        }
        for line in lines::<StepMetrics>(dir.steps()) {
            if line.step > last_step {
                break;
            }
            shown.tokens_per_second = Some(line.tokens_per_second);
            shown.add_step(line.step, line.loss, line.token_accuracy);
        }
        for metrics in lines::<MetricsRecord>(dir.metrics()) {
            if metrics.step > last_step {
                break;
            }
            shown.add_evaluation(&metrics);
        }
        if let Some(timing) = lines::<TimingRecord>(dir.timing()).pop() {
            shown.tokens_per_second = Some(timing.tokens_per_second).filter(|rate| *rate > 0.0);
            shown.secs_per_step =
                (timing.step > 0).then(|| timing.elapsed_secs / timing.step as f64);
        }
        let probes = lines::<AttentionRecord>(dir.attention());
        let last = probes.last().map(|probe| probe.step);
        shown.probes = probes;
        shown.probes.retain(|probe| Some(probe.step) == last);
        shown.wrong = lines::<WrongRecord>(dir.wrong()).pop();
        if let Ok(record) = read_json::<RunRecord>(dir.run())
            && record.status != RunStatus::Running
        {
            shown.step = record.step;
            shown.status = record.status.name().to_owned();
            shown.elapsed_secs = Some(record.elapsed_secs);
        }
        shown
    }

    /// Adds the evaluation before the first step.
    pub(crate) fn add_start(&mut self, loss: f64, accuracy: f64) {
        self.val.push(0, loss, accuracy);
    }

    /// Adds a training step.
    pub(crate) fn add_step(&mut self, step: u64, loss: f64, accuracy: f64) {
        self.step = step;
        self.train.push(step, loss, accuracy);
    }

    /// Adds an evaluation.
    pub(crate) fn add_evaluation(&mut self, metrics: &MetricsRecord) {
        self.step = self.step.max(metrics.step);
        self.val
            .push(metrics.step, metrics.val_loss, metrics.val_token_accuracy);
    }

    /// Wall time until the last step, if it can be estimated.
    pub(crate) fn secs_left(&self) -> Option<f64> {
        let n_left = self.total_steps?.saturating_sub(self.step);
        Some(self.secs_per_step? * n_left as f64)
    }
}

/// The lines of a file of records; none if it cannot be read.
fn lines<T: DeserializeOwned>(path: std::path::PathBuf) -> Vec<T> {
    records(path).unwrap_or_default()
}

/// Loss and accuracy over steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Curves {
    /// The loss.
    pub(crate) loss: Curve,
    /// The token accuracy.
    pub(crate) accuracy: Curve,
}

impl Curves {
    fn push(&mut self, step: u64, loss: f64, accuracy: f64) {
        self.loss.push(step, loss);
        self.accuracy.push(step, accuracy);
    }
}

/// A curve of bounded size: each point is the mean of equally many values.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    points: Vec<(f64, f64)>,
    n_per_point: usize,
    unfinished: Vec<(f64, f64)>,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            n_per_point: 1,
            unfinished: Vec::new(),
        }
    }
}

impl Curve {
    /// Adds a value; ignores one that is not finite.
    fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.unfinished.push((step as f64, value));
        if self.unfinished.len() < self.n_per_point {
            return;
        }
        self.points.push(mean(&self.unfinished));
        self.unfinished.clear();
        if self.points.len() == MAX_POINTS {
            self.points = self.points.chunks(2).map(mean).collect();
            self.n_per_point *= 2;
        }
    }

    /// The points in the order of their steps; the last one may be the mean of fewer values.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        let last = (!self.unfinished.is_empty()).then(|| mean(&self.unfinished));
        self.points.iter().copied().chain(last).collect()
    }
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let sum = points
        .iter()
        .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / n, sum.1 / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_keeps_its_ends_and_its_mean_in_bounded_space() {
        let mut curve = Curve::default();
        let n = 100_000;
        (1..=n).for_each(|step| curve.push(step, step as f64));
        curve.push(n, f64::NAN);
        let points = curve.points();
        assert!((MAX_POINTS / 2..=MAX_POINTS).contains(&points.len()));
        assert!(points.windows(2).all(|two| two[0].0 < two[1].0));
        assert!(points.iter().all(|(step, value)| step == value));
        assert!(points[0].0 < 300.0 && points[points.len() - 1].0 > 99_700.0);
    }
}
