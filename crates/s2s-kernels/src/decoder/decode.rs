//! Decoding without targets, one step at a time. The caller chooses the next token of each row.

use std::marker::PhantomData;
use std::ops::Range;

use super::DecoderSizes;
use super::kernel::Decoder;
use super::projected::Projected;
use super::step::{
    Projections, TokenInput, assert_memory, copy_states, features_matrix, features_stride,
};
use crate::attention::kernel::{Memory, Step, weigh_within};
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::recurrent::{Cell, NextState, State};
use crate::team::sized;

/// The rows that are being decoded, with their states. Several decodings can share one [`Decoder`] and
/// one memory.
///
/// [`keep`](Self::keep) removes rows that have ended. Not a bit of a row's logits depends on the other
/// rows.
///
/// A step reads only the positions that can have a weight, if the mechanism can tell which those are:
/// see [`Scorer::scores_within`](crate::attention::kernel::Scorer::scores_within). Its time then does
/// not depend on the length of the source.
#[derive(Clone, Debug, Default)]
pub struct Decoding<T, C> {
    sizes: DecoderSizes,
    source_len: usize,
    /// The memory's row for each row.
    rows: Vec<usize>,
    active: Vec<usize>,
    /// `[rows, D + C]`, padded: the top layer's states and the contexts.
    features: Swap<T>,
    /// `[rows, D]` for each layer below the top.
    states: Vec<Swap<T>>,
    /// `[rows, D]` for each layer, if the cell has cell states.
    cell_states: Vec<Swap<T>>,
    /// The output of a layer below the top and of the layer below that, `[rows, D]` each, if those are
    /// not their states.
    outputs: Swap<T>,
    /// The top layer's output and the contexts, `[rows, D + C]`, padded, if that is not its states.
    readout: Vec<T>,
    /// What the normalization of a layer saves.
    normalized: Vec<T>,
    /// `[rows, D]`: the attentional vectors, with input feeding.
    vectors: Swap<T>,
    /// `[rows, D]`: the states that the attention of input feeding reads.
    asking: Vec<T>,
    /// `[rows, S]`.
    weights: Swap<T>,
    /// A range of each row of `weights` outside of which they are 0.
    reach: Swap<Range<usize>>,
    /// What the mechanism found out about each row of the memory.
    found: Vec<Vec<T>>,
    logits: Vec<T>,
    projected: Projected<T>,
    saved: Vec<T>,
    gates: Vec<T>,
    projections: [Vec<T>; 2],
    cell: PhantomData<C>,
}

/// The rows before and after a step.
#[derive(Clone, Debug, Default)]
struct Swap<T> {
    before: Vec<T>,
    after: Vec<T>,
}

impl<T> Swap<T> {
    fn swap(&mut self) {
        std::mem::swap(&mut self.before, &mut self.after);
    }
}

impl<T: Real> Swap<T> {
    fn resize(&mut self, len: usize) {
        self.before.resize(len, T::ZERO);
        self.after.resize(len, T::ZERO);
    }

    /// Row `i` becomes what row `from[i]` was.
    fn keep(&mut self, width: usize, from: &[usize]) {
        self.before.clear();
        for &row in from {
            self.before
                .extend_from_slice(&self.after[row * width..][..width]);
        }
        self.swap();
        self.before.resize(self.after.len(), T::ZERO);
    }
}

