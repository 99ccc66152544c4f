//! The decoder's backward loop, and the gradients of its parameters.

use candle_core::Result;

use super::super::attention::AttendedGrads;
use super::super::product::{Matrix, Update};
use super::super::queue::{Queue, View};
use super::super::table::{Positions, column_sums, embed_backward};
use super::{Decoder, DecoderInputs, DecoderViews, Dropout, MemoryGrads};

impl Decoder {
    /// All gradients, from those of the logits. Overwrites what the forward pass saved.
    ///
    /// # Errors
    /// If the device fails.
    pub fn backward(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        inputs: DecoderInputs<'_>,
        d_memory: MemoryGrads<'_>,
        grads: &DecoderViews<'_>,
    ) -> Result<()> {
        let DecoderInputs {
            memory,
            targets,
            dropout,
        } = inputs;
        let (sizes, batch, n) = (self.sizes, self.batch, self.steps * self.batch);
        let d_features = self.d_features.all();
        // forward: logits = features W
        queue.multiply(
            Matrix::dense(self.logits.all(), n, sizes.vocab),
            Matrix::dense(params.output_weight, sizes.vocab, sizes.features()),
            Matrix::dense(d_features, n, sizes.features()),
            Update::Replace,
        )?;
        for layer in &self.layers {
            queue.zero(layer.saved.d_state.all())?;
            if sizes.cell.has_cell() {
                queue.zero(layer.saved.d_cell.all())?;
            }
        }
        let attention = self.attention(params, memory);
        for step in (0..self.steps).rev() {
            let d_contexts = d_features
                .part(step, batch * sizes.features())
                .from(sizes.units);
            self.cells_backward(queue, params, step, d_contexts, dropout)?;
            let queries = self.queries(step);
            let d_step = AttendedGrads {
                contexts: d_contexts,
                queries,
                keys: d_memory.keys,
                energy: self.d_energy.all(),
                weights: self.d_weights.all(),
                scores: self.d_scores.all(),
            };
            let is_first = step + 1 == self.steps;
            attention.backward(queue, is_first, queries, self.attended(step), d_step)?;
            // forward: hidden = states W
            for (k, layer) in self.layers.iter().enumerate() {
                let cols = sizes.recurrent(k);
                queue.multiply(
                    Matrix::dense(
                        layer.saved.hidden.all().part(step, batch * cols),
                        batch,
                        cols,
                    ),
                    Matrix::dense(self.packed.recurrent[k].all(), cols, sizes.units),
                    Matrix::dense(layer.saved.d_state.all(), batch, sizes.units),
                    Update::Add,
                )?;
            }
        }
        let (weights, width) = (self.weights.all(), self.attended(0).weights.len());
        let d_contexts = d_features.from(sizes.units);
        attention.values_backward(
            queue,
            self.steps,
            weights.from(width),
            d_contexts,
            d_memory.values,
        )?;
        self.gradients(
            queue,
            params,
            self.positions(targets.tokens, dropout),
            grads,
        )
    }

    /// The gradients of both projections of all layers at a step; adds to those of the contexts.
    fn cells_backward(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        step: usize,
        d_contexts: View<'_, f32>,
        dropout: &Dropout<'_>,
    ) -> Result<()> {
        let (sizes, batch, gates) = (self.sizes, self.batch, self.gates());
        for (k, layer) in self.layers.iter().enumerate().rev() {
            let d_output = match self.layers.get(k + 1) {
                Some(above) => above.d_input.all(),
                None => self.d_features.all(),
            };
            let read = (Some(d_output), dropout.above(k));
            let saved = &layer.saved;
            saved.backward(queue, self.layer_step(k, step), self.states(k).0, read)?;
            let d_gates = Matrix::dense(saved.gates.all().part(step, batch * gates), batch, gates);
            if k == 0 {
                let columns = sizes.embedding..sizes.embedding + sizes.values;
                let d_context = Matrix::strided(d_contexts, batch, sizes.values, sizes.features());
                queue.multiply(
                    d_gates,
                    self.lowest(params).columns(columns),
                    d_context,
                    Update::Add,
                )?;
            } else {
                let weight = Matrix::dense(params.layers[k].weight_ih, gates, sizes.units);
                let d_input = layer.d_input.all().part(step, batch * sizes.units);
                let d_input = Matrix::dense(d_input, batch, sizes.units);
                queue.multiply(d_gates, weight, d_input, Update::Replace)?;
            }
        }
        Ok(())
    }

    /// The gradients of the parameters, each from one product over all steps.
    fn gradients(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        at: Positions<'_>,
        grads: &DecoderViews<'_>,
    ) -> Result<()> {
        let (sizes, gates, n) = (self.sizes, self.gates(), self.steps * self.batch);
        let (units, width) = (sizes.units, sizes.features());
        let replace = |a: Matrix<'_>, b, c| queue.multiply(a.t(), b, c, Update::Replace);
        let after = Matrix::dense(self.features.all().from(self.batch * width), n, width);
        let d_logits = self.logits.all();
        replace(
            Matrix::dense(d_logits, n, sizes.vocab),
            after,
            Matrix::dense(grads.output_weight, sizes.vocab, width),
        )?;
        column_sums(queue, grads.output_bias, d_logits, sizes.vocab, n)?;

        for (k, (layer, own)) in self.layers.iter().zip(&grads.layers).enumerate() {
            let (d_gates, d_hidden) = (layer.saved.gates.all(), layer.saved.hidden.all());
            let (stride, (states, state_stride)) = (sizes.recurrent(k), self.states(k));
            let states = Matrix::strided(states, n, units, state_stride);
            let (own_gates, own_hidden) = (
                Matrix::dense(d_gates, n, gates),
                Matrix::dense(d_hidden, n, stride),
            );
            if k == 0 {
                let embedded = Matrix::dense(self.embedded.all(), n, sizes.embedding);
                let weight = self.lowest(grads);
                let inputs = sizes.embedding + sizes.values;
                replace(own_gates, embedded, weight.columns(0..sizes.embedding))?;
                replace(
                    own_gates,
                    after.columns(units..width),
                    weight.columns(sizes.embedding..inputs),
                )?;
            } else {
                let input = Matrix::dense(layer.input.all(), n, units);
                replace(own_gates, input, Matrix::dense(own.weight_ih, gates, units))?;
            }
            replace(
                own_hidden.columns(0..gates),
                states,
                Matrix::dense(own.weight_hh, gates, units),
            )?;
            column_sums(queue, own.bias_ih, d_gates, gates, n)?;
            column_sums(queue, own.bias_hh, d_hidden, stride, n)?;
            if k + 1 < sizes.layers {
                continue;
            }
            let mut first = gates;
            for [weight, bias] in &grads.queries {
                let rows = bias.len();
                let d_queries = own_hidden.columns(first..first + rows);
                replace(d_queries, states, Matrix::dense(*weight, rows, units))?;
                column_sums(queue, *bias, d_hidden.from(first), stride, n)?;
                first += rows;
            }
        }
        column_sums(
            queue,
            grads.energy,
            self.d_energy.all(),
            sizes.attention,
            self.batch,
        )?;

        // forward: the lowest layer's projection of the embeddings
        queue.multiply(
            Matrix::dense(self.layers[0].saved.gates.all(), n, gates),
            self.lowest(params).columns(0..sizes.embedding),
            Matrix::dense(self.d_embedded.all(), n, sizes.embedding),
            Update::Replace,
        )?;
        embed_backward(queue, at, self.d_embedded.all(), grads.embedding)
    }
}
