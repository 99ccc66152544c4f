//! The decoder's forward loop over the steps of a batch.

use super::step::{
    Projections, TokenInput, Weights, assert_memory, attend, copy_states, features_matrix,
    features_stride,
};
use super::trace::{BatchSizes, DecoderTrace, Rows};
use super::{DecoderInputs, DecoderParams, DecoderSizes};
use crate::attention::kernel::{Scorer, Step};
use crate::lanes::argmax;
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::recurrent::{Cell, NextState, State};
use crate::team::{Team, sized, split_rows};

/// A decoder: its packed weights, and the values saved for the backward pass. All memory is reused
/// from step to step.
#[derive(Clone, Debug)]
pub struct Decoder<T: Real, C> {
    /// The attention. [`Decoder::pack`] does not pack it; call [`Scorer::pack`].
    pub scorer: Box<dyn Scorer<T>>,
    pub(super) weights: Weights<T, C>,
    pub(super) trace: DecoderTrace<T>,
    pub(super) projections: [Vec<T>; 2],
    pub(super) d_input: Vec<T>,
    pub(super) d_sum: Vec<T>,
    pub(super) d_vector: Vec<T>,
    pub(super) d_previous: Vec<T>,
    pub(super) d_scores: Vec<T>,
    pub(super) scorer_summed: Vec<T>,
    pub(super) d_table: Vec<T>,
}

impl<T: Real, C: Cell> Decoder<T, C> {
    /// A decoder without weights; call [`pack`](Self::pack) before use.
    pub fn new(scorer: Box<dyn Scorer<T>>) -> Self {
        Self {
            scorer,
            weights: Weights::default(),
            trace: DecoderTrace::default(),
            projections: Default::default(),
            d_input: Vec::new(),
            d_sum: Vec::new(),
            d_vector: Vec::new(),
            d_previous: Vec::new(),
            d_scores: Vec::new(),
            scorer_summed: Vec::new(),
            d_table: Vec::new(),
        }
    }

    /// Packs the weights, except those of the attention. Call it after each change of the parameters.
    pub fn pack(&mut self, params: &DecoderParams<'_, T>) {
        let sizes = params.sizes();
        let weights = &mut self.weights;
        weights.sizes = sizes;
        weights.embedding.clear();
        weights.embedding.extend_from_slice(params.embedding);
        let (token, fed) = params.input_columns();
        weights.token.pack(token);
        weights.cells.resize_with(sizes.layers, Default::default);
        for (layer, (cell, &params)) in weights.cells.iter_mut().zip(&params.layers).enumerate() {
            let input = match layer {
                0 => fed,
                _ => Matrix::dense(params.weight_ih, params.bias_ih.len(), sizes.units),
            };
            cell.pack(params, input);
        }
        weights.connections.clone_from(&params.connections);
        weights.attentional = params.attentional.map(|params| {
            let mut attentional = weights.attentional.take().unwrap_or_default();
            let (units, features) = (sizes.units, sizes.units + sizes.values);
            let weight = Matrix::dense(params.weight, units, features);
            attentional.linear.pack(weight);
            params.bias.clone_into(&mut attentional.bias);
            attentional
        });
        let output = Matrix::dense(params.output_weight, sizes.vocab, sizes.read());
        weights.output.pack(output);
        weights.output_bias.clear();
        weights.output_bias.extend_from_slice(params.output_bias);
        let embedding = Matrix::dense(params.embedding, sizes.vocab, sizes.embedding);
        let bias = params.layers[0].bias_ih;
        let table = sized(&mut weights.table, sizes.vocab * bias.len());
        weights
            .token
            .forward(embedding, table, bias.len(), Epilogue::Bias(bias));
    }

