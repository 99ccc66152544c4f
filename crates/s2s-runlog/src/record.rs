//! The records of a run.
//!
//! Losses are in nats per token, accuracies are shares in `[0, 1]`, times are in seconds. Everything
//! is a function of configuration and seed, except [`TimingRecord`], [`Environment`], [`Identity`],
//! [`StepMetrics::tokens_per_second`] and [`RunRecord::elapsed_secs`]. Every number is finite and round-trips
//! bit for bit.

use serde::{Deserialize, Serialize};

/// A line of `metrics.jsonl`, written at each evaluation.
///
/// The `train_` metrics are means since the previous record, in training mode (dropout and teacher
/// forcing as configured). The `val_` metrics are free-running: the model's input is its own output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsRecord {
    /// Optimizer steps so far.
    pub step: u64,
    /// Epochs so far; `None` if the training samples never repeat.
    pub epoch: Option<f64>,
    /// Mean negative log-likelihood of the target tokens, in nats, without label smoothing.
    pub train_loss: f64,
    /// Share of target tokens (EOS included) predicted correctly.
    pub train_token_accuracy: f64,
    /// Share of sequences with every token correct.
    pub train_exact_match: f64,
    /// Mean negative log-likelihood on the validation split in nats per token, free-running.
    pub val_loss: f64,
    /// Mean negative log-likelihood on the validation split in nats per token, teacher-forced.
    pub val_forced_loss: f64,
    /// `val_loss - val_forced_loss`, in nats per token: the loss due to exposure bias.
    pub exposure_gap: f64,
    /// Share of reference tokens (EOS included) predicted correctly; tokens after an early EOS count as
    /// wrong.
    pub val_token_accuracy: f64,
    /// Share of validation sequences with every token correct, including the position of EOS.
    pub val_exact_match: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean global gradient norm before clipping, over the steps since the previous record.
    pub grad_norm: f64,
    /// Probability of teacher forcing at the last step.
    pub teacher_forcing_ratio: f64,
    /// Whether this evaluation has the lowest `val_loss` so far.
    pub is_best: bool,
    /// The attempt; `None` for a run without a curriculum and without restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptRecord>,
}

/// The state of a curriculum, and how often training has started again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptRecord {
    /// Number of attempts before this one.
    pub index: u64,
    /// Exponential running mean of the training loss, in nats per token.
    pub running_loss: f64,
    /// Maximum source length of the training samples in this state of the curriculum.
    pub max_len: u64,
}

/// A line of `steps.jsonl`, written every few steps: the values of that one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepMetrics {
    /// Optimizer steps so far.
    pub step: u64,
    /// Mean negative log-likelihood of the target tokens of the batch in nats, in training mode.
    pub loss: f64,
    /// Share of the batch's target tokens predicted correctly, in training mode.
    pub token_accuracy: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Target tokens per second of training since the previous line. A wall time, so unlike the other
    /// values it differs between two runs.
    pub tokens_per_second: f64,
}

/// A line of `timing.jsonl`, written before the first step and with each [`MetricsRecord`]. Times are in
/// seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimingRecord {
    /// Optimizer steps so far.
    pub step: u64,
    /// Wall time of training so far, over all processes of the run.
    pub elapsed_secs: f64,
    /// Wall time of the training steps since the previous record.
    pub train_secs: f64,
    /// Wall time of this evaluation.
    pub eval_secs: f64,
    /// Target tokens per second of training, without padding, since the previous record.
    pub tokens_per_second: f64,
}

/// A decoded sequence and its attention: a line of `attention.jsonl` (the same few sequences at several
/// steps) or of `samples.jsonl` (sequences of the test split, at the end).
///
/// Shapes: `S` source tokens, `T` predicted tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionRecord {
    /// Optimizer steps of the parameters that decoded it.
    pub step: u64,
    /// `[S]`: source tokens as text, including BOS and EOS if the model sees them.
    pub source: Vec<String>,
    /// Reference tokens as text, without EOS.
    pub target: Vec<String>,
    /// `[T]`: predicted tokens as text; the last one is `</s>` if the model predicted EOS.
    pub prediction: Vec<String>,
    /// `[T, S]`: attention weights, one row per predicted token. Empty if the model has no attention or the
    /// source is too long to record them.
    pub weights: Vec<Vec<f32>>,
    /// Whether the prediction equals the reference, EOS included.
    pub is_exact: bool,
}

