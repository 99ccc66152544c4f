//! Samples drawn on demand: sample i of a split is a pure function of (seed, split, i).
//!
//! Nothing is stored, so a billion samples cost no memory and any of them is one call away. A
//! length is drawn uniformly from those of which the split has sequences, then sequences of that
//! length until one falls in the split.
//!
//! With batches of one length, the training samples of a batch share theirs, which is a function of
//! (seed, step); then the samples depend on the batch size, too.

mod by_length;

use std::num::NonZeroUsize;
use std::sync::Arc;

use rand::Rng;

use crate::keyed;
use crate::order::Order;
use crate::report::Samples;
use crate::splits::inhabited;
use crate::symbols::Symbols;
use crate::{
    BatchSource, Batching, DataConfig, Error, Example, PaddedBatch, Split, SplitReport, Task,
    Token, Vocabulary,
};

/// A report looks at no more samples of a split than this, ...
const REPORT_SAMPLES: u64 = 1_000_000;
/// ... nor at many more tokens than this, which only binds where sequences are long.
const REPORT_TOKENS: u64 = 20_000_000;

/// A [`BatchSource`] of synthetic samples. See the [crate's page](crate) for an example.
///
/// There is a sample for every index, also past those that the batches are made of.
#[derive(Clone, Debug)]
pub struct Synthetic {
    config: DataConfig,
    task: Arc<dyn Task>,
    symbols: Symbols,
    vocabulary: Vocabulary,
    lens: Arc<[Vec<usize>; 3]>, // of which each split has sequences
    order: Order,
}

impl Synthetic {
    /// Data of a configuration, once it is known that it can be drawn.
    ///
    /// # Errors
    /// If [`DataConfig::validate`] finds problems, all of them; if the configuration names a corpus.
    pub fn new(config: &DataConfig, seed: u64, batch_size: NonZeroUsize) -> Result<Self, Error> {
        if config.is_text() {
            return Err(Error::NotDrawn {
                folder: config.folder.clone(),
            });
        }
        let vocabulary = config.check()?;
        let n_symbols = vocabulary.n_symbols();
        Ok(Self {
            task: config.task().into(),
            symbols: Symbols::new(config.symbols, config.zipf_exponent, n_symbols),
            vocabulary,
            lens: Arc::new(inhabited(n_symbols, config.lens())),
            order: Order {
                seed,
                batch_size,
                is_bucketed: config.batching == Batching::Bucketed,
            },
            config: config.clone(),
        })
    }

    fn source(&self, split: Split, index: u64) -> Vec<Token> {
        let mut rng = keyed::rng(self.order.seed, keyed::SAMPLE, (split as u64, 0), index);
        // A configuration of which a split has no sequence at all was refused.
        let lens = &self.lens[split as usize];
        let len = match (split, self.config.batching) {
            (Split::Train, Batching::EqualLength) => self.len_of_batch(index),
            _ => lens[rng.random_range(0..lens.len())],
        };
        self.draw(split, len, &mut rng)
    }

    /// The length of the training batch that a sample is in.
    fn len_of_batch(&self, index: u64) -> usize {
        let step = index / self.order.batch_size.get() as u64;
        let mut rng = keyed::rng(self.order.seed, keyed::BATCH_LEN, (step, 0), 0);
        let lens = &self.lens[Split::Train as usize];
        lens[rng.random_range(0..lens.len())]
    }

    /// A source of a length of which the split has some.
    ///
    /// It ends: about one sequence in ten is of the rarest split, and where there are only a few
    /// of a length, [`Symbols`] draw each of them often enough.
    fn draw(&self, split: Split, len: usize, rng: &mut impl Rng) -> Vec<Token> {
        let mut source = vec![0; len];
        loop {
            source.fill_with(|| self.symbols.draw(rng));
            if Split::of(&source) == split {
                return source;
            }
        }
    }

    fn answer(&self, source: Vec<Token>) -> Example {
        let target = self.task.target(&source);
        Example { source, target }
    }
}

impl BatchSource for Synthetic {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn batch(&self, split: Split, step: u64) -> PaddedBatch {
        let len = |index| self.source(split, index).len();
        let batch = self.order.batch(split, step, self.n_samples(split), len);
        let examples = batch.into_iter().map(|index| self.example(split, index));
        PaddedBatch::from_examples(examples, &self.vocabulary, self.config.source_markers)
    }

    fn example(&self, split: Split, index: u64) -> Example {
        self.answer(self.source(split, index))
    }

    fn probe(&self, max_len: usize) -> Example {
        let len = self.config.max_len.min(max_len.max(self.config.min_len));
        let mut samples = self.of_length(Split::Val, len, 1);
        samples.pop().unwrap_or_else(|| self.example(Split::Val, 0))
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        self.config.n_samples(split)
    }

    fn n_batches(&self, split: Split) -> Option<u64> {
        self.order.n_batches(self.n_samples(split))
    }

    /// Of all samples, or of the first million of each split (fewer if they are long).
    fn report(&self) -> SplitReport {
        let most = REPORT_SAMPLES.min(REPORT_TOKENS / self.config.max_len as u64);
        SplitReport::count(Split::ALL.map(|split| {
            let of = self.n_samples(split);
            let counted = of.map_or(most, |n_samples| n_samples.min(most));
            Samples {
                sources: (0..counted).map(move |index| self.source(split, index)),
                of,
                unknown: 0,
            }
        }))
    }

    fn with_batch_size(&self, batch_size: NonZeroUsize) -> Arc<dyn BatchSource> {
        let order = Order {
            batch_size,
            ..self.order
        };
        Arc::new(Self {
            order,
            ..self.clone()
        })
    }
}
