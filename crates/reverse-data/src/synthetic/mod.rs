//! Samples drawn on demand: sample i of a split is a pure function of (seed, split, i).
//!
//! Nothing is stored, so a billion samples cost no memory and any of them is one call away. A
//! length is drawn uniformly, then sequences of that length until one falls in the split.

mod by_length;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use rand::{Rng, RngCore};

use crate::keyed;
use crate::permutation::Permutation;
use crate::report::Samples;
use crate::{
    BatchSource, Batching, DataConfig, Error, Example, PaddedBatch, Split, SplitReport, Task,
    Token, Vocabulary,
};

/// Draws of a length before it is given up: one in ten sequences is in the rarest split, so that a
/// length that has many is missed less than once in 30,000 times.
const ATTEMPTS: usize = 100;

/// Batches that are sorted by length together, when bucketed.
const WINDOW: u64 = 16;

/// A report looks at no more samples of a split than this, ...
const REPORT_SAMPLES: u64 = 1_000_000;
/// ... nor at many more tokens than this, which only binds where sequences are long.
const REPORT_TOKENS: u64 = 20_000_000;

/// A [`BatchSource`] of synthetic samples. See the [crate's page](crate) for an example.
#[derive(Clone, Debug)]
pub struct Synthetic {
    config: DataConfig,
    task: Arc<dyn Task>,
    vocabulary: Vocabulary,
    seed: u64,
    batch_size: NonZeroUsize,
}

impl Synthetic {
    /// Data of a configuration, once it is known that it can be drawn.
    ///
    /// # Errors
    /// If [`DataConfig::validate`] finds problems: all of them.
    pub fn new(config: &DataConfig, seed: u64, batch_size: NonZeroUsize) -> Result<Self, Error> {
        let vocabulary = config.check()?;
        let task = config.task.build().into();
        Ok(Self {
            config: config.clone(),
            task,
            vocabulary,
            seed,
            batch_size,
        })
    }

    /// The same samples, so many a batch.
    pub fn with_batch_size(self, batch_size: NonZeroUsize) -> Self {
        Self { batch_size, ..self }
    }

    /// Sample `index` of a split. There is one for every index, also past the samples that the
    /// batches are made of.
    pub fn example(&self, split: Split, index: u64) -> Example {
        self.answer(self.source(split, index))
    }

    /// Counts duplicates and leaks among the samples: all of them, or the first million of each
    /// split (fewer if they are long).
    pub fn report(&self) -> SplitReport {
        let most = REPORT_SAMPLES.min(REPORT_TOKENS / self.config.max_len as u64);
        SplitReport::count(Split::ALL.map(|split| {
            let of = self.n_samples(split);
            let counted = of.map_or(most, |n_samples| n_samples.min(most));
            Samples {
                sources: (0..counted).map(move |index| self.source(split, index)),
                of,
            }
        }))
    }

    fn source(&self, split: Split, index: u64) -> Vec<Token> {
        let mut rng = keyed::rng(self.seed, keyed::SAMPLE, (split as u64, 0), index);
        loop {
            // A short length may have no sequence in this split; some length has one, or the
            // configuration would have been refused.
            let len = rng.random_range(self.config.lens());
            if let Some(source) = self.draw(split, len, &mut rng) {
                return source;
            }
        }
    }

    /// A source of a length that is of the split, if one is found.
    fn draw(&self, split: Split, len: usize, rng: &mut dyn RngCore) -> Option<Vec<Token>> {
        let mut sources = (0..ATTEMPTS).map(|_| self.task.source(len, self.vocabulary, rng));
        sources.find(|source| Split::of(source) == split)
    }

    fn answer(&self, source: Vec<Token>) -> Example {
        let target = self.task.target(&source);
        Example { source, target }
    }

    fn pass(&self, split: Split, step: u64) -> Pass {
        let n_samples = self.n_samples(split).unwrap_or(u64::MAX);
        let (epoch, slot, order) = match self.n_batches(split) {
            Some(n_batches) if split == Split::Train => {
                let epoch = step / n_batches;
                let mut rng = keyed::rng(self.seed, keyed::SHUFFLE, (epoch, 0), 0);
                let order = Permutation::generate(n_samples, &mut rng);
                (epoch, step % n_batches, Some(order))
            }
            _ => (0, step, None),
        };
        Pass {
            epoch,
            slot,
            n_samples,
            order,
        }
    }

    /// The sources of `n_batches` batches from `slot` on, in the order of the pass.
    fn sources(&self, split: Split, pass: &Pass, slot: u64, n_batches: u64) -> Vec<Vec<Token>> {
        let batch_size = self.batch_size.get() as u64;
        let positions = pass.positions(slot, n_batches, batch_size);
        positions
            .map(|position| self.source(split, pass.index(position)))
            .collect()
    }

    /// The sources of one of the batches into which a window of training samples is cut, shortest
    /// first; the batches then come in any order.
    fn bucket(&self, pass: &Pass) -> Vec<Vec<Token>> {
        let (window, place) = (pass.slot / WINDOW, pass.slot % WINDOW);
        let mut sources = self.sources(Split::Train, pass, window * WINDOW, WINDOW);
        sources.sort_by_key(Vec::len);

        let mut buckets = sources.chunks(self.batch_size.get());
        let n_buckets = buckets.len() as u64;
        if place >= n_buckets {
            return Vec::new(); // an endless stream ends after 2^64 samples
        }
        let mut rng = keyed::rng(self.seed, keyed::WINDOW, (pass.epoch, window), 0);
        let order = Permutation::generate(n_buckets, &mut rng);
        buckets
            .nth(order.at(place) as usize)
            .unwrap_or_default()
            .to_vec()
    }
}

/// One reading of all samples of a split, and the batch at which it stands.
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

impl BatchSource for Synthetic {
    fn vocabulary(&self) -> Vocabulary {
        self.vocabulary
    }

    fn batch(&self, split: Split, step: u64) -> PaddedBatch {
        let pass = self.pass(split, step);
        let sources = match (split, self.config.batching) {
            (Split::Train, Batching::Bucketed) => self.bucket(&pass),
            _ => self.sources(split, &pass, pass.slot, 1),
        };
        let examples: Vec<_> = sources
            .into_iter()
            .map(|source| self.answer(source))
            .collect();
        PaddedBatch::from_examples(&examples, self.vocabulary, self.config.source_markers)
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        self.config.n_samples(split)
    }

    fn n_batches(&self, split: Split) -> Option<u64> {
        let batch_size = self.batch_size.get() as u64;
        self.n_samples(split)
            .map(|n_samples| n_samples.div_ceil(batch_size))
    }
}
