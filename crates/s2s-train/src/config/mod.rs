//! The configuration of an experiment. Together with the binary it determines the result.

mod auto;
mod load;

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};

use candle_core::DType;
use reverse_data::DataConfig;
use s2s_model::{
    AttentionSizes, CoinScope, DecoderConfig, Kernels, MAX_REFERENCE_LEN, ModelConfig, OutOfBounds,
    Probability,
};
use serde::{Deserialize, Serialize};

pub use auto::Auto;
pub use load::{
    BaseConfig, ConfigError, ConfigProblem, Origin, load_config, load_given_config, parse_config,
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

/// The `[train]` table of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training set; 0 means that only `max_steps` ends the run.
    /// [`resolve`](ExperimentConfig::resolve) replaces `"auto"`.
    pub epochs: Auto,
    /// Maximum number of optimizer steps; 0 means that only `epochs` ends the run.
    pub max_steps: u64,
    /// Sequences per training batch.
    pub batch_size: NonZeroUsize,
    /// Batches per optimizer step: their gradients are averaged over all tokens.
    pub accumulation_steps: NonZeroUsize,
    /// Sequences per evaluation batch; metrics depend on it by rounding only.
    pub eval_batch_size: NonZeroUsize,
    /// Peak learning rate.
    pub learning_rate: Positive,
    /// The rule of an update.
    pub optimizer: OptimizerConfig,
    /// Parameters that are not trained, by name; `*` stands for any characters.
    pub freeze: Vec<String>,
    /// Steps of linear warm-up from 0 to the peak rate.
    pub warmup_steps: u64,
    /// Learning-rate schedule after warm-up.
    pub schedule: ScheduleConfig,
    /// Bound on the global norm of the gradient; 0 turns clipping off.
    pub clip_norm: NonNegative,
    /// Decoupled weight decay; 0 turns it off.
    pub weight_decay: NonNegative,
    /// Steps between evaluations; 0 evaluates after each epoch.
    /// [`resolve`](ExperimentConfig::resolve) replaces `"auto"`.
    pub eval_every: Auto,
    /// Evaluations without a better validation loss after which the run stops; 0 turns early
    /// stopping off.
    pub patience: u64,
    /// Validation exact match at which the run stops; 0 turns this off.
    pub target_exact_match: Share,
    /// Share of the target distribution that is spread over the whole vocabulary; 0 turns label smoothing off.
    /// The losses in records are without it.
    pub label_smoothing: Probability,
    /// In which the gradients are computed; parameters, evaluation and decoding are always in f32.
    pub precision: Precision,
    /// How often the decoder is fed the reference token.
    pub teacher_forcing: TeacherForcingConfig,
    /// How the length of the training samples grows.
    pub curriculum: CurriculumConfig,
    /// When training starts again from other initial parameters.
    pub restart: RestartConfig,
}

/// A floating-point format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of f32.
    Bf16,
    /// 16 bits, from 6e-8 to 65,504: the loss is scaled.
    F16,
}

impl Precision {
    /// Its type in tensors.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dtype().as_str())
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        let size = |n| NonZeroUsize::new(n).expect("a literal above zero");
        Self {
            epochs: Auto::Auto,
            max_steps: 0,
            batch_size: size(64),
            accumulation_steps: NonZeroUsize::MIN,
            eval_batch_size: size(250),
            learning_rate: Positive(3e-3),
            optimizer: OptimizerConfig::default(),
            freeze: Vec::new(),
            warmup_steps: 100,
            schedule: ScheduleConfig::default(),
            clip_norm: NonNegative(1.0),
            weight_decay: NonNegative(0.0),
            eval_every: Auto::Auto,
            patience: 0,
            target_exact_match: Share(0.0),
            label_smoothing: Probability::ZERO,
            precision: Precision::F32,
            teacher_forcing: TeacherForcingConfig::default(),
            curriculum: CurriculumConfig::default(),
            restart: RestartConfig::default(),
        }
    }
}

/// The `[train.optimizer]` table: the rule of an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// [`s2s_kernels::adam`] with β₁ = 0.9, β₂ = 0.999 and ε = 1e-8; with a weight decay, AdamW.
    Adam {},
    /// Stochastic gradient descent: `m = momentum · m + g`, `p = (1 - lr·decay) p - lr · m`.
    Sgd {
        /// The share of the sum of earlier gradients that is kept.
        #[serde(default = "OptimizerConfig::default_momentum")]
        momentum: Share,
    },
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam {}
    }
}

