//! Tasks: pure functions on sequences, one per file.

mod bigram_flip;
mod block_reverse;
mod copy;
mod duplicate;
mod mirror;
mod odds_first;
mod reverse;
mod reverse_duplicate;
mod rotate;
mod sort;
mod triple;

use std::fmt::Debug;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::Token;

/// A function from source to target, on symbols without BOS, EOS or padding.
///
/// ```
/// use reverse_data::{BatchSource, DataConfig, Split, Synthetic, Task, Token};
///
/// /// Rotates a sequence to the left.
/// #[derive(Debug)]
/// struct Rotate(usize);
///
/// impl Task for Rotate {
///     fn target(&self, source: &[Token]) -> Vec<Token> {
///         let mut target = source.to_vec();
///         target.rotate_left(self.0 % source.len());
///         target
///     }
///
///     fn origin(&self, len: usize, step: usize) -> Option<usize> {
///         Some((step + self.0) % len)
///     }
/// }
///
/// assert_eq!(Rotate(2).target(&[3, 1, 4]), [4, 3, 1]);
/// let batch_size = 64.try_into()?;
/// let data = Synthetic::with_task(&DataConfig::default(), Rotate(2), 0, batch_size)?;
/// assert_eq!(data.batch(Split::Train, 0).n_rows(), 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Task: Debug + Send + Sync {
    /// The target of `source`, which has at least one symbol. It must consist of symbols of the vocabulary;
    /// [`check_samples`](crate::check_samples) checks that, before training.
    fn target(&self, source: &[Token]) -> Vec<Token>;

    /// Target length divided by source length; 1 by default.
    fn growth(&self) -> usize {
        1
    }

    /// The alignment: the position in a source of `len` symbols that target position `step` is copied
    /// from. `None` if the position does not depend on `len` and `step` alone.
    ///
    /// Metrics of attention compare it with the attention weights.
    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        let _ = (len, step);
        None
    }
}

impl<T: Task + ?Sized> Task for Box<T> {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        (**self).target(source)
    }

    fn growth(&self) -> usize {
        (**self).growth()
    }

    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        (**self).origin(len, step)
    }
}

/// A source and its target, without BOS, EOS or padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The input.
    pub source: Vec<Token>,
    /// The expected output.
    pub target: Vec<Token>,
}

impl From<(Vec<Token>, Vec<Token>)> for Example {
    fn from((source, target): (Vec<Token>, Vec<Token>)) -> Self {
        Self { source, target }
    }
}

/// A task, as written in a configuration: `task = "reverse"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskConfig {
    /// The source in reverse order.
    Reverse,
    /// The source itself.
    Copy,
    /// The symbols in ascending order.
    Sort,
    /// The source twice.
    Duplicate,
    /// The symbols at odd positions (from 1), then those at even positions.
    OddsFirst,
    /// Each pair of neighbors swapped; an unpaired last symbol stays.
    BigramFlip,
    /// Each block of `block` symbols in reverse order.
    BlockReverse,
    /// The source, then its reverse.
    Mirror,
    /// The source three times.
    Triple,
    /// The source with its first symbol at the end.
    Rotate,
    /// The reverse of the source, twice.
    ReverseDuplicate,
}

impl TaskConfig {
    /// Builds the task. Only [`TaskConfig::BlockReverse`] uses `block`.
    pub(crate) fn build(self, block: NonZeroUsize) -> Box<dyn Task> {
        match self {
            Self::Reverse => Box::new(reverse::Reverse),
            Self::Copy => Box::new(copy::Copy),
            Self::Sort => Box::new(sort::Sort),
            Self::Duplicate => Box::new(duplicate::Duplicate),
            Self::OddsFirst => Box::new(odds_first::OddsFirst),
            Self::BigramFlip => Box::new(bigram_flip::BigramFlip),
            Self::BlockReverse => Box::new(block_reverse::BlockReverse { block }),
            Self::Mirror => Box::new(mirror::Mirror),
            Self::Triple => Box::new(triple::Triple),
            Self::Rotate => Box::new(rotate::Rotate),
            Self::ReverseDuplicate => Box::new(reverse_duplicate::ReverseDuplicate),
        }
    }
}
