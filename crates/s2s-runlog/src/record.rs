//! The records of a run: one struct a line of a file, with flat keys.
//!
//! Losses are nats a token, accuracies shares in `[0, 1]`, times seconds. What two runs of the same
//! configuration may write differently (anything measured by a clock) stands in a [`TimingRecord`],
//! in the [`Environment`] and in [`RunRecord::elapsed_secs`]; all else is a function of
//! configuration and seed. Every number is finite, and is read back to the bit.

use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`, written at each evaluation.
///
/// The `train_` figures are means since the previous record, taken in training mode (dropout and
/// teacher forcing as configured). The `val_` figures run free: the model is fed its own output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsRecord {
    /// Optimizer steps taken.
    pub step: u64,
    /// Passes over the training set; absent where fresh samples are drawn forever.
    pub epoch: Option<f64>,
    /// Mean negative log-likelihood of the target tokens.
    pub train_loss: f64,
    /// Share of target tokens (EOS included) predicted right.
    pub train_token_accuracy: f64,
    /// Share of sequences with every token right.
    pub train_exact_match: f64,
    /// As `train_loss`, on the validation split, running free.
    pub val_loss: f64,
    /// The validation loss when the true tokens are fed.
    pub val_forced_loss: f64,
    /// `val_loss - val_forced_loss`: what it costs the model to live with its own output.
    pub exposure_gap: f64,
    /// Share of the reference's tokens (EOS included) predicted right; what follows an early EOS
    /// counts as wrong.
    pub val_token_accuracy: f64,
    /// Share of validation sequences right as a whole, EOS at the right place included.
    pub val_exact_match: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean global gradient norm before clipping.
    pub grad_norm: f64,
    /// Chance that the true token was fed at the last step.
    pub teacher_forcing_ratio: f64,
    /// Whether this evaluation has the lowest `val_loss` so far.
    pub is_best: bool,
}

/// One line of `timing.jsonl`, written beside each [`MetricsRecord`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimingRecord {
    /// Optimizer steps taken.
    pub step: u64,
    /// Wall time since this process began to train.
    pub elapsed_secs: f64,
    /// Wall time spent in training steps since the previous record.
    pub train_secs: f64,
    /// Wall time spent in this evaluation.
    pub eval_secs: f64,
    /// Real target tokens trained on a second, since the previous record.
    pub tokens_per_second: f64,
}

/// The attention of one sequence: a line of `attention.jsonl` (the probe, at each evaluation) or of
/// `samples.jsonl` (samples of the test split, at the end).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionRecord {
    /// Optimizer steps taken.
    pub step: u64,
    /// Source tokens as text, `[S]`, markers included where the model sees them.
    pub source: Vec<String>,
    /// Reference tokens as text, without EOS.
    pub target: Vec<String>,
    /// Predicted tokens as text, `[T]`; the last is `</s>` if the model stopped by itself.
    pub prediction: Vec<String>,
    /// Attention weights `[T, S]`: a row for each predicted token. Empty without attention.
    pub weights: Vec<Vec<f32>>,
    /// Whether the prediction is the reference, EOS included.
    pub is_exact: bool,
}

/// The figures of one split, summed over its samples and divided once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalRecord {
    /// Name of the split.
    pub split: String,
    /// Steps that the evaluated parameters were trained for.
    pub step: u64,
    /// Sequences evaluated.
    pub n_sequences: u64,
    /// Reference tokens, EOS included.
    pub n_tokens: u64,
    /// Mean negative log-likelihood of a token, running free.
    pub loss: f64,
    /// The same with the true tokens fed.
    pub forced_loss: f64,
    /// Share of the reference's tokens predicted right, running free.
    pub token_accuracy: f64,
    /// Share of sequences right as a whole, EOS included, running free.
    pub exact_match: f64,
}

/// Where and by what a run was made. Written to `environment.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of the program.
    pub version: String,
    /// Operating system and architecture.
    pub platform: String,
    /// Name of the CPU, as the system gives it.
    pub cpu: String,
    /// Logical cores that the process may use.
    pub cores: usize,
    /// Threads that the run was given.
    pub threads: usize,
    /// Device that holds the tensors: `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// Operators of the recurrent layers: `fused` or `reference`.
    pub kernels: String,
    /// Command line as it was given.
    pub command: Vec<String>,
}

/// The text that a run was trained on. Written to `corpus.json`, so that a model can be asked where
/// the text is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusRecord {
    /// The files that were read.
    pub files: Vec<CorpusFile>,
    /// Every word that the model knows, in the order of their symbols.
    pub vocabulary: Vec<String>,
}

/// A file of a corpus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusFile {
    /// Where it stood.
    pub path: String,
    /// Its bytes.
    pub n_bytes: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
}

/// How far a run is. Written to `run.json`, last of all files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// What became of the run.
    pub status: RunStatus,
    /// Steps taken.
    pub step: u64,
    /// Step of the best checkpoint, if one was written.
    pub best_step: Option<u64>,
    /// Its validation loss.
    pub best_val_loss: Option<f64>,
    /// Trainable numbers in the model.
    pub n_parameters: u64,
    /// Wall time of the process that ended the run.
    pub elapsed_secs: f64,
    /// The test split under the best checkpoint; absent until the run is finished.
    pub test: Option<EvalRecord>,
    /// Logs that have lost records, absent if none has: the run itself is whole, but degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<LogFailure>,
}

/// A log that could not be written. Its run went on without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFailure {
    /// The log: a file's name in the run folder, or `plots`.
    pub log: String,
    /// The step whose record was lost, the first if there are several.
    pub step: u64,
    /// Why.
    pub reason: String,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Under way, or ended without a word: `resume` goes on.
    Running,
    /// All steps done.
    Finished,
    /// The validation loss stopped improving.
    StoppedEarly,
    /// The target that the configuration names was reached.
    TargetReached,
    /// Stopped by a signal: `resume` goes on.
    Interrupted,
    /// The loss or a gradient stopped being finite.
    Diverged,
}