/// The text of the begin-of-sequence token in records.
pub const BOS: &str = "<s>";

/// The text of the end-of-sequence token in records.
pub const EOS: &str = "</s>";

impl AttentionRecord {
    /// The tokens of the source without BOS and EOS.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        let tokens = self.source.iter().map(String::as_str);
        tokens.filter(|token| ![BOS, EOS].contains(token))
    }

    /// The tokens of the reference, followed by EOS.
    pub fn reference(&self) -> impl Iterator<Item = &str> {
        self.target.iter().map(String::as_str).chain([EOS])
    }
}

/// The metrics of one split. Part of `run.json` for the test split, and `initial.json` for the validation
/// split before the first step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalRecord {
    /// Name of the split: `train`, `val` or `test`.
    pub split: String,
    /// Optimizer steps of the evaluated parameters.
    pub step: u64,
    /// Number of sequences.
    pub n_sequences: u64,
    /// Number of reference tokens, EOS included.
    pub n_tokens: u64,
    /// Mean negative log-likelihood in nats per token, free-running.
    pub loss: f64,
    /// Mean negative log-likelihood in nats per token, teacher-forced.
    pub forced_loss: f64,
    /// Share of reference tokens predicted correctly, free-running.
    pub token_accuracy: f64,
    /// Share of sequences with every token correct, EOS included, free-running.
    pub exact_match: f64,
    /// Further metrics of text; `None` for synthetic data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextScores>,
}

/// Metrics of text: greedy outputs compared with their references.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextScores {
    /// Share of the reference tokens that are not in the vocabulary, and therefore never correct.
    pub unknown_tokens: f64,
    /// Number of outputs that were cut at the maximum length, without EOS.
    pub n_truncated: u64,
    /// Share of sources whose output equals a reference, or one of several.
    pub exact_match: f64,
    /// Number of sources; fewer than pairs if pairs with the same source count as several references.
    pub n_sources: u64,
    /// Edit distance of tokens between output and closest reference, divided by the number of tokens of
    /// these references; above 1 if outputs are much too long.
    pub token_error_rate: f64,
    /// The same for characters.
    pub char_error_rate: f64,
    /// BLEU as sacreBLEU computes it by default, in `[0, 100]`.
    pub bleu: f64,
    /// chrF2 as sacreBLEU computes it by default, in `[0, 100]`.
    pub chrf: f64,
    /// How often one of several outputs is correct; `None` with one output per source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_best: Option<NBest>,
}

/// Several outputs per source, compared with its references.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NBest {
    /// Maximum number of outputs per source.
    pub n: usize,
    /// Share of sources for which one of the outputs equals a reference.
    pub exact_match: f64,
}

/// Machine, program and command line of a run. Written to `environment.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of the program.
    pub version: String,
    /// Operating system and architecture.
    pub platform: String,
    /// Name of the CPU as reported by the system; `unknown` if it does not report one.
    pub cpu: String,
    /// Logical cores available to the process.
    pub cores: usize,
    /// Number of threads of the run.
    pub threads: usize,
    /// Device of the tensors, such as `cpu`, `cuda:0` or `metal`.
    pub device: String,
    /// Why `--device auto` chose it; empty if the user named it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device_reason: String,
    /// Name of a GPU; empty on the CPU.
    #[serde(default)]
    pub card: String,
    /// Version of the GPU's driver, such as 580.159.04; empty on the CPU, and if the system does not
    /// report it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver_version: String,
    /// The latest version of CUDA that this driver supports, such as 13.0; empty on the CPU.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver_cuda_version: String,
    /// Kernels: `fused` or `reference`.
    pub kernels: String,
    /// Instruction set of the CPU kernels; it decides the last bits of their results. Empty in runs of
    /// earlier versions.
    #[serde(default)]
    pub instruction_set: String,
    /// Precision in which gradients are computed, such as `f32` or `bf16`; parameters and decoding are in
    /// f32. Empty in runs of earlier versions.
    #[serde(default)]
    pub precision: String,
    /// Command line as given.
    pub command: Vec<String>,
}

