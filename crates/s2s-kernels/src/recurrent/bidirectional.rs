//! A layer that reads every row in both directions.

use super::layer::{Columns, RecurrentBatch, RecurrentLayer, RecurrentStates};
use super::{Cell, Direction, RecurrentGrads, RecurrentParams, State};
use crate::real::{Output, Real};
use crate::team::Team;

/// Two [`RecurrentLayer`]s side by side: the forward one's states are the first half of each row's, the
/// backward one's the second.
#[derive(Clone, Debug)]
pub struct Bidirectional<T: Real, C> {
    layers: [RecurrentLayer<T, C>; 2],
}

/// What the backward pass of a [`Bidirectional`] reads.
#[derive(Clone, Copy, Debug)]
pub struct BidirectionalStates<'a, T> {
    /// What the forward pass wrote, `[S, B, 2H]`.
    pub states: &'a [T],
    /// Its gradient.
    pub d_states: &'a [T],
    /// The gradient of the last states, `[B, 2H]` each.
    pub d_ends: State<&'a [T]>,
}

impl<T: Real, C: Cell> Default for Bidirectional<T, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real, C: Cell> Bidirectional<T, C> {
    /// Without weights: [`pack`](Self::pack) comes first.
    pub fn new() -> Self {
        Self {
            layers: [Direction::Forward, Direction::Backward].map(RecurrentLayer::new),
        }
    }

    /// Packs the weights of both directions, and projects the words `[V, I]` that they are to read,
    /// of which there may be none; once after each change of them.
    pub fn pack(&mut self, params: [RecurrentParams<'_, T>; 2], words: &[T]) {
        for (layer, params) in self.layers.iter_mut().zip(params) {
            layer.pack(params, words);
        }
    }

    /// The states of every row, `[S, B, 2H]`, 0 where padded; and in `ends`, `[B, 2H]`
    /// each, those after the last position that each direction reads.
    pub fn forward(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        states: &mut [T],
        mut ends: State<&mut [T]>,
        team: &mut Team<T>,
    ) {
        let width = ends.hidden.len() / batch.lengths.len().max(1);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let columns = half(index, width);
            layer.forward(batch, states, columns, team);
            let ends = ends.each_mut().map(|all| &mut **all);
            layer.last(batch.lengths, (states, columns), (ends, columns));
        }
    }

    /// The gradients of the weights and the input; consumes what the forward pass kept.
    ///
    /// `d_input` is of the input's shape, or of the embedding's, and is replaced.
    pub fn backward(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        seen: BidirectionalStates<'_, T>,
        d_input: &mut [T],
        grads: &mut [RecurrentGrads<'_, T>; 2],
        team: &mut Team<T>,
    ) {
        let rows = batch.lengths.len();
        let width = seen.d_ends.hidden.len() / rows.max(1);
        let outputs = [Output::Replace, Output::Add];
        let parts = self.layers.iter_mut().zip(grads).zip(outputs);
        for (index, ((layer, grads), output)) in parts.enumerate() {
            let columns = half(index, width);
            let d_last = seen.d_ends.map(|all| {
                let width = all.len() / rows.max(1);
                half(index, width).of(all, rows, width / 2)
            });
            let states = RecurrentStates {
                states: seen.states,
                d_states: seen.d_states,
                columns,
                d_last,
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
