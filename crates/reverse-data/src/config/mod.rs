//! The configuration of the data.

mod validate;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Split, SymbolsConfig, Task, TaskConfig, Vocabulary};

/// Maximum `max_len`, which bounds the memory of attention.
pub const MAX_LEN: usize = 100_000;

/// The `[data]` table: synthetic data or, if `folder` is set, a corpus. With `folder`, only
/// `vocab_file`, `source_markers` and `batching` apply; all other keys must keep their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The task to learn.
    pub task: TaskConfig,
    /// Block size of `block-reverse`, at least 2; 0 for every other task.
    pub block: usize,
    /// V: the symbols are 1 to V-1, PAD is 0, BOS is V, EOS is V+1.
    pub vocab: u32,
    /// The distribution of symbols.
    pub symbols: SymbolsConfig,
    /// Exponent of `zipf`, in [0, 2]; 0 is uniform.
    pub zipf_exponent: f64,
    /// Minimum source length. Lengths are uniform between this and `max_len`, except lengths without a
    /// sequence in the split.
    pub min_len: usize,
    /// Maximum source length.
    pub max_len: usize,
    /// Training samples per epoch; 0 for an unlimited number of new samples.
    pub train_samples: u64,
    /// Validation samples.
    pub val_samples: u64,
    /// Test samples.
    pub test_samples: u64,
    /// Adds BOS and EOS to the source.
    pub source_markers: bool,
    /// How training samples are grouped into batches.
    pub batching: Batching,
    /// Folder of a corpus, see [`corpus_paths`](crate::corpus_paths); empty for synthetic data.
    pub folder: PathBuf,
    /// Vocabulary file of the corpus, one token per line; empty to use the tokens of the training files.
    pub vocab_file: PathBuf,
}

/// How training samples are grouped into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batching {
    /// In random order.
    Mixed,
    /// By similar length, for little padding: the samples of each window of 16 batches are sorted by
    /// length.
    Bucketed,
    /// By equal length, drawn uniformly for each batch. Samples are always new, so there are no epochs.
    EqualLength,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            task: TaskConfig::Reverse,
            block: 0,
            vocab: 51,
            symbols: SymbolsConfig::Uniform,
            zipf_exponent: 1.0,
            min_len: 1,
            max_len: 12,
            train_samples: 40_000,
            val_samples: 2_000,
            test_samples: 2_000,
            source_markers: false,
            batching: Batching::Mixed,
            folder: PathBuf::new(),
            vocab_file: PathBuf::new(),
        }
    }
}

/// A problem of a [`DataConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: &'static str,
    /// What is wrong, with the value and the bound.
    pub message: String,
    /// How to fix it, unless the message makes that clear.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, ": {help}"))
    }
}

impl DataConfig {
    /// The keys that apply to synthetic data only.
    pub const SYNTHETIC_KEYS: [&str; 10] = [
        "task",
        "block",
        "vocab",
        "symbols",
        "zipf_exponent",
        "min_len",
        "max_len",
        "train_samples",
        "val_samples",
        "test_samples",
    ];

    /// Whether the data are a corpus.
    pub fn is_text(&self) -> bool {
        !self.folder.as_os_str().is_empty()
    }

    /// The configured task.
    pub fn task(&self) -> Box<dyn Task> {
        self.task
            .build(NonZeroUsize::new(self.block).unwrap_or(NonZeroUsize::MIN))
    }

    /// The vocabulary of a valid configuration.
    pub(crate) fn check(&self) -> Result<Vocabulary, Error> {
        let problems = self.validate();
        if problems.is_empty() {
            Vocabulary::new(self.vocab)
        } else {
            Err(Error::Config { problems })
        }
    }

    pub(crate) fn lens(&self) -> RangeInclusive<usize> {
        self.min_len..=self.max_len
    }

    /// Number of samples of a split; `None` if it is unlimited.
    pub(crate) fn n_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => (self.train_samples > 0).then_some(self.train_samples),
            Split::Val => Some(self.val_samples),
            Split::Test => Some(self.test_samples),
        }
    }
}
