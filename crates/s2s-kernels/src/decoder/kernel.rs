//! The decoder's loop over the steps of a batch.

use super::step::{Gates, Weights, Words, assert_memory, attend, features_matrix, features_stride};
use super::trace::{DecoderTrace, Rows};
use super::{DecoderInputs, DecoderParams, DecoderSizes};
use crate::attention::kernel::{Scorer, Step};
use crate::lanes::argmax;
use crate::real::{Matrix, Output, Real};
use crate::recurrent::{Cell, State};
use crate::team::{Team, sized, split_rows};

/// A decoder: its packed weights, and what its backward pass needs. The memory is reused from step
/// to step.
#[derive(Clone, Debug)]
pub struct Decoder<T: Real, C> {
    /// The attention; it is packed by its own means.
    pub scorer: Box<dyn Scorer<T>>,
    pub(super) weights: Weights<T, C>,
    pub(super) trace: DecoderTrace<T>,
    pub(super) shares: [Vec<T>; 2],
    pub(super) d_input: Vec<T>,
    pub(super) d_previous: Vec<T>,
    pub(super) d_scores: Vec<T>,
    pub(super) sums: Vec<T>,
    pub(super) d_table: Vec<T>,
}

impl<T: Real, C: Cell> Decoder<T, C> {
    /// A decoder around an attention, without weights: [`pack`](Self::pack) comes first.
    pub fn new(scorer: Box<dyn Scorer<T>>) -> Self {
        Self {
            scorer,
            weights: Weights::default(),
            trace: DecoderTrace::default(),
            shares: Default::default(),
            d_input: Vec::new(),
            d_previous: Vec::new(),
            d_scores: Vec::new(),
            sums: Vec::new(),
            d_table: Vec::new(),
        }
    }

    /// Packs the weights, the attention's excepted; once after each change of them.
    pub fn pack(&mut self, params: &DecoderParams<'_, T>) {
        let sizes = params.sizes();
        let weights = &mut self.weights;
        weights.sizes = sizes;
        weights.embedding.clear();
        weights.embedding.extend_from_slice(params.embedding);
        let (word, context) = params.input_columns();
        weights.word.pack(word);
        weights.cells.resize_with(sizes.layers, Default::default);
        for (layer, (cell, &params)) in weights.cells.iter_mut().zip(&params.layers).enumerate() {
            let input = match layer {
                0 => context,
                _ => Matrix::dense(params.weight_ih, params.bias_ih.len(), sizes.units),
            };
            cell.pack(params, input);
        }
        let features = sizes.units + sizes.values;
        weights
            .output
            .pack(Matrix::dense(params.output_weight, sizes.vocab, features));
        weights.output_bias.clear();
        weights.output_bias.extend_from_slice(params.output_bias);
        let words = Matrix::dense(params.embedding, sizes.vocab, sizes.embedding);
        let bias = params.layers[0].bias_ih;
        let table = sized(&mut weights.table, sizes.vocab * bias.len());
        weights
            .word
            .forward(words, table, bias.len(), Output::Bias(bias));
    }

    /// Decodes a batch, keeping what [`backward`](Self::backward) needs.
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
            targets.words.len(),
            targets.forced.len(),
            "one coin a token"
        );
        assert_eq!(initial.len(), sizes.layers, "one first state a layer");
        let len = targets.words.len().checked_div(batch).unwrap_or(0);
        self.trace.resize::<C>(
            sizes,
            (batch, len, memory.len),
            self.scorer.kept(memory.len),
            &dropout,
        );
        let ranges = team.ranges(batch);
        let [input, hidden] = &mut self.shares;
        let gates = C::GATES * sizes.units;
        let input = split_rows(sized(input, batch * gates), gates, &ranges);
        let hidden = split_rows(sized(hidden, batch * gates), gates, &ranges);
        let work = self
            .trace
            .split::<C>(sizes, self.scorer.kept(memory.len), &ranges)
            .into_iter()
            .zip(input.into_iter().zip(hidden))
            .map(|(trace, (input, hidden))| (trace, Gates { input, hidden }))
            .collect();
        let batch = Batch {
            scorer: &*self.scorer,
            weights: &self.weights,
            inputs,
            len,
        };
        team.run(work, |(mut trace, mut shares), _| {
            batch.forward(&mut trace, &mut shares)
        });
    }

    /// `[T, B, V]`; the loss turns them into their gradients, in place, for
    /// [`backward`](Self::backward).
    pub fn logits_mut(&mut self) -> &mut [T] {
        &mut self.trace.logits
    }

    /// `[T, B, V]`.
    pub fn logits(&self) -> &[T] {
        &self.trace.logits
    }

    /// The attention's weights, `[T, B, S]`.
    pub fn attention(&self) -> &[T] {
        let all = &self.trace.weights;
        &all[all.len() / (self.trace.len + 1)..]
    }

    /// The tokens read, `[T, B]`.
    pub fn tokens(&self) -> &[u32] {
        &self.trace.tokens
    }
}

/// What all ranges of rows share in one pass.
pub(super) struct Batch<'a, T: Real, C> {
    pub(super) scorer: &'a dyn Scorer<T>,
    pub(super) weights: &'a Weights<T, C>,
    pub(super) inputs: DecoderInputs<'a, T>,
    pub(super) len: usize,
}

