use crate::{PaddedBatch, Split, Vocabulary};

/// Where batches come from: a pure function of (split, step), with no loader state, so that a
/// resumed run sees what an uninterrupted one would.
pub trait BatchSource: Send + Sync {
    /// What the tokens mean.
    fn vocabulary(&self) -> Vocabulary;

    /// The batch of a step, counted from 0.
    ///
    /// Training goes on forever, epoch after epoch. The other splits are read once, in order:
    /// past their last batch there is only the empty one.
    fn batch(&self, split: Split, step: u64) -> PaddedBatch;

    /// How many samples the split has; `None` if it never ends.
    fn n_samples(&self, split: Split) -> Option<u64>;

    /// How many batches hold all samples once; `None` if the split never ends.
    fn n_batches(&self, split: Split) -> Option<u64>;
}
