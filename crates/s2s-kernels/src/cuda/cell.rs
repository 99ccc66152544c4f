//! Recurrent cells on the device: one step of a layer.

#![expect(unsafe_code, reason = "passes a struct to kernels")]

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};

use super::queue::{Argument, Buffer, Queue, View, each, launch};

/// The kind of recurrent cell; see [`gru`](crate::gru()) and [`lstm`](crate::lstm()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrentCell {
    /// Gated recurrent unit.
    Gru,
    /// Long short-term memory.
    Lstm,
}

impl RecurrentCell {
    /// Gates, `G`.
    pub fn gates(self) -> usize {
        match self {
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    pub(super) fn has_cell(self) -> bool {
        self == Self::Lstm
    }
}

/// The parameters of a layer in one direction, or where their gradients go: `weight_ih [G H, I]`,
/// `weight_hh [G H, H]`, and biases `[G H]`.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names of torch.nn.GRU")]
pub struct RecurrentViews<'a> {
    pub weight_ih: View<'a, f32>,
    pub weight_hh: View<'a, f32>,
    pub bias_ih: View<'a, f32>,
    pub bias_hh: View<'a, f32>,
}

/// Widths and lengths of a layer, as `kernels/recurrent.cu` defines them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Layer {
    pub(super) batch: i32,
    pub(super) units: i32,
    pub(super) directions: i32,
    pub(super) len: i32,
    pub(super) hidden_stride: i32,
    pub(super) state_stride: i32,
    pub(super) output_stride: i32,
}

// SAFETY: seven integers, as in the kernel's struct.
unsafe impl DeviceRepr for Layer {}

/// A step of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerStep<'a> {
    pub(super) cell: RecurrentCell,
    pub(super) layer: Layer,
    pub(super) step: usize,
    /// Of the rows, `[B]`, if they are ragged.
    pub(super) lengths: Option<View<'a, u32>>,
}

impl LayerStep<'_> {
    fn grid(&self) -> LaunchConfig {
        each((self.layer.batch * self.layer.directions * self.layer.units) as usize)
    }
}

impl Argument for Layer {
    type Passed = Self;
    fn to_kernel(self) -> Self {
        self
    }
}

/// What a layer's steps compute and keep for the backward pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Saved {
    /// `[S, B, directions G H]`, by position: the input projection, then the gates, then the gradient of
    /// the input projection.
    pub(super) gates: Buffer<f32>,
    /// `[S, B, hidden_stride]`, by step: the hidden projection, then its gradient.
    pub(super) hidden: Buffer<f32>,
    /// `[S + 1, B, directions H]`, by step: the cell states of an LSTM.
    pub(super) cells: Buffer<f32>,
    /// `[B, directions H]`: the gradient of the state.
    pub(super) d_state: Buffer<f32>,
    /// `[B, directions H]`: the gradient of the cell state.
    pub(super) d_cell: Buffer<f32>,
}

impl Saved {
    pub(super) fn resize(
        &mut self,
        queue: &Queue,
        cell: RecurrentCell,
        layer: &Layer,
    ) -> Result<()> {
        let size = |n: i32| usize::try_from(n).expect("a size is not negative");
        let (batch, steps) = (size(layer.batch), size(layer.len));
        let width = size(layer.directions) * size(layer.units);
        self.gates
            .resize(queue, steps * batch * cell.gates() * width)?;
        self.hidden
            .resize(queue, steps * batch * size(layer.hidden_stride))?;
        self.d_state.resize(queue, batch * width)?;
        if cell.has_cell() {
            self.cells.resize(queue, (steps + 1) * batch * width)?;
            self.d_cell.resize(queue, batch * width)?;
        }
        Ok(())
    }

    /// The states `[S + 1, B, state_stride]` after a step, from both projections.
    pub(super) fn forward(
        &self,
        queue: &Queue,
        at: LayerStep<'_>,
        biases: [View<'_, f32>; 2],
        states: View<'_, f32>,
        (output, mask): (Option<View<'_, f32>>, Option<View<'_, f32>>),
    ) -> Result<()> {
        let LayerStep {
            cell,
            layer,
            step,
            lengths,
        } = at;
        let grid = at.grid();
        let [bias_ih, bias_hh] = biases;
        let (gates, hidden) = (self.gates.all(), self.hidden.all());
        match cell {
            RecurrentCell::Gru => launch!(
                queue, GruForward, grid, layer, step, lengths, bias_ih, bias_hh, gates, hidden,
                states, output, mask,
            ),
            RecurrentCell::Lstm => launch!(
                queue,
                LstmForward,
                grid,
                layer,
                step,
                lengths,
                bias_ih,
                bias_hh,
                gates,
                hidden,
                states,
                self.cells.all(),
                output,
                mask,
            ),
        }
    }

    /// The gradients of both projections at a step, and `d_state` and `d_cell` without what flows through
    /// the hidden projection.
    pub(super) fn backward(
        &self,
        queue: &Queue,
        at: LayerStep<'_>,
        states: View<'_, f32>,
        (d_output, mask): (Option<View<'_, f32>>, Option<View<'_, f32>>),
    ) -> Result<()> {
        let LayerStep {
            cell,
            layer,
            step,
            lengths,
        } = at;
        let grid = at.grid();
        let (gates, hidden, d_state) = (self.gates.all(), self.hidden.all(), self.d_state.all());
        match cell {
            RecurrentCell::Gru => launch!(
                queue,
                GruBackward,
                grid,
                layer,
                step,
                lengths,
                gates,
                hidden,
                states,
                d_state,
                d_output,
                mask,
            ),
            RecurrentCell::Lstm => launch!(
                queue,
                LstmBackward,
                grid,
                layer,
                step,
                lengths,
                gates,
                hidden,
                self.cells.all(),
                d_state,
                self.d_cell.all(),
                d_output,
                mask,
            ),
        }
    }
}