impl<T: Real, C: Cell> Decoding<T, C> {
    /// A decoding without rows; call [`start`](Self::start) before use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with all rows of the memory, in order. `initial` holds the initial states, `[B, D]` each,
    /// one per layer.
    pub fn start(
        &mut self,
        decoder: &Decoder<T, C>,
        memory: Memory<'_, T>,
        initial: &[State<&[T]>],
    ) {
        let sizes = decoder.weights.sizes;
        let DecoderSizes { units, layers, .. } = sizes;
        assert_memory(memory, sizes);
        assert_eq!(
            initial.len(),
            layers,
            "there must be one initial state per layer"
        );
        self.sizes = sizes;
        self.source_len = memory.len;
        if !sizes.input_feeding {
            let weight = decoder.weights.fed_weight();
            self.projected.fill(weight, C::GATES * units, memory);
        }
        self.rows.clear();
        self.rows.extend(0..memory.batch());
        self.resize(decoder.scorer.saved_len(memory.len));
        let start = decoder.scorer.start();
        let weights = self.weights.after.chunks_exact_mut(memory.len.max(1));
        for (weights, &length) in weights.zip(memory.lengths) {
            start.fill(length, weights);
        }
        self.vectors.after.fill(T::ZERO);
        self.reach.after.clear();
        self.reach.after.resize(self.rows.len(), 0..memory.len);
        self.found.clear();
        self.found.resize(memory.batch(), Vec::new());
        for (states, initial) in self.cell_states.iter_mut().zip(initial) {
            states.after.copy_from_slice(initial.cell);
        }
        let Some((top, below)) = initial.split_last() else {
            return;
        };
        for (states, initial) in self.states.iter_mut().zip(below) {
            states.after.copy_from_slice(initial.hidden);
        }
        let features = self.features.after.chunks_exact_mut(features_stride(sizes));
        for (features, top) in features.zip(top.hidden.chunks_exact(units)) {
            features[..units].copy_from_slice(top);
        }
    }

    fn resize(&mut self, saved: usize) {
        let DecoderSizes {
            vocab,
            units,
            layers,
            ..
        } = self.sizes;
        let rows = self.rows.len();
        self.active.clear();
        self.active.extend(0..rows);
        self.features.resize(rows * features_stride(self.sizes));
        self.states.resize_with(layers - 1, Swap::default);
        for states in &mut self.states {
            states.resize(rows * units);
        }
        self.cell_states.resize_with(layers, Swap::default);
        for states in &mut self.cell_states {
            states.resize(rows * C::CELL_STATES * units);
        }
        let fed = if self.sizes.input_feeding { units } else { 0 };
        self.vectors.resize(rows * fed);
        self.weights.resize(rows * self.source_len);
        // The buffer holds weights of other rows.
        self.reach.before.clear();
        self.reach.before.resize(rows, 0..self.source_len);
        self.logits.resize(rows * vocab, T::ZERO);
        self.saved.resize(rows * saved, T::ZERO);
        self.gates.resize(rows * C::gates_stride(units), T::ZERO);
        for projection in &mut self.projections {
            projection.resize(rows * C::GATES * units, T::ZERO);
        }
    }

    /// Reads one token per row and computes its logits and attention weights.
    pub fn step(&mut self, decoder: &Decoder<T, C>, memory: Memory<'_, T>, tokens: &[u32]) {
        assert_eq!(
            tokens.len(),
            self.rows.len(),
            "there must be one token per row"
        );
        let sizes = self.sizes;
        let DecoderSizes {
            units,
            values,
            layers,
            ..
        } = sizes;
        let (rows, stride) = (self.rows.len(), features_stride(sizes));
        self.features.swap();
        self.vectors.swap();
        self.weights.swap();
        self.reach.swap();
        let Swap { before, after } = &mut self.reach;
        let weights = self.weights.after.chunks_exact_mut(self.source_len.max(1));
        for (weights, reach) in weights.zip(&mut *after) {
            weights[reach.clone()].fill(T::ZERO);
        }
        after.clone_from(before);
        let states = self.states.iter_mut().chain(&mut self.cell_states);
        states.for_each(Swap::swap);

        if !sizes.input_feeding {
            self.attend(decoder, memory);
        }
        let packed = &decoder.weights;
        let [input, hidden] = &mut self.projections;
        for layer in 0..layers {
            if layer == 0 && sizes.input_feeding {
                packed.token_gates(TokenInput::Ids(tokens), input);
                let vectors = Matrix::dense(&self.vectors.before, rows, units);
                let weight = packed.fed_weight();
                weight.forward(vectors, input, C::GATES * units, Epilogue::Add);
            } else if layer == 0 {
                packed.token_gates(TokenInput::Ids(tokens), input);
                let context = features_matrix(&self.features.after, sizes, rows);
                self.projected.add(
                    packed.fed_weight(),
                    &self.rows,
                    Matrix::dense(&self.weights.after, rows, self.source_len),
                    context.columns(units, values),
                    input,
                );
            } else {
                let below = match packed.connections.are_plain() {
                    true => &self.states[layer - 1].after,
                    false => &self.outputs.after,
                };
                packed.input_gates(layer, Matrix::dense(below, rows, units), input);
            }
            let mut projections = Projections { input, hidden };
            let (before, hidden, hidden_stride) = match self.states.get_mut(layer) {
                Some(Swap { before, after }) => {
                    (Matrix::dense(&*before, rows, units), after, units)
                }
                None => {
                    let Swap { before, after } = &mut self.features;
                    let before = features_matrix(before, sizes, rows).columns(0, units);
                    (before, after, stride)
                }
            };
            let cell_states = &mut self.cell_states[layer];
            let previous = State {
                hidden: before,
                cell: Matrix::dense(&cell_states.before, rows, C::CELL_STATES * units),
            };
            let next = NextState {
                hidden,
                hidden_stride,
                cell: &mut cell_states.after,
            };
            packed.advance(
                layer,
                &self.active,
                previous,
                &mut projections,
                &mut self.gates,
                next,
            );
            if layer + 1 < layers && !packed.connections.are_plain() {
                self.outputs.swap();
                let Swap { before, after } = &mut self.outputs;
                after.clone_from(&self.states[layer].after);
                let below = (layer > 0).then_some(&**before);
                let saved = sized(&mut self.normalized, rows * (units + 1));
                packed.connect(layer, after, below, Some(saved));
            }
        }
        if sizes.input_feeding {
            self.attend(decoder, memory);
        }
        let mut features = &self.features.after;
        if packed.connections.residual && layers > 1 {
            self.readout.clone_from(features);
            packed.connect_top(&mut self.readout, &self.outputs.after);
            features = &self.readout;
        }
        let features = features_matrix(features, sizes, rows);
        packed.logits(features, &mut self.vectors.after, &mut self.logits);
    }

