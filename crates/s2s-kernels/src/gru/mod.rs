//! The gated recurrent unit, over one step or over whole ragged rows.
//!
//! Cho et al. (2014), arXiv:1406.1078, in the form that cuDNN and PyTorch compute: the reset gate
//! acts on the projected state. Gates are stacked in the order r, z, n.
//!
//! ```text
//! r  = σ(W_ir x + b_ir + W_hr h + b_hr)
//! z  = σ(W_iz x + b_iz + W_hz h + b_hz)
//! n  = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))
//! h' = (1 - z) ⊙ n + z ⊙ h
//! ```

pub(crate) mod cell;
pub(crate) mod kernel;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

/// The parameters of one layer and direction as slices, in the shapes of [`GruWeights`].
#[derive(Clone, Copy, Debug)]
pub struct GruParams<'a, T> {
    /// `[3H, I]`.
    pub weight_ih: &'a [T],
    /// `[3H, H]`.
    pub weight_hh: &'a [T],
    /// `[3H]`.
    pub bias_ih: &'a [T],
    /// `[3H]`.
    pub bias_hh: &'a [T],
}

impl<T> GruParams<'_, T> {
    /// Units of the state, `H`.
    pub fn units(&self) -> usize {
        self.bias_hh.len() / 3
    }

    /// Units of the input, `I`.
    pub fn inputs(&self) -> usize {
        self.weight_ih
            .len()
            .checked_div(self.bias_ih.len())
            .unwrap_or(0)
    }
}

/// Where the gradients of [`GruParams`] are written.
#[derive(Debug)]
pub struct GruGrads<'a, T> {
    /// `[3H, I]`.
    pub weight_ih: &'a mut [T],
    /// `[3H, H]`.
    pub weight_hh: &'a mut [T],
    /// `[3H]`.
    pub bias_ih: &'a mut [T],
    /// `[3H]`.
    pub bias_hh: &'a mut [T],
}

/// The parameters of one layer and direction, with the names and the gate order of `torch.nn.GRU`.
#[derive(Clone, Debug)]
pub struct GruWeights {
    /// `[3H, I]`, gates r, z, n.
    pub weight_ih: Tensor,
    /// `[3H, H]`, gates r, z, n.
    pub weight_hh: Tensor,
    /// `[3H]`.
    pub bias_ih: Tensor,
    /// `[3H]`; its part for n is multiplied by the reset gate, so it is not redundant.
    pub bias_hh: Tensor,
}

/// The order in which a recurrent layer reads a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first position to the last real one.
    Forward,
    /// From the last real position to the first.
    Backward,
}

impl Direction {
    /// The position that is read at `step` of `len`.
    fn position(self, step: usize, len: usize) -> usize {
        match self {
            Self::Forward => step,
            Self::Backward => len - 1 - step,
        }
    }

    /// The position that is read last in a row of `len` real ones.
    fn last(self, len: usize) -> Option<usize> {
        match self {
            Self::Forward => len.checked_sub(1),
            Self::Backward => (len > 0).then_some(0),
        }
    }
}

/// What a GRU makes of a batch of rows.
#[derive(Clone, Debug)]
pub struct GruRun {
    /// The state at each position, `[B, S, H]`; 0 where padded.
    pub states: Tensor,
    /// The state after the last position read, `[B, H]`.
    pub last: Tensor,
}
