//! Recurrent layers over padded rows, in both directions. A [`Cell`] provides the equations.
//!
//! ```text
//! input_gates[s]  = W_ih x[s] + b_ih                  the input projection, [G·H]
//! hidden_gates[s] = W_hh h[s-1] + b_hh                the hidden projection, [G·H]
//! state[s] = cell(input_gates[s], hidden_gates[s], state[s-1])     h, and for some cells c
//! ```
//!
//! [`weights`] packs the weights of a cell and computes their products; [`layer`] is one direction
//! over whole rows, [`pass`] its loops, and [`batch`] its inputs; [`bidirectional`] combines two
//! directions; [`operator`] is the candle operator. The decoder has its own loop over the same cells.

pub(crate) mod batch;
pub(crate) mod bidirectional;
pub(crate) mod layer;
pub(crate) mod operator;
mod pass;
pub(crate) mod reference;
#[cfg(test)]
mod tests;
pub(crate) mod weights;

use std::fmt::Debug;
use std::ops::Range;

use candle_core::{D, Result, Tensor, bail};

use crate::matrix::{Matrix, padded_stride};
use crate::real::Real;

/// A recurrent cell: its elementwise equations and their derivatives. `examples/own_cell.rs` adds one.
///
/// A step processes some rows of a batch, of which the `active` ones are real at this position. For
/// the other rows, the gradient of the state passes through unchanged and the gradients of the gates
/// are 0. A step saves `gates [rows, SAVED·H]`, with rows [`gates_stride`](Self::gates_stride) apart.
/// The backward step replaces them by derivatives: the first `GATES` blocks with respect to the input
/// projection, the blocks of [`HIDDEN_BLOCKS`](Self::HIDDEN_BLOCKS) with respect to the hidden
/// projection.
pub trait Cell: Copy + Debug + Default + Send + Sync + 'static {
    /// The number of gates, `G`.
    const GATES: usize;
    /// Numbers per unit that a step saves for the backward pass.
    const SAVED: usize;
    /// The number of state vectors in addition to `h`: 0, or 1 for a cell with a `c`.
    const CELL_STATES: usize;
    /// The saved blocks that hold the derivatives with respect to the hidden projection. Together they
    /// cover all gates in order.
    const HIDDEN_BLOCKS: &'static [GateBlock];

    /// Numbers from the saved gates of one row to those of the next: `SAVED·H` plus padding.
    fn gates_stride(units: usize) -> usize {
        padded_stride(Self::SAVED * units)
    }

    /// The next states of the `active` rows, from both projections `[rows, G·H]`.
    fn forward<T: Real>(
        active: &[usize],
        input_gates: Matrix<'_, T>,
        hidden_gates: Matrix<'_, T>,
        previous: State<Matrix<'_, T>>,
        gates: &mut [T],
        next: NextState<'_, T>,
    );

    /// Replaces the gradient of the next states by that of the previous states, in `d_state`, without
    /// the part that flows through the hidden projection.
    fn backward<T: Real>(
        active: &[usize],
        previous: State<Matrix<'_, T>>,
        next_cell: Matrix<'_, T>,
        gates: &mut [T],
        d_state: State<&mut [T]>,
    );
}

/// A range of gates whose derivatives with respect to the hidden projection are saved contiguously.
#[derive(Clone, Debug)]
pub struct GateBlock {
    /// The gates.
    pub gates: Range<usize>,
    /// The position of the first of them among the `SAVED` blocks.
    pub saved: usize,
}

/// Where a step writes the next states.
#[derive(Debug)]
pub struct NextState<'a, T> {
    /// `h`, `[rows, H]`.
    pub hidden: &'a mut [T],
    /// Numbers from one row of `h` to the next.
    pub hidden_stride: usize,
    /// `c`, `[rows, H]` without gaps; empty for a GRU.
    pub cell: &'a mut [T],
}

/// The state of a recurrent layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<X> {
    /// `h`, the output of the layer.
    pub hidden: X,
    /// `c`, the internal state of an LSTM; empty for a GRU.
    pub cell: X,
}

impl<X> State<X> {
    /// Applies a function to each vector.
    pub fn map<Y>(self, mut f: impl FnMut(X) -> Y) -> State<Y> {
        State {
            hidden: f(self.hidden),
            cell: f(self.cell),
        }
    }

    /// A reference to each vector.
    pub fn each_ref(&self) -> State<&X> {
        State {
            hidden: &self.hidden,
            cell: &self.cell,
        }
    }

    /// A mutable reference to each vector.
    pub fn each_mut(&mut self) -> State<&mut X> {
        State {
            hidden: &mut self.hidden,
            cell: &mut self.cell,
        }
    }

    /// `h`, then `c`.
    pub fn into_array(self) -> [X; 2] {
        [self.hidden, self.cell]
    }
}