impl OptimizerConfig {
    fn default_momentum() -> Share {
        Share(0.9)
    }
}

/// The `[train.schedule]` table: the learning rate after warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// The peak rate throughout.
    Constant {},
    /// Half a cosine from the peak down to `floor` times the peak at the last step.
    Cosine {
        /// Final rate as a fraction of the peak.
        #[serde(default = "ScheduleConfig::default_floor")]
        floor: Share,
        /// Steps until the rate is at its floor, where it stays; 0 means the whole run.
        #[serde(default, skip_serializing_if = "is_zero")]
        steps: u64,
    },
    /// `peak · √(warmup_steps / step)`, for runs without a given end. Vaswani et al. (2017),
    /// arXiv:1706.03762, section 5.3.
    InverseSqrt {},
    /// The peak rate, multiplied by `factor` after `patience` evaluations without a better
    /// validation loss.
    Plateau {
        /// Factor on the rate at each plateau.
        #[serde(default = "ScheduleConfig::default_factor")]
        factor: Share,
        /// Evaluations without improvement that count as a plateau.
        #[serde(default = "ScheduleConfig::default_patience")]
        patience: NonZeroU64,
    },
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self::Cosine {
            floor: Self::default_floor(),
            steps: 0,
        }
    }
}

/// Whether a number has no effect and is not written.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ScheduleConfig {
    fn default_floor() -> Share {
        Share(0.02)
    }

    fn default_factor() -> Share {
        Share(0.5)
    }

    fn default_patience() -> NonZeroU64 {
        NonZeroU64::MIN.saturating_add(1)
    }
}

/// The `[train.teacher_forcing]` table: how often the decoder is fed the reference token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherForcingConfig {
    /// How the ratio changes over the steps.
    pub schedule: ForcingSchedule,
    /// Probability of the reference token: at every step if `constant`, otherwise at the first.
    pub ratio: Share,
    /// Final probability of the other schedules.
    pub final_ratio: Share,
    /// Steps in which `linear` goes from `ratio` to `final_ratio`; 0 means the whole run.
    pub steps: u64,
    /// The constant k of `inverse-sigmoid`: the halfway point is step k ln k.
    pub k: Positive,
    /// Which tokens share one random decision.
    pub per: CoinScope,
}

impl Default for TeacherForcingConfig {
    fn default() -> Self {
        Self {
            schedule: ForcingSchedule::Constant,
            ratio: Share(0.5),
            final_ratio: Share(0.0),
            steps: 0,
            k: Positive(200.0),
            per: CoinScope::Batch,
        }
    }
}

/// How the ratio of teacher forcing changes. Bengio et al. (2015), arXiv:1506.03099, section 2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForcingSchedule {
    /// `ratio`
    Constant,
    /// A straight line from `ratio` to `final_ratio`.
    Linear,
    /// `final_ratio + (ratio - final_ratio) · k / (k + exp(step / k))`
    InverseSigmoid,
}

/// The `[train.curriculum]` table: how the length of the training samples grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CurriculumConfig {
    /// All lengths from the first step on.
    None {},
    /// Sources have at most `start` tokens at first. After each step at which the running mean of the
    /// training loss is below `loss`, the maximum grows by the factor `growth`, up to `data.max_len`. The
    /// annealing of a transducer follows it.
    Loss {
        /// Maximum source length at first.
        #[serde(default = "CurriculumConfig::default_start")]
        start: NonZeroUsize,
        /// Factor on the maximum.
        #[serde(default = "CurriculumConfig::default_growth")]
        growth: AboveOne,
        /// Running loss below which the maximum grows, in nats per token.
        #[serde(default = "CurriculumConfig::default_loss")]
        loss: Positive,
    },
}

impl Default for CurriculumConfig {
    fn default() -> Self {
        Self::None {}
    }
}

impl CurriculumConfig {
    fn default_start() -> NonZeroUsize {
        NonZeroUsize::MIN.saturating_add(9)
    }

    fn default_growth() -> AboveOne {
        AboveOne(1.1)
    }

    fn default_loss() -> Positive {
        Positive(0.03)
    }
}

