//! The `[train]` table and the tables in it.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};

use candle_core::DType;
use s2s_model::{CoinScope, Probability};
use serde::{Deserialize, Serialize};

use super::{AboveOne, Auto, NonNegative, Positive, Share};

/// The `[train]` table of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training set; 0 means that only `max_steps` ends the run.
    /// [`resolve`](super::ExperimentConfig::resolve) replaces `"auto"`.
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
    /// [`resolve`](super::ExperimentConfig::resolve) replaces `"auto"`.
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

impl TrainConfig {
    /// Sequences per optimizer step.
    pub(crate) fn sequences_per_step(&self) -> u64 {
        (self.batch_size.get() as u64).saturating_mul(self.accumulation_steps.get() as u64)
    }
}
