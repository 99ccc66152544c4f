use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::{Example, PaddedBatch, Split, SplitReport, Vocabulary};

/// Where batches come from: a pure function of (split, step), with no loader state, so that a
/// resumed run sees what an uninterrupted one would.
pub trait BatchSource: Debug + Send + Sync {
    /// What the tokens mean.
    fn vocabulary(&self) -> &Vocabulary;

    /// The batch of a step, counted from 0.
    ///
    /// Training goes on forever, epoch after epoch. The other splits are read once, in order:
    /// past their last batch there is only the empty one.
    fn batch(&self, split: Split, step: u64) -> PaddedBatch;

    /// Sample `index` of a split.
    ///
    /// # Panics
    /// If the source holds its samples, and `index` is past the last.
    fn example(&self, split: Split, index: u64) -> Example;

    /// A validation sample that is as long as samples get, but no longer than `max_len` if there
    /// are shorter ones: to be looked at again and again.
    fn probe(&self, max_len: usize) -> Example;

    /// How many samples the split has; `None` if it never ends.
    fn n_samples(&self, split: Split) -> Option<u64>;

    /// How many batches hold all samples once; `None` if the split never ends.
    fn n_batches(&self, split: Split) -> Option<u64>;

    /// Counts duplicates, leaks and unknown tokens.
    fn report(&self) -> SplitReport;

    /// The same samples, so many a batch.
    fn with_batch_size(&self, batch_size: NonZeroUsize) -> Arc<dyn BatchSource>;
}
