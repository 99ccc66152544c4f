//! One forward step of some rows: attention, cells, logits.

use super::{Connections, DecoderSizes};
use crate::activation::tanh_in_place;
use crate::attention::kernel::{Memory, Scorer, Step, weigh};
use crate::linear::Linear;
use crate::matrix::{Epilogue, Matrix, padded_stride};
use crate::real::Real;
use crate::recurrent::weights::CellWeights;
use crate::recurrent::{Cell, NextState, State};
use crate::table::{add_row, gather};

/// The packed weights of a decoder.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights<T: Real, C> {
    pub(super) sizes: DecoderSizes,
    /// `[V, E]`.
    pub(super) embedding: Vec<T>,
    /// `E -> G·D`: layer 0's columns for the embedding.
    pub(super) token: Linear<T>,
    /// `token(embedding) + b_ih`, `[V, G·D]`.
    pub(super) table: Vec<T>,
    /// The input of layer 0 is what is fed beside the embedding.
    pub(super) cells: Vec<CellWeights<T, C>>,
    pub(super) connections: Connections<T>,
    /// `D + C -> D`, with input feeding.
    pub(super) attentional: Option<Attentional<T>>,
    /// `D + C -> V`, with input feeding `D -> V`.
    pub(super) output: Linear<T>,
    pub(super) output_bias: Vec<T>,
}

/// The map to the attentional vector.
#[derive(Clone, Debug, Default)]
pub(super) struct Attentional<T: Real> {
    pub(super) linear: Linear<T>,
    pub(super) bias: Vec<T>,
}

/// The input of layer 0 in addition to what is fed.
#[derive(Clone, Copy, Debug)]
pub(super) enum TokenInput<'a, T> {
    /// Token ids, looked up in the projected embedding.
    Ids(&'a [u32]),
    /// Embeddings `[rows, E]` after dropout.
    Embeddings(&'a [T]),
}

/// Working memory for both projections of a step, `[rows, G·D]` each.
pub(super) struct Projections<'a, T> {
    pub(super) input: &'a mut [T],
    pub(super) hidden: &'a mut [T],
}

impl<T: Real, C: Cell> Weights<T, C> {
    /// The tokens' part of layer 0's input projection, `[rows, G·D]`. The caller adds the part of what is
    /// fed, with [`fed_weight`](Self::fed_weight).
    pub(super) fn token_gates(&self, tokens: TokenInput<'_, T>, out: &mut [T]) {
        let cell = &self.cells[0];
        let cols = cell.gates();
        match tokens {
            TokenInput::Ids(ids) => gather(out, &self.table, cols, ids.iter().copied()),
            TokenInput::Embeddings(embeddings) => {
                let embeddings = Matrix::dense(embeddings, out.len() / cols, self.sizes.embedding);
                let bias = Epilogue::Bias(&cell.bias_ih);
                self.token.forward(embeddings, out, cols, bias);
            }
        }
    }

    /// Layer 0's columns for what is fed beside the embedding, the context or the vector.
    pub(super) fn fed_weight(&self) -> &Linear<T> {
        &self.cells[0].input
    }

    /// The input projection of a layer above the first, from the states of the layer below.
    pub(super) fn input_gates(&self, layer: usize, below: Matrix<'_, T>, out: &mut [T]) {
        let cell = &self.cells[layer];
        let bias = Epilogue::Bias(&cell.bias_ih);
        cell.input.forward(below, out, cell.gates(), bias);
    }

    /// Advances a layer by one step, from its previous states and its input projection.
    pub(super) fn advance(
        &self,
        layer: usize,
        active: &[usize],
        previous: State<Matrix<'_, T>>,
        projections: &mut Projections<'_, T>,
        gates: &mut [T],
        next: NextState<'_, T>,
    ) {
        let (cell, rows) = (&self.cells[layer], previous.hidden.rows);
        cell.hidden_gates(previous.hidden, projections.hidden);
        let input = Matrix::dense(&*projections.input, rows, cell.gates());
        let hidden = Matrix::dense(&*projections.hidden, rows, cell.gates());
        C::forward(active, input, hidden, previous, gates, next);
    }

    /// Replaces the states `h [rows, D]` of a layer below the top by its output `y`, from the output of
    /// the layer below it. Fills `saved` if there is a normalization.
    pub(super) fn connect(
        &self,
        layer: usize,
        h: &mut [T],
        below: Option<&[T]>,
        saved: Option<&mut [T]>,
    ) {
        if let (true, Some(below)) = (self.connections.residual, below) {
            add_row(h, below);
        }
        if let (Some(norm), Some(saved)) = (self.connections.norms.get(layer), saved) {
            norm.forward(h, saved);
        }
    }

    /// Adds the output of the layer below the top, `[rows, D]`, to the top layer's states in `features`.
    pub(super) fn connect_top(&self, features: &mut [T], below: &[T]) {
        let (units, stride) = (self.sizes.units, features_stride(self.sizes));
        let features = features.chunks_exact_mut(stride);
        for (features, below) in features.zip(below.chunks_exact(units)) {
            add_row(&mut features[..units], below);
        }
    }

    /// From `features [rows, D + C]`, the top layer's output and the contexts, to `logits [rows, V]`, and to
    /// the vectors `[rows, D]` with input feeding.
    pub(super) fn logits(&self, features: Matrix<'_, T>, vectors: &mut [T], logits: &mut [T]) {
        let mut read = features;
        if let Some(Attentional { linear, bias }) = &self.attentional {
            let units = self.sizes.units;
            linear.forward(features, vectors, units, Epilogue::Bias(bias));
            tanh_in_place(vectors);
            read = Matrix::dense(vectors, features.rows, units);
        }
        let bias = Epilogue::Bias(&self.output_bias);
        self.output.forward(read, logits, self.sizes.vocab, bias);
    }
}

/// The attention weights `[rows, S]` of a step, and the context `[rows, width]` with rows `stride`
/// apart.
pub(super) fn attend<T: Real>(
    scorer: &dyn Scorer<T>,
    step: Step<'_, T>,
    saved: &mut [T],
    weights: &mut [T],
    context: &mut [T],
    stride: usize,
    width: usize,
) {
    scorer.scores(step, saved, weights);
    let Step { memory, rows, .. } = step;
    weigh(memory, rows, weights, context, stride, width);
}

/// Numbers from one row of features to the next: `D + C` plus padding.
pub(super) fn features_stride(sizes: DecoderSizes) -> usize {
    padded_stride(sizes.units + sizes.values)
}

/// Copies the states in `features`, `[rows, D]`: the attention of input feeding writes its contexts beside
/// them.
pub(super) fn copy_states<T: Copy>(features: &[T], sizes: DecoderSizes, states: &mut [T]) {
    let features = features.chunks_exact(features_stride(sizes));
    for (state, features) in states.chunks_exact_mut(sizes.units).zip(features) {
        state.copy_from_slice(&features[..sizes.units]);
    }
}

/// `[rows, D + C]`.
pub(super) fn features_matrix<T>(
    features: &[T],
    sizes: DecoderSizes,
    rows: usize,
) -> Matrix<'_, T> {
    Matrix {
        data: features,
        cols: sizes.units + sizes.values,
        stride: features_stride(sizes),
        rows,
    }
}

pub(super) fn assert_memory<T>(memory: Memory<'_, T>, sizes: DecoderSizes) {
    let positions = memory.len * memory.batch();
    assert_eq!(
        memory.values.len(),
        positions * sizes.values,
        "values must be [B, S, C]"
    );
    assert!(
        memory.lengths.iter().all(|&length| length <= memory.len),
        "a row is longer than the memory"
    );
}
