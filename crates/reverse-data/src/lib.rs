//! Data for sequence-to-sequence learning: synthetic tasks, disjoint splits, parallel text, padded
//! batches.
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use reverse_data::{BatchSource, DataConfig, Split, Synthetic};
//!
//! let batch_size = NonZeroUsize::new(64).expect("64 is not zero");
//! let data = Synthetic::new(&DataConfig::default(), 0, batch_size)?;
//!
//! let example = data.example(Split::Test, 7); // generated on demand: nothing is stored
//! assert!(example.target.iter().eq(example.source.iter().rev()));
//!
//! let batch = data.batch(Split::Train, 0);
//! assert_eq!(batch.n_rows(), 64);
//! assert_eq!(batch.source.len(), batch.n_rows() * batch.source_len());
//! # Ok::<(), reverse_data::Error>(())
//! ```
//!
//! A batch is a pure function of configuration, seed and step.
//!
//! This crate deliberately has no tensors, no loader state, and no I/O: the [`Pairs`] of a [`Corpus`]
//! are parsed from bytes, and nothing is printed.

mod batch_source;
mod config;
mod error;
mod examples;
mod order;
mod padded;
mod permutation;
mod random;
mod report;
mod sequence;
mod splits;
mod symbols;
mod synthetic;
mod task;
mod text;
mod vocab;

pub use batch_source::BatchSource;
pub use config::{Batching, DataConfig, MAX_LEN, Problem};
pub use error::{Error, LineProblem};
pub use examples::{Examples, check_samples};
pub use order::Order;
pub use padded::{PaddedBatch, mark_source};
pub use permutation::scattered;
pub use report::{Leaks, SplitCount, SplitReport, TokenReport, VocabularyOrigin};
pub use sequence::{Sequence, SequenceError};
pub use splits::Split;
pub use symbols::SymbolsConfig;
pub use synthetic::Synthetic;
pub use task::{Example, Task, TaskConfig};
pub use text::{
    Corpus, MAX_LINES, Pairs, TextFile, Tokenization, corpus_paths, strip_byte_order_mark,
    strip_line_end,
};
pub use vocab::{MAX_VOCAB, PAD, Token, Vocabulary};
