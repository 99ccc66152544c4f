//! How far training has come: the curriculum of lengths, and restarts from other initial parameters.

use s2s_runlog::AttemptRecord;
use serde::{Deserialize, Serialize};

use crate::config::{CurriculumConfig, ExperimentConfig, RestartConfig};

/// Weight of the past in the running loss.
const DECAY: f64 = 0.9;

/// The state of an attempt: the steps from one set of initial parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Attempts before this one.
    pub index: u64,
    /// Steps before this attempt.
    pub start: u64,
    /// Running mean of the training loss.
    pub running_loss: f64,
    /// Maximum source length of the curriculum, before it is rounded down.
    pub longest: f64,
}

impl Attempt {
    /// An attempt before its first step, after `start` steps of earlier ones.
    pub(crate) fn new(index: u64, start: u64, config: &ExperimentConfig) -> Self {
        Self {
            index,
            start,
            running_loss: 1.0,
            longest: shortest(config),
        }
    }

    /// The attempt of a new run, if its configuration needs the state of one.
    pub(crate) fn first(config: &ExperimentConfig) -> Option<Self> {
        let train = &config.train;
        let is_needed = train.curriculum != CurriculumConfig::None {}
            || train.restart != RestartConfig::None {};
        is_needed.then(|| Self::new(0, 0, config))
    }

    /// Maximum source length of the next batch.
    pub fn max_len(&self) -> usize {
        self.longest as usize
    }

    /// Progress of the curriculum, in `[0, 1]`: equal factors on the length are equal progress. It is 1
    /// without a curriculum.
    pub fn progress(&self, config: &ExperimentConfig) -> f64 {
        let (start, end) = (shortest(config), config.data.max_len as f64);
        if start >= end {
            return 1.0;
        }
        ((self.longest / start).ln() / (end / start).ln()).clamp(0.0, 1.0)
    }

    /// Updates the state after a step with this training loss.
    pub(crate) fn observe(&mut self, loss: f64, config: &ExperimentConfig) {
        self.running_loss = DECAY * self.running_loss + (1.0 - DECAY) * loss;
        if let CurriculumConfig::Loss { growth, loss, .. } = &config.train.curriculum
            && self.running_loss < loss.get()
        {
            self.longest = (self.longest * growth.get()).min(config.data.max_len as f64);
        }
    }

    /// Whether training starts again after `step` steps, if an attempt has `length` steps.
    pub(crate) fn is_lost(&self, step: u64, length: u64, config: &ExperimentConfig) -> bool {
        let RestartConfig::Loss {
            attempts,
            loss,
            stuck_after,
        } = &config.train.restart
        else {
            return false;
        };
        if self.index + 1 >= attempts.get() {
            return false;
        }
        let done = step - self.start;
        let has_curriculum = config.train.curriculum != CurriculumConfig::None {};
        let is_stuck = has_curriculum && done == *stuck_after && self.longest <= shortest(config);
        let is_short = self.longest < config.data.max_len as f64;
        let has_failed = done >= length && (self.running_loss >= loss.get() || is_short);
        done > 0 && (is_stuck || has_failed)
    }

    /// Whether this state is possible after `step` steps.
    pub(crate) fn is_plausible(&self, step: u64, config: &ExperimentConfig) -> bool {
        let lens = 1.0..=config.data.max_len as f64;
        self.index < config.train.restart.attempts()
            && self.start <= step
            && (self.index > 0 || self.start == 0)
            && self.running_loss >= 0.0
            && self.running_loss.is_finite()
            && lens.contains(&self.longest)
    }

    /// The state as a record.
    pub(crate) fn record(&self) -> AttemptRecord {
        AttemptRecord {
            index: self.index,
            running_loss: self.running_loss,
            max_len: self.max_len() as u64,
        }
    }
}

/// Maximum source length at the start of an attempt.
fn shortest(config: &ExperimentConfig) -> f64 {
    match &config.train.curriculum {
        CurriculumConfig::None {} => config.data.max_len as f64,
        CurriculumConfig::Loss { start, .. } => start.get().min(config.data.max_len) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(train: &str) -> ExperimentConfig {
        let text = format!("[data]\nmax_len = 40\n[train]\n{train}");
        toml::from_str(&text).unwrap()
    }

    const CURRICULUM: &str =
        "curriculum = { kind = \"loss\", start = 10, growth = 2.0, loss = 0.5 }";
    const RESTART: &str =
        "restart = { kind = \"loss\", attempts = 2, loss = 0.1, stuck_after = 3 }";

    #[test]
    fn lengths_grow_while_the_running_loss_is_small_up_to_the_longest() {
        let config = config(CURRICULUM);
        let mut attempt = Attempt::first(&config).unwrap();
        assert_eq!((attempt.max_len(), attempt.progress(&config)), (10, 0.0));
        let mut lens = Vec::new();
        for loss in [0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] {
            attempt.observe(loss, &config);
            lens.push(attempt.max_len());
        }
        // 0.96 · 0.9^n is below 0.5 from n = 7 on.
        assert_eq!(lens, [10, 10, 10, 10, 10, 10, 10, 20, 40, 40]);
        assert_eq!(attempt.progress(&config), 1.0);
        attempt.longest = 20.0;
        assert!((attempt.progress(&config) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn without_a_curriculum_every_length_comes_and_nothing_is_annealed() {
        assert_eq!(Attempt::first(&config("")), None);
        let config = config(RESTART);
        let mut attempt = Attempt::first(&config).unwrap();
        attempt.observe(0.0, &config);
        assert_eq!((attempt.max_len(), attempt.progress(&config)), (40, 1.0));
    }

    #[test]
    fn attempt_is_lost_if_it_is_stuck_or_ends_with_a_large_loss_or_short_lengths() {
        let config = config(&format!("{CURRICULUM}\n{RESTART}"));
        let at = |longest: f64, running_loss: f64| Attempt {
            longest,
            running_loss,
            ..Attempt::new(0, 7, &config)
        };
        let is_lost = |attempt: Attempt, step| attempt.is_lost(step, 8, &config);
        assert!(!is_lost(at(10.0, 0.9), 9));
        assert!(is_lost(at(10.0, 0.9), 10));
        assert!(!is_lost(at(20.0, 0.9), 10));
        assert!(!is_lost(at(40.0, 0.05), 15));
        assert!(is_lost(at(40.0, 0.1), 15));
        assert!(is_lost(at(30.0, 0.05), 15));
        let last = Attempt {
            index: 1,
            ..at(10.0, 0.9)
        };
        assert!(!is_lost(last, 10) && !is_lost(last, 15));
    }
}
