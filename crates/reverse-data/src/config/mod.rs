//! What to draw, as written in a configuration, and what cannot be drawn.

mod validate;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Split, SymbolsConfig, Task, TaskConfig, Vocabulary};

/// The greatest `max_len`. Attention over more would not fit a machine.
pub const MAX_LEN: usize = 100_000;

/// The `[data]` table.
///
/// It says what is drawn; or, where it names a `folder`, what is read: of the other keys, only
/// `vocab_file`, `source_markers` and `batching` are then of use, and the rest must be left alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// What is to be learned.
    pub task: TaskConfig,
    /// Symbols of a block of `block-reverse`, at least 2; 0 for every other task.
    pub block: usize,
    /// V: the symbols are 1 to V-1, PAD is 0, BOS is V, EOS is V+1.
    pub vocab: u32,
    /// How often each symbol comes.
    pub symbols: SymbolsConfig,
    /// How much rarer `zipf` makes later symbols: from 0, where it does not, to 2.
    pub zipf_exponent: f64,
    /// The fewest symbols of a source. Lengths are uniform between this and `max_len`, but for
    /// those of which a split has no sequence.
    pub min_len: usize,
    /// The most symbols of a source; equal to `min_len` for a fixed length.
    pub max_len: usize,
    /// Samples of an epoch; 0 draws fresh ones forever.
    pub train_samples: u64,
    /// Samples to choose by.
    pub val_samples: u64,
    /// Samples to report on.
    pub test_samples: u64,
    /// Puts BOS and EOS around the source.
    pub source_markers: bool,
    /// Which training samples share a batch.
    pub batching: Batching,
    /// Where to read samples instead, see [`corpus_paths`](crate::corpus_paths); empty to draw them.
    pub folder: PathBuf,
    /// The tokens of the corpus, one a line; empty to take those of its training files.
    pub vocab_file: PathBuf,
}

/// Which training samples share a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batching {
    /// Any: lengths are mixed.
    Mixed,
    /// Ones of about the same length, so that little is padded: each window of 16 batches is
    /// sorted by length.
    Bucketed,
    /// Ones of exactly the same length, which is drawn uniformly for each batch. They are drawn
    /// fresh: there are no epochs.
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

/// One thing that is wrong with a [`DataConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field to look at.
    pub key: &'static str,
    /// What is wrong, with the value and the bound.
    pub message: String,
    /// What to do about it, where that is not plain from the message.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, ": {help}"))
    }
}

impl DataConfig {
    /// The keys that mean nothing where a corpus is read.
    pub const DRAWN_KEYS: [&str; 10] = [
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

    /// Whether samples are read from a corpus.
    pub fn is_text(&self) -> bool {
        !self.folder.as_os_str().is_empty()
    }

    /// The task that is named.
    pub fn task(&self) -> Box<dyn Task> {
        self.task
            .build(NonZeroUsize::new(self.block).unwrap_or(NonZeroUsize::MIN))
    }

    /// The vocabulary, if nothing is wrong.
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

    /// How many samples a split has; `None` if it never ends.
    pub(crate) fn n_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => (self.train_samples > 0).then_some(self.train_samples),
            Split::Val => Some(self.val_samples),
            Split::Test => Some(self.test_samples),
        }
    }
}
