//! The gradients of a decoder's parameters, each one product over all steps.

use super::kernel::Decoder;
use super::step::features_stride;
use super::{DecoderDropout, DecoderGrads, DecoderSizes};
use crate::linear::{bias_gradient, weight_gradient};
use crate::real::{Matrix, Output, Real};
use crate::recurrent::weights::{bias_gradients, gates_matrix, hidden_gradients};
use crate::recurrent::{Cell, RecurrentGrads};
use crate::table::{multiply_by, scatter_add};
use crate::team::{Team, sized};

impl<T: Real, C: Cell> Decoder<T, C> {
    pub(super) fn gradients(
        &mut self,
        dropout: &DecoderDropout<'_, T>,
        mut grads: DecoderGrads<'_, T>,
        scorer_grads: &mut [&mut [T]],
        team: &mut Team<T>,
    ) {
        let DecoderSizes {
            vocab,
            embedding,
            units,
            values,
            layers,
        } = self.weights.sizes;
        let rows = self.rows();
        let d_logits = Matrix::dense(&self.trace.logits, rows, vocab);
        let weight = grads.output_weight;
        let features = self.features(1);
        weight_gradient(
            weight,
            units + values,
            d_logits,
            features,
            Output::Replace,
            team,
        );
        bias_gradient(grads.output_bias, d_logits, team);

        for layer in 0..layers {
            let d_gates = gates_matrix::<C, T>(&self.trace.gates[layer], units, rows);
            let grads = &mut grads.layers[layer];
            hidden_gradients::<T, C>(d_gates, self.states(layer, 0), grads, team);
            bias_gradients::<T, C>(d_gates, grads, team);
            let d_gates = d_gates.columns(0, C::GATES * units);
            let (weight, stride, input) = match layer {
                0 => {
                    let context = features.columns(units, values);
                    (
                        &mut grads.weight_ih[embedding..],
                        embedding + values,
                        context,
                    )
                }
                _ => (&mut *grads.weight_ih, units, self.layer_input(layer)),
            };
            weight_gradient(weight, stride, d_gates, input, Output::Replace, team);
        }
        self.word_gradients(dropout, grads.embedding, &mut grads.layers[0], team);

        let width = self.scorer.kept(self.trace.source_len);
        let kept = Matrix::dense(&self.trace.kept, rows, width);
        let sums = Matrix::dense(&self.sums, self.trace.batch, self.scorer.sums());
        let states = self.states(layers - 1, 0);
        self.scorer
            .gradients(kept, states, sums, scorer_grads, team);
    }

    /// Of the embedding, and of layer 0's columns for it.
    fn word_gradients(
        &mut self,
        dropout: &DecoderDropout<'_, T>,
        d_embedding: &mut [T],
        grads: &mut RecurrentGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let DecoderSizes {
            vocab,
            embedding: width,
            units,
            values,
            ..
        } = self.weights.sizes;
        let rows = self.rows();
        let d_gates = gates_matrix::<C, T>(&self.trace.gates[0], units, rows);
        let d_gates = d_gates.columns(0, C::GATES * units);
        let tokens = self.trace.tokens.iter().copied();
        let (weight, stride) = (&mut *grads.weight_ih, width + values);
        let Some(mask) = dropout.embedding else {
            // forward: gates = table[token], table = word(embedding)
            let table = sized(&mut self.d_table, vocab * d_gates.cols);
            table.fill(T::ZERO);
            scatter_add(table, d_gates, tokens, team);
            let d_table = Matrix::dense(&*table, vocab, d_gates.cols);
            let words = Matrix::dense(&self.weights.embedding, vocab, width);
            weight_gradient(weight, stride, d_table, words, Output::Replace, team);
            self.weights
                .word
                .backward_on(d_table, d_embedding, Output::Replace, team);
            return;
        };
        // forward: gates = word(words), words = embedding[token] ⊙ mask
        let words = Matrix::dense(&self.trace.words, rows, width);
        weight_gradient(weight, stride, d_gates, words, Output::Replace, team);
        let d_words = sized(&mut self.d_table, rows * width);
        self.weights
            .word
            .backward_on(d_gates, d_words, Output::Replace, team);
        let (batch, len) = (self.trace.batch, self.trace.len);
        for (index, d_word) in d_words.chunks_exact_mut(width).enumerate() {
            let (step, row) = (index / batch, index % batch);
            multiply_by(d_word, &mask[(row * len + step) * width..][..width]);
        }
        d_embedding.fill(T::ZERO);
        scatter_add(
            d_embedding,
            Matrix::dense(&*d_words, rows, width),
            tokens,
            team,
        );
    }

    fn rows(&self) -> usize {
        self.trace.len * self.trace.batch
    }

    /// The features of all steps, before them (`late` 0) or after them (1), `[T·B, D + C]`.
    fn features(&self, late: usize) -> Matrix<'_, T> {
        let sizes = self.weights.sizes;
        Matrix {
            data: &self.trace.features,
            cols: sizes.units + sizes.values,
            stride: features_stride(sizes),
            rows: self.rows() + self.trace.batch,
        }
        .rows(late * self.trace.batch, self.rows())
    }

    /// The states of a layer before (0) or after (1) all steps, `[T·B, D]`.
    fn states(&self, layer: usize, late: usize) -> Matrix<'_, T> {
        let units = self.weights.sizes.units;
        match self.trace.states.get(layer) {
            Some(states) => Matrix::dense(states, self.rows() + self.trace.batch, units)
                .rows(late * self.trace.batch, self.rows()),
            None => self.features(late).columns(0, units),
        }
    }

    /// What a layer above the first reads, `[T·B, D]`.
    fn layer_input(&self, layer: usize) -> Matrix<'_, T> {
        match self.trace.dropped.get(layer - 1) {
            Some(dropped) => Matrix::dense(dropped, self.rows(), self.weights.sizes.units),
            None => self.states(layer - 1, 1),
        }
    }
}