/// The `[train.restart]` table: when training starts again from other initial parameters. It depends on the
/// training loss alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RestartConfig {
    /// Never.
    None {},
    /// Up to `attempts` attempts of `max_steps` steps each. Another one begins if the curriculum has not
    /// grown in the first `stuck_after` steps; and at the end, if the running loss is not below `loss` or
    /// the curriculum has not reached `data.max_len`.
    Loss {
        /// Attempts, the first one included.
        #[serde(default = "RestartConfig::default_attempts")]
        attempts: NonZeroU64,
        /// Running loss that the end of an attempt must be below, in nats per token.
        #[serde(default = "RestartConfig::default_loss")]
        loss: Positive,
        /// Steps in which the curriculum must grow; 0 turns this off.
        #[serde(default = "RestartConfig::default_stuck_after")]
        stuck_after: u64,
    },
}

impl Default for RestartConfig {
    fn default() -> Self {
        Self::None {}
    }
}

impl RestartConfig {
    fn default_attempts() -> NonZeroU64 {
        NonZeroU64::MIN.saturating_add(7)
    }

    fn default_loss() -> Positive {
        Positive(0.01)
    }

    fn default_stuck_after() -> u64 {
        250
    }

    /// Maximum number of attempts.
    pub fn attempts(&self) -> u64 {
        match self {
            Self::None {} => 1,
            Self::Loss { attempts, .. } => attempts.get(),
        }
    }
}

/// Minimum length of a run on text: with fewer steps, small sets of pairs are not learned.
const MIN_TEXT_STEPS: u64 = 2000;
const MIN_TEXT_EPOCHS: u64 = 5;

/// Steps between evaluations, at least.
const DEFAULT_EVAL_EVERY: u64 = 125;

/// Maximum width; larger values are most likely typing errors and would exhaust memory.
const MAX_WIDTH: usize = 1 << 14;

/// Maximum number of modes of a transducer, which learns a transition from each to each, and maximum reach.
const MAX_MODES: usize = 64;
const MAX_REACH: usize = 64;

/// Maximum number of layers and of sequences in a batch, for the same reason.
const MAX_LAYERS: usize = 16;
const MAX_BATCH: usize = 1 << 16;

/// Maximum number of parameters: 1 GiB as f32, and four times that with gradients and moments.
const MAX_PARAMETERS: usize = 1 << 28;

