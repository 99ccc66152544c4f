use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::{Example, PaddedBatch, Split, SplitReport, Vocabulary};

/// A source of batches. A batch is a pure function of (split, step), without loader state, so a resumed
/// run gets the same batches as an uninterrupted one.
pub trait BatchSource: Debug + Send + Sync {
    /// The vocabulary of sources and targets.
    fn vocabulary(&self) -> &Vocabulary;

    /// The batch of a step, counted from 0.
    ///
    /// The training split repeats, epoch after epoch. Validation and test have one pass, in order;
    /// batches after the last one are empty.
    fn batch(&self, split: Split, step: u64) -> PaddedBatch;

    /// Sample `index` of a split.
    ///
    /// # Panics
    /// If the source stores its samples and `index` is out of bounds.
    fn example(&self, split: Split, index: u64) -> Example;

    /// A validation sample to observe during training: the longest one of at most `max_len` symbols, or
    /// the shortest one if all are longer.
    fn probe(&self, max_len: usize) -> Example;

    /// Number of samples in the split; `None` if it is unlimited.
    fn n_samples(&self, split: Split) -> Option<u64>;

    /// Number of batches in one pass over the split; `None` if it is unlimited.
    fn n_batches(&self, split: Split) -> Option<u64>;

    /// Counts duplicates, leaks between splits, and unknown tokens.
    fn report(&self) -> SplitReport;

    /// The same samples in batches of another size.
    fn with_batch_size(&self, batch_size: NonZeroUsize) -> Arc<dyn BatchSource>;

    /// The same source with training batches of samples of at most `max_len` source tokens; `None` if it
    /// cannot choose the length of its samples, or has none so short.
    fn with_max_len(&self, _max_len: usize) -> Option<Arc<dyn BatchSource>> {
        None
    }
}
