//! A bidirectional recurrent layer on the device, over all positions of ragged rows.
//!
//! A step of both directions is one pair of products and one kernel.

use std::sync::Arc;

use candle_core::Result;

use super::cell::{Layer, LayerStep, RecurrentCell, RecurrentViews, Saved};
use super::product::{Matrix, Update};
use super::queue::{Buffer, Queue, View, own};
use super::table::{Copies, column_sums};
use crate::State;

/// A bidirectional recurrent layer with its workspace. A clone shares the packed weights.
#[derive(Clone, Debug)]
pub struct Bidirectional {
    cell: RecurrentCell,
    units: usize, // H
    input: usize, // I
    weights: Arc<Weights>,
    states: Buffer<f32>, // [S + 1, B, 2H], by step
    saved: Saved,
    batch: usize,
    len: usize,
}

/// The weights of both directions side by side.
#[derive(Debug, Default)]
struct Weights {
    weight_ih: Buffer<f32>, // [2 G H, I]
    weight_hh: Buffer<f32>, // [2, G H, H]
    bias_ih: Buffer<f32>,   // [2 G H]
    bias_hh: Buffer<f32>,   // [2 G H]
}

impl Bidirectional {
    /// A layer with `units` per direction that reads `input` numbers at each position.
    pub fn new(cell: RecurrentCell, input: usize, units: usize) -> Self {
        Self {
            cell,
            units,
            input,
            weights: Arc::default(),
            states: Buffer::default(),
            saved: Saved::default(),
            batch: 0,
            len: 0,
        }
    }

    /// Numbers of both directions' gates, `2 G H`.
    fn gates(&self) -> usize {
        2 * self.cell.gates() * self.units
    }

