//! What can go wrong in a run.

use std::path::PathBuf;

use crate::device::is_out_of_memory;

/// Why a run ended without its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loss, a gradient or a parameter stopped being finite.
    #[error("the {what} became {value} at step {step}{}{}", because(culprit.as_deref()), since(*last))]
    Diverged {
        /// Step at which it was seen.
        step: u64,
        /// The training loss, the validation loss, or the gradient, value or moment of a parameter.
        what: String,
        /// What it became.
        value: f64,
        /// What else is not finite: the first such parameter, or else gradient, by its name.
        culprit: Option<String>,
        /// What was finite last, if this process made a step before.
        last: Option<LastFinite>,
    },
    /// A checkpoint that does not belong to this run.
    #[error("the checkpoint {} does not fit: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A file of a corpus that cannot be read.
    #[error("the corpus cannot be read")]
    Corpus(#[source] s2s_runlog::Error),
    /// A file of a corpus that is not as it was when the run was made.
    #[error("{} is not the file that run {} was trained on", path.display(), run.display())]
    CorpusChanged {
        /// The file.
        path: PathBuf,
        /// The run's folder.
        run: PathBuf,
    },
    /// A configuration that cannot be used.
    #[error(transparent)]
    Config(#[from] crate::ConfigError),
    /// Data that cannot be drawn.
    #[error(transparent)]
    Data(#[from] reverse_data::Error),
    /// The run folder.
    #[error(transparent)]
    RunLog(#[from] s2s_runlog::Error),
    /// The thread that a run trains on.
    #[error("cannot start a thread to train on")]
    Thread(#[source] std::io::Error),
    /// A tensor operation.
    #[error("{}", tensor_message(.0))]
    Tensor(candle_core::Error),
    /// A tensor operation for which the device has no memory left.
    #[error("the device is out of memory")]
    OutOfMemory(#[source] OutOfMemory),
}

/// The operation that found no memory.
#[derive(Debug, thiserror::Error)]
#[error("{}", tensor_message(.0))]
pub struct OutOfMemory(candle_core::Error);

/// Figures of the last step that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LastFinite {
    /// The step.
    pub step: u64,
    /// Its training loss.
    pub loss: f64,
    /// Its gradient norm before clipping.
    pub grad_norm: f64,
}

fn because(culprit: Option<&str>) -> String {
    culprit.map_or_else(String::new, |culprit| format!(" ({culprit} is not finite)"))
}

fn since(last: Option<LastFinite>) -> String {
    last.map_or_else(String::new, |last| {
        let LastFinite {
            step,
            loss,
            grad_norm,
        } = last;
        format!("; the last finite figures: loss {loss:.4e}, gradient norm {grad_norm:.4e} at step {step}")
    })
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        match is_out_of_memory(&tensor_message(&error)) {
            true => Self::OutOfMemory(OutOfMemory(error)),
            false => Self::Tensor(error),
        }
    }
}

/// What a candle error says, without the backtrace that it carries in its own message.
pub fn tensor_message(error: &candle_core::Error) -> String {
    use candle_core::Error::{Context, WithBacktrace, WithPath};
    match error {
        WithBacktrace { inner, .. } => tensor_message(inner),
        WithPath { inner, path } => format!("{}: {}", path.display(), tensor_message(inner)),
        Context { inner, context } => format!("{context}: {}", tensor_message(inner)),
        other => other.to_string(),
    }
}

/// The result of most functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
