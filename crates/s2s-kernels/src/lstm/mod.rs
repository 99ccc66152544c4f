//! The long short-term memory, over one step or over whole ragged rows.
//!
//! Hochreiter, Schmidhuber (1997), doi:10.1162/neco.1997.9.8.1735, with the forget gate of Gers,
//! Schmidhuber, Cummins (2000), doi:10.1162/089976600300015015, and without peepholes, as PyTorch
//! computes it. Gates are stacked in the order i, f, g, o.
//!
//! ```text
//! i  = σ(W_ii x + b_ii + W_hi h + b_hi)
//! f  = σ(W_if x + b_if + W_hf h + b_hf)
//! g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
//! o  = σ(W_io x + b_io + W_ho h + b_ho)
//! c' = f ⊙ c + i ⊙ g
//! h' = o ⊙ tanh(c')
//! ```

mod cell;
pub(crate) mod reference;

use candle_core::Tensor;

use crate::State;

/// The long short-term memory; see [`lstm`](crate::lstm()) for its equations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lstm;

/// The output of an LSTM layer.
#[derive(Clone, Debug)]
pub struct LstmOutput {
    /// `h` at each position, `[B, S, H]`; 0 where padded.
    pub states: Tensor,
    /// `h` and `c` after the last position read, `[B, H]` each.
    pub last: State<Tensor>,
}
