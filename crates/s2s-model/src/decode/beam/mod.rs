//! Beam search.

mod search;

use std::num::NonZeroUsize;

use super::Constraints;

pub(super) use search::search;

/// Beam search: at each step, the `width` most probable of all continuations survive. Those that end with
/// EOS are outputs, the others are continued.
///
/// Graves (2012), arXiv:1211.3711. Width 1 is greedy decoding, to the bit. Each source has its own beam:
/// neither padding nor the other sources of a batch matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Beam {
    /// Maximum number of hypotheses that are continued.
    pub width: NonZeroUsize,
    /// Maximum number of outputs.
    pub n_best: NonZeroUsize,
    /// How outputs of different lengths are ranked.
    pub length_penalty: LengthPenalty,
    /// When the search ends, if hypotheses are left.
    pub stopping: Stopping,
    /// What an output may contain.
    pub constraints: Constraints,
}

impl Beam {
    /// A beam for the most probable output, without constraints. Width 0 counts as 1.
    pub fn new(width: usize) -> Self {
        Self {
            width: NonZeroUsize::new(width).unwrap_or(NonZeroUsize::MIN),
            n_best: NonZeroUsize::MIN,
            length_penalty: LengthPenalty::None,
            stopping: Stopping::Exact,
            constraints: Constraints::default(),
        }
    }
}

/// How a beam ranks outputs, from their log-probability in nats and their length in tokens, EOS included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LengthPenalty {
    /// By log-probability.
    #[default]
    None,
    /// By log-probability divided by `((5 + length) / 6)^α`: Wu et al. (2016), arXiv:1609.08144. A greater
    /// α favors longer outputs.
    Gnmt(f64),
    /// By the mean log-probability of a token.
    Average,
}

impl LengthPenalty {
    /// The number that outputs are ranked by; the greatest is best.
    pub fn score(self, log_prob: f64, length: usize) -> f64 {
        let length = length.max(1) as f64;
        match self {
            Self::None => log_prob,
            Self::Gnmt(alpha) => log_prob / ((5.0 + length) / 6.0).powf(alpha),
            Self::Average => log_prob / length,
        }
    }

    /// The greatest score that a hypothesis can reach if it ends with `next` to `last` tokens.
    fn bound(self, log_prob: f64, next: usize, last: usize) -> f64 {
        // No log-probability is positive, and the divisor is monotone in the length.
        self.score(log_prob, next).max(self.score(log_prob, last))
    }
}

/// When a beam search ends, if hypotheses are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopping {
    /// When none of them can become one of the [`n_best`](Beam::n_best) outputs: the result is the same as
    /// without stopping.
    #[default]
    Exact,
    /// When as many outputs have ended as the beam is wide: the usual heuristic.
    Heuristic,
}
