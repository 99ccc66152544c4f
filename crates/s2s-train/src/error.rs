//! Errors of training and evaluation.

use std::path::PathBuf;

use s2s_model::tensor_message;

use crate::Work;
use crate::device::is_out_of_memory;

/// Why training, evaluation or loading failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loss, a gradient or a parameter stopped being finite.
    #[error("the {what} became {value} at step {step}{}{}", format_cause(cause.as_deref()), format_last(*last))]
    Diverged {
        /// Step at which it was detected.
        step: u64,
        /// The affected quantity: training loss, validation loss, or the gradient, value or moment
        /// of a parameter.
        what: String,
        /// Its value; for a tensor, its norm.
        value: f64,
        /// The first parameter or gradient that is not finite and may be the cause, by name.
        cause: Option<String>,
        /// The last finite loss and gradient norm, if this process completed a step before.
        last: Option<LastFinite>,
    },
    /// A device that cannot be used.
    #[error(transparent)]
    Device(#[from] crate::DeviceError),
    /// A checkpoint that does not match the run.
    #[error("checkpoint {} does not match the run: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What does not match.
        reason: String,
    },
    /// A file of text that cannot be read.
    #[error("cannot read the text")]
    Corpus(#[source] s2s_runlog::Error),
    /// A vocabulary file that cannot be read.
    #[error("cannot read the vocabulary")]
    VocabularyFile(#[source] s2s_runlog::Error),
    /// A file of text that cannot be decompressed.
    #[error("cannot decompress {}", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No training pair is short enough.
    #[error(
        "all {n_train} training pairs are longer than data.max_source_len = {} or \
         data.max_target_len = {}",
        max_lens[0], max_lens[1]
    )]
    AllDropped {
        /// Number of training pairs.
        n_train: u64,
        /// The configured limits of source and target.
        max_lens: [usize; 2],
    },
    /// A file of text of a run that is no longer where it was.
    #[error("cannot read the text of run {}", run.display())]
    CorpusMissing {
        /// The run directory.
        run: PathBuf,
        /// Why the file cannot be read.
        source: s2s_runlog::Error,
    },
    /// A place of text was given for a run on synthetic data.
    #[error("the run was trained on generated data, not on text")]
    NotText,
    /// A split without an end.
    #[error("the {split} split is endless (data.train_samples is 0)")]
    EndlessSplit {
        /// The split.
        split: reverse_data::Split,
    },
    /// A file of text with another content than the one of the run.
    #[error("{} is not the text that run {} was trained on: its content differs", path.display(), run.display())]
    CorpusChanged {
        /// The file.
        path: PathBuf,
        /// The run directory.
        run: PathBuf,
    },
    /// A change of keys that a resumed run cannot change.
    #[error("{} cannot change in a resumed run: the model or the data depend on {}", keys.join(", "), if keys.len() == 1 { "it" } else { "them" })]
    Unchangeable {
        /// The run directory.
        run: PathBuf,
        /// The keys.
        keys: Vec<String>,
        /// The whole change, as `key=value`.
        sets: Vec<String>,
    },
    /// A change of the number of steps that would move a schedule over the whole run.
    #[error(
        "the schedule {schedule} spans the whole run, whose length changes from {before} to {after} steps"
    )]
    ScheduleLength {
        /// The schedule, as `key=value`.
        schedule: &'static str,
        /// Steps of the run before.
        before: u64,
        /// Steps of the run after the change.
        after: u64,
    },
    /// A longer run of which another limit does not allow more steps than it has taken.
    #[error("{key} = {limit} ends the run first, after the {done} steps that it has taken")]
    EndedFirst {
        /// The key of that limit.
        key: &'static str,
        /// Its value.
        limit: u64,
        /// Steps taken.
        done: u64,
        /// What removes the limit, as `key=value`, with the schedules that span the whole run.
        sets: Vec<String>,
    },
    /// A change to fewer steps than the run has.
    #[error("the run has taken {done} steps; it cannot end after {total}")]
    TooShort {
        /// The requested steps.
        total: u64,
        /// Steps taken.
        done: u64,
    },
    /// A curriculum on data that cannot choose the length of their samples.
    #[error(
        "train.curriculum: the data have no training samples of at most {max_len} tokens to choose"
    )]
    NoShortSamples {
        /// The maximum source length of the curriculum.
        max_len: usize,
    },
    /// Weights that do not fit the model that they should start.
    #[error("the weights of run {} do not fit: {reason}", run.display())]
    Start {
        /// The run with the weights.
        run: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A line that a model cannot read.
    #[error("cannot read {line:?}: {problem}")]
    Sequence {
        /// The line, shortened if it is long.
        line: String,
        /// Why not.
        problem: reverse_data::SequenceError,
    },
    /// An invalid configuration.
    #[error(transparent)]
    Config(#[from] crate::ConfigError),
    /// Data that cannot be generated or parsed.
    #[error(transparent)]
    Data(#[from] reverse_data::Error),
    /// A failure to read or write the run directory.
    #[error(transparent)]
    RunLog(#[from] s2s_runlog::Error),
    /// An observer failed with an error of its own.
    #[error(transparent)]
    Observer(Box<dyn std::error::Error + Send + Sync>),
    /// An observer panicked. The model and the files of the run are as after the last step.
    #[error("an observer panicked: {message}")]
    ObserverPanicked {
        /// What it said.
        message: String,
    },
    /// The training thread cannot be started.
    #[error("cannot start the training thread")]
    Thread(#[source] std::io::Error),
    /// A tensor operation failed.
    #[error("{}", tensor_message(.0))]
    Tensor(candle_core::Error),
    /// A tensor operation ran out of device memory.
    #[error("the device is out of memory{}", format_during(*during))]
    OutOfMemory {
        /// What a trainer did; `None` outside of one.
        during: Option<Work>,
        /// The operation.
        source: OutOfMemory,
    },
}

/// The operation that ran out of memory.
#[derive(Debug, thiserror::Error)]
#[error("{}", tensor_message(.0))]
pub struct OutOfMemory(candle_core::Error);

/// Loss and gradient norm of the last completed step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LastFinite {
    /// The step.
    pub step: u64,
    /// Its training loss.
    pub loss: f64,
    /// Its gradient norm before clipping.
    pub grad_norm: f64,
}

fn format_cause(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(" ({cause} is not finite)"))
}

fn format_during(work: Option<Work>) -> &'static str {
    match work {
        Some(Work::Train) => " in a training step",
        Some(Work::Decode) => " in an evaluation",
        None => "",
    }
}

fn format_last(last: Option<LastFinite>) -> String {
    last.map_or_else(String::new, |last| {
        let LastFinite {
            step,
            loss,
            grad_norm,
        } = last;
        format!("; the last finite values were loss {loss:.4e} and gradient norm {grad_norm:.4e} at step {step}")
    })
}

impl Error {
    /// The error about a line that a model cannot read.
    pub(crate) fn of_line(line: &str, problem: reverse_data::SequenceError) -> Self {
        const MAX_QUOTED: usize = 60;
        let mut quoted: String = line.chars().take(MAX_QUOTED).collect();
        if quoted.len() < line.len() {
            quoted += "...";
        }
        Self::Sequence {
            line: quoted,
            problem,
        }
    }

    /// The same error, with the work of the trainer that failed.
    pub(crate) fn during(self, work: Work) -> Self {
        match self {
            Self::OutOfMemory { source, .. } => Self::OutOfMemory {
                during: Some(work),
                source,
            },
            other => other,
        }
    }

    /// An observer's own error, which [`Error::Observer`] passes on unchanged.
    pub fn observer(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Observer(error.into())
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        match is_out_of_memory(&tensor_message(&error)) {
            true => Self::OutOfMemory {
                during: None,
                source: OutOfMemory(error),
            },
            false => Self::Tensor(error),
        }
    }
}

/// The result of most functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
