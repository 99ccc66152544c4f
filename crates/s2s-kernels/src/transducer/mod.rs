//! A differentiable two-way transducer, as one operator over all steps of a batch: a head walks over the
//! values of a source, and modes steer it.
//!
//! The state is the position of the head, `a [S]`, and a mode, `m [K]`, both as probabilities. Whatever the head
//! reads at a position is a linear map of its value, so each value is projected once:
//!
//! ```text
//! u[s]      = [W; A; O] v[s]                       [K·K + K·N + V], once per sequence
//! p[t]      = Σ_s a[t,s] u[s] + [w + 2I; b; o]     what is read: its three parts make
//! T[t+1]    = softmax of each row [K]              transitions [K, K]
//! κ[t+1]    = softmax of each row [N]              the moves of each mode, [K, N]
//! logits[t] = the rest + M m[t]                    [V]
//!
//! m[t]      = norm((m[t-1] T[t] + 1e-12)^(1 + progress/2))
//! k[t]      = m[t] κ[t]                            N = 3(2R + 1) moves
//! a[t]      = norm((a[t-1] moved by k[t] + 1e-8)^(1 + progress·softplus(m[t]·γ)))
//! ```
//!
//! A move goes a distance of at most R from one of three places: where the head is, the first position,
//! or the last. It ends within the row. Before the first step, the head is at the first position and
//! the mode is 0. The reference in plain tensor operations is `Transducer` in `s2s-model`.
//!
//! [`kernel`] has the loops over the rows and steps of a batch, forward and backward; [`choose`] the
//! mode and the moves of one step, [`head`] the moving head; [`decode`] decodes without targets.

mod choose;
mod decode;
mod head;
mod kernel;
#[cfg(test)]
mod tests;

pub use decode::TransducerDecoding;
pub use kernel::Transducer;

/// The sizes of a transducer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransducerSizes {
    /// `K`.
    pub modes: usize,
    /// `R`.
    pub reach: usize,
    /// `V`.
    pub vocab: usize,
    /// `C`, the width of the values.
    pub values: usize,
}

impl TransducerSizes {
    /// `2R + 1`.
    fn distances(self) -> usize {
        2 * self.reach + 1
    }

    /// `N`.
    fn moves(self) -> usize {
        3 * self.distances()
    }

    /// How many numbers choose the next mode and move, `K·K + K·N`.
    fn choices(self) -> usize {
        self.modes * (self.modes + self.moves())
    }

    /// How many numbers a step reads.
    fn read(self) -> usize {
        self.choices() + self.vocab
    }
}

/// The parameters of a transducer, or their gradients: `P` is a slice.
#[derive(Clone, Copy, Debug)]
pub struct TransducerParams<P> {
    /// `W [K·K, C]`.
    pub transition_weight: P,
    /// `w [K·K]`.
    pub transition_bias: P,
    /// `A [K·N, C]`.
    pub kernel_weight: P,
    /// `b [K·N]`.
    pub kernel_bias: P,
    /// `γ [K]`.
    pub sharpness: P,
    /// `O [V, C]`.
    pub output_weight: P,
    /// `o [V]`.
    pub output_bias: P,
    /// `M [V, K]`.
    pub mode_output: P,
}

/// The source of a transducer.
#[derive(Clone, Copy, Debug)]
pub struct TransducerInputs<'a, T> {
    /// `[B, S, C]`.
    pub values: &'a [T],
    /// Real positions of each row, `[B]`.
    pub lengths: &'a [usize],
    /// Padded length, `S`.
    pub len: usize,
    /// Progress of the annealing, from 0 (soft) to 1 (as in evaluation).
    pub progress: f64,
}

/// The entropy bonus: training adds `-factor` times the entropy of the moves `k[t]` of all real steps, in nats, to
/// the loss.
#[derive(Clone, Copy, Debug)]
pub struct EntropyBonus<'a> {
    /// The factor on the sum.
    pub factor: f64,
    /// Real steps of each row, `[B]`.
    pub steps: &'a [usize],
}