    /// Attention from the states before the step; with input feeding, from those after it.
    fn attend(&mut self, decoder: &Decoder<T, C>, memory: Memory<'_, T>) {
        let (sizes, rows) = (self.sizes, self.rows.len());
        let (units, stride) = (sizes.units, features_stride(sizes));
        let state = match sizes.input_feeding {
            true => {
                let asking = sized(&mut self.asking, rows * units);
                copy_states(&self.features.after, sizes, asking);
                Matrix::dense(&*asking, rows, units)
            }
            false => features_matrix(&self.features.before, sizes, rows).columns(0, units),
        };
        let step = Step {
            state,
            previous: &self.weights.before,
            memory,
            rows: &self.rows,
        };
        let (reach, weights) = (&mut self.reach.after, &mut self.weights.after);
        let scorer = &decoder.scorer;
        scorer.scores_within(step, reach, &mut self.found, &mut self.saved, weights);
        let context = &mut self.features.after[units.min(rows * stride)..];
        weigh_within(
            memory,
            &self.rows,
            reach,
            weights,
            context,
            stride,
            sizes.values,
        );
    }

    /// Continues with rows `from[0]`, `from[1]`, ... of the current rows; a row may occur several times
    /// or not at all.
    pub fn keep(&mut self, from: &[usize]) {
        let DecoderSizes { units, .. } = self.sizes;
        let saved = self.saved.len().checked_div(self.rows.len()).unwrap_or(0);
        self.features.keep(features_stride(self.sizes), from);
        if self.sizes.input_feeding {
            self.vectors.keep(units, from);
        }
        self.weights.keep(self.source_len, from);
        self.reach.after = from
            .iter()
            .map(|&row| self.reach.after[row].clone())
            .collect();
        for states in &mut self.states {
            states.keep(units, from);
        }
        for states in &mut self.cell_states {
            states.keep(C::CELL_STATES * units, from);
        }
        self.rows = from.iter().map(|&row| self.rows[row]).collect();
        self.resize(saved);
    }

    /// The memory's row for each row.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The logits of the last step, `[rows, V]`.
    pub fn logits(&self) -> &[T] {
        &self.logits
    }

    /// The attention weights of the last step, `[rows, S]`.
    pub fn attention(&self) -> &[T] {
        &self.weights.after
    }

    /// For each row, the positions from the first weight above 0 to the last.
    pub fn support(&self) -> &[Range<usize>] {
        &self.reach.after
    }
}
