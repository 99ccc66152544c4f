//! The configuration of the data.

mod validate;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Order, Split, SymbolsConfig, Task, TaskConfig, Tokenization, Vocabulary};

/// Maximum `max_len`, which bounds the memory of attention.
pub const MAX_LEN: usize = 1_000_000;

/// The `[data]` table: synthetic data or, if `file` or `folder` is set, text. Keys that apply to the
/// other kind of data only must keep their defaults.
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
    /// Folder of parallel text, see [`corpus_paths`](crate::corpus_paths).
    pub folder: PathBuf,
    /// Vocabulary file of text, one token per line; empty to use the tokens of the training split.
    pub vocab_file: PathBuf,
    /// A table of pairs of text: fields separated by tabs or, if the name ends with `.csv`, by commas;
    /// compressed if it ends with `.gz`.
    pub file: PathBuf,
    /// Name of the source column in the header of `file`; empty for the first column. A table separated
    /// by tabs has a header only if a column is named.
    pub source_column: String,
    /// Name of the target column; empty for the second column.
    pub target_column: String,
    /// Shares of the pairs of `file` for training, validation and test. Pairs with the same source are in
    /// the same split.
    pub split: [f64; 3],
    /// Seed of the division of `file` into splits. It is not the seed of the run, so that runs with other
    /// seeds have the same test pairs.
    pub split_seed: u64,
    /// What a token of text is.
    pub tokens: Tokenization,
    /// Tokens that occur less often in the training split are not in the vocabulary.
    pub min_count: u64,
    /// Maximum number of tokens in the vocabulary, the most frequent ones; 0 for no limit.
    pub max_tokens: usize,
    /// Training pairs with more source tokens are dropped; 0 for no limit. Validation and test pairs are
    /// never dropped, since metrics must cover them.
    pub max_source_len: usize,
    /// The same for target tokens.
    pub max_target_len: usize,
    /// Probability that a token which occurs at most once in the sources and once in the targets of the
    /// training split is read as `<unk>` in training, so that the model learns what to do with unknown
    /// tokens.
    pub unknown_rate: f64,
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
            file: PathBuf::new(),
            source_column: String::new(),
            target_column: String::new(),
            split: [0.9, 0.05, 0.05],
            split_seed: 0,
            tokens: Tokenization::Words,
            min_count: 1,
            max_tokens: 0,
            max_source_len: 0,
            max_target_len: 0,
            unknown_rate: 0.1,
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
    pub(crate) const SYNTHETIC_KEYS: [&str; 10] = [
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

    /// The keys that apply to text only, apart from `folder` and `file`.
    pub const TEXT_KEYS: [&str; 11] = [
        "vocab_file",
        "source_column",
        "target_column",
        "split",
        "split_seed",
        "tokens",
        "min_count",
        "max_tokens",
        "max_source_len",
        "max_target_len",
        "unknown_rate",
    ];

    /// Whether the data are text.
    pub fn is_text(&self) -> bool {
        !self.text_path().as_os_str().is_empty()
    }

    /// How a line is divided into tokens; symbols of synthetic data are words.
    pub fn tokenization(&self) -> Tokenization {
        match self.is_text() {
            true => self.tokens,
            false => Tokenization::Words,
        }
    }

    /// Whether the resolved configuration has a key: not if it applies to the other kind of data only.
    /// `folder` and `vocab_file` are always there.
    pub fn is_resolved(&self, key: &str) -> bool {
        match self.is_text() {
            true => !Self::SYNTHETIC_KEYS.contains(&key),
            false => key == "vocab_file" || key != "file" && !Self::TEXT_KEYS.contains(&key),
        }
    }

    /// The file or folder of text; empty for synthetic data.
    pub fn text_path(&self) -> &Path {
        match self.file.as_os_str().is_empty() {
            true => &self.folder,
            false => &self.file,
        }
    }

    /// Whether a training pair has more source or target tokens than configured.
    pub(crate) fn is_too_long(&self, n_tokens: [u32; 2]) -> bool {
        let limits = [self.max_source_len, self.max_target_len];
        let mut sides = n_tokens.iter().zip(limits);
        sides.any(|(n_tokens, limit)| limit > 0 && *n_tokens as usize > limit)
    }

    /// The order and the batches of the samples.
    pub fn order(&self, seed: u64, batch_size: NonZeroUsize) -> Order {
        Order {
            seed,
            batch_size,
            is_bucketed: self.batching == Batching::Bucketed,
            source_markers: self.source_markers,
        }
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
