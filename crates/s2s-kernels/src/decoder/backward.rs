//! The decoder's backward loop over the steps of a batch.

use super::DecoderSizes;
use super::kernel::{Batch, Decoder};
use super::step::features_stride;
use super::trace::Rows;
use super::{DecoderGrads, DecoderInputs, MemoryGrads};
use crate::attention::kernel::{Step, StepGrads, add_scaled_row, weigh_backward};
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::recurrent::weights::{add_rows, gates_matrix};
use crate::recurrent::{Cell, State};
use crate::table::{add_row, multiply_by};
use crate::team::{Team, sized, split_rows};

impl<T: Real, C: Cell> Decoder<T, C> {
    /// All gradients, from those of the logits, which the caller has written to
    /// [`logits_mut`](Self::logits_mut). Overwrites what the forward pass saved.
    ///
    /// `inputs` are those of the forward pass; the gradients of the attention's parameters go to
    /// `scorer_grads`, in the order of [`Scorer::pack`](crate::slices::Scorer::pack).
    pub fn backward(
        &mut self,
        inputs: DecoderInputs<'_, T>,
        d_memory: MemoryGrads<'_, T>,
        grads: DecoderGrads<'_, T>,
        scorer_grads: &mut [&mut [T]],
        team: &mut Team<T>,
    ) {
        self.steps_backward(inputs, d_memory, team);
        self.gradients(&inputs.dropout, grads, scorer_grads, team);
    }

    fn steps_backward(
        &mut self,
        inputs: DecoderInputs<'_, T>,
        d_memory: MemoryGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let sizes = self.weights.sizes;
        let DecoderSizes { units, values, .. } = sizes;
        let (batch, source_len) = (inputs.memory.batch(), inputs.memory.len);
        let fed = if sizes.input_feeding { units } else { 0 };
        let len = self.trace.sizes.len;
        let ranges = team.ranges(batch);
        let cut = |all, width| split_rows(all, width, &ranges).into_iter();
        let mut states = Vec::with_capacity(sizes.layers);
        let mut cell_states = Vec::with_capacity(sizes.layers);
        for State { hidden, cell } in d_memory.initial {
            states.push(cut(hidden, units));
            cell_states.push(cut(cell, C::CELL_STATES * units));
        }
        let positions = source_len * batch;
        let key_width = d_memory.keys.len().checked_div(positions).unwrap_or(0);
        let keys = cut(d_memory.keys, source_len * key_width);
        let values = cut(d_memory.values, source_len * values);
        let summed_len = self.scorer.summed_len();
        self.scorer_summed.clear();
        self.scorer_summed.resize(batch * summed_len, T::ZERO);
        let work = self
            .trace
            .split::<C>(sizes, &ranges)
            .into_iter()
            .zip(keys.zip(values))
            .zip(cut(&mut self.scorer_summed, summed_len))
            .zip(cut(sized(&mut self.d_input, batch * units), units))
            .zip(cut(sized(&mut self.d_sum, batch * units), units))
            .zip(cut(sized(&mut self.d_vector, batch * fed), fed))
            .zip(cut(
                sized(&mut self.d_previous, batch * source_len),
                source_len,
            ))
            .zip(cut(
                sized(&mut self.d_scores, batch * source_len),
                source_len,
            ))
            .map(
                |(
                    ((((((rows, (keys, values)), scorer_summed), input), sum), vector), previous),
                    scores,
                )| {
                    let states = states.iter_mut().map_while(Iterator::next).collect();
                    let cell_states = cell_states.iter_mut().map_while(Iterator::next).collect();
                    (
                        rows,
                        RowGrads {
                            keys,
                            values,
                            scorer_summed,
                            input,
                            sum,
                            vector,
                            previous,
                            scores,
                            states,
                            cell_states,
                        },
                    )
                },
            )
            .collect();
        let batch = Batch {
            scorer: &*self.scorer,
            weights: &self.weights,
            inputs,
            len,
        };
        team.run(work, |(mut rows, mut grads), _| {
            batch.backward(&mut rows, &mut grads)
        });
    }
}