    /// Makes room for the packed weights.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn resize_weights(&mut self, queue: &Queue) -> Result<()> {
        let (gates, weights) = (self.gates(), own(&mut self.weights));
        weights.weight_ih.resize(queue, gates * self.input)?;
        weights.weight_hh.resize(queue, gates * self.units)?;
        weights.bias_ih.resize(queue, gates)?;
        weights.bias_hh.resize(queue, gates)
    }

    /// Makes room for a batch of rows padded to `len`.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn resize(&mut self, queue: &Queue, batch: usize, len: usize) -> Result<()> {
        (self.batch, self.len) = (batch, len);
        let states = (len + 1) * batch * 2 * self.units;
        self.saved.resize(queue, self.cell, &self.layer())?;
        self.states.resize(queue, states)
    }

    /// Packs the weights of both directions side by side; to be called after each change of them.
    pub fn pack<'a>(&'a self, weights: [RecurrentViews<'a>; 2], copies: &mut Copies<'a>) {
        for (index, weights) in weights.into_iter().enumerate() {
            let pairs = [
                (&self.weights.weight_ih, weights.weight_ih),
                (&self.weights.weight_hh, weights.weight_hh),
                (&self.weights.bias_ih, weights.bias_ih),
                (&self.weights.bias_hh, weights.bias_hh),
            ];
            for (packed, own) in pairs {
                copies.push(packed.all().part(index, own.len()), own);
            }
        }
    }

    fn layer(&self) -> Layer {
        let int = |n: usize| i32::try_from(n).expect("a size fits 31 bits");
        Layer {
            batch: int(self.batch),
            units: int(self.units),
            directions: 2,
            len: int(self.len),
            hidden_stride: int(self.gates()),
            state_stride: int(2 * self.units),
            output_stride: int(2 * self.units),
        }
    }

    fn step<'a>(&self, step: usize, lengths: View<'a, u32>) -> LayerStep<'a> {
        LayerStep {
            cell: self.cell,
            layer: self.layer(),
            step,
            lengths: Some(lengths),
        }
    }

    /// The states `output [S, B, 2H]`, times `mask [B, S, 2H]` if there is one, from `input [S, B, I]`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward(
        &self,
        queue: &Queue,
        input: View<'_, f32>,
        lengths: View<'_, u32>,
        output: View<'_, f32>,
        mask: Option<View<'_, f32>>,
    ) -> Result<()> {
        let (units, gates, batch) = (self.units, self.gates(), self.batch);
        let positions = self.len * batch;
        let weights = &self.weights;
        let (states, saved) = (self.states.all(), &self.saved);
        let (hidden, step_gates, step_states) =
            (saved.hidden.all(), batch * gates, batch * 2 * units);

        queue.zero(states.range(0..step_states))?;
        if self.cell.has_cell() {
            queue.zero(saved.cells.all().range(0..step_states))?;
        }
        queue.multiply(
            Matrix::dense(input, positions, self.input),
            Matrix::dense(self.weights.weight_ih.all(), gates, self.input).t(),
            Matrix::dense(saved.gates.all(), positions, gates),
            Update::Replace,
        )?;
        let weight_hh = Matrix::dense(weights.weight_hh.all(), gates / 2, units).t();
        let biases = [weights.bias_ih.all(), weights.bias_hh.all()];
        for step in 0..self.len {
            let state = states.part(step, step_states);
            let projected = hidden.part(step, step_gates);
            queue.multiply_pair(
                (Matrix::strided(state, batch, units, 2 * units), units),
                (weight_hh, gates / 2 * units),
                (
                    Matrix::strided(projected, batch, gates / 2, gates),
                    gates / 2,
                ),
                Update::Replace,
            )?;
            let written = (Some(output), mask);
            saved.forward(queue, self.step(step, lengths), biases, states, written)?;
        }
        Ok(())
    }

    /// The last states, `[B, 2H]` each; `cell` is empty for a GRU.
    pub fn last(&self) -> State<View<'_, f32>> {
        let width = self.batch * 2 * self.units;
        let cells = self.saved.cells.all();
        State {
            hidden: self.states.all().part(self.len, width),
            cell: match self.cell.has_cell() {
                true => cells.part(self.len, width),
                false => cells,
            },
        }
    }

    /// Where the caller writes the gradients of the last states before the backward pass.
    pub fn d_last(&self) -> State<View<'_, f32>> {
        State {
            hidden: self.saved.d_state.all(),
            cell: self.saved.d_cell.all(),
        }
    }

    /// The gradients of the parameters and of the input, from those of the output, which `mask` scales as in
    /// the forward pass.
    ///
    /// # Errors
    /// If the device fails.
    pub fn backward(
        &self,
        queue: &Queue,
        input: View<'_, f32>,
        lengths: View<'_, u32>,
        (d_output, mask): (View<'_, f32>, Option<View<'_, f32>>),
        d_input: View<'_, f32>,
        grads: [RecurrentViews<'_>; 2],
    ) -> Result<()> {
        let (units, gates, batch) = (self.units, self.gates(), self.batch);
        let positions = self.len * batch;
        let (states, saved) = (self.states.all(), &self.saved);
        let (hidden, own, step_gates) = (saved.hidden.all(), gates / 2, batch * gates);
        let weight_hh = Matrix::dense(self.weights.weight_hh.all(), own, units);
        for step in (0..self.len).rev() {
            let read = (Some(d_output), mask);
            saved.backward(queue, self.step(step, lengths), states, read)?;
            if step == 0 {
                break; // the state before is 0, whatever the parameters
            }
            let d_projected = hidden.part(step, step_gates);
            // forward: hidden = states W_hh
            queue.multiply_pair(
                (Matrix::strided(d_projected, batch, own, gates), own),
                (weight_hh, own * units),
                (
                    Matrix::strided(saved.d_state.all(), batch, units, 2 * units),
                    units,
                ),
                Update::Add,
            )?;
        }
        let d_gates = Matrix::dense(saved.gates.all(), positions, gates);
        let d_hidden = Matrix::dense(hidden, positions, gates);
        let states = Matrix::dense(states, positions, 2 * units);
        let input = Matrix::dense(input, positions, self.input);
        for (direction, grads) in grads.into_iter().enumerate() {
            let gate_columns = direction * own..(direction + 1) * own;
            let state_columns = direction * units..(direction + 1) * units;
            queue.multiply(
                d_gates.columns(gate_columns.clone()).t(),
                input,
                Matrix::dense(grads.weight_ih, own, self.input),
                Update::Replace,
            )?;
            queue.multiply(
                d_hidden.columns(gate_columns.clone()).t(),
                states.columns(state_columns),
                Matrix::dense(grads.weight_hh, own, units),
                Update::Replace,
            )?;
            let first = gate_columns.start;
            column_sums(
                queue,
                grads.bias_ih,
                saved.gates.all().from(first),
                gates,
                positions,
            )?;
            column_sums(queue, grads.bias_hh, hidden.from(first), gates, positions)?;
        }
        // forward: gates = input W_ih
        queue.multiply(
            d_gates,
            Matrix::dense(self.weights.weight_ih.all(), gates, self.input),
            Matrix::dense(d_input, positions, self.input),
            Update::Replace,
        )
    }
}
