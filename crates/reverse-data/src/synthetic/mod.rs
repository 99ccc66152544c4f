//! Samples generated on demand: sample i of a split is a pure function of (seed, split, i).
//!
//! Samples are not stored. The length is drawn uniformly from the lengths that have sequences in the
//! split; then sequences of that length are drawn until one is in the split.
//!
//! With equal-length batches, the length of a training batch is a function of (seed, step), so the
//! samples also depend on the batch size.

mod by_length;

use std::num::NonZeroUsize;
use std::sync::Arc;

use rand::Rng;

use crate::random::{Purpose, generator};
use crate::report::Samples;
use crate::splits::{hash, nonempty_lens};
use crate::symbols::Symbols;
use crate::{
    BatchSource, Batching, DataConfig, Error, Example, Order, Sequence, Split, SplitReport, Task,
    Token, Vocabulary,
};

/// Maximum number of samples per split in a report.
const REPORT_SAMPLES: u64 = 1_000_000;
/// Maximum number of tokens per split in a report; it matters for long sequences only.
const REPORT_TOKENS: u64 = 20_000_000;

/// A [`BatchSource`] of synthetic samples. See the [crate documentation](crate) for an example.
///
/// [`BatchSource::example`] accepts any index, also beyond the samples in the batches.
#[derive(Clone, Debug)]
pub struct Synthetic {
    config: DataConfig,
    task: Arc<dyn Task>,
    symbols: Symbols,
    vocabulary: Vocabulary,
    lens: Arc<[Vec<usize>; 3]>, // lengths with sequences, for each split
    order: Order,
}

impl Synthetic {
    /// The data of a configuration.
    ///
    /// # Errors
    /// [`Error::Config`] if [`DataConfig::validate`] finds problems; [`Error::NotSynthetic`] if the
    /// configuration describes text.
    pub fn new(config: &DataConfig, seed: u64, batch_size: NonZeroUsize) -> Result<Self, Error> {
        Self::with_task(config, config.task(), seed, batch_size)
    }

    /// The data of a configuration with another task, which replaces `config.task`. Its targets must
    /// consist of symbols of the vocabulary.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn with_task(
        config: &DataConfig,
        task: impl Task + 'static,
        seed: u64,
        batch_size: NonZeroUsize,
    ) -> Result<Self, Error> {
        if config.is_text() {
            return Err(Error::NotSynthetic {
                path: config.text_path().to_owned(),
            });
        }
        let vocabulary = config.check()?;
        let n_symbols = vocabulary.n_symbols();
        Ok(Self {
            task: Arc::new(task),
            symbols: Symbols::new(config.symbols, config.zipf_exponent, n_symbols),
            vocabulary,
            lens: Arc::new(nonempty_lens(n_symbols, config.lens())),
            order: config.order(seed, batch_size),
            config: config.clone(),
        })
    }

    fn source(&self, split: Split, index: u64) -> Vec<Token> {
        let mut rng = generator(self.order.seed, Purpose::Sample { split }, index);
        // Not empty: a configuration with an empty split is invalid.
        let lens = &self.lens[split as usize];
        let len = match (split, self.config.batching) {
            (Split::Train, Batching::EqualLength) => self.len_of_batch(index),
            _ => lens[rng.random_range(0..lens.len())],
        };
        self.draw(split, len, &mut rng)
    }

    /// The length of the training batch that contains a sample.
    fn len_of_batch(&self, index: u64) -> usize {
        let step = index / self.order.batch_size.get() as u64;
        let mut rng = generator(self.order.seed, Purpose::BatchLen { step }, 0);
        let lens = &self.lens[Split::Train as usize];
        lens[rng.random_range(0..lens.len())]
    }

    /// Draws a source of a length that has sequences in the split.
    ///
    /// The loop ends: the smallest split contains about 10 % of all sequences, and if a length has few
    /// sequences, [`Symbols`] draws each of them with sufficient probability.
    fn draw(&self, split: Split, len: usize, rng: &mut impl Rng) -> Vec<Token> {
        let mut source = vec![0; len];
        loop {
            source.fill_with(|| self.symbols.draw(rng));
            if Split::of(&source) == split {
                return source;
            }
        }
    }

    fn example_of(&self, source: Vec<Token>) -> Example {
        let target = self.task.target(&source);
        Example { source, target }
    }
}

impl BatchSource for Synthetic {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn example(&self, split: Split, index: u64) -> Example {
        self.example_of(self.source(split, index))
    }

    fn probe(&self, max_len: usize) -> [Sequence; 2] {
        let len = self.config.max_len.min(max_len.max(self.config.min_len));
        let sample = self.of_length(Split::Val, len, 1).pop();
        let Example { source, target } = sample.unwrap_or_else(|| self.example(Split::Val, 0));
        [source, target].map(|tokens| Sequence::of_tokens(tokens, &self.vocabulary))
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        self.config.n_samples(split)
    }

    fn growth(&self) -> usize {
        self.task.growth()
    }

    fn order(&self) -> Order {
        self.order
    }

    fn with_order(&self, order: Order) -> Arc<dyn BatchSource> {
        Arc::new(Self {
            order,
            ..self.clone()
        })
    }

    fn source_len(&self, split: Split, index: u64) -> usize {
        self.source(split, index).len()
    }

    /// Counts all samples, at most the first million of each split (fewer if they are long).
    fn report(&self) -> SplitReport {
        let max = REPORT_SAMPLES.min(REPORT_TOKENS / self.config.max_len as u64);
        SplitReport::count(Split::ALL.map(|split| {
            let n_samples = self.n_samples(split);
            let counted = n_samples.map_or(max, |n_samples| n_samples.min(max));
            Samples {
                hashes: (0..counted).map(move |index| hash(&self.source(split, index))),
                n_samples,
                text: None,
            }
        }))
    }

    /// Lengths are uniform among those that are left.
    fn with_max_len(&self, max_len: usize) -> Option<Arc<dyn BatchSource>> {
        let mut lens = (*self.lens).clone();
        lens[Split::Train as usize].retain(|len| *len <= max_len);
        if lens[Split::Train as usize].is_empty() {
            return None;
        }
        Some(Arc::new(Self {
            lens: Arc::new(lens),
            ..self.clone()
        }))
    }
}