/// The parameters of one layer and direction as slices, with the shapes of [`RecurrentWeights`].
#[derive(Clone, Copy, Debug)]
pub struct RecurrentParams<'a, T> {
    /// `[G·H, I]`.
    pub weight_ih: &'a [T],
    /// `[G·H, H]`.
    pub weight_hh: &'a [T],
    /// `[G·H]`.
    pub bias_ih: &'a [T],
    /// `[G·H]`.
    pub bias_hh: &'a [T],
}

impl<T> RecurrentParams<'_, T> {
    /// The width of the state, `H`.
    pub fn units(&self) -> usize {
        let gates = self.bias_hh.len();
        self.weight_hh.len().checked_div(gates).unwrap_or(0)
    }

    /// The width of the input, `I`.
    pub fn inputs(&self) -> usize {
        let gates = self.bias_ih.len();
        self.weight_ih.len().checked_div(gates).unwrap_or(0)
    }
}

/// Where the gradients of [`RecurrentParams`] are written.
#[derive(Debug)]
pub struct RecurrentGrads<'a, T> {
    /// `[G·H, I]`.
    pub weight_ih: &'a mut [T],
    /// `[G·H, H]`.
    pub weight_hh: &'a mut [T],
    /// `[G·H]`.
    pub bias_ih: &'a mut [T],
    /// `[G·H]`.
    pub bias_hh: &'a mut [T],
}

/// The parameters of one layer and direction, with the names and gate order of `torch.nn.GRU`
/// (`G` = 3: r, z, n) and `torch.nn.LSTM` (`G` = 4: i, f, g, o).
#[derive(Clone, Debug)]
pub struct RecurrentWeights {
    /// `[G·H, I]`.
    pub weight_ih: Tensor,
    /// `[G·H, H]`.
    pub weight_hh: Tensor,
    /// `[G·H]`.
    pub bias_ih: Tensor,
    /// `[G·H]`; not redundant, because a GRU multiplies the part for n by the reset gate.
    pub bias_hh: Tensor,
}

impl RecurrentWeights {
    /// All weights, in the order of their declaration.
    pub(crate) fn all(&self) -> [&Tensor; 4] {
        [
            &self.weight_ih,
            &self.weight_hh,
            &self.bias_ih,
            &self.bias_hh,
        ]
    }

    /// Returns an error unless the weights fit a cell with this number of gates and `input [.., I]`.
    pub(crate) fn check(&self, gates: usize, input: &Tensor) -> Result<()> {
        let (inputs, units) = (input.dim(D::Minus1)?, self.weight_hh.dim(1)?);
        let rows = gates * units;
        for (weight, shape) in [
            (&self.weight_ih, &[rows, inputs][..]),
            (&self.weight_hh, &[rows, units]),
            (&self.bias_ih, &[rows]),
            (&self.bias_hh, &[rows]),
        ] {
            if weight.dims() != shape {
                let got = weight.dims();
                bail!("expected a weight of shape {shape:?} ({gates} gates), got {got:?}");
            }
        }
        Ok(())
    }
}

/// Returns an error unless a state's vector is `[B, H]`, for an `input [B, ..]`.
pub(crate) fn check_state(
    state: &Tensor,
    weights: &RecurrentWeights,
    input: &Tensor,
) -> Result<()> {
    let shape = [input.dim(0)?, weights.weight_hh.dim(1)?];
    if state.dims() != shape {
        let got = state.dims();
        bail!("expected an initial state of shape {shape:?}, got {got:?}");
    }
    Ok(())
}

/// What the forward pass of a layer saves beside the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Save {
    /// The gates of all positions, for the backward pass.
    Gates,
    /// Nothing: there is no backward pass.
    Nothing,
}

/// The order in which a recurrent layer reads a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first position to the last real position.
    Forward,
    /// From the last real position to the first.
    Backward,
}

impl Direction {
    /// The position that is read at `step`, of `len` steps.
    pub(crate) fn position(self, step: usize, len: usize) -> usize {
        match self {
            Self::Forward => step,
            Self::Backward => len - 1 - step,
        }
    }

    /// The position that is read last in a row with `len` real positions.
    pub(crate) fn last(self, len: usize) -> Option<usize> {
        match self {
            Self::Forward => len.checked_sub(1),
            Self::Backward => (len > 0).then_some(0),
        }
    }
}

/// gate = σ(input + hidden)
#[inline(always)]
pub(crate) fn sigmoid_of_sum<T: Real>(gate: &mut [T], input: &[T], hidden: &[T]) {
    for ((gate, &input), &hidden) in gate.iter_mut().zip(input).zip(hidden) {
        *gate = (input + hidden).sigmoid();
    }
}
