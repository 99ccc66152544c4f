//! What the recurrent layers share: the loop over ragged rows, both directions of it, and the
//! products of each weight; the [`Cell`] adds its equations.
//!
//! ```text
//! gates    = (W_ih x + b_ih, W_hh h + b_hh)     both shares [G·H], added up by the cell
//! state[s] = cell(gates[s], state[s-1])         h, and for some cells a c beside it
//! ```
//!
//! The parts: [`weights`] packs a cell's weights and has their products; [`layer`] is one direction
//! over whole rows, [`pass`] its loops; [`bidirectional`] two of them; [`operator`] makes a candle
//! operator of it. A decoder has a loop of its own, over the same cells.

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

use crate::real::{Matrix, Real};

/// A recurrent cell: how many gates it has, and its elementwise equations with their derivatives.
///
/// A step runs over some rows of a batch, of which the `active` ones are real; the others keep
/// their state's gradient and get derivatives of 0. What it saves, `gates [rows, SAVED·H]` with rows
/// [`gates_stride`](Self::gates_stride) apart, the backward step turns in place into derivatives: the
/// first `GATES` of them by the input's share of the gates, those named by [`STATE_SHARE`](Self::STATE_SHARE)
/// by the state's share.
pub trait Cell: Copy + Debug + Default + Send + Sync + 'static {
    /// Gates, `G`.
    const GATES: usize;
    /// Numbers that a step saves of each unit.
    const SAVED: usize;
    /// Vectors of the state beside `h`: 0, or 1 for a cell that has a `c`.
    const CELL_STATES: usize;
    /// Where the derivatives by the state's share of all gates stand, in the order of the gates, without
    /// a gap from the first to the last.
    const STATE_SHARE: &'static [GateBlock];

    /// Numbers from the saved ones of one row to those of the next. Rows whose distance is a
    /// multiple of 4 KiB would compete for the same few places of the nearest cache.
    fn gates_stride(units: usize) -> usize {
        const CACHE_LINE: usize = 16;
        Self::SAVED * units + CACHE_LINE
    }

    /// The next states of the `active` rows, from both shares of their gates `[rows, G·H]`; rows of
    /// the next `h` are `stride` apart.
    fn forward<T: Real>(
        active: &[usize],
        input_gates: Matrix<'_, T>,
        hidden_gates: Matrix<'_, T>,
        before: State<Matrix<'_, T>>,
        gates: &mut [T],
        after: State<&mut [T]>,
        stride: usize,
    );

    /// From the gradient of the states after a step to what reaches those before it directly, not
    /// through their share of the gates: `d_state`, in place.
    fn backward<T: Real>(
        active: &[usize],
        before: State<Matrix<'_, T>>,
        cell_after: Matrix<'_, T>,
        gates: &mut [T],
        d_state: State<&mut [T]>,
    );
}

/// Neighboring gates whose derivatives by the state's share stand side by side.
#[derive(Clone, Debug)]
pub struct GateBlock {
    /// The gates.
    pub gates: Range<usize>,
    /// Where the derivative of the first stands among the saved numbers.
    pub saved: usize,
}

/// The state of a recurrent layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<X> {
    /// `h`, which others read.
    pub hidden: X,
    /// `c`, which an LSTM keeps to itself; empty for a GRU.
    pub cell: X,
}

impl<X> State<X> {
    /// The same of each vector.
    pub fn map<Y>(self, mut of: impl FnMut(X) -> Y) -> State<Y> {
        State {
            hidden: of(self.hidden),
            cell: of(self.cell),
        }
    }

    /// Each vector, to read.
    pub fn each_ref(&self) -> State<&X> {
        State {
            hidden: &self.hidden,
            cell: &self.cell,
        }
    }

    /// Each vector, to write.
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

/// The parameters of one layer and direction as slices, in the shapes of [`RecurrentWeights`].
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
    /// Units of the state, `H`.
    pub fn units(&self) -> usize {
        let gates = self.bias_hh.len();
        self.weight_hh.len().checked_div(gates).unwrap_or(0)
    }

    /// Units of the input, `I`.
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

/// The parameters of one layer and direction, with the names and the gate order of `torch.nn.GRU`
/// (`G` = 3: r, z, n) and `torch.nn.LSTM` (`G` = 4: i, f, g, o).
#[derive(Clone, Debug)]
pub struct RecurrentWeights {
    /// `[G·H, I]`.
    pub weight_ih: Tensor,
    /// `[G·H, H]`.
    pub weight_hh: Tensor,
    /// `[G·H]`.
    pub bias_ih: Tensor,
    /// `[G·H]`; a GRU multiplies its part for n by the reset gate, so it is not redundant.
    pub bias_hh: Tensor,
}

impl RecurrentWeights {
    /// The input and the weights that it meets.
    pub(crate) fn with<'a>(&'a self, input: &'a Tensor) -> [&'a Tensor; 5] {
        [
            input,
            &self.weight_ih,
            &self.weight_hh,
            &self.bias_ih,
            &self.bias_hh,
        ]
    }

    /// Refuses weights that are not of a cell with so many `gates` that reads `input [.., I]`.
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
    pub(crate) fn position(self, step: usize, len: usize) -> usize {
        match self {
            Self::Forward => step,
            Self::Backward => len - 1 - step,
        }
    }

    /// The position that is read last in a row of `len` real ones.
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
