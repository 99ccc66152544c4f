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

mod cell;
pub(crate) mod reference;

use candle_core::Tensor;

/// The gated recurrent unit; see [`gru`](crate::gru()) for its equations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gru;

/// The output of a GRU layer.
#[derive(Clone, Debug)]
pub struct GruOutput {
    /// The state at each position, `[B, S, H]`; 0 where padded.
    pub states: Tensor,
    /// The state after the last position read, `[B, H]`.
    pub last: Tensor,
}
