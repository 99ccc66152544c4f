//! Decoding without targets, one step at a time. The caller chooses the next token of each row.

use std::marker::PhantomData;
use std::ops::Range;

use super::DecoderSizes;
use super::kernel::Decoder;
use super::projected::Projected;
use super::step::{TokenInput, assert_memory, copy_states, features_matrix, features_stride};
use crate::attention::kernel::{Memory, Step, weigh_within};
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::recurrent::{Cell, NextState, State};
use crate::team::sized;

/// The rows that are being decoded, with their states. Several decodings can share one [`Decoder`] and
/// one memory.
///
/// [`keep`](Self::keep) removes rows that have ended, and repeats rows that continue in several ways. Not a
/// bit of a row's logits depends on the other rows. Rows that continue the same row share what does not
/// depend on their tokens: attention, which reads the states before the step, and the projections of these
/// states. With input feeding, attention reads the states after the step, and rows share nothing.
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
    /// For each row, which of the rows before the step it continues.
    parents: Vec<usize>,
    /// The memory's row for each of those.
    parent_rows: Vec<usize>,
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
    /// Numbers of each row of `saved`.
    saved_len: usize,
    gates: Vec<T>,
    projections: [Vec<T>; 2],
    shared: Shared<T>,
    cell: PhantomData<C>,
}

