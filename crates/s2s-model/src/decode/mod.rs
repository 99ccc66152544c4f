//! Decoding: the model generates an output for a source.

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};

use serde::{Deserialize, Serialize};

mod beam;
mod constraints;
mod ensemble;
mod generator;
mod greedy;
mod logits;
mod rows;
mod sampling;
mod score;
mod trace;

pub use beam::{Beam, LengthPenalty, Stopping};
pub use constraints::Constraints;
pub use generator::Generator;
pub use sampling::Sampling;
pub use score::Scored;
pub use trace::{Interventions, TraceStep, trace};

pub(crate) use logits::argmax;
pub(crate) use rows::{ReferenceRows, Rows};

/// When decoding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At EOS, or at the limit for the length of the row's own source.
    AtEos(OutputLimit),
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
            Self::AtEos(limit) => limit.tokens(source_len),
            Self::AtSourceLength { n_markers, growth } => {
                growth * source_len.saturating_sub(n_markers)
            }
        }
    }
}

impl Default for Stop {
    /// At EOS, with the default limit.
    fn default() -> Self {
        Self::AtEos(OutputLimit::default())
    }
}

/// Maximum number of output tokens, EOS included: `max(least, ⌈growth · S⌉) + slack` for a source of S
/// tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputLimit {
    least: usize,
    growth: (usize, NonZeroUsize), // as a fraction
    slack: usize,
}

/// Tokens beyond the longest output that is expected, so that outputs that do not end are recognized.
const SLACK: usize = 10;

impl OutputLimit {
    /// The same number of tokens for every source.
    pub const fn fixed(n_tokens: NonZeroUsize) -> Self {
        Self {
            least: n_tokens.get(),
            growth: (0, NonZeroUsize::MIN),
            slack: 0,
        }
    }

    /// `growth` times the source, but at least twice the source, plus 10: for targets whose length is a multiple
    /// of the source's.
    pub const fn of_growth(growth: usize) -> Self {
        Self {
            least: 0,
            growth: (if growth > 2 { growth } else { 2 }, NonZeroUsize::MIN),
            slack: SLACK,
        }
    }

    /// The limit for a model that was trained on sources and targets of at most these lengths: the
    /// longest target, in proportion if the source is longer than any in training, plus 10.
    pub fn of_training(longest_source: NonZeroUsize, longest_target: usize) -> Self {
        Self {
            least: longest_target,
            growth: (longest_target, longest_source),
            slack: SLACK,
        }
    }

    /// The lengths that the limit was made [of](Self::of_training); `None` for another limit.
    pub fn longest(self) -> Option<(NonZeroUsize, usize)> {
        let (target, source) = self.growth;
        (self == Self::of_training(source, target)).then_some((source, target))
    }

    /// Maximum number of tokens for a source of `source_len` tokens.
    pub fn tokens(self, source_len: usize) -> usize {
        let (numerator, denominator) = self.growth;
        let scaled = numerator
            .saturating_mul(source_len)
            .div_ceil(denominator.get());
        self.least.max(scaled).saturating_add(self.slack)
    }
}

impl Default for OutputLimit {
    /// Twice the source, plus 10.
    fn default() -> Self {
        Self::of_growth(1)
    }
}

/// A callback that receives, at each step and for each unfinished row, the row's index, its attention
/// weights `[S]` (all 0 without attention), and ascending ranges outside of which they are shown as 0. `Break`
/// ends the row after this step.
///
/// No weights are stored, so the memory that they take does not grow with the number of steps.
pub type Watch<'a> = dyn FnMut(usize, &[f32], &[Range<usize>]) -> ControlFlow<()> + 'a;

/// The output for one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The tokens, without EOS.
    pub tokens: Vec<u32>,
    /// Log-probability of each output token in nats, including EOS if it was produced. It is the model's
    /// own, whatever influenced the choice of the token.
    pub log_probs: Vec<f32>,
    /// Whether the output ended with EOS.
    pub stopped: bool,
    /// Attention weights, `[S]` for each element of `log_probs`; empty unless [requested](Generator::with_attention).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_limit_follows_the_training_data() {
        let size = |n| NonZeroUsize::new(n).unwrap();
        let limit = |limit: OutputLimit| [1, 3, 4, 6].map(|len| limit.tokens(len));
        assert_eq!(limit(OutputLimit::default()), [12, 16, 18, 22]);
        assert_eq!(
            limit(OutputLimit::of_training(size(4), 9)),
            [19, 19, 19, 24]
        );
        assert_eq!(limit(OutputLimit::fixed(size(5))), [5; 4]);
        let huge = OutputLimit::of_training(size(1), usize::MAX);
        assert_eq!(huge.tokens(usize::MAX), usize::MAX);
    }
}
