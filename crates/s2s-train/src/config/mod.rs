//! The configuration of an experiment. Together with the binary it determines the result.

mod auto;
mod error;
mod layer;
mod load;
mod numbers;
mod problems;
mod train;

use reverse_data::DataConfig;
use s2s_model::ModelConfig;
use serde::{Deserialize, Serialize};

pub use auto::Auto;
pub use error::{ConfigError, ConfigProblem, Origin};
pub use load::{BaseConfig, load_config, load_given_config, parse_config};
pub use numbers::{AboveOne, NonNegative, Positive, Share};
pub use train::{
    CurriculumConfig, ForcingSchedule, OptimizerConfig, Precision, RestartConfig, ScheduleConfig,
    TeacherForcingConfig, TrainConfig,
};

/// A whole configuration file.
///
/// ```
/// # use s2s_train::ExperimentConfig;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = ExperimentConfig::default();
/// config.train.learning_rate = 5e-3.try_into()?;
/// config.model.embedding_dropout = 0.1.try_into()?;
/// config.train.batch_size = 32.try_into()?;
/// config.train.eval_every = 100.into();
/// config.validate()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExperimentConfig {
    /// Seed of all random numbers: data, initialization, dropout, teacher forcing.
    pub seed: u64,
    /// The training data.
    pub data: DataConfig,
    /// The architecture.
    pub model: ModelConfig,
    /// Optimization and evaluation.
    pub train: TrainConfig,
}

/// Minimum length of a run on text: with fewer steps, small sets of pairs are not learned.
const MIN_TEXT_STEPS: u64 = 2000;
const MIN_TEXT_EPOCHS: u64 = 5;

/// Steps between evaluations, at least.
const DEFAULT_EVAL_EVERY: u64 = 125;

impl ExperimentConfig {
    /// The configuration as TOML with every key, except the keys of `[data]` and `[model]` that have no effect.
    ///
    /// # Errors
    /// If a number is too large for TOML, which is impossible for a loaded configuration.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        let failed = |error: toml::ser::Error| ConfigError::of(&error);
        let text = toml::to_string(self).map_err(failed)?;
        // A key that has no effect has its default, which takes one line.
        let mut kept = String::new();
        let mut table = "";
        for line in text.split_inclusive('\n') {
            if line.starts_with('[') {
                table = line.trim_end();
            }
            let key = line.split(" = ").next().unwrap_or(line);
            let is_kept = match table {
                "[data]" => self.data.is_resolved(key),
                "[model]" => self.model.has_effect(key),
                "[model.attention]" => self.model.has_effect("attention"),
                _ => true,
            };
            if is_kept {
                kept.push_str(line);
            }
        }
        Ok(kept)
    }

    /// What [`to_toml`](Self::to_toml) writes, as a table.
    ///
    /// # Errors
    /// If a number is too large for TOML, which is impossible for a loaded configuration.
    pub fn to_table(&self) -> Result<toml::Table, ConfigError> {
        let mut table = toml::Table::try_from(self).map_err(|error| ConfigError::of(&error))?;
        if let Some(toml::Value::Table(data)) = table.get_mut("data") {
            data.retain(|key, _| self.data.is_resolved(key));
        }
        if let Some(toml::Value::Table(model)) = table.get_mut("model") {
            model.retain(|key, _| self.model.has_effect(key));
        }
        Ok(table)
    }

    /// Replaces `"auto"` by numbers. Synthetic data have 3 epochs and an evaluation every 125 steps. For
    /// text with these numbers of pairs, the epochs are at least 5 and as many as 2,000 steps need, and
    /// evaluations take about a tenth of the time. Weights whose text is not there, with 0 pairs, have 2,000 steps.
    pub fn resolve(&mut self, n_train: Option<u64>, n_val: Option<u64>) {
        let is_text = self.data.is_text();
        let train = &mut self.train;
        let batch_size = train.sequences_per_step();
        if is_text && n_train == Some(0) && (train.epochs, train.max_steps) == (Auto::Auto, 0) {
            train.max_steps = MIN_TEXT_STEPS; // a number of epochs would be one for any later text
        }
        let steps_per_epoch = n_train.unwrap_or(0).div_ceil(batch_size).max(1);
        let epochs = match (is_text, train.max_steps) {
            (false, _) => 3,
            (true, 0) => MIN_TEXT_STEPS
                .div_ceil(steps_per_epoch)
                .max(MIN_TEXT_EPOCHS),
            (true, _) => 0, // the number of steps is given
        };
        // Evaluating a pair takes about two thirds of the time of training on it.
        let pairs_per_eval = n_val.unwrap_or(0).saturating_mul(7);
        let eval_every = match is_text {
            false => DEFAULT_EVAL_EVERY,
            true => pairs_per_eval.div_ceil(batch_size).max(DEFAULT_EVAL_EVERY),
        };
        train.epochs = train.epochs.or(epochs);
        train.eval_every = train.eval_every.or(eval_every);
    }

    /// Optimizer steps per epoch, given the number of batches (`None` for endless samples). The last step of
    /// an epoch may have fewer batches than the others.
    pub fn steps_per_epoch(&self, n_batches: Option<u64>) -> Option<u64> {
        let accumulated = self.train.accumulation_steps.get() as u64;
        n_batches.map(|n| n.div_ceil(accumulated))
    }

    /// Optimizer steps of the whole run, given the steps per epoch (`None` for endless samples).
    /// `"auto"` must have been resolved.
    pub fn total_steps(&self, steps_per_epoch: Option<u64>) -> u64 {
        let by_epochs = match (steps_per_epoch, self.train.epochs) {
            (Some(steps), Auto::Value(epochs)) if epochs > 0 => steps.saturating_mul(epochs),
            _ => u64::MAX,
        };
        let by_steps = match self.train.max_steps {
            0 => u64::MAX,
            steps => steps,
        };
        by_epochs.min(by_steps)
    }

    /// The schedules that span the whole run, as `key=value`: their values change with its length.
    pub fn schedules(&self) -> Vec<&'static str> {
        let mut schedules = Vec::new();
        if matches!(self.train.schedule, ScheduleConfig::Cosine { steps: 0, .. }) {
            schedules.push("train.schedule.kind=cosine");
        }
        let forcing = &self.train.teacher_forcing;
        if forcing.schedule == ForcingSchedule::Linear && forcing.steps == 0 {
            schedules.push("train.teacher_forcing.schedule=linear");
        }
        schedules
    }

    /// Steps between evaluations, given the steps per epoch. `"auto"` must have been resolved.
    pub fn eval_every(&self, steps_per_epoch: Option<u64>) -> u64 {
        match (self.train.eval_every, steps_per_epoch) {
            (Auto::Value(0), Some(steps)) => steps,
            (Auto::Value(0) | Auto::Auto, _) => u64::MAX,
            (Auto::Value(every), _) => every,
        }
    }
}
