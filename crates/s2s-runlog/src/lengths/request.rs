//! What an evaluation by length is asked for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Lengths;

/// How a model's output comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecodingMode {
    /// When it says EOS.
    Eos,
    /// When it is as long as the reference, which it is told; it cannot say EOS.
    Oracle,
}

impl fmt::Display for DecodingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Eos => "eos",
            Self::Oracle => "oracle",
        })
    }
}

/// A published way of testing on reversed sequences longer than those of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Delétang et al. (2023), Neural Networks and the Chomsky Hierarchy, arXiv:2207.02098: two
    /// symbols, trained on lengths 1 to 40. The score is the mean over the lengths 41 to 500 of the
    /// token accuracy, the length being told.
    Deepmind,
    /// Grefenstette et al. (2015), Learning to Transduce with Unbounded Memory, arXiv:1506.02516:
    /// 128 symbols, trained on lengths 8 to 64, tested on 65 to 128 by coarse accuracy (here: exact
    /// match) and fine accuracy.
    Grefenstette,
}

impl Protocol {
    /// Its name, as it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deepmind => "deepmind",
            Self::Grefenstette => "grefenstette",
        }
    }

    /// Symbols that sequences are made of.
    pub fn n_symbols(self) -> u32 {
        match self {
            Self::Deepmind => 2,
            Self::Grefenstette => 128,
        }
    }

    /// The shortest and the longest sequence of training.
    pub fn trained(self) -> (usize, usize) {
        match self {
            Self::Deepmind => (1, 40),
            Self::Grefenstette => (8, 64),
        }
    }

    /// The lengths of the test.
    pub fn lengths(self) -> Lengths {
        match self {
            Self::Deepmind => Lengths::between(41, 500),
            Self::Grefenstette => Lengths::between(65, 128),
        }
    }
}

/// What an evaluation by length is to find out. Two of the same request on the same parameters have
/// the same result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthsRequest {
    /// The protocol that says which lengths.
    pub protocol: Option<Protocol>,
    /// Lengths of the sources, markers not counted.
    pub lengths: Lengths,
    /// Sequences of each length, or all there are if they are fewer.
    pub samples: u64,
    /// Ways of decoding, in their order.
    pub modes: Vec<DecodingMode>,
    /// Name of the split.
    pub split: String,
    /// Which parameters: `best` or `last`.
    pub checkpoint: String,
}
