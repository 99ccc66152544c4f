//! The loops of a layer over the positions of some rows, forward and backward.

use std::ops::Range;

use super::batch::{Columns, RecurrentInput, RecurrentStates};
use super::weights::{CellWeights, add_rows};
use super::{Cell, Direction, NextState, Save, State};
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::table::gather;
use crate::team::TimeMajor;

/// The inputs that all ranges of rows have in common.
pub(super) struct Pass<'a, T: Real, C> {
    pub(super) direction: Direction,
    pub(super) weights: &'a CellWeights<T, C>,
    pub(super) inputs: usize,
    pub(super) table: &'a [T],
    pub(super) zeros: &'a [T],
    pub(super) input: RecurrentInput<'a, T>,
    pub(super) lengths: &'a [usize],
    pub(super) len: usize,
    pub(super) initial: Option<State<&'a [T]>>,
    pub(super) columns: Columns,
    pub(super) positions_per_product: usize,
}

impl<T: Real, C: Cell> Pass<'_, T, C> {
    /// The rows of a range that are real at `position`, relative to the start of the range.
    fn active(&self, active: &mut Vec<usize>, rows: &Range<usize>, position: usize) {
        active.clear();
        let lengths = &self.lengths[rows.clone()];
        active.extend((0..lengths.len()).filter(|&row| position < lengths[row]));
    }

    /// The input projection at some positions, `[positions, rows, G·H]`.
    fn input_gates(&self, out: &mut [T], rows: &Range<usize>, positions: Range<usize>) {
        let cols = self.weights.gates();
        match self.input {
            RecurrentInput::Dense(x) => {
                let first = positions.start * self.lengths.len() + rows.start;
                let x = Matrix::dense(x, self.len * self.lengths.len(), self.inputs)
                    .rows(first, positions.len() * rows.len());
                let bias = Epilogue::Bias(&self.weights.bias_ih);
                self.weights.input.forward(x, out, cols, bias);
            }
            RecurrentInput::Embedded { ids, .. } => {
                let at = |position| rows.clone().map(move |row| ids[row * self.len + position]);
                gather(out, self.table, cols, positions.flat_map(at));
            }
        }
    }

    /// The positions of the product that begins at `step`.
    fn positions(&self, step: usize) -> Range<usize> {
        let last = (step + self.positions_per_product).min(self.len) - 1;
        let (first, last) = (
            self.direction.position(step, self.len),
            self.direction.position(last, self.len),
        );
        first.min(last)..first.max(last) + 1
    }

    /// The states of a range of rows before the first position. If they are 0: a single row, with
    /// stride 0.
    fn initial(&self, rows: &Range<usize>) -> State<Matrix<'_, T>> {
        let units = self.weights.units;
        if let Some(initial) = self.initial {
            let batch = self.lengths.len();
            let matrix = |all, width| Matrix::dense(all, batch, width).rows(rows.start, rows.len());
            return State {
                hidden: matrix(initial.hidden, units),
                cell: matrix(initial.cell, C::CELL_STATES * units),
            };
        }
        let zeros = Matrix {
            data: self.zeros,
            cols: units,
            stride: 0,
            rows: rows.len(),
        };
        State {
            hidden: zeros,
            cell: zeros,
        }
    }
}

/// The forward loop over some rows.
pub(super) struct Forward<'a, T> {
    pub(super) rows: Range<usize>,
    pub(super) save: Save,
    pub(super) gates: TimeMajor<'a, T>,
    pub(super) states: State<TimeMajor<'a, T>>,
    pub(super) input_gates: &'a mut [T],
    pub(super) hidden_gates: &'a mut [T],
}