impl<T: Real, C: Cell> Batch<'_, T, C> {
    fn forward(&self, rows: &mut Rows<'_, T>, shares: &mut Gates<'_, T>) {
        self.begin(rows);
        for step in 0..self.len {
            self.read(rows, step);
            self.attend(rows, step);
            for layer in 0..self.weights.sizes.layers {
                self.input_gates(rows, step, layer, shares.input);
                self.advance(rows, step, layer, shares);
            }
            let features = self.features(rows.features.at(step + 1), rows.range.len());
            self.weights.logits(features, rows.logits.at_mut(step));
        }
    }

    /// The first states, and where attention looked before them.
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
    }

    /// The tokens of a step, and their embeddings where some numbers of them are dropped.
    fn read(&self, rows: &mut Rows<'_, T>, step: usize) {
        let DecoderSizes {
            vocab,
            embedding: width,
            ..
        } = self.weights.sizes;
        let tokens = rows.tokens.at_mut(step);
        for (index, (token, &row)) in tokens.iter_mut().zip(&rows.memory).enumerate() {
            let at = row * self.len + step;
            *token = if step == 0 || self.inputs.targets.forced[at] {
                self.inputs.targets.words[at]
            } else {
                argmax(&rows.logits.at(step - 1)[index * vocab..][..vocab]) as u32
            };
        }
        if let (Some(words), Some(mask)) = (&mut rows.words, self.inputs.dropout.embedding) {
            let words = words.at_mut(step).chunks_exact_mut(width);
            for ((word, &token), &row) in words.zip(&*tokens).zip(&rows.memory) {
                let embedding = &self.weights.embedding[token as usize * width..][..width];
                let mask = &mask[(row * self.len + step) * width..][..width];
                multiply_by(word, embedding, mask);
            }
        }
    }

    fn attend(&self, rows: &mut Rows<'_, T>, step: usize) {
        let DecoderSizes { units, values, .. } = self.weights.sizes;
        let stride = features_stride(self.weights.sizes);
        let (before, after) = rows.features.read_write(step, step + 1);
        let (previous, weights) = rows.weights.read_write(step, step + 1);
        let state = self.features(before, rows.range.len()).columns(0, units);
        let seen = Step {
            state,
            previous,
            memory: self.inputs.memory,
            rows: &rows.memory,
        };
        let context = &mut after[units..];
        attend(
            self.scorer,
            seen,
            rows.kept.at_mut(step),
            weights,
            (context, stride, values),
        );
    }

    /// The input's share of a layer's gates.
    fn input_gates(&self, rows: &mut Rows<'_, T>, step: usize, layer: usize, out: &mut [T]) {
        let DecoderSizes { units, values, .. } = self.weights.sizes;
        let n = rows.range.len();
        if layer == 0 {
            let features = self.features(rows.features.at(step + 1), n);
            let words = match &rows.words {
                Some(words) => Words::Embeddings(words.at(step)),
                None => Words::Tokens(rows.tokens.at(step)),
            };
            self.weights.word_gates(words, out);
            let (context, stride) = (features.columns(units, values), C::GATES * units);
            let weight = self.weights.context_weight();
            weight.forward(context, out, stride, Output::Add);
            return;
        }
        let mut below = rows.states[layer - 1].at(step + 1);
        if let (Some(masks), Some(dropped)) =
            (self.inputs.dropout.between, rows.dropped.get_mut(layer - 1))
        {
            let dropped = dropped.at_mut(step);
            let states = dropped
                .chunks_exact_mut(units)
                .zip(below.chunks_exact(units));
            for ((dropped, state), &row) in states.zip(&rows.memory) {
                let mask = &masks[layer - 1][(row * self.len + step) * units..][..units];
                multiply_by(dropped, state, mask);
            }
            below = dropped;
        }
        self.weights
            .input_gates(layer, Matrix::dense(below, n, units), out);
    }

    /// The states of a layer after a step.
    fn advance(
        &self,
        rows: &mut Rows<'_, T>,
        step: usize,
        layer: usize,
        shares: &mut Gates<'_, T>,
    ) {
        let DecoderSizes { units, layers, .. } = self.weights.sizes;
        let n = rows.range.len();
        let is_top = layer + 1 == layers;
        let (previous, states, stride);
        if is_top {
            let (before, after) = rows.features.read_write(step, step + 1);
            previous = self.features(before, n).columns(0, units);
            (states, stride) = (after, features_stride(self.weights.sizes));
        } else {
            let (before, after) = rows.states[layer].read_write(step, step + 1);
            previous = Matrix::dense(before, n, units);
            (states, stride) = (after, units);
        }
        let (cell_before, cell_after) = rows.cell_states[layer].read_write(step, step + 1);
        let before = State {
            hidden: previous,
            cell: Matrix::dense(cell_before, n, C::CELL_STATES * units),
        };
        let after = State {
            hidden: states,
            cell: cell_after,
        };
        let gates = rows.gates[layer].at_mut(step);
        self.weights
            .advance(layer, &rows.active, before, shares, gates, (after, stride));
    }

    pub(super) fn features<'b>(&self, features: &'b [T], rows: usize) -> Matrix<'b, T> {
        features_matrix(features, self.weights.sizes, rows)
    }
}

/// `out = values ⊙ mask`
pub(super) fn multiply_by<T: Real>(out: &mut [T], values: &[T], mask: &[T]) {
    for ((out, &value), &factor) in out.iter_mut().zip(values).zip(mask) {
        *out = value * factor;
    }
}
