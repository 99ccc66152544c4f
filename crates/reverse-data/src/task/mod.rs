//! What is to be learned: a pure function on sequences. One task a file.

mod copy;
mod reverse;

use std::fmt::Debug;

use rand::{Rng, RngCore};
use serde::{Deserialize, Serialize};

use crate::{Token, Vocabulary};

/// A function on sequences of bare symbols; marks, padding and tensors are others' business.
pub trait Task: Debug + Send + Sync {
    /// What `source` should become.
    fn target(&self, source: &[Token]) -> Vec<Token>;

    /// A source of `len` symbols, by default uniform over all of them.
    ///
    /// A sample is redrawn until it falls in its split, so this must be able to yield sequences of
    /// every split.
    fn source(&self, len: usize, vocabulary: Vocabulary, rng: &mut dyn RngCore) -> Vec<Token> {
        (0..len)
            .map(|_| rng.random_range(1..=vocabulary.n_symbols()))
            .collect()
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskConfig {
    /// The source backwards.
    Reverse,
    /// The source itself.
    Copy,
}

impl TaskConfig {
    /// The task that this names.
    pub fn build(&self) -> Box<dyn Task> {
        match self {
            Self::Reverse => Box::new(reverse::Reverse),
            Self::Copy => Box::new(copy::Copy),
        }
    }
}
