//! A recurrent layer that reads every row in both directions.

use super::batch::{Columns, RecurrentBatch, RecurrentStates};
use super::layer::RecurrentLayer;
use super::{Cell, Direction, RecurrentGrads, RecurrentParams, Save, State};
use crate::matrix::Epilogue;
use crate::real::Real;
use crate::team::Team;

/// A forward and a backward layer: the first half of each state belongs to the forward layer, the
/// second half to the backward layer.
#[derive(Clone, Debug)]
pub struct Bidirectional<T: Real, C> {
    layers: [RecurrentLayer<T, C>; 2],
}

/// The states of a [`Bidirectional`] layer and the gradients that reach them, for the backward pass.
#[derive(Clone, Copy, Debug)]
pub struct BidirectionalStates<'a, T> {
    /// The states that the forward pass wrote, `[S, B, 2H]`.
    pub states: &'a [T],
    /// Their gradient.
    pub d_states: &'a [T],
    /// The gradient of the last states, `[B, 2H]` each.
    pub d_last: State<&'a [T]>,
}

impl<T: Real, C: Cell> Default for Bidirectional<T, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real, C: Cell> Bidirectional<T, C> {
    /// A layer without weights; call [`pack`](Self::pack) before use.
    pub fn new() -> Self {
        Self {
            layers: [Direction::Forward, Direction::Backward].map(RecurrentLayer::new),
        }
    }

    /// Packs the weights of both directions and projects the embedding `[V, I]`, which is empty unless
    /// the layer reads token ids. Call it after each change of the parameters.
    pub fn pack(&mut self, params: [RecurrentParams<'_, T>; 2], embedding: &[T]) {
        for (layer, params) in self.layers.iter_mut().zip(params) {
            layer.pack(params, embedding);
        }
    }

    /// The batch has no initial state.
    ///
    /// Writes the states of every row, `[S, B, 2H]`, 0 where padded, and to `last`, `[B, 2H]` each, the
    /// states after the last position that each direction reads. [`backward`](Self::backward) needs
    /// what [`Save::Gates`] saves.
    pub fn forward(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        states: &mut [T],
        mut last: State<&mut [T]>,
        save: Save,
        team: &mut Team<T>,
    ) {
        let width = last.hidden.len() / batch.lengths.len().max(1);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let columns = half(index, width);
            layer.forward(batch, states, columns, save, team);
            let last = last.each_mut().map(|all| &mut **all);
            layer.last(batch, states, columns, last, columns);
        }
    }

    /// The gradients of the weights and of the input. Overwrites what the forward pass saved.
    ///
    /// `d_input` has the shape of the input, or of the embedding if the input is token ids; it is
    /// replaced.
    pub fn backward(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        states: BidirectionalStates<'_, T>,
        d_input: &mut [T],
        grads: &mut [RecurrentGrads<'_, T>; 2],
        team: &mut Team<T>,
    ) {
        let rows = batch.lengths.len();
        let width = states.d_last.hidden.len() / rows.max(1);
        let epilogues = [Epilogue::Replace, Epilogue::Add];
        let parts = self.layers.iter_mut().zip(grads).zip(epilogues);
        for (index, ((layer, grads), epilogue)) in parts.enumerate() {
            let columns = half(index, width);
            let d_last = states.d_last.map(|all| {
                let width = all.len() / rows.max(1);
                half(index, width).of(all, rows, width / 2)
            });
            let states = RecurrentStates {
                states: states.states,
                d_states: states.d_states,
                columns,
                d_last,
            };
            layer.backward(batch, states, d_input, epilogue, grads, team);
        }
    }
}

fn half(index: usize, width: usize) -> Columns {
    Columns {
        first: index * (width / 2),
        stride: width,
    }
}
