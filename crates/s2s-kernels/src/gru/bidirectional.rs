//! A layer that reads every row in both directions.

use super::kernel::{Columns, GruBatch, GruLayer, GruStates};
use super::{Direction, GruGrads, GruParams};
use crate::real::{Matrix, Output, Real};
use crate::team::Team;

/// Two [`GruLayer`]s side by side: the forward one's states are the first half of each row's, the
/// backward one's the second.
#[derive(Clone, Debug)]
pub struct Bidirectional<T: Real> {
    layers: [GruLayer<T>; 2],
}

/// What the backward pass of a [`Bidirectional`] reads.
#[derive(Clone, Copy, Debug)]
pub struct BidirectionalStates<'a, T> {
    /// What the forward pass wrote, `[S, B, 2H]`.
    pub states: &'a [T],
    /// Its gradient.
    pub d_states: &'a [T],
    /// The gradient of the last states, `[B, 2H]`.
    pub d_ends: &'a [T],
}

impl<T: Real> Default for Bidirectional<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> Bidirectional<T> {
    /// Without weights: [`pack`](Self::pack) comes first.
    pub fn new() -> Self {
        Self {
            layers: [Direction::Forward, Direction::Backward].map(GruLayer::new),
        }
    }

    /// Packs the weights of both directions; once after each change of them.
    pub fn pack(&mut self, params: [GruParams<'_, T>; 2]) {
        for (layer, params) in self.layers.iter_mut().zip(params) {
            layer.pack(params);
        }
    }

    /// The states of every row, `[S, B, 2H]`, 0 where padded; and in `ends [B, 2H]` those after the
    /// last position that each direction reads.
    pub fn forward(
        &mut self,
        batch: GruBatch<'_, T>,
        states: &mut [T],
        ends: &mut [T],
        team: &mut Team<T>,
    ) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let columns = half(index, ends.len() / batch.lengths.len().max(1));
            layer.forward(batch, states, columns, team);
            layer.last(batch.lengths, (states, columns), (ends, columns));
        }
    }

    /// The gradients of the weights and the input; consumes what the forward pass kept.
    ///
    /// `d_input` is of the input's shape, or of the embedding's, and is replaced.
    pub fn backward(
        &mut self,
        batch: GruBatch<'_, T>,
        seen: BidirectionalStates<'_, T>,
        d_input: &mut [T],
        grads: &mut [GruGrads<'_, T>; 2],
        team: &mut Team<T>,
    ) {
        let rows = batch.lengths.len();
        let width = seen.d_ends.len() / rows.max(1);
        let outputs = [Output::Replace, Output::Add];
        let parts = self.layers.iter_mut().zip(grads).zip(outputs);
        for (index, ((layer, grads), output)) in parts.enumerate() {
            let columns = half(index, width);
            let d_ends = Matrix::dense(seen.d_ends, rows, width);
            let states = GruStates {
                states: seen.states,
                d_states: seen.d_states,
                columns,
                d_last: d_ends.columns(columns.first, width / 2),
            };
            layer.backward(batch, states, d_input, output, grads, team);
        }
    }
}

fn half(index: usize, width: usize) -> Columns {
    Columns {
        first: index * (width / 2),
        stride: width,
    }
}
