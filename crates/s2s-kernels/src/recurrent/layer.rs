//! A recurrent layer over whole ragged rows, on slices.
//!
//! Sequences are position first, `[S, B, ·]`: the rows of one step are neighbors, and the rows of
//! all steps are one matrix, over which each weight's gradient is one product.

use super::pass::{Backward, Forward, Pass};
use super::weights::{CellWeights, bias_gradients, gates_matrix, hidden_gradients};
use super::{Cell, Direction, RecurrentGrads, RecurrentParams, State};
use crate::linear::weight_gradient;
use crate::real::{Matrix, Output, Real};
use crate::table::{position_first, scatter_add};
use crate::team::{Steps, Team, sized, split_rows};

/// What a layer reads.
#[derive(Clone, Copy, Debug)]
pub enum RecurrentInput<'a, T> {
    /// `[S, B, I]`.
    Dense(&'a [T]),
    /// Words: `ids [B, S]` into `embedding [V, I]`, which the layer was packed with.
    Embedded {
        /// `[B, S]`; those of padded positions must be words too.
        ids: &'a [u32],
        /// `[V, I]`.
        embedding: &'a [T],
    },
}

/// A batch of rows for a layer.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentBatch<'a, T> {
    /// What the layer reads.
    pub input: RecurrentInput<'a, T>,
    /// Real positions of each row, `[B]`.
    pub lengths: &'a [usize],
    /// Padded length, `S`.
    pub len: usize,
}

/// What the backward pass of a layer reads.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentStates<'a, T> {
    /// What the forward pass wrote, `[S, B, ·]`.
    pub states: &'a [T],
    /// Its gradient, in the same columns.
    pub d_states: &'a [T],
    /// The layer's columns of both.
    pub columns: Columns,
    /// The gradient of the last states, `[B, H]` each.
    pub d_last: State<Matrix<'a, T>>,
}

/// Columns `first..first + H` of a position-first `[S, B, stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The first of the columns.
    pub first: usize,
    /// All columns of the buffer.
    pub stride: usize,
}

impl Columns {
    /// These columns of `rows` rows, `units` of them.
    pub(super) fn of<T>(self, all: &[T], rows: usize, units: usize) -> Matrix<'_, T> {
        Matrix::dense(all, rows, self.stride).columns(self.first, units)
    }
}

/// One layer and direction: its packed weights and what its backward pass needs. The memory is
/// reused from step to step.
#[derive(Clone, Debug)]
pub struct RecurrentLayer<T: Real, C> {
    direction: Direction,
    weights: CellWeights<T, C>,
    /// `[S, B, SAVED·H]`, padded; the gates, and after the backward pass their derivatives.
    gates: Vec<T>,
    /// `[S, B, H]`, 0 where padded, of a cell that has cell states.
    cell_states: Vec<T>,
    /// `embedding W_ihᵀ + b_ih`, `[V, G·H]`, and its gradient.
    table: Vec<T>,
    d_table: Vec<T>,
    input_gates: Vec<T>,
    hidden_gates: Vec<T>,
    d_state: State<Vec<T>>,
    zeros: Vec<T>,
    inputs: usize,
}

