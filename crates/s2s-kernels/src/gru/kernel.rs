//! A GRU layer over whole ragged rows, on slices.
//!
//! Sequences are position first, `[S, B, ·]`: the rows of one step are neighbors, and the rows of
//! all steps are one matrix, over which each weight's gradient is one product.

use std::ops::Range;

use super::cell::{self, Cell, gates_matrix, gates_stride};
use super::{Direction, GruGrads, GruParams};
use crate::linear::weight_gradient;
use crate::real::{Matrix, Output, Real};
use crate::table::{gather, position_first, scatter_add};
use crate::team::{Steps, Team, sized, split_rows};

/// What a layer reads.
#[derive(Clone, Copy, Debug)]
pub enum GruInput<'a, T> {
    /// `[S, B, I]`.
    Dense(&'a [T]),
    /// Words: `ids [B, S]` into `embedding [V, I]`, whose projection is computed once a word.
    Embedded {
        /// `[B, S]`; those of padded positions must be words too.
        ids: &'a [u32],
        /// `[V, I]`.
        embedding: &'a [T],
    },
}

/// Columns `first..first + H` of a position-first `[S, B, stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The first of the columns.
    pub first: usize,
    /// All columns of the buffer.
    pub stride: usize,
}

/// One layer and direction: its packed weights and what its backward pass needs. The memory is
/// reused from step to step.
#[derive(Clone, Debug)]
pub struct GruLayer<T: Real> {
    direction: Direction,
    cell: Cell<T>,
    /// `[S, B, 4H]`, padded; the gates, and after the backward pass their derivatives.
    gates: Vec<T>,
    /// `[V, 3H]`.
    table: Vec<T>,
    input_gates: Vec<T>,
    hidden_gates: Vec<T>,
    d_state: Vec<T>,
    zeros: Vec<T>,
    inputs: usize,
}