    /// Decodes a batch and saves what [`backward`](Self::backward) needs.
    pub fn forward(&mut self, inputs: DecoderInputs<'_, T>, team: &mut Team<T>) {
        let DecoderInputs {
            memory,
            initial,
            targets,
            dropout,
        } = inputs;
        let sizes = self.weights.sizes;
        let batch = memory.batch();
        assert_memory(memory, sizes);
        assert_eq!(
            targets.tokens.len(),
            targets.forced.len(),
            "forced must have one value per token"
        );
        assert_eq!(
            initial.len(),
            sizes.layers,
            "there must be one initial state per layer"
        );
        let len = targets.tokens.len().checked_div(batch).unwrap_or(0);
        let batch_sizes = BatchSizes {
            batch,
            len,
            source_len: memory.len,
            scorer: self.scorer.saved_len(memory.len),
        };
        let connections = &self.weights.connections;
        self.trace
            .resize::<C>(sizes, connections, batch_sizes, &dropout);
        let ranges = team.ranges(batch);
        let [input, hidden] = &mut self.projections;
        let gates = C::GATES * sizes.units;
        let input = split_rows(sized(input, batch * gates), gates, &ranges);
        let hidden = split_rows(sized(hidden, batch * gates), gates, &ranges);
        let work = self
            .trace
            .split::<C>(sizes, &ranges)
            .into_iter()
            .zip(input.into_iter().zip(hidden))
            .map(|(rows, (input, hidden))| (rows, Projections { input, hidden }))
            .collect();
        let batch = Batch {
            scorer: &*self.scorer,
            weights: &self.weights,
            inputs,
            len,
        };
        team.run(work, |(mut rows, mut projections), _| {
            batch.forward(&mut rows, &mut projections)
        });
    }

    /// `[T, B, V]`. The loss replaces them by their gradients, for [`backward`](Self::backward).
    pub fn logits_mut(&mut self) -> &mut [T] {
        &mut self.trace.logits
    }

    /// `[T, B, V]`.
    pub fn logits(&self) -> &[T] {
        &self.trace.logits
    }

    /// The attention weights, `[T, B, S]`.
    pub fn attention(&self) -> &[T] {
        let all = &self.trace.weights;
        &all[all.len() / (self.trace.sizes.len + 1)..]
    }

    /// The input tokens, `[T, B]`.
    pub fn tokens(&self) -> &[u32] {
        &self.trace.tokens
    }
}

/// The inputs that all ranges of rows have in common.
pub(super) struct Batch<'a, T: Real, C> {
    pub(super) scorer: &'a dyn Scorer<T>,
    pub(super) weights: &'a Weights<T, C>,
    pub(super) inputs: DecoderInputs<'a, T>,
    pub(super) len: usize,
}