/// What rows share that continue the same row, and the copy for each of them.
#[derive(Clone, Debug, Default)]
struct Shared<T> {
    /// `[parents, S]`.
    weights: Vec<T>,
    reach: Vec<Range<usize>>,
    /// `[parents, C]`.
    contexts: Vec<T>,
    /// `[rows, G·D]`: the projections of the states before the step.
    hidden: Vec<T>,
    /// `[rows, D]`: these states.
    states: Vec<T>,
    cell_states: Vec<T>,
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
    /// Row `i` becomes what row `kept[i]` was.
    fn keep(&mut self, width: usize, kept: &[usize]) {
        if kept.iter().copied().eq(0..self.after.len() / width.max(1)) {
            return;
        }
        self.before.clear();
        for &row in kept {
            self.before
                .extend_from_slice(&self.after[row * width..][..width]);
        }
        self.swap();
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
        self.saved_len = decoder.scorer.saved_len(memory.len);
        self.rows.clear();
        self.rows.extend(0..memory.batch());
        self.continue_all();
        self.states.resize_with(layers - 1, Swap::default);
        self.cell_states.resize_with(layers, Swap::default);
        for (swap, width) in self.kept() {
            swap.after.resize(memory.batch() * width, T::ZERO);
        }
        self.make_room();
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

    /// Lets each row continue itself.
    fn continue_all(&mut self) {
        self.parents.clear();
        self.parents.extend(0..self.rows.len());
        self.parent_rows.clone_from(&self.rows);
    }

    /// Whether a row has several rows that continue it.
    fn has_branches(&self) -> bool {
        self.parents.len() > self.parent_rows.len()
    }

    /// All that is kept from step to step, with the width of a row.
    fn kept(&mut self) -> impl Iterator<Item = (&mut Swap<T>, usize)> {
        let DecoderSizes { units, .. } = self.sizes;
        let fed = if self.sizes.input_feeding { units } else { 0 };
        let others = [
            (&mut self.features, features_stride(self.sizes)),
            (&mut self.vectors, fed),
            (&mut self.weights, self.source_len),
        ];
        let states = self.states.iter_mut().map(move |states| (states, units));
        let cell_states = self.cell_states.iter_mut();
        let cell_states = cell_states.map(move |states| (states, C::CELL_STATES * units));
        others.into_iter().chain(states).chain(cell_states)
    }

    /// Makes room for what a step computes of the rows.
    fn make_room(&mut self) {
        let DecoderSizes { vocab, units, .. } = self.sizes;
        let rows = self.rows.len();
        for (swap, width) in self.kept() {
            swap.before.resize(rows * width, T::ZERO);
        }
        // The buffer holds weights of other rows.
        self.reach.before.clear();
        self.reach.before.resize(rows, 0..self.source_len);
        self.active.clear();
        self.active.extend(0..rows);
        self.logits.resize(rows * vocab, T::ZERO);
        self.saved.resize(rows * self.saved_len, T::ZERO);
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
        let (n_before, has_branches) = (self.parent_rows.len(), self.has_branches());
        self.features.swap();
        self.vectors.swap();
        self.weights.swap();
        self.reach.swap();
        let Swap { before, after } = &mut self.reach;
        let weights = self.weights.after.chunks_exact_mut(self.source_len.max(1));
        for (weights, reach) in weights.zip(&mut *after) {
            weights[reach.clone()].fill(T::ZERO);
        }
        if !has_branches {
            after.clone_from(before);
        }
        let states = self.states.iter_mut().chain(&mut self.cell_states);
        states.for_each(Swap::swap);

        match (sizes.input_feeding, has_branches) {
            (true, _) => {}
            (false, false) => self.attend(decoder, memory),
            (false, true) => self.attend_once(decoder, memory),
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
            let (before, next_hidden, hidden_stride) = match self.states.get_mut(layer) {
                Some(Swap { before, after }) => {
                    (Matrix::dense(&*before, n_before, units), after, units)
                }
                None => {
                    let Swap { before, after } = &mut self.features;
                    let before = features_matrix(before, sizes, n_before).columns(0, units);
                    (before, after, stride)
                }
            };
            let cell_states = &mut self.cell_states[layer];
            let mut previous = State {
                hidden: before,
                cell: Matrix::dense(&cell_states.before, n_before, C::CELL_STATES * units),
            };
            let next = NextState {
                hidden: next_hidden,
                hidden_stride,
                cell: &mut cell_states.after,
            };
            let gates = C::GATES * units;
            let hidden = &mut hidden[..n_before * gates];
            packed.cells[layer].hidden_gates(before, hidden);
            let mut hidden = Matrix::dense(&*hidden, n_before, gates);
            if has_branches {
                let (shared, parents) = (&mut self.shared, &self.parents);
                hidden = repeat(hidden, parents, &mut shared.hidden);
                previous.hidden = repeat(previous.hidden, parents, &mut shared.states);
                previous.cell = repeat(previous.cell, parents, &mut shared.cell_states);
            }
            let input = Matrix::dense(&*input, rows, gates);
            C::forward(&self.active, input, hidden, previous, &mut self.gates, next);
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
        self.continue_all();
        if has_branches {
            self.make_room();
        }
    }

    /// Attention from the states before the step, once for all rows that continue a row.
    fn attend_once(&mut self, decoder: &Decoder<T, C>, memory: Memory<'_, T>) {
        let DecoderSizes { units, values, .. } = self.sizes;
        let (len, n_before) = (self.source_len, self.parent_rows.len());
        let shared = &mut self.shared;
        let weights = sized(&mut shared.weights, n_before * len);
        weights.fill(T::ZERO);
        shared.reach.clone_from(&self.reach.before);
        let step = Step {
            state: features_matrix(&self.features.before, self.sizes, n_before).columns(0, units),
            previous: &self.weights.before,
            memory,
            rows: &self.parent_rows,
        };
        let (scorer, reach) = (&decoder.scorer, &mut shared.reach);
        let saved = &mut self.saved[..n_before * self.saved_len];
        scorer.scores_within(step, reach, &mut self.found, saved, weights);
        let contexts = sized(&mut shared.contexts, n_before * values);
        let rows = &self.parent_rows;
        weigh_within(memory, rows, reach, weights, contexts, values, values);
        let features = self
            .features
            .after
            .chunks_exact_mut(features_stride(self.sizes));
        for (row, (&parent, features)) in self.parents.iter().zip(features).enumerate() {
            let context = &contexts[parent * values..][..values];
            features[units..units + values].copy_from_slice(context);
            let reach = shared.reach[parent].clone();
            let weights = &weights[parent * len..][reach.clone()];
            self.weights.after[row * len..][reach.clone()].copy_from_slice(weights);
            self.reach.after[row] = reach;
        }
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
    /// or not at all. Until the next step, there are no logits and no attention weights to read.
    pub fn keep(&mut self, from: &[usize]) {
        let mut kept = Vec::with_capacity(from.len());
        let mut positions = vec![None; self.parent_rows.len()];
        let mut keep = |row: usize| {
            kept.push(row);
            kept.len() - 1
        };
        let parents = from.iter().map(|&row| self.parents[row]);
        let parents = parents.map(|row| match self.sizes.input_feeding {
            true => keep(row),
            false => *positions[row].get_or_insert_with(|| keep(row)),
        });
        self.parents = parents.collect();
        for (swap, width) in self.kept() {
            swap.keep(width, &kept);
        }
        let reach = &self.reach.after;
        self.reach.after = kept.iter().map(|&row| reach[row].clone()).collect();
        self.rows = from.iter().map(|&row| self.rows[row]).collect();
        self.parent_rows = kept.iter().map(|&row| self.parent_rows[row]).collect();
        self.make_room();
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

/// Row `i` is `rows[parents[i]]`.
fn repeat<'a, T: Real>(
    rows: Matrix<'_, T>,
    parents: &[usize],
    out: &'a mut Vec<T>,
) -> Matrix<'a, T> {
    let cols = rows.cols;
    let out = sized(out, parents.len() * cols);
    for (out, parent) in out.chunks_exact_mut(cols.max(1)).zip(parents) {
        out.copy_from_slice(&rows.data[parent * rows.stride..][..cols]);
    }
    Matrix::dense(out, parents.len(), cols)
}