impl<T: Real> GruLayer<T> {
    /// A layer without weights: [`pack`](Self::pack) comes first.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            cell: Cell::default(),
            gates: Vec::new(),
            table: Vec::new(),
            input_gates: Vec::new(),
            hidden_gates: Vec::new(),
            d_state: Vec::new(),
            zeros: Vec::new(),
            inputs: 0,
        }
    }

    /// Packs the weights; once after each change of them.
    pub fn pack(&mut self, params: GruParams<'_, T>) {
        self.inputs = params.inputs();
        let weight_ih = Matrix::dense(params.weight_ih, 3 * params.units(), self.inputs);
        self.cell.pack(params, weight_ih);
        self.zeros.clear();
        self.zeros.resize(params.units(), T::ZERO);
    }

    /// The states of every row, written into `columns` of `states [S, B, ·]`; 0 where padded.
    ///
    /// `lengths [B]` are the real positions of each row, of `len`.
    pub fn forward(
        &mut self,
        input: GruInput<'_, T>,
        (lengths, len): (&[usize], usize),
        (states, columns): (&mut [T], Columns),
        team: &mut Team<T>,
    ) {
        self.project_words(input);
        let (batch, units) = (lengths.len(), self.cell.units);
        let ranges = team.ranges(batch);
        let stride = gates_stride(units);
        let gates = sized(&mut self.gates, len * batch * stride);
        let input_gates = sized(&mut self.input_gates, batch * 3 * units);
        let hidden_gates = sized(&mut self.hidden_gates, batch * 3 * units);
        let work = Steps::split(gates, len, stride, &ranges)
            .into_iter()
            .zip(Steps::split(states, len, columns.stride, &ranges))
            .zip(split_rows(input_gates, 3 * units, &ranges))
            .zip(split_rows(hidden_gates, 3 * units, &ranges))
            .zip(ranges)
            .map(
                |((((gates, states), input_gates), hidden_gates), rows)| Forward {
                    rows,
                    gates,
                    states,
                    input_gates,
                    hidden_gates,
                },
            )
            .collect();
        let pass = Pass {
            direction: self.direction,
            cell: &self.cell,
            inputs: self.inputs,
            table: &self.table,
            zeros: &self.zeros,
            input,
            lengths,
            len,
            columns,
        };
        team.run(work, |work, _| work.run(&pass));
    }

    /// The gradients of the weights and the input, from those of the states and of the
    /// [`last`] states; consumes what the forward pass kept.
    ///
    /// `d_last` is `[B, H]`. `d_input` is of the input's shape, or of the embedding's, and is
    /// replaced or added to.
    pub fn backward(
        &mut self,
        input: GruInput<'_, T>,
        (lengths, len): (&[usize], usize),
        (states, d_states, columns): (&[T], &[T], Columns),
        d_last: &[T],
        (d_input, output): (&mut [T], Output<'_, T>),
        grads: &mut GruGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let (batch, units) = (lengths.len(), self.cell.units);
        let ranges = team.ranges(batch);
        let stride = gates_stride(units);
        let d_state = sized(&mut self.d_state, batch * units);
        let work = Steps::split(
            &mut self.gates[..len * batch * stride],
            len,
            stride,
            &ranges,
        )
        .into_iter()
        .zip(split_rows(d_state, units, &ranges))
        .zip(ranges)
        .map(|((gates, d_state), rows)| Backward {
            rows,
            gates,
            d_state,
        })
        .collect();
        let pass = Pass {
            direction: self.direction,
            cell: &self.cell,
            inputs: self.inputs,
            table: &self.table,
            zeros: &self.zeros,
            input,
            lengths,
            len,
            columns,
        };
        team.run(work, |work, _| work.run(&pass, states, d_states, d_last));

        let rows = len * batch;
        let gates = std::mem::take(&mut self.gates);
        let d_gates = gates_matrix(&gates, units, rows);
        let states = Matrix {
            data: states,
            stride: columns.stride,
            cols: columns.stride,
            rows,
        }
        .columns(columns.first, units);
        let kept = rows - batch.min(rows);
        let (after, before) = match self.direction {
            Direction::Forward => (d_gates.rows(batch, kept), states.rows(0, kept)),
            Direction::Backward => (d_gates.rows(0, kept), states.rows(batch, kept)),
        };
        cell::hidden_gradients(after, before, grads, team);
        cell::bias_gradients(d_gates, grads, team);
        let d_gates = d_gates.columns(0, 3 * units);
        self.input_gradients(input, (d_gates, len), (d_input, output), grads, team);
        self.gates = gates;
    }

    /// `table = embedding W_ihᵀ + b_ih`
    fn project_words(&mut self, input: GruInput<'_, T>) {
        let GruInput::Embedded { embedding, .. } = input else {
            return;
        };
        let words = Matrix::dense(embedding, embedding.len() / self.inputs, self.inputs);
        let cols = 3 * self.cell.units;
        let table = sized(&mut self.table, words.rows * cols);
        self.cell
            .input
            .forward(words, table, cols, Output::Bias(&self.cell.bias_ih));
    }

    fn input_gradients(
        &mut self,
        input: GruInput<'_, T>,
        (d_gates, len): (Matrix<'_, T>, usize),
        (d_input, output): (&mut [T], Output<'_, T>),
        grads: &mut GruGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let inputs = self.inputs;
        let (d_gates, x) = match input {
            GruInput::Dense(x) => (d_gates, Matrix::dense(x, d_gates.rows, inputs)),
            GruInput::Embedded { ids, embedding } => {
                let words = embedding.len() / inputs;
                let table = sized(&mut self.table, words * d_gates.cols);
                table.fill(T::ZERO);
                scatter_add(table, d_gates, position_first(ids, len), team);
                let d_table = Matrix::dense(&*table, words, d_gates.cols);
                (d_table, Matrix::dense(embedding, words, inputs))
            }
        };
        weight_gradient(grads.weight_ih, inputs, d_gates, x, Output::Replace, team);
        self.cell.input.backward_on(d_gates, d_input, output, team);
    }
}

/// The state after the last position that a row's direction reads, `[B, H]`; 0 for an empty row.
pub fn last<T: Real>(
    out: &mut [T],
    direction: Direction,
    (lengths, len): (&[usize], usize),
    (states, columns): (&[T], Columns),
) {
    let batch = lengths.len();
    let units = out.len() / batch.max(1);
    for (row, out) in out.chunks_exact_mut(units.max(1)).enumerate() {
        match direction.last(lengths[row]) {
            Some(position) if position < len => {
                let start = (position * batch + row) * columns.stride + columns.first;
                out.copy_from_slice(&states[start..][..units]);
            }
            _ => out.fill(T::ZERO),
        }
    }
}

/// What all ranges of rows share in one pass.
struct Pass<'a, T: Real> {
    direction: Direction,
    cell: &'a Cell<T>,
    inputs: usize,
    table: &'a [T],
    zeros: &'a [T],
    input: GruInput<'a, T>,
    lengths: &'a [usize],
    len: usize,
    columns: Columns,
}

impl<T: Real> Pass<'_, T> {
    /// The rows of a range that are real at `position`, counted from the range's first.
    fn active(&self, active: &mut Vec<usize>, rows: &Range<usize>, position: usize) {
        active.clear();
        let lengths = &self.lengths[rows.clone()];
        active.extend((0..lengths.len()).filter(|&row| position < lengths[row]));
    }

    /// The input's share of the gates at `position`.
    fn input_gates(&self, out: &mut [T], rows: &Range<usize>, position: usize) {
        let cols = 3 * self.cell.units;
        match self.input {
            GruInput::Dense(x) => {
                let x = Matrix::dense(x, self.len * self.lengths.len(), self.inputs)
                    .rows(position * self.lengths.len() + rows.start, rows.len());
                let bias = Output::Bias(&self.cell.bias_ih);
                self.cell.input.forward(x, out, cols, bias);
            }
            GruInput::Embedded { ids, .. } => {
                let ids = rows.clone().map(|row| ids[row * self.len + position]);
                gather(out, self.table, cols, ids);
            }
        }
    }

    fn state_columns<'b>(&self, states: &'b [T], rows: usize) -> Matrix<'b, T> {
        let Columns { first, stride } = self.columns;
        Matrix {
            data: states,
            stride,
            cols: stride,
            rows,
        }
        .columns(first, self.cell.units)
    }

    /// One row of zeros, as often as needed: the state before the first position.
    fn no_state(&self, rows: usize) -> Matrix<'_, T> {
        Matrix {
            data: self.zeros,
            cols: self.cell.units,
            stride: 0,
            rows,
        }
    }
}

