//! The samples of a batch: a pure function of (seed, split, step).

use std::num::NonZeroUsize;
use std::ops::Range;

use crate::Split;
use crate::permutation::Permutation;
use crate::random::{Purpose, generator};

/// Number of batches that are sorted by length together in bucketed batching.
const WINDOW: u64 = 16;

/// How the samples of a split are ordered and divided into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Keys the order of the training samples in each epoch.
    pub seed: u64,
    /// Samples per batch.
    pub batch_size: NonZeroUsize,
    /// Whether training samples are sorted by length within each window of batches.
    pub is_bucketed: bool,
    /// Whether a source in a batch has BOS in front and EOS at the end.
    pub source_markers: bool,
}

impl Default for Order {
    /// Batches of 64 in random order, with seed 0.
    fn default() -> Self {
        Self {
            seed: 0,
            batch_size: NonZeroUsize::new(64).expect("64 is not zero"),
            is_bucketed: false,
            source_markers: false,
        }
    }
}

impl Order {
    pub(crate) fn n_batches(&self, n_samples: Option<u64>) -> Option<u64> {
        let batch_size = self.batch_size.get() as u64;
        n_samples.map(|n_samples| n_samples.div_ceil(batch_size))
    }

    /// Indices of the samples in a batch of a split with `n_samples`. `len` returns the length of a
    /// sample; only bucketed batches call it.
    pub(crate) fn batch(
        &self,
        split: Split,
        step: u64,
        n_samples: Option<u64>,
        len: impl Fn(u64) -> usize,
    ) -> Vec<u64> {
        let pass = self.pass(split, step, n_samples);
        if split == Split::Train && self.is_bucketed {
            self.bucket(&pass, len)
        } else {
            self.samples(&pass, pass.slot, 1)
        }
    }

    fn pass(&self, split: Split, step: u64, n_samples: Option<u64>) -> Pass {
        let (epoch, slot, order) = match n_samples.zip(self.n_batches(n_samples)) {
            Some((n_samples, n_batches)) if split == Split::Train => {
                let epoch = step / n_batches;
                let mut rng = generator(self.seed, Purpose::Shuffle { epoch }, 0);
                let order = Permutation::generate(n_samples, &mut rng);
                (epoch, step % n_batches, Some(order))
            }
            _ => (0, step, None),
        };
        Pass {
            epoch,
            slot,
            n_samples: n_samples.unwrap_or(u64::MAX),
            order,
        }
    }

    /// The samples of `n_batches` batches from `slot` on, in the order of the pass.
    fn samples(&self, pass: &Pass, slot: u64, n_batches: u64) -> Vec<u64> {
        let batch_size = self.batch_size.get() as u64;
        let positions = pass.positions(slot, n_batches, batch_size);
        positions.map(|position| pass.index(position)).collect()
    }

    /// A bucketed batch: the samples of a window are sorted by length and divided into batches, which
    /// are then shuffled.
    fn bucket(&self, pass: &Pass, len: impl Fn(u64) -> usize) -> Vec<u64> {
        let (window, bucket) = (pass.slot / WINDOW, pass.slot % WINDOW);
        let mut samples = self.samples(pass, window * WINDOW, WINDOW);
        samples.sort_by_cached_key(|index| len(*index));

        let mut buckets = samples.chunks(self.batch_size.get());
        let n_buckets = buckets.len() as u64;
        if bucket >= n_buckets {
            return Vec::new(); // an unlimited split ends after 2^64 samples
        }
        let epoch = pass.epoch;
        let mut rng = generator(self.seed, Purpose::Window { epoch, window }, 0);
        let order = Permutation::generate(n_buckets, &mut rng);
        buckets
            .nth(order.at(bucket) as usize)
            .unwrap_or_default()
            .to_vec()
    }
}

/// A pass over the samples of a split, and the current batch in it.
struct Pass {
    epoch: u64,
    slot: u64,
    n_samples: u64,
    order: Option<Permutation>,
}

impl Pass {
    fn positions(&self, slot: u64, n_batches: u64, batch_size: u64) -> Range<u64> {
        let start = slot.saturating_mul(batch_size).min(self.n_samples);
        let end = start
            .saturating_add(n_batches.saturating_mul(batch_size))
            .min(self.n_samples);
        start..end
    }

    fn index(&self, position: u64) -> u64 {
        self.order
            .as_ref()
            .map_or(position, |order| order.at(position))
    }
}