impl<T: Real, C: Cell> Batch<'_, T, C> {
    fn forward(&self, rows: &mut Rows<'_, T>, projections: &mut Projections<'_, T>) {
        self.begin(rows);
        for step in 0..self.len {
            self.read_tokens(rows, step);
            if !self.weights.sizes.input_feeding {
                self.attend(rows, step, projections.hidden);
            }
            for layer in 0..self.weights.sizes.layers {
                self.input_gates(rows, step, layer, projections.input);
                self.advance(rows, step, layer, projections);
                self.connect(rows, step, layer);
            }
            if self.weights.sizes.input_feeding {
                self.attend(rows, step, projections.hidden);
            }
            self.read_out(rows, step);
            let features = match &rows.readout {
                Some(readout) => readout.at(step),
                None => rows.features.at(step + 1),
            };
            let features = self.features(features, rows.range.len());
            let (vectors, logits) = (rows.vectors.at_mut(step + 1), rows.logits.at_mut(step));
            self.weights.logits(features, vectors, logits);
        }
    }

    /// Writes the initial states, attention weights and vectors.
    fn begin(&self, rows: &mut Rows<'_, T>) {
        let DecoderSizes { units, layers, .. } = self.weights.sizes;
        for (layer, initial) in self.inputs.initial.iter().enumerate() {
            let cell_states = rows.cell_states[layer].at_mut(0);
            let first = rows.range.start * C::CELL_STATES * units;
            cell_states.copy_from_slice(&initial.cell[first..][..cell_states.len()]);
            let initial = initial.hidden[rows.range.start * units..].chunks_exact(units);
            if layer + 1 < layers {
                let states = rows.states[layer].at_mut(0).chunks_exact_mut(units);
                states
                    .zip(initial)
                    .for_each(|(state, initial)| state.copy_from_slice(initial));
            } else {
                let stride = features_stride(self.weights.sizes);
                let features = rows.features.at_mut(0).chunks_exact_mut(stride);
                features
                    .zip(initial)
                    .for_each(|(f, initial)| f[..units].copy_from_slice(initial));
            }
        }
        let (memory, start) = (self.inputs.memory, self.scorer.start());
        let weights = rows.weights.at_mut(0).chunks_exact_mut(memory.len.max(1));
        for (weights, &row) in weights.zip(&rows.memory) {
            start.fill(memory.lengths[row], weights);
        }
        rows.vectors.at_mut(0).fill(T::ZERO);
    }

    /// Writes the tokens of a step, and their embeddings if there is dropout.
    fn read_tokens(&self, rows: &mut Rows<'_, T>, step: usize) {
        let DecoderSizes {
            vocab,
            embedding: width,
            ..
        } = self.weights.sizes;
        let tokens = rows.tokens.at_mut(step);
        for (index, (token, &row)) in tokens.iter_mut().zip(&rows.memory).enumerate() {
            let at = row * self.len + step;
            *token = if step == 0 || self.inputs.targets.forced[at] {
                self.inputs.targets.tokens[at]
            } else {
                argmax(&rows.logits.at(step - 1)[index * vocab..][..vocab]) as u32
            };
        }
        if let (Some(outs), Some(mask)) = (&mut rows.embeddings, self.inputs.dropout.embedding) {
            let outs = outs.at_mut(step).chunks_exact_mut(width);
            for ((out, &token), &row) in outs.zip(&*tokens).zip(&rows.memory) {
                let embedding = &self.weights.embedding[token as usize * width..][..width];
                let mask = &mask[(row * self.len + step) * width..][..width];
                multiply_into(out, embedding, mask);
            }
        }
    }

    /// Attention from the states before the step; with input feeding, from those after it, which are copied
    /// to `scratch`.
    fn attend(&self, rows: &mut Rows<'_, T>, step: usize, scratch: &mut [T]) {
        let sizes = self.weights.sizes;
        let DecoderSizes { units, values, .. } = sizes;
        let (n, stride) = (rows.range.len(), features_stride(sizes));
        let (state, after);
        if sizes.input_feeding {
            after = rows.features.at_mut(step + 1);
            copy_states(after, sizes, &mut scratch[..n * units]);
            state = Matrix::dense(&scratch[..n * units], n, units);
        } else {
            let before;
            (before, after) = rows.features.read_write(step, step + 1);
            state = self.features(before, n).columns(0, units);
        }
        let (previous, weights) = rows.weights.read_write(step, step + 1);
        let inputs = Step {
            state,
            previous,
            memory: self.inputs.memory,
            rows: &rows.memory,
        };
        let (saved, context) = (rows.scorer.at_mut(step), &mut after[units..]);
        attend(self.scorer, inputs, saved, weights, context, stride, values);
    }

    /// The input projection of a layer.
    fn input_gates(&self, rows: &mut Rows<'_, T>, step: usize, layer: usize, out: &mut [T]) {
        let sizes = self.weights.sizes;
        let DecoderSizes { units, values, .. } = sizes;
        let n = rows.range.len();
        if layer == 0 {
            let tokens = match &rows.embeddings {
                Some(embeddings) => TokenInput::Embeddings(embeddings.at(step)),
                None => TokenInput::Ids(rows.tokens.at(step)),
            };
            self.weights.token_gates(tokens, out);
            let fed = match sizes.input_feeding {
                true => Matrix::dense(rows.vectors.at(step), n, units),
                false => self
                    .features(rows.features.at(step + 1), n)
                    .columns(units, values),
            };
            let weight = self.weights.fed_weight();
            weight.forward(fed, out, C::GATES * units, Epilogue::Add);
            return;
        }
        let mut below = match rows.outputs.get(layer - 1) {
            Some(outputs) => outputs.at(step),
            None => rows.states[layer - 1].at(step + 1),
        };
        if let (Some(masks), Some(dropped)) =
            (self.inputs.dropout.between, rows.dropped.get_mut(layer - 1))
        {
            let dropped = dropped.at_mut(step);
            let states = dropped
                .chunks_exact_mut(units)
                .zip(below.chunks_exact(units));
            for ((dropped, state), &row) in states.zip(&rows.memory) {
                let mask = &masks[layer - 1][(row * self.len + step) * units..][..units];
                multiply_into(dropped, state, mask);
            }
            below = dropped;
        }
        self.weights
            .input_gates(layer, Matrix::dense(below, n, units), out);
    }

    /// Advances a layer by one step.
    fn advance(
        &self,
        rows: &mut Rows<'_, T>,
        step: usize,
        layer: usize,
        projections: &mut Projections<'_, T>,
    ) {
        let DecoderSizes { units, layers, .. } = self.weights.sizes;
        let n = rows.range.len();
        let is_top = layer + 1 == layers;
        let (hidden_before, hidden, hidden_stride);
        if is_top {
            let (before, after) = rows.features.read_write(step, step + 1);
            hidden_before = self.features(before, n).columns(0, units);
            (hidden, hidden_stride) = (after, features_stride(self.weights.sizes));
        } else {
            let (before, after) = rows.states[layer].read_write(step, step + 1);
            hidden_before = Matrix::dense(before, n, units);
            (hidden, hidden_stride) = (after, units);
        }
        let (cell_before, cell) = rows.cell_states[layer].read_write(step, step + 1);
        let previous = State {
            hidden: hidden_before,
            cell: Matrix::dense(cell_before, n, C::CELL_STATES * units),
        };
        let next = NextState {
            hidden,
            hidden_stride,
            cell,
        };
        let gates = rows.gates[layer].at_mut(step);
        self.weights
            .advance(layer, &rows.active, previous, projections, gates, next);
    }

    /// Writes the output of a layer below the top, if that is not its states.
    fn connect(&self, rows: &mut Rows<'_, T>, step: usize, layer: usize) {
        let Some((output, below)) = rows.outputs[..]
            .get_mut(..=layer)
            .and_then(<[_]>::split_last_mut)
        else {
            return;
        };
        let output = output.at_mut(step);
        output.copy_from_slice(rows.states[layer].at(step + 1));
        let below = below.last().map(|below| below.at(step));
        let saved = rows
            .normalized
            .get_mut(layer)
            .map(|saved| saved.at_mut(step));
        self.weights.connect(layer, output, below, saved);
    }

    /// Writes the top layer's output and the contexts, if that is not its states.
    fn read_out(&self, rows: &mut Rows<'_, T>, step: usize) {
        let (Some(readout), Some(below)) = (&mut rows.readout, rows.outputs.last()) else {
            return;
        };
        let readout = readout.at_mut(step);
        readout.copy_from_slice(rows.features.at(step + 1));
        self.weights.connect_top(readout, below.at(step));
    }

    pub(super) fn features<'b>(&self, features: &'b [T], rows: usize) -> Matrix<'b, T> {
        features_matrix(features, self.weights.sizes, rows)
    }
}

/// `out = values ⊙ mask`
fn multiply_into<T: Real>(out: &mut [T], values: &[T], mask: &[T]) {
    for ((out, &value), &factor) in out.iter_mut().zip(values).zip(mask) {
        *out = value * factor;
    }
}