/// Maximum number of activations of a layer for a batch: 4 GiB as f32.
const MAX_ACTIVATIONS: usize = 1 << 30;

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

    /// Checks the memory limits for a vocabulary of `n_tokens` tokens and sequences of up to
    /// `longest`.
    ///
    /// # Errors
    /// If the model or its batches exceed a limit.
    pub(crate) fn check_memory(&self, n_tokens: usize, longest: usize) -> Result<(), ConfigError> {
        let mut problems = self.memory_problems(n_tokens, longest).into_iter();
        match problems.next() {
            None => Ok(()),
            Some((key, message, help)) => Err(ConfigError::of(&format!(
                "{key}: {message} ({})",
                help.unwrap_or_default()
            ))),
        }
    }

    /// Replaces `"auto"` by numbers. Synthetic data have 3 epochs and an evaluation every 125 steps. For
    /// text with these numbers of pairs, the epochs are at least 5 and as many as 2,000 steps need, and
    /// evaluations take about a tenth of the time.
    pub fn resolve(&mut self, n_train: Option<u64>, n_val: Option<u64>) {
        let is_text = self.data.is_text();
        let train = &mut self.train;
        let batch_size = train.sequences_per_step();
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

    /// All rules across values that are broken: key, message, help.
    fn problems(&self) -> Vec<(String, String, Option<String>)> {
        let mut problems = Vec::new();
        for problem in self.data.validate() {
            problems.push((
                format!("data.{}", problem.key),
                problem.message,
                problem.help,
            ));
        }
        for problem in self.model.problems() {
            problems.push((
                format!("model.{}", problem.key),
                problem.message,
                Some(problem.help),
            ));
        }
        let mut bounded = |key: &str, value: usize, max: usize| {
            if value > max {
                let message = format!("must be at most {max}, got {value}");
                problems.push((key.to_owned(), message, None));
            }
        };
        bounded("model.embedding", self.model.embedding.get(), MAX_WIDTH);
        bounded("model.hidden", self.model.hidden.get(), MAX_WIDTH);
        match &self.model.decoder {
            DecoderConfig::Recurrent(units) => bounded("model.decoder", units.get(), MAX_WIDTH),
            DecoderConfig::Transducer(transducer) => {
                bounded("model.decoder.modes", transducer.modes.get(), MAX_MODES);
                bounded("model.decoder.reach", transducer.reach.get(), MAX_REACH);
            }
        }
        bounded("model.layers", self.model.layers.get(), MAX_LAYERS);
        let attention = self.model.attention.sizes();
        bounded("model.attention.units", attention.units, MAX_WIDTH);
        bounded("model.attention.filters", attention.filters, MAX_WIDTH);
        bounded("model.attention.width", attention.width, MAX_WIDTH);
        bounded("train.batch_size", self.train.batch_size.get(), MAX_BATCH);
        bounded(
            "train.accumulation_steps",
            self.train.accumulation_steps.get(),
            MAX_BATCH,
        );
        bounded(
            "train.eval_batch_size",
            self.train.eval_batch_size.get(),
            MAX_BATCH,
        );
        problems.extend(self.train.problems(&self.data));
        problems.extend(self.problems_of_logarithms());
        if self.model.decoder.transducer().is_some() && !self.data.source_markers {
            problems.push((
                "data.source_markers".to_owned(),
                "a transducer needs BOS and EOS in the source, where its head starts and turns"
                    .to_owned(),
                Some("set data.source_markers = true".to_owned()),
            ));
        }
        if problems.is_empty() && !self.data.is_text() {
            // All sizes are bounded here, so the products cannot overflow.
            let longest = self.data.max_len * self.data.task().growth();
            problems = self.memory_problems(self.data.vocab as usize + 2, longest);
        }
        problems
    }

    /// Whether half precision is too coarse for the model.
    fn problems_of_logarithms(&self) -> Option<(String, String, Option<String>)> {
        let (of, instead) = match &self.model.decoder {
            DecoderConfig::Transducer(_) => ("transducer", "decoder"),
            DecoderConfig::Recurrent(_) if self.model.attention.takes_logarithms() => {
                ("attention", "attention.kind")
            }
            DecoderConfig::Recurrent(_) => return None,
        };
        (self.train.precision == Precision::F16).then(|| {
            (
                "train.precision".to_owned(),
                format!(
                    "\"f16\" cannot represent the small weights whose logarithm this {of} takes"
                ),
                Some(format!(
                    "set precision = \"bf16\" or \"f32\", or another model.{instead}"
                )),
            )
        })
    }

    /// Limits on the memory that the sizes need together: key, message, help.
    fn memory_problems(
        &self,
        vocab: usize,
        longest: usize,
    ) -> Vec<(String, String, Option<String>)> {
        let mut problems = Vec::new();
        let model = &self.model;
        let (embedding, both) = (model.embedding.get(), 2 * model.hidden.get());
        let decoder = model.decoder.width().get();
        let (fewer_tokens, shorter) = match self.data.is_text() {
            true => (
                "set data.max_tokens",
                "remove the longest lines of the text (data.max_source_len drops training pairs)",
            ),
            false => ("lower data.vocab", "lower data.max_len"),
        };
        let AttentionSizes {
            units,
            filters,
            width,
        } = model.attention.sizes();
        // Upper bounds on all weight matrices.
        let tables = vocab * (2 * embedding + decoder + both);
        let gates = model.cell.gates();
        let first = gates * (both * (embedding + both) + decoder * (embedding + both + decoder));
        let bridge = model.cell.state_vectors() * decoder * both;
        let layer = 2 * gates * (both * both + decoder * decoder) + bridge;
        let attention = units * (decoder + both + 2 + filters * (width + 2)) + decoder * both;
        let chosen = match &model.decoder {
            DecoderConfig::Recurrent(_) => 0, // by each step, of a recurrent decoder: in `attention`
            DecoderConfig::Transducer(transducer) => decoder * (decoder + transducer.moves()),
        };
        let n_parameters =
            tables + first + layer * model.layers.get() + attention + chosen * (both + 1);
        if n_parameters > MAX_PARAMETERS {
            problems.push((
                "model".to_owned(),
                format!(
                    "the model has about {n_parameters} parameters; the limit is {MAX_PARAMETERS}"
                ),
                Some(format!("lower the widths in [model], or {fewer_tokens}")),
            ));
        }
        // Two more for EOS in the target or the markers in the source.
        if model.kernels == Kernels::Reference && longest + 2 > MAX_REFERENCE_LEN {
            problems.push((
                "model.kernels".to_owned(),
                format!(
                    "\"reference\" stores the graph of every step and supports sequences of at most {} tokens, \
                     got {longest}",
                    MAX_REFERENCE_LEN - 2
                ),
                Some(format!("set kernels = \"fused\", or {shorter}")),
            ));
        }
        let features = (2 * filters).max(width);
        let widest = [both, 4 * decoder, units, features, embedding, vocab, chosen];
        let widest = widest.into_iter().max().unwrap_or(0);
        for (key, rows) in [
            ("train.batch_size", self.train.batch_size.get()),
            ("train.eval_batch_size", self.train.eval_batch_size.get()),
        ] {
            let n = rows.saturating_mul(longest).saturating_mul(widest);
            if n > MAX_ACTIVATIONS {
                problems.push((
                    key.to_owned(),
                    format!(
                        "{rows} sequences of {longest} tokens with {widest} activations each are {n} \
                         activations; the limit is {MAX_ACTIVATIONS}"
                    ),
                    Some(format!("lower {key}, or {shorter}")),
                ));
            }
        }
        problems
    }
}

