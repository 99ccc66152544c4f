//! The request of an evaluation by length.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Lengths;

/// How decoding ends in an evaluation by length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecodingMode {
    /// At the first EOS that the model predicts.
    Eos,
    /// At the length of the reference; EOS is excluded from the predictions.
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

/// A published protocol for testing sequence reversal beyond the training lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Delétang et al. (2023), Neural Networks and the Chomsky Hierarchy, arXiv:2207.02098: two
    /// symbols, trained on lengths 1 to 40. The score is the token accuracy in oracle mode, averaged
    /// over the lengths 41 to 500.
    Deepmind,
    /// Grefenstette et al. (2015), Learning to Transduce with Unbounded Memory, arXiv:1506.02516:
    /// 128 symbols, trained on lengths 8 to 64, tested on 65 to 128 by coarse accuracy (here: exact
    /// match) and fine accuracy.
    Grefenstette,
}

impl Protocol {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deepmind => "deepmind",
            Self::Grefenstette => "grefenstette",
        }
    }

    /// Number of different symbols.
    pub fn n_symbols(self) -> u32 {
        match self {
            Self::Deepmind => 2,
            Self::Grefenstette => 128,
        }
    }

    /// Minimum and maximum training length.
    pub fn trained(self) -> (usize, usize) {
        match self {
            Self::Deepmind => (1, 40),
            Self::Grefenstette => (8, 64),
        }
    }

    /// The test lengths.
    pub fn lengths(self) -> Lengths {
        match self {
            Self::Deepmind => Lengths::between(41, 500),
            Self::Grefenstette => Lengths::between(65, 128),
        }
    }
}

/// A request for an evaluation by length. Equal requests on equal parameters have equal results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthsRequest {
    /// The published protocol that the request follows, if one was named.
    pub protocol: Option<Protocol>,
    /// Source lengths, without BOS and EOS.
    pub lengths: Lengths,
    /// Sequences per length; fewer if the split has fewer.
    pub samples: u64,
    /// Decoding modes, in the order in which each length is decoded.
    pub modes: Vec<DecodingMode>,
    /// Name of the split: `train`, `val` or `test`.
    pub split: String,
    /// The checkpoint: `best` or `last`.
    pub checkpoint: String,
}
