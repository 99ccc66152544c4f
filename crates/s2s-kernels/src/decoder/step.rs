//! One step of some rows, forward: attention, cells, logits.

use super::DecoderSizes;
use crate::attention::kernel::{Memory, Scorer, Step, weigh};
use crate::linear::Linear;
use crate::real::{Matrix, Output, Real};
use crate::recurrent::weights::CellWeights;
use crate::recurrent::{Cell, State};
use crate::table::gather;

/// The weights of a decoder, packed.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights<T: Real, C> {
    pub(super) sizes: DecoderSizes,
    /// `[V, E]`.
    pub(super) embedding: Vec<T>,
    /// `E -> G·D`: layer 0's columns for the embedding.
    pub(super) word: Linear<T>,
    /// `word(embedding) + b_ih`, `[V, G·D]`.
    pub(super) table: Vec<T>,
    /// Layer 0's input is the context alone.
    pub(super) cells: Vec<CellWeights<T, C>>,
    /// `D + C -> V`.
    pub(super) output: Linear<T>,
    pub(super) output_bias: Vec<T>,
}

/// What layer 0 reads beside the context.
#[derive(Clone, Copy, Debug)]
pub(super) enum Words<'a, T> {
    /// The tokens, by their rows of the table.
    Tokens(&'a [u32]),
    /// Their embeddings `[rows, E]`, with some numbers dropped.
    Embeddings(&'a [T]),
}

/// Memory for both shares of the gates, `[rows, G·D]` each.
pub(super) struct Gates<'a, T> {
    pub(super) input: &'a mut [T],
    pub(super) hidden: &'a mut [T],
}

impl<T: Real, C: Cell> Weights<T, C> {
    /// The words' share of layer 0's gates, `[rows, G·D]`; the context's, which
    /// [`context_weight`](Self::context_weight) gives, is to be added.
    pub(super) fn word_gates(&self, words: Words<'_, T>, out: &mut [T]) {
        let cell = &self.cells[0];
        let cols = cell.gates();
        match words {
            Words::Tokens(tokens) => gather(out, &self.table, cols, tokens.iter().copied()),
            Words::Embeddings(words) => {
                let words = Matrix::dense(words, out.len() / cols, self.sizes.embedding);
                self.word
                    .forward(words, out, cols, Output::Bias(&cell.bias_ih));
            }
        }
    }

    /// `C -> G·D`: layer 0's columns for the context.
    pub(super) fn context_weight(&self) -> &Linear<T> {
        &self.cells[0].input
    }

    /// The input's share of the gates of a layer above the first, from the states below.
    pub(super) fn input_gates(&self, layer: usize, below: Matrix<'_, T>, out: &mut [T]) {
        let cell = &self.cells[layer];
        let bias = Output::Bias(&cell.bias_ih);
        cell.input.forward(below, out, cell.gates(), bias);
    }

    /// A layer's states after a step, `[rows, D]` each, from those before and the input's share;
    /// rows of `h` are `stride` apart.
    pub(super) fn advance(
        &self,
        layer: usize,
        active: &[usize],
        before: State<Matrix<'_, T>>,
        shares: &mut Gates<'_, T>,
        gates: &mut [T],
        (after, stride): (State<&mut [T]>, usize),
    ) {
        let (cell, rows) = (&self.cells[layer], before.hidden.rows);
        cell.hidden_gates(before.hidden, shares.hidden);
        let input = Matrix::dense(&*shares.input, rows, cell.gates());
        let hidden = Matrix::dense(&*shares.hidden, rows, cell.gates());
        C::forward(active, input, hidden, before, gates, after, stride);
    }

    /// `features [rows, D + C]`, the top states beside their contexts, to `logits [rows, V]`.
    pub(super) fn logits(&self, features: Matrix<'_, T>, logits: &mut [T]) {
        let bias = Output::Bias(&self.output_bias);
        self.output
            .forward(features, logits, self.sizes.vocab, bias);
    }
}

/// The weights `[rows, S]` and the context `[rows, C]` of a step.
pub(super) fn attend<T: Real>(
    scorer: &dyn Scorer<T>,
    step: Step<'_, T>,
    kept: &mut [T],
    weights: &mut [T],
    (context, stride, width): (&mut [T], usize, usize),
) {
    scorer.scores(step, kept, weights);
    let Step { memory, rows, .. } = step;
    weigh(memory, rows, weights, context, stride, width);
}

/// From one row of features to the next: rows whose distance is a multiple of 4 KiB would compete
/// for the same few places of the nearest cache.
pub(super) fn features_stride(sizes: DecoderSizes) -> usize {
    const CACHE_LINE: usize = 16;
    sizes.units + sizes.values + CACHE_LINE
}

/// `[rows, D + C]`.
pub(super) fn features_matrix<T>(
    features: &[T],
    sizes: DecoderSizes,
    rows: usize,
) -> Matrix<'_, T> {
    let (cols, stride) = (sizes.units + sizes.values, features_stride(sizes));
    Matrix {
        data: features,
        cols,
        stride,
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
