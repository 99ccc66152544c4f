//! What is to be learned: a pure function on sequences. One task a file.

mod bigram_flip;
mod block_reverse;
mod copy;
mod duplicate;
mod odds_first;
mod reverse;
mod sort;

use std::fmt::Debug;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::Token;

/// A function on sequences of bare symbols; marks, padding and tensors are others' business.
pub trait Task: Debug + Send + Sync {
    /// What `source` should become.
    fn target(&self, source: &[Token]) -> Vec<Token>;

    /// Symbols of the target for each of the source; by default one.
    fn growth(&self) -> usize {
        1
    }

    /// The position in a source of `len` symbols of what stands at `step` in its target; `None` if
    /// the target's symbols do not come from positions that the length tells.
    ///
    /// It is where attention should look.
    fn origin(&self, len: usize, step: usize) -> Option<usize> {
        let _ = (len, step);
        None
    }
}

/// A source and its target, both of bare symbols: no marks, no padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What is given.
    pub source: Vec<Token>,
    /// What is wanted.
    pub target: Vec<Token>,
}

/// Which task, as written in a configuration: `task = "reverse"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskConfig {
    /// The source backwards.
    Reverse,
    /// The source itself.
    Copy,
    /// The source's symbols in ascending order.
    Sort,
    /// The source twice.
    Duplicate,
    /// The symbols at odd positions, counted from 1, then those at even ones.
    OddsFirst,
    /// Each pair of neighbors swapped; a last symbol without neighbor stays.
    BigramFlip,
    /// Each block of so many symbols backwards; the one task that has the option `block`.
    BlockReverse,
}

impl TaskConfig {
    /// The task that this names. `block` matters to [`TaskConfig::BlockReverse`] alone.
    pub(crate) fn build(self, block: NonZeroUsize) -> Box<dyn Task> {
        match self {
            Self::Reverse => Box::new(reverse::Reverse),
            Self::Copy => Box::new(copy::Copy),
            Self::Sort => Box::new(sort::Sort),
            Self::Duplicate => Box::new(duplicate::Duplicate),
            Self::OddsFirst => Box::new(odds_first::OddsFirst),
            Self::BigramFlip => Box::new(bigram_flip::BigramFlip),
            Self::BlockReverse => Box::new(block_reverse::BlockReverse { block }),
        }
    }
}
