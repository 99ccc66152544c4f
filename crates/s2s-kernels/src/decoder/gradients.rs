//! The gradients of a decoder's parameters; each weight's is one product over all steps.

use super::kernel::Decoder;
use super::step::features_matrix;
use super::trace::BatchSizes;
use super::{AttentionalGrads, DecoderDropout, DecoderGrads, DecoderSizes};
use crate::linear::{bias_gradient, weight_gradient};
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
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
        let sizes = self.weights.sizes;
        let DecoderSizes {
            vocab,
            embedding,
            units,
            values,
            layers,
            input_feeding,
        } = sizes;
        let rows = self.rows();
        let d_logits = Matrix::dense(&self.trace.logits, rows, vocab);
        let (weight, stride) = (grads.output_weight, sizes.read());
        let read = match input_feeding {
            true => self.vectors(1),
            false => self.readout(),
        };
        weight_gradient(weight, stride, d_logits, read, Epilogue::Replace, team);
        bias_gradient(grads.output_bias, d_logits, team);
        if let Some(AttentionalGrads { weight, bias }) = grads.attentional {
            let d_vectors = Matrix::dense(&self.trace.d_vectors, rows, units);
            let (stride, read) = (units + values, self.readout());
            weight_gradient(weight, stride, d_vectors, read, Epilogue::Replace, team);
            bias_gradient(bias, d_vectors, team);
        }

        for layer in 0..layers {
            let d_gates = gates_matrix::<C, T>(&self.trace.gates[layer], units, rows);
            let grads = &mut grads.layers[layer];
            hidden_gradients::<T, C>(
                d_gates,
                self.states(layer, 0),
                grads,
                Epilogue::Replace,
                team,
            );
            bias_gradients::<T, C>(d_gates, grads, team);
            let d_gates = d_gates.columns(0, C::GATES * units);
            let (weight, stride, input) = match layer {
                0 => {
                    let fed = match input_feeding {
                        true => self.vectors(0),
                        false => self.features(1).columns(units, values),
                    };
                    let weight = &mut grads.weight_ih[embedding..];
                    (weight, embedding + sizes.fed(), fed)
                }
                _ => (&mut *grads.weight_ih, units, self.layer_input(layer)),
            };
            weight_gradient(weight, stride, d_gates, input, Epilogue::Replace, team);
        }
        for (layer, grads) in grads.norms.into_iter().enumerate() {
            let (d_y, saved) = (&self.trace.d_outputs[layer], &self.trace.normalized[layer]);
            self.weights.connections.norms[layer].gradients(grads, d_y, saved, team);
        }
        self.token_gradients(dropout, grads.embedding, &mut grads.layers[0], team);

        let saved = Matrix::dense(&self.trace.scorer, rows, self.trace.sizes.scorer);
        let summed = Matrix::dense(
            &self.scorer_summed,
            self.trace.sizes.batch,
            self.scorer.summed_len(),
        );
        let states = self.states(layers - 1, usize::from(input_feeding));
        self.scorer
            .gradients(saved, states, summed, scorer_grads, team);
    }

    /// The gradients of the embedding and of layer 0's columns for it.
    fn token_gradients(
        &mut self,
        dropout: &DecoderDropout<'_, T>,
        d_embedding: &mut [T],
        grads: &mut RecurrentGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let sizes = self.weights.sizes;
        let DecoderSizes {
            vocab,
            embedding: width,
            units,
            ..
        } = sizes;
        let rows = self.rows();
        let d_gates = gates_matrix::<C, T>(&self.trace.gates[0], units, rows);
        let d_gates = d_gates.columns(0, C::GATES * units);
        let tokens = self.trace.tokens.iter().copied();
        let (weight, stride) = (&mut *grads.weight_ih, width + sizes.fed());
        let Some(mask) = dropout.embedding else {
            // forward: gates = table[token], table = token(embedding)
            let table = sized(&mut self.d_table, vocab * d_gates.cols);
            table.fill(T::ZERO);
            scatter_add(table, d_gates, tokens, team);
            let d_table = Matrix::dense(&*table, vocab, d_gates.cols);
            let embedding = Matrix::dense(&self.weights.embedding, vocab, width);
            weight_gradient(weight, stride, d_table, embedding, Epilogue::Replace, team);
            self.weights
                .token
                .backward_on(d_table, d_embedding, Epilogue::Replace, team);
            return;
        };
        // forward: gates = token(inputs), inputs = embedding[token] ⊙ mask
        let inputs = Matrix::dense(&self.trace.embeddings, rows, width);
        weight_gradient(weight, stride, d_gates, inputs, Epilogue::Replace, team);
        let d_inputs = sized(&mut self.d_table, rows * width);
        self.weights
            .token
            .backward_on(d_gates, d_inputs, Epilogue::Replace, team);
        let BatchSizes { batch, len, .. } = self.trace.sizes;
        for (index, d_input) in d_inputs.chunks_exact_mut(width).enumerate() {
            let (step, row) = (index / batch, index % batch);
            multiply_by(d_input, &mask[(row * len + step) * width..][..width]);
        }
        d_embedding.fill(T::ZERO);
        let d_inputs = Matrix::dense(&*d_inputs, rows, width);
        scatter_add(d_embedding, d_inputs, tokens, team);
    }

    fn rows(&self) -> usize {
        self.trace.sizes.len * self.trace.sizes.batch
    }

    /// The features before each step (`shift` 0) or after it (1), `[T·B, D + C]`.
    fn features(&self, shift: usize) -> Matrix<'_, T> {
        let (rows, batch) = (self.rows(), self.trace.sizes.batch);
        features_matrix(&self.trace.features, self.weights.sizes, rows + batch)
            .rows(shift * batch, rows)
    }

    /// The attentional vectors before each step (`shift` 0) or after it (1), `[T·B, D]`.
    fn vectors(&self, shift: usize) -> Matrix<'_, T> {
        let (rows, batch) = (self.rows(), self.trace.sizes.batch);
        let units = self.weights.sizes.units;
        Matrix::dense(&self.trace.vectors, rows + batch, units).rows(shift * batch, rows)
    }

    /// The top layer's output and the contexts, `[T·B, D + C]`.
    fn readout(&self) -> Matrix<'_, T> {
        match self.trace.readout.is_empty() {
            true => self.features(1),
            false => features_matrix(&self.trace.readout, self.weights.sizes, self.rows()),
        }
    }

    /// The states of a layer before each step (`shift` 0) or after it (1), `[T·B, D]`.
    fn states(&self, layer: usize, shift: usize) -> Matrix<'_, T> {
        let (rows, batch) = (self.rows(), self.trace.sizes.batch);
        let units = self.weights.sizes.units;
        match self.trace.states.get(layer) {
            Some(states) => Matrix::dense(states, rows + batch, units).rows(shift * batch, rows),
            None => self.features(shift).columns(0, units),
        }
    }

    /// The input of a layer above the first, `[T·B, D]`.
    fn layer_input(&self, layer: usize) -> Matrix<'_, T> {
        let below = layer - 1;
        let (dropped, outputs) = (&self.trace.dropped, &self.trace.outputs);
        match dropped.get(below).or_else(|| outputs.get(below)) {
            Some(input) => Matrix::dense(input, self.rows(), self.weights.sizes.units),
            None => self.states(below, 1),
        }
    }
}