impl<T: Real> Forward<'_, T> {
    pub(super) fn run<C: Cell>(mut self, pass: &Pass<'_, T, C>) {
        let (units, rows) = (pass.weights.units, self.rows.len());
        let (cell_units, gates_width) = (C::CELL_STATES * units, pass.weights.gates());
        let mut active = Vec::with_capacity(rows);
        let mut projected = 0..0;
        for step in 0..pass.len {
            let position = pass.direction.position(step, pass.len);
            pass.active(&mut active, &self.rows, position);
            if !projected.contains(&position) {
                projected = pass.positions(step);
                pass.input_gates(self.input_gates, &self.rows, projected.clone());
            }
            let (previous, hidden_gates, states, cell_states);
            if step == 0 {
                states = self.states.hidden.at_mut(position);
                cell_states = self.states.cell.at_mut(position);
                previous = pass.initial(&self.rows);
                hidden_gates = if pass.initial.is_some() {
                    pass.weights
                        .hidden_gates(previous.hidden, self.hidden_gates);
                    Matrix::dense(&*self.hidden_gates, rows, gates_width)
                } else {
                    Matrix {
                        data: &pass.weights.bias_hh,
                        cols: gates_width,
                        stride: 0,
                        rows,
                    }
                };
            } else {
                let before = pass.direction.position(step - 1, pass.len);
                let (hidden, cell);
                (hidden, states) = self.states.hidden.read_write(before, position);
                (cell, cell_states) = self.states.cell.read_write(before, position);
                previous = State {
                    hidden: pass.columns.of(hidden, rows, units),
                    cell: Matrix::dense(cell, rows, cell_units),
                };
                pass.weights
                    .hidden_gates(previous.hidden, self.hidden_gates);
                hidden_gates = Matrix::dense(&*self.hidden_gates, rows, gates_width);
            }
            let Columns { first, stride } = pass.columns;
            for state in states.chunks_exact_mut(stride) {
                state[first..][..units].fill(T::ZERO);
            }
            cell_states.fill(T::ZERO);
            let input_gates =
                Matrix::dense(&*self.input_gates, projected.len() * rows, gates_width)
                    .rows((position - projected.start) * rows, rows);
            let next = NextState {
                hidden: &mut states[first..],
                hidden_stride: stride,
                cell: cell_states,
            };
            let gates = self.gates.at_mut(match self.save {
                Save::Gates => position,
                Save::Nothing => 0,
            });
            C::forward(&active, input_gates, hidden_gates, previous, gates, next);
        }
    }
}

/// The backward loop over some rows.
pub(super) struct Backward<'a, T> {
    pub(super) rows: Range<usize>,
    pub(super) gates: TimeMajor<'a, T>,
    pub(super) d_state: State<&'a mut [T]>,
}

impl<T: Real> Backward<'_, T> {
    /// `saved` are the states of all rows at all positions, `[S·B, H]`.
    pub(super) fn run<'s, C: Cell>(
        mut self,
        pass: &Pass<'_, T, C>,
        saved: State<Matrix<'s, T>>,
        states: RecurrentStates<'s, T>,
    ) {
        let (rows, batch, units) = (self.rows.len(), pass.lengths.len(), pass.weights.units);
        let d_states = pass.columns.of(states.d_states, pass.len * batch, units);
        let at = |all: Matrix<'s, T>, position| all.rows(position * batch + self.rows.start, rows);
        let d_last = states.d_last.map(|all| all.rows(self.rows.start, rows));
        let mut d_state = self.d_state;
        d_state.hidden.fill(T::ZERO);
        d_state.cell.fill(T::ZERO);
        let mut active = Vec::with_capacity(rows);
        let mut ending = Vec::with_capacity(rows);
        // The last state of an empty row is its initial state.
        ending.extend((0..rows).filter(|&row| pass.lengths[self.rows.start + row] == 0));
        add_rows(d_state.hidden, &ending, d_last.hidden);
        add_rows(d_state.cell, &ending, d_last.cell);
        for step in (0..pass.len).rev() {
            let position = pass.direction.position(step, pass.len);
            pass.active(&mut active, &self.rows, position);
            let last = |row: usize| pass.direction.last(pass.lengths[self.rows.start + row]);
            ending.clear();
            ending.extend((0..rows).filter(|&row| last(row) == Some(position)));
            add_rows(d_state.hidden, &active, at(d_states, position));
            add_rows(d_state.hidden, &ending, d_last.hidden);
            add_rows(d_state.cell, &ending, d_last.cell);
            let previous = match step.checked_sub(1) {
                Some(step) => {
                    let position = pass.direction.position(step, pass.len);
                    saved.map(|all| at(all, position))
                }
                None => pass.initial(&self.rows),
            };
            let next_cell = at(saved.cell, position);
            let gates = self.gates.at_mut(position);
            let d = d_state.each_mut().map(|all| &mut **all);
            C::backward(&active, previous, next_cell, gates, d);
            if step > 0 || pass.initial.is_some() {
                pass.weights.hidden_backward(gates, d_state.hidden);
            }
        }
    }
}