impl<T: Real, C: Cell> RecurrentLayer<T, C> {
    /// A layer without weights: [`pack`](Self::pack) comes first.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            weights: CellWeights::default(),
            gates: Vec::new(),
            cell_states: Vec::new(),
            table: Vec::new(),
            d_table: Vec::new(),
            input_gates: Vec::new(),
            hidden_gates: Vec::new(),
            d_state: State::default(),
            zeros: Vec::new(),
            inputs: 0,
        }
    }

    /// Packs the weights, and projects the words `[V, I]` that the layer is to read, of which there
    /// may be none; once after each change of them.
    pub fn pack(&mut self, params: RecurrentParams<'_, T>, words: &[T]) {
        self.inputs = params.inputs();
        let weight_ih = Matrix::dense(params.weight_ih, params.bias_ih.len(), self.inputs);
        self.weights.pack(params, weight_ih);
        self.zeros.clear();
        self.zeros.resize(params.units(), T::ZERO);
        let n_words = words.len().checked_div(self.inputs).unwrap_or(0);
        let words = Matrix::dense(words, n_words, self.inputs);
        let cols = self.weights.gates();
        self.table.resize(n_words * cols, T::ZERO);
        let bias = Output::Bias(&self.weights.bias_ih);
        self.weights
            .input
            .forward(words, &mut self.table, cols, bias);
    }

    /// The states of every row, written into `columns` of `states [S, B, ·]`; 0 where padded.
    ///
    /// [`backward`](Self::backward) needs what this keeps.
    pub fn forward(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        states: &mut [T],
        columns: Columns,
        team: &mut Team<T>,
    ) {
        let RecurrentBatch {
            input,
            lengths,
            len,
        } = batch;
        let (n, units, gates_width) = (lengths.len(), self.weights.units, self.weights.gates());
        if let RecurrentInput::Embedded { embedding, .. } = input {
            assert_eq!(
                embedding.len() * gates_width,
                self.table.len() * self.inputs,
                "the layer must be packed with the words that it reads"
            );
        }
        let ranges = team.ranges(n);
        let (stride, cell_units) = (C::gates_stride(units), C::CELL_STATES * units);
        let gates = sized(&mut self.gates, len * n * stride);
        let cell_states = sized(&mut self.cell_states, len * n * cell_units);
        let at_once = positions_at_once(n, ranges.len());
        let input_width = at_once * gates_width;
        let input_gates = sized(&mut self.input_gates, n * input_width);
        let hidden_gates = sized(&mut self.hidden_gates, n * gates_width);
        let work = Steps::split(gates, len, stride, &ranges)
            .into_iter()
            .zip(Steps::split(states, len, columns.stride, &ranges))
            .zip(Steps::split(cell_states, len, cell_units, &ranges))
            .zip(split_rows(input_gates, input_width, &ranges))
            .zip(split_rows(hidden_gates, gates_width, &ranges))
            .zip(ranges)
            .map(
                |(((((gates, hidden), cell), input_gates), hidden_gates), rows)| Forward {
                    rows,
                    gates,
                    states: State { hidden, cell },
                    input_gates,
                    hidden_gates,
                },
            )
            .collect();
        let pass = Pass {
            direction: self.direction,
            weights: &self.weights,
            inputs: self.inputs,
            table: &self.table,
            zeros: &self.zeros,
            input,
            lengths,
            len,
            columns,
            at_once,
        };
        team.run(work, |work, _| work.run(&pass));
    }

    /// The gradients of the weights and the input; consumes what the forward pass kept.
    ///
    /// `d_input` is of the input's shape, or of the embedding's, and is replaced or added to.
    pub fn backward(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        seen: RecurrentStates<'_, T>,
        d_input: &mut [T],
        output: Output<'_, T>,
        grads: &mut RecurrentGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let RecurrentBatch {
            input,
            lengths,
            len,
        } = batch;
        let columns = seen.columns;
        let (n, units) = (lengths.len(), self.weights.units);
        let ranges = team.ranges(n);
        let (stride, cell_units) = (C::gates_stride(units), C::CELL_STATES * units);
        let d_hidden = sized(&mut self.d_state.hidden, n * units);
        let d_cell = sized(&mut self.d_state.cell, n * cell_units);
        let work = Steps::split(&mut self.gates[..len * n * stride], len, stride, &ranges)
            .into_iter()
            .zip(split_rows(d_hidden, units, &ranges))
            .zip(split_rows(d_cell, cell_units, &ranges))
            .zip(ranges)
            .map(|(((gates, hidden), cell), rows)| Backward {
                rows,
                gates,
                d_state: State { hidden, cell },
            })
            .collect();
        let pass = Pass {
            direction: self.direction,
            weights: &self.weights,
            inputs: self.inputs,
            table: &self.table,
            zeros: &self.zeros,
            input,
            lengths,
            len,
            columns,
            at_once: 1,
        };
        let rows = len * n;
        let states = State {
            hidden: columns.of(seen.states, rows, units),
            cell: Matrix::dense(&self.cell_states, rows, cell_units),
        };
        team.run(work, |work, _| work.run(&pass, states, seen));

        let gates = std::mem::take(&mut self.gates);
        let d_gates = gates_matrix::<C, T>(&gates, units, rows);
        let kept = rows - n.min(rows);
        let (after, before) = match self.direction {
            Direction::Forward => (d_gates.rows(n, kept), states.hidden.rows(0, kept)),
            Direction::Backward => (d_gates.rows(0, kept), states.hidden.rows(n, kept)),
        };
        hidden_gradients::<T, C>(after, before, grads, team);
        bias_gradients::<T, C>(d_gates, grads, team);
        let d_gates = d_gates.columns(0, self.weights.gates());
        self.input_gradients(batch, d_gates, (d_input, output), grads, team);
        self.gates = gates;
    }

    /// The states after the last position that the direction reads, into the columns `to` of `ends
    /// [B, ·]`; 0 for an empty row.
    pub fn last(
        &self,
        lengths: &[usize],
        (states, columns): (&[T], Columns),
        (ends, to): (State<&mut [T]>, Columns),
    ) {
        let units = self.weights.units;
        let own = Columns {
            first: 0,
            stride: units,
        };
        for (ends, states, columns) in [
            (ends.hidden, states, columns),
            (ends.cell, &self.cell_states[..], own),
        ] {
            let ends = ends.chunks_exact_mut(to.stride.max(1)).zip(lengths);
            for (row, (end, &length)) in ends.enumerate() {
                let end = &mut end[to.first..][..units];
                match self.direction.last(length) {
                    Some(position) => {
                        let at = (position * lengths.len() + row) * columns.stride + columns.first;
                        end.copy_from_slice(&states[at..][..units]);
                    }
                    None => end.fill(T::ZERO),
                }
            }
        }
    }

    fn input_gradients(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        d_gates: Matrix<'_, T>,
        (d_input, output): (&mut [T], Output<'_, T>),
        grads: &mut RecurrentGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let inputs = self.inputs;
        let (d_gates, x) = match batch.input {
            RecurrentInput::Dense(x) => (d_gates, Matrix::dense(x, d_gates.rows, inputs)),
            RecurrentInput::Embedded { ids, embedding } => {
                let words = embedding.len() / inputs;
                let table = sized(&mut self.d_table, words * d_gates.cols);
                table.fill(T::ZERO);
                scatter_add(table, d_gates, position_first(ids, batch.len), team);
                let d_table = Matrix::dense(&*table, words, d_gates.cols);
                (d_table, Matrix::dense(embedding, words, inputs))
            }
        };
        weight_gradient(grads.weight_ih, inputs, d_gates, x, Output::Replace, team);
        self.weights
            .input
            .backward_on(d_gates, d_input, output, team);
    }
}

/// Positions whose share of the gates is one product: as many as make `ROWS` rows of it, since to read
/// the weights takes longer than a product of few rows. The rows of several positions are neighbors
/// only where one range has all of them.
fn positions_at_once(rows: usize, ranges: usize) -> usize {
    const ROWS: usize = 32;
    match ranges {
        1 => (ROWS / rows.max(1)).max(1),
        _ => 1,
    }
}