/// The gradients of some rows.
struct RowGrads<'a, T> {
    /// `[rows, S, K]`.
    keys: &'a mut [T],
    /// `[rows, S, C]`.
    values: &'a mut [T],
    /// The sums over steps that the scorer needs for its parameters, `[rows, R]`.
    scorer_summed: &'a mut [T],
    /// Of a layer's input, then of the output of the layer below it, `[rows, D]`.
    input: &'a mut [T],
    /// Of a layer's output before its normalization, `[rows, D]`; unused if that is its states.
    sum: &'a mut [T],
    /// Of the attentional vector after a step, then of the one before it, `[rows, D]`, with input feeding.
    vector: &'a mut [T],
    /// Of the previous step's attention weights, `[rows, S]`.
    previous: &'a mut [T],
    /// Of the attention weights of a step, then of its scores, `[rows, S]`.
    scores: &'a mut [T],
    /// Of each layer's states, `[rows, D]`: during a step, those after it are replaced by those before
    /// it.
    states: Vec<&'a mut [T]>,
    /// The same for the cell states, if the cell has them.
    cell_states: Vec<&'a mut [T]>,
}

impl<T: Real, C: Cell> Batch<'_, T, C> {
    fn backward(&self, rows: &mut Rows<'_, T>, grads: &mut RowGrads<'_, T>) {
        for state in grads.states.iter_mut().chain(&mut grads.cell_states) {
            state.fill(T::ZERO);
        }
        grads.previous.fill(T::ZERO);
        grads.keys.fill(T::ZERO);
        grads.vector.fill(T::ZERO);
        let has_input_feeding = self.weights.sizes.input_feeding;
        for step in (0..self.len).rev() {
            self.output_backward(rows, step, grads);
            if has_input_feeding {
                self.attend_backward(rows, step, grads);
            }
            for layer in (0..self.weights.sizes.layers).rev() {
                self.cell_backward(rows, step, layer, grads);
            }
            if !has_input_feeding {
                self.attend_backward(rows, step, grads);
            }
        }
        self.values_backward(rows, grads);
    }

    /// forward: logits = output(features), or vector = tanh(attentional(features)), logits = output(vector)
    fn output_backward(&self, rows: &mut Rows<'_, T>, step: usize, grads: &mut RowGrads<'_, T>) {
        let DecoderSizes { vocab, units, .. } = self.weights.sizes;
        let stride = features_stride(self.weights.sizes);
        let d_logits = Matrix::dense(rows.logits.at(step), rows.range.len(), vocab);
        let d_features = rows.d_features.at_mut(step);
        let output = &self.weights.output;
        match &self.weights.attentional {
            None => output.backward(d_logits, d_features, stride, Epilogue::Replace),
            Some(attentional) => {
                output.backward(d_logits, grads.vector, units, Epilogue::Add);
                let d_before_tanh = rows.d_vectors.at_mut(step);
                let vectors = grads.vector.iter().zip(rows.vectors.at(step + 1));
                for (d, (&d_vector, &vector)) in d_before_tanh.iter_mut().zip(vectors) {
                    *d = d_vector * (T::ONE - vector * vector);
                }
                let d_before_tanh = Matrix::dense(&*d_before_tanh, rows.range.len(), units);
                let linear = &attentional.linear;
                linear.backward(d_before_tanh, d_features, stride, Epilogue::Replace);
            }
        }
        let d_features = self.features(d_features, rows.range.len());
        let d_output = d_features.columns(0, units);
        if let Some(d_top) = grads.states.last_mut() {
            add_rows(d_top, &rows.active, d_output);
        }
        if self.weights.connections.residual {
            grads.sum.fill(T::ZERO);
            add_rows(grads.sum, &rows.active, d_output);
        }
    }

    /// forward: states = cell(input, previous states), for one layer
    fn cell_backward(
        &self,
        rows: &mut Rows<'_, T>,
        step: usize,
        layer: usize,
        grads: &mut RowGrads<'_, T>,
    ) {
        let DecoderSizes { units, .. } = self.weights.sizes;
        let (cell, n) = (&self.weights.cells[layer], rows.range.len());
        let hidden = match rows.states.get(layer) {
            Some(states) => Matrix::dense(states.at(step), n, units),
            None => self.features(rows.features.at(step), n).columns(0, units),
        };
        let cell_states = |step| {
            let states = rows.cell_states[layer].at(step);
            Matrix::dense(states, n, C::CELL_STATES * units)
        };
        let previous = State {
            hidden,
            cell: cell_states(step),
        };
        let (below, states) = grads.states.split_at_mut(layer);
        let d_state = State {
            hidden: &mut *states[0],
            cell: &mut *grads.cell_states[layer],
        };
        let gates = rows.gates[layer].at_mut(step);
        let next_cell = cell_states(step + 1);
        C::backward(&rows.active, previous, next_cell, gates, d_state);
        cell.hidden_backward(gates, states[0]);
        let d_gates = gates_matrix::<C, T>(gates, units, n).columns(0, cell.gates());
        let is_plain = self.weights.connections.are_plain();
        match (below.last_mut(), self.inputs.dropout.between) {
            (None, _) if self.weights.sizes.input_feeding => {
                cell.input
                    .backward(d_gates, grads.vector, units, Epilogue::Replace);
            }
            (None, _) => {
                let stride = features_stride(self.weights.sizes);
                let d_context = &mut rows.d_features.at_mut(step)[units..];
                cell.input
                    .backward(d_gates, d_context, stride, Epilogue::Add);
            }
            (Some(below), None) if is_plain => {
                cell.input.backward(d_gates, below, units, Epilogue::Add);
            }
            (Some(below), masks) => {
                cell.input
                    .backward(d_gates, grads.input, units, Epilogue::Replace);
                if let Some(masks) = masks {
                    // forward: input = output below ⊙ mask
                    let d_inputs = grads.input.chunks_exact_mut(units).zip(&rows.memory);
                    for (d_input, &row) in d_inputs {
                        let at = (row * self.len + step) * units;
                        multiply_by(d_input, &masks[layer - 1][at..][..units]);
                    }
                }
                self.connect_backward(rows, step, layer - 1, grads.input, grads.sum);
                add_row(below, grads.input);
                std::mem::swap(&mut grads.input, &mut grads.sum);
            }
        }
    }

    /// forward: output = norm(states + output of the layer below), for one layer below the top
    ///
    /// `d_output` is the gradient of the output through the layer above, and becomes that of the sum;
    /// `d_above` is the gradient of the sum in the layer above.
    fn connect_backward(
        &self,
        rows: &mut Rows<'_, T>,
        step: usize,
        layer: usize,
        d_output: &mut [T],
        d_above: &[T],
    ) {
        let connections = &self.weights.connections;
        if connections.residual {
            add_row(d_output, d_above);
        }
        if let Some(norm) = connections.norms.get(layer) {
            rows.d_outputs[layer].at_mut(step).copy_from_slice(d_output);
            norm.backward(d_output, rows.normalized[layer].at(step));
        }
    }

    /// forward: weights = softmax(scores), context = Σ_s weight[s] value[s]
    fn attend_backward(&self, rows: &mut Rows<'_, T>, step: usize, grads: &mut RowGrads<'_, T>) {
        let DecoderSizes { units, values, .. } = self.weights.sizes;
        let n = rows.range.len();
        let d_context = self
            .features(rows.d_features.at(step), n)
            .columns(units, values);
        grads.scores.copy_from_slice(grads.previous);
        grads.previous.fill(T::ZERO);
        let weights = rows.weights.at(step + 1);
        weigh_backward(
            self.inputs.memory,
            &rows.memory,
            weights,
            d_context,
            grads.scores,
        );
        let asking = step + usize::from(self.weights.sizes.input_feeding);
        let inputs = Step {
            state: self.features(rows.features.at(asking), n).columns(0, units),
            previous: rows.weights.at(step),
            memory: self.inputs.memory,
            rows: &rows.memory,
        };
        let Some(state) = grads.states.last_mut() else {
            return;
        };
        let d_step = StepGrads {
            state,
            previous: &mut *grads.previous,
            keys: &mut *grads.keys,
            summed: &mut *grads.scorer_summed,
        };
        let saved = rows.scorer.at_mut(step);
        self.scorer.backward(inputs, saved, grads.scores, d_step);
    }

    /// `d_value[s] = Σ_t weight[t,s] d_context[t]`, after all steps: the context gradients of a row stay
    /// in the cache while its positions are summed.
    fn values_backward(&self, rows: &Rows<'_, T>, grads: &mut RowGrads<'_, T>) {
        let DecoderSizes { units, values, .. } = self.weights.sizes;
        let (stride, source_len) = (features_stride(self.weights.sizes), self.inputs.memory.len);
        for (index, &row) in rows.memory.iter().enumerate() {
            let d_values = &mut grads.values[index * source_len * values..][..source_len * values];
            for (position, d_value) in d_values.chunks_exact_mut(values).enumerate() {
                d_value.fill(T::ZERO);
                if position >= self.inputs.memory.lengths[row] {
                    continue;
                }
                for step in 0..self.len {
                    let weight = rows.weights.at(step + 1)[index * source_len + position];
                    let d_context = &rows.d_features.at(step)[index * stride + units..][..values];
                    add_scaled_row(d_value, weight, d_context);
                }
            }
        }
    }
}
