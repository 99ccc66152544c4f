//! Decoding: the model alone with a source.

use std::ops::ControlFlow;

mod greedy;

pub use greedy::{Greedy, greedy};

/// When decoding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At EOS, or at a limit tied to the length of each row's own source:
    /// [`Stop::limit`] tokens.
    AtEos,
    /// After exactly as many tokens as the row's source has beside its markers, or so many times as
    /// many, EOS ignored: the model is told the length.
    AtSourceLength {
        /// Markers around each source, BOS and EOS.
        n_markers: usize,
        /// Tokens of the target for each of the source.
        growth: usize,
    },
}

impl Stop {
    /// Tokens, EOS included, after which a row of a source of `source_len` tokens ends at the
    /// latest.
    ///
    /// It depends on nothing but the row itself, so that companions in a batch do not matter.
    pub fn limit(self, source_len: usize) -> usize {
        match self {
            Self::AtEos => 2 * source_len + 10,
            Self::AtSourceLength { n_markers, growth } => {
                growth * source_len.saturating_sub(n_markers)
            }
        }
    }
}

/// Looks on while a batch is decoded: at each step, for each row that still goes on, it is given the
/// row and where that row looked, its attention weights `[S]` (all 0 without attention). A row at
/// which it breaks ends with that step.
///
/// Nothing is kept for it, so that weights can be summed up in memory of the order of the length.
pub type Watch<'a> = dyn FnMut(usize, &[f32]) -> ControlFlow<()> + 'a;

/// What a model said to one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The tokens, without EOS.
    pub tokens: Vec<u32>,
    /// Natural logarithm of the chance of each token, that of EOS included if it was said.
    pub log_probs: Vec<f32>,
    /// Whether it said EOS.
    pub stopped: bool,
    /// Attention weights, a row of `S` for each of `log_probs`; empty unless asked for.
    pub weights: Vec<Vec<f32>>,
}

impl Decoded {
    /// Takes note of one more token.
    pub(crate) fn say(&mut self, token: u32, log_prob: f32, eos: u32) {
        self.log_probs.push(log_prob);
        if token == eos {
            self.stopped = true;
        } else {
            self.tokens.push(token);
        }
    }

    /// Natural logarithm of the chance of the whole sequence.
    pub fn log_prob(&self) -> f64 {
        self.log_probs.iter().map(|p| f64::from(*p)).sum()
    }
}
