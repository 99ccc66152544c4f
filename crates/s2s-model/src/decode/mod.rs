//! Decoding: the model generates an output for a source.

use std::ops::ControlFlow;

mod greedy;
mod trace;

pub use greedy::{Greedy, greedy};
pub use trace::{Interventions, TraceStep, trace};

/// When decoding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At EOS, or at a limit tied to the length of each row's own source:
    /// [`Stop::limit`] tokens.
    AtEos,
    /// After exactly `growth` times as many tokens as the row's source has, markers not counted. EOS is
    /// excluded.
    AtSourceLength {
        /// Number of markers (BOS and EOS) in each source.
        n_markers: usize,
        /// Target tokens per source token.
        growth: usize,
    },
}

impl Stop {
    /// Maximum number of output tokens, EOS included, for a source of `source_len` tokens.
    ///
    /// It depends on the row alone, so that other rows of a batch cannot change the output.
    pub fn limit(self, source_len: usize) -> usize {
        match self {
            Self::AtEos => 2 * source_len + 10,
            Self::AtSourceLength { n_markers, growth } => {
                growth * source_len.saturating_sub(n_markers)
            }
        }
    }
}

/// A callback that receives, at each step and for each unfinished row, the row's index and its attention
/// weights `[S]` (all 0 without attention). `Break` ends the row after this step.
///
/// No weights are stored, so the memory that they take does not grow with the number of steps.
pub type Watch<'a> = dyn FnMut(usize, &[f32]) -> ControlFlow<()> + 'a;

/// The output for one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The tokens, without EOS.
    pub tokens: Vec<u32>,
    /// Log-probability of each output token in nats, including EOS if it was produced.
    pub log_probs: Vec<f32>,
    /// Whether the output ended with EOS.
    pub stopped: bool,
    /// Attention weights, `[S]` for each element of `log_probs`; empty unless requested.
    pub weights: Vec<Vec<f32>>,
}

impl Decoded {
    /// Appends a token.
    pub(crate) fn push(&mut self, token: u32, log_prob: f32, eos: u32) {
        self.log_probs.push(log_prob);
        if token == eos {
            self.stopped = true;
        } else {
            self.tokens.push(token);
        }
    }

    /// Log-probability of the whole output in nats.
    pub fn log_prob(&self) -> f64 {
        self.log_probs.iter().map(|p| f64::from(*p)).sum()
    }
}
