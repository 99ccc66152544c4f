use std::cmp::Reverse;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::order::Order;
use crate::report::Samples;
use crate::splits::hash;
use crate::{Example, PaddedBatch, Sequence, Split, SplitReport, Vocabulary};

/// Maximum number of samples per split in a report.
const REPORT_SAMPLES: u64 = 1_000_000;

/// A source of batches. A batch is a pure function of (split, step), without loader state, so a resumed
/// run gets the same batches as an uninterrupted one.
///
/// A source has samples and an [`Order`]; the provided methods make batches of them. For samples in memory,
/// see [`Examples`](crate::Examples).
///
/// ```
/// use std::sync::Arc;
///
/// use reverse_data::{BatchSource, Example, Order, Split, Vocabulary};
///
/// /// Source n and target n + 1, as digits.
/// #[derive(Clone, Debug)]
/// struct Successor {
///     vocabulary: Vocabulary,
///     order: Order,
/// }
///
/// impl BatchSource for Successor {
///     fn vocabulary(&self) -> &Vocabulary {
///         &self.vocabulary
///     }
///
///     fn n_samples(&self, _: Split) -> Option<u64> {
///         Some(300)
///     }
///
///     fn example(&self, split: Split, index: u64) -> Example {
///         let number = 3 * index + split as u64;
///         let digits = |number: u64| -> Vec<u32> {
///             let text = number.to_string().into_bytes();
///             text.into_iter().map(|digit| u32::from(digit - b'0') + 1).collect()
///         };
///         Example { source: digits(number), target: digits(number + 1) }
///     }
///
///     fn order(&self) -> Order {
///         self.order
///     }
///
///     fn with_order(&self, order: Order) -> Arc<dyn BatchSource> {
///         Arc::new(Self { order, ..self.clone() })
///     }
/// }
///
/// let vocabulary = Vocabulary::new(11)?; // symbols 1 to 10
/// let source = Successor { vocabulary, order: Order::default() };
/// assert_eq!(source.batch(Split::Train, 0).n_rows(), 64);
/// assert_eq!(source.report().leaks.train_test, 0);
/// # Ok::<(), reverse_data::Error>(())
/// ```
pub trait BatchSource: Debug + Send + Sync {
    /// The vocabulary of sources and targets.
    fn vocabulary(&self) -> &Vocabulary;

    /// Number of samples in the split; `None` if it is unlimited.
    fn n_samples(&self, split: Split) -> Option<u64>;

    /// Sample `index` of a split.
    ///
    /// # Panics
    /// If the source stores its samples and `index` is out of bounds.
    fn example(&self, split: Split, index: u64) -> Example;

    /// Source and target of sample `index` of a split with the texts of their tokens. The words of text that
    /// are not in the vocabulary are here as they are, not as `<unk>`.
    fn sequences(&self, split: Split, index: u64) -> [Sequence; 2] {
        let Example { source, target } = self.example(split, index);
        [source, target].map(|tokens| Sequence::of_tokens(tokens, self.vocabulary()))
    }

    /// Target tokens per source token at most, rounded up; 1 by default. Outputs end at this many times the
    /// source, but not before twice the source plus 10.
    fn growth(&self) -> usize {
        1
    }

    /// How the samples are ordered and divided into batches.
    fn order(&self) -> Order;

    /// The same samples in another order.
    fn with_order(&self, order: Order) -> Arc<dyn BatchSource>;

    /// Number of tokens of the source of a sample.
    fn source_len(&self, split: Split, index: u64) -> usize {
        self.example(split, index).source.len()
    }

    /// The batch of a step, counted from 0.
    ///
    /// The training split repeats, epoch after epoch. Validation and test have one pass, in order;
    /// batches after the last one are empty.
    fn batch(&self, split: Split, step: u64) -> PaddedBatch {
        let order = self.order();
        let len = |index| self.source_len(split, index);
        let batch = order.batch(split, step, self.n_samples(split), len);
        let examples = batch.into_iter().map(|index| self.example(split, index));
        PaddedBatch::from_examples(examples, self.vocabulary(), order.source_markers)
    }

    /// Source and target of a validation sample to observe during training: the longest one of at most
    /// `max_len` symbols, or the shortest one if all are longer.
    fn probe(&self, max_len: usize) -> [Sequence; 2] {
        let rank = |index: &u64| match self.source_len(Split::Val, *index) {
            len if len <= max_len => (true, len, Reverse(*index)),
            len => (false, usize::MAX - len, Reverse(*index)),
        };
        let n_samples = self.n_samples(Split::Val).unwrap_or(1);
        let best = (0..n_samples).max_by_key(rank);
        self.sequences(Split::Val, best.unwrap_or(0))
    }

    /// Number of batches in one pass over the split; `None` if it is unlimited.
    fn n_batches(&self, split: Split) -> Option<u64> {
        self.order().n_batches(self.n_samples(split))
    }

    /// Counts duplicates, leaks between splits, and unknown tokens, in at most the first million samples of
    /// each split.
    fn report(&self) -> SplitReport {
        SplitReport::count(Split::ALL.map(|split| {
            let n_samples = self.n_samples(split);
            let counted = n_samples.map_or(REPORT_SAMPLES, |n| n.min(REPORT_SAMPLES));
            Samples {
                hashes: (0..counted).map(move |index| hash(&self.example(split, index).source)),
                n_samples,
                text: None,
            }
        }))
    }

    /// The same samples in batches of another size.
    fn with_batch_size(&self, batch_size: NonZeroUsize) -> Arc<dyn BatchSource> {
        self.with_order(Order {
            batch_size,
            ..self.order()
        })
    }

    /// The same source with training batches of samples of at most `max_len` source tokens; `None` if it
    /// cannot choose the length of its samples, or has none so short.
    fn with_max_len(&self, _max_len: usize) -> Option<Arc<dyn BatchSource>> {
        None
    }
}