/// What identifies a run wherever its folder is. Written to `identity.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// 16 hexadecimal digits that no other run has.
    pub id: String,
    /// The name that the user gave, or the default one.
    pub name: String,
    /// Labels that the user gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where the first weights of this run come from; `None` if they were initialized at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// The checkpoint or the file of weights that a run started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The run's folder at that time, or the file.
    pub path: String,
    /// The run's [`Identity::id`]; `None` for a run without one, and for a file.
    pub id: Option<String>,
    /// `best` or `last`; `import` for a file.
    pub checkpoint: String,
    /// Optimizer steps of the checkpoint; 0 for a file.
    pub step: u64,
    /// Tokens of the vocabulary that the parent has too.
    pub n_matched: u64,
    /// Tokens that the parent does not have; they start untrained.
    pub n_new: u64,
    /// Tokens of the parent that this run does not have.
    pub n_unused: u64,
}

/// A change of a run's configuration by `resume`: a line of `history.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigChange {
    /// Steps taken before the change.
    pub step: u64,
    /// The changed keys, as `key=value`. Empty if the text of imported weights was recorded.
    pub set: Vec<String>,
    /// SHA-256 of the configuration and the corpus record before the change, in hexadecimal. Checkpoints
    /// contain the same hash.
    pub before: String,
    /// The hash after the change.
    pub after: String,
}

/// A CPU on which a run was resumed, other than that of `environment.json`: a line of `processors.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// Name of the CPU as reported by the system.
    pub cpu: String,
    /// Instruction set of the CPU kernels; it decides the last bits of their results.
    pub instruction_set: String,
}

/// The text that a run was trained on. Written to `corpus.json`, so that a trained model can be used
/// without the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusRecord {
    /// The files of the corpus; empty for imported weights that have not been trained, and whose text was not there.
    pub files: Vec<CorpusFile>,
    /// The words, characters or bytes of the vocabulary, in the order of their token IDs, without
    /// `<unk>` and the special tokens.
    pub vocabulary: Vec<String>,
    /// Number of tokens of the longest source and of the longest target in training, in this order. They
    /// limit the length of an output.
    pub longest: [usize; 2],
}

/// A file of a corpus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusFile {
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub n_bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// Status and results of a run. Written to `run.json`, after all other files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Whether the run has ended, and why.
    pub status: RunStatus,
    /// Steps taken.
    pub step: u64,
    /// Step of the best checkpoint; `None` before the first evaluation.
    pub best_step: Option<u64>,
    /// Validation loss of the best checkpoint, in nats per token; `None` before the first evaluation.
    pub best_val_loss: Option<f64>,
    /// Number of trainable parameters.
    pub n_parameters: u64,
    /// Wall time of training and evaluation, over all processes of the run. Work that a killed process
    /// lost does not count.
    pub elapsed_secs: f64,
    /// Metrics of the best checkpoint on the test split; `None` until the run has ended, and if it diverged.
    pub test: Option<EvalRecord>,
    /// Logs with lost records. The run itself is not affected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<LogFailure>,
}

/// A log that could not be written completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFailure {
    /// Name of the file in the run folder, or `plots`.
    pub log: String,
    /// Step of the first lost record.
    pub step: u64,
    /// The reason.
    pub reason: String,
}

/// Status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Running, or killed; it can be resumed.
    Running,
    /// Ended: all steps are done.
    Finished,
    /// Ended: the validation loss stopped improving.
    StoppedEarly,
    /// Ended: the validation exact match reached the configured target.
    TargetReached,
    /// Interrupted by a signal; it can be resumed.
    Interrupted,
    /// Ended without a result: a loss, a gradient or a parameter became NaN or infinite.
    Diverged,
}

impl RunStatus {
    /// Its name in `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::StoppedEarly => "stopped-early",
            Self::TargetReached => "target-reached",
            Self::Interrupted => "interrupted",
            Self::Diverged => "diverged",
        }
    }
}