struct Forward<'a, T> {
    rows: Range<usize>,
    gates: Steps<'a, T>,
    states: Steps<'a, T>,
    input_gates: &'a mut [T],
    hidden_gates: &'a mut [T],
}

impl<T: Real> Forward<'_, T> {
    fn run(mut self, pass: &Pass<'_, T>) {
        let (units, rows) = (pass.cell.units, self.rows.len());
        let mut active = Vec::with_capacity(rows);
        for step in 0..pass.len {
            let position = pass.direction.position(step, pass.len);
            pass.active(&mut active, &self.rows, position);
            pass.input_gates(self.input_gates, &self.rows, position);
            let (previous, hidden_gates, states);
            if step == 0 {
                states = self.states.at_mut(position);
                previous = pass.no_state(rows);
                hidden_gates = Matrix {
                    data: &pass.cell.bias_hh,
                    cols: 3 * units,
                    stride: 0,
                    rows,
                };
            } else {
                let before = pass.direction.position(step - 1, pass.len);
                let read;
                (read, states) = self.states.read_write(before, position);
                previous = pass.state_columns(read, rows);
                pass.cell.hidden_gates(previous, self.hidden_gates);
                hidden_gates = Matrix::dense(&*self.hidden_gates, rows, 3 * units);
            }
            let Columns { first, stride } = pass.columns;
            for state in states.chunks_exact_mut(stride) {
                state[first..][..units].fill(T::ZERO);
            }
            let input_gates = Matrix::dense(&*self.input_gates, rows, 3 * units);
            let gates = self.gates.at_mut(position);
            let states = &mut states[first..];
            cell::forward(
                &active,
                input_gates,
                hidden_gates,
                previous,
                gates,
                states,
                stride,
            );
        }
    }
}

struct Backward<'a, T> {
    rows: Range<usize>,
    gates: Steps<'a, T>,
    d_state: &'a mut [T],
}

impl<T: Real> Backward<'_, T> {
    fn run(mut self, pass: &Pass<'_, T>, states: &[T], d_states: &[T], d_last: &[T]) {
        let (units, rows) = (pass.cell.units, self.rows.len());
        let batch = pass.lengths.len();
        let all_rows = pass.len * batch;
        let at = |all, position: usize| {
            pass.state_columns(all, all_rows)
                .rows(position * batch + self.rows.start, rows)
        };
        let d_last = Matrix::dense(d_last, batch, units).rows(self.rows.start, rows);
        self.d_state.fill(T::ZERO);
        let mut active = Vec::with_capacity(rows);
        let mut ending = Vec::with_capacity(rows);
        for step in (0..pass.len).rev() {
            let position = pass.direction.position(step, pass.len);
            pass.active(&mut active, &self.rows, position);
            let last = |row: usize| pass.direction.last(pass.lengths[self.rows.start + row]);
            ending.clear();
            ending.extend((0..rows).filter(|&row| last(row) == Some(position)));
            cell::add_rows(self.d_state, &active, at(d_states, position));
            cell::add_rows(self.d_state, &ending, d_last);
            let previous = match step.checked_sub(1) {
                Some(step) => at(states, pass.direction.position(step, pass.len)),
                None => pass.no_state(rows),
            };
            let gates = self.gates.at_mut(position);
            cell::backward(&active, previous, gates, self.d_state);
            if step > 0 {
                pass.cell.hidden_backward(gates, self.d_state);
            }
        }
    }
}