impl TrainConfig {
    /// Sequences per optimizer step.
    pub(crate) fn sequences_per_step(&self) -> u64 {
        (self.batch_size.get() as u64).saturating_mul(self.accumulation_steps.get() as u64)
    }

    fn problems(&self, data: &DataConfig) -> Vec<(String, String, Option<String>)> {
        let mut problems = Vec::new();
        let mut report = |key: &str, message: String, help: &str| {
            problems.push((format!("train.{key}"), message, Some(help.to_owned())));
        };
        let is_endless = data.train_samples == 0 && !data.is_text();
        if self.max_steps == 0 && (is_endless || self.epochs == Auto::Value(0)) {
            let why = if is_endless {
                "endless samples have no epochs"
            } else {
                "so is epochs"
            };
            report(
                "max_steps",
                format!("the run would never end: max_steps is 0, and {why}"),
                "set max_steps, for example 1000",
            );
        }
        if self.eval_every == Auto::Value(0) && is_endless {
            report(
                "eval_every",
                "eval_every is 0, but endless samples have no epochs".to_owned(),
                "set eval_every, for example 100",
            );
        }
        if let CurriculumConfig::Loss { start, .. } = &self.curriculum {
            let (min, max) = (data.min_len, data.max_len);
            if data.is_text() {
                report(
                    "curriculum",
                    "text has no samples of a chosen length".to_owned(),
                    "remove it; data.max_source_len drops long pairs",
                );
            } else if !(min..=max).contains(&start.get()) {
                report(
                    "curriculum.start",
                    format!(
                        "must lie between data.min_len = {min} and data.max_len = {max}, got {start}"
                    ),
                    "set train.curriculum.start",
                );
            }
        }
        if self.restart != (RestartConfig::None {}) && !self.freeze.is_empty() {
            report(
                "restart",
                "a restart draws all parameters again, those of train.freeze too".to_owned(),
                "remove one of the two",
            );
        }
        problems
    }
}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $accepts:expr, $bounds:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// The plain number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfBounds;

            fn try_from(value: f64) -> Result<Self, OutOfBounds> {
                let accepts: fn(f64) -> bool = $accepts;
                if accepts(value) {
                    Ok(Self(value))
                } else {
                    Err(OutOfBounds {
                        rule: concat!("must ", $bounds),
                        value,
                    })
                }
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}

bounded!(
    /// A finite number above 0.
    Positive, |x| x > 0.0 && x.is_finite(), "be a finite number above 0"
);
bounded!(
    /// A finite number above 1.
    AboveOne, |x| x > 1.0 && x.is_finite(), "be a finite number above 1"
);
bounded!(
    /// A finite number that is not negative.
    NonNegative, |x| x >= 0.0 && x.is_finite(), "be a finite number, 0 or above"
);
bounded!(
    /// A number in `[0, 1]`.
    Share, |x| (0.0..=1.0).contains(&x), "lie in [0, 1]"
);
