//! One direction of a recurrent layer over whole padded rows, on slices.
//!
//! Sequences are time-major, `[S, B, ·]`: the rows of a step are adjacent, and the rows of all steps
//! form one matrix, so that the gradient of each weight is one product.

use super::batch::{Columns, RecurrentBatch, RecurrentInput, RecurrentStates};
use super::pass::{Backward, Forward, Pass};
use super::weights::{CellWeights, bias_gradients, gates_matrix, hidden_gradients};
use super::{Cell, Direction, RecurrentGrads, RecurrentParams, Save, State};
use crate::linear::weight_gradient;
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::table::{scatter_add, time_major};
use crate::team::{Team, TimeMajor, sized, split_rows};

/// One layer and direction: its packed weights, and the values saved for the backward pass. All
/// memory is reused from step to step.
#[derive(Clone, Debug)]
pub(crate) struct RecurrentLayer<T: Real, C> {
    direction: Direction,
    weights: CellWeights<T, C>,
    /// `[S, B, SAVED·H]`, padded: the saved gates, replaced by their derivatives in the backward pass;
    /// those of one position if nothing is saved.
    gates: Vec<T>,
    /// `[S, B, H]`, 0 where padded, if the cell has cell states.
    cell_states: Vec<T>,
    /// `embedding W_ihᵀ + b_ih`, `[V, G·H]`.
    table: Vec<T>,
    d_table: Vec<T>,
    input_gates: Vec<T>,
    hidden_gates: Vec<T>,
    d_state: State<Vec<T>>,
    zeros: Vec<T>,
    inputs: usize,
}

impl<T: Real, C: Cell> RecurrentLayer<T, C> {
    /// A layer without weights; call [`pack`](Self::pack) before use.
    pub(crate) fn new(direction: Direction) -> Self {
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

    /// Packs the weights and projects the embedding `[V, I]`, which is empty unless the layer reads
    /// token ids. Call it after each change of the parameters.
    pub(crate) fn pack(&mut self, params: RecurrentParams<'_, T>, embedding: &[T]) {
        self.inputs = params.inputs();
        let weight_ih = Matrix::dense(params.weight_ih, params.bias_ih.len(), self.inputs);
        self.weights.pack(params, weight_ih);
        self.zeros.clear();
        self.zeros.resize(params.units(), T::ZERO);
        let vocab = embedding.len().checked_div(self.inputs).unwrap_or(0);
        let embedding = Matrix::dense(embedding, vocab, self.inputs);
        let cols = self.weights.gates();
        self.table.resize(vocab * cols, T::ZERO);
        let bias = Epilogue::Bias(&self.weights.bias_ih);
        let input = &self.weights.input;
        input.forward(embedding, &mut self.table, cols, bias);
    }

    /// Writes the states of every row into `columns` of `states [S, B, ·]`, 0 where padded.
    /// [`backward`](Self::backward) needs what [`Save::Gates`] saves.
    pub(crate) fn forward(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        states: &mut [T],
        columns: Columns,
        save: Save,
        team: &mut Team<T>,
    ) {
        let RecurrentBatch {
            input,
            lengths,
            len,
            initial,
        } = batch;
        assert!(
            initial.is_none() || self.direction == Direction::Forward,
            "a layer that reads backward has no initial state"
        );
        let (n, units, gates_width) = (lengths.len(), self.weights.units, self.weights.gates());
        if let RecurrentInput::Embedded { embedding, .. } = input {
            assert_eq!(
                embedding.len() * gates_width,
                self.table.len() * self.inputs,
                "the layer must be packed with the embedding that it reads"
            );
        }
        let ranges = team.ranges(n);
        let (stride, cell_units) = (C::gates_stride(units), C::CELL_STATES * units);
        let saved_len = match save {
            Save::Gates => len,
            Save::Nothing => len.min(1),
        };
        let gates = sized(&mut self.gates, saved_len * n * stride);
        let cell_states = sized(&mut self.cell_states, len * n * cell_units);
        let positions_per_product = positions_per_product(n, ranges.len());
        let input_width = positions_per_product * gates_width;
        let input_gates = sized(&mut self.input_gates, n * input_width);
        let hidden_gates = sized(&mut self.hidden_gates, n * gates_width);
        let work = TimeMajor::split(gates, saved_len, stride, &ranges)
            .into_iter()
            .zip(TimeMajor::split(states, len, columns.stride, &ranges))
            .zip(TimeMajor::split(cell_states, len, cell_units, &ranges))
            .zip(split_rows(input_gates, input_width, &ranges))
            .zip(split_rows(hidden_gates, gates_width, &ranges))
            .zip(ranges)
            .map(
                |(((((gates, hidden), cell), input_gates), hidden_gates), rows)| Forward {
                    rows,
                    save,
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
            initial,
            columns,
            positions_per_product,
        };
        team.run(work, |work, _| work.run(&pass));
    }

    /// The gradients of the weights and of the input. Overwrites what the forward pass saved.
    ///
    /// `d_input` has the shape of the input, or of the embedding if the input is token ids; the
    /// epilogue says whether it is replaced or added to.
    pub(crate) fn backward(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        states: RecurrentStates<'_, T>,
        d_input: &mut [T],
        epilogue: Epilogue<'_, T>,
        grads: &mut RecurrentGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let RecurrentBatch {
            input,
            lengths,
            len,
            initial,
        } = batch;
        let columns = states.columns;
        let (n, units) = (lengths.len(), self.weights.units);
        let ranges = team.ranges(n);
        let (stride, cell_units) = (C::gates_stride(units), C::CELL_STATES * units);
        let d_hidden = sized(&mut self.d_state.hidden, n * units);
        let d_cell = sized(&mut self.d_state.cell, n * cell_units);
        let gates = &mut self.gates[..len * n * stride];
        let work = TimeMajor::split(gates, len, stride, &ranges)
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
            initial,
            columns,
            positions_per_product: 1,
        };
        let rows = len * n;
        let saved = State {
            hidden: columns.of(states.states, rows, units),
            cell: Matrix::dense(&self.cell_states, rows, cell_units),
        };
        team.run(work, |work, _| work.run(&pass, saved, states));

        let gates = std::mem::take(&mut self.gates);
        let d_gates = gates_matrix::<C, T>(&gates, units, rows);
        let after_first = rows - n.min(rows);
        let (next, previous) = match self.direction {
            Direction::Forward => (
                d_gates.rows(n, after_first),
                saved.hidden.rows(0, after_first),
            ),
            Direction::Backward => (
                d_gates.rows(0, after_first),
                saved.hidden.rows(n, after_first),
            ),
        };
        hidden_gradients::<T, C>(next, previous, grads, Epilogue::Replace, team);
        if let Some(initial) = initial {
            let initial = Matrix::dense(initial.hidden, n, units);
            hidden_gradients::<T, C>(d_gates.rows(0, n), initial, grads, Epilogue::Add, team);
        }
        bias_gradients::<T, C>(d_gates, grads, team);
        let d_gates = d_gates.columns(0, self.weights.gates());
        self.input_gradients(batch, d_gates, d_input, epilogue, grads, team);
        self.gates = gates;
    }

    /// The gradient of the initial state, `[B, H]` each, after [`backward`](Self::backward) of a batch
    /// of `rows` rows that had one.
    pub(crate) fn d_initial(&self, rows: usize) -> State<&[T]> {
        let units = rows * self.weights.units;
        State {
            hidden: &self.d_state.hidden[..units],
            cell: &self.d_state.cell[..C::CELL_STATES * units],
        }
    }

    /// Copies the states after the last position of each row, in reading order, to `last_columns` of
    /// `last [B, ·]`; the initial state for an empty row.
    pub(crate) fn last(
        &self,
        batch: RecurrentBatch<'_, T>,
        states: &[T],
        columns: Columns,
        last: State<&mut [T]>,
        last_columns: Columns,
    ) {
        let (units, lengths) = (self.weights.units, batch.lengths);
        let initial = batch.initial.map_or(State::default(), |it| it.map(Some));
        for (last, states, columns, initial) in [
            (last.hidden, states, columns, initial.hidden),
            (
                last.cell,
                &self.cell_states[..],
                Columns::all(units),
                initial.cell,
            ),
        ] {
            let rows = last.chunks_exact_mut(last_columns.stride.max(1));
            for (row, (last, &length)) in rows.zip(lengths).enumerate() {
                let last = &mut last[last_columns.first..][..units];
                match (self.direction.last(length), initial) {
                    (Some(position), _) => {
                        let at = (position * lengths.len() + row) * columns.stride + columns.first;
                        last.copy_from_slice(&states[at..][..units]);
                    }
                    (None, Some(initial)) => {
                        last.copy_from_slice(&initial[row * units..][..units]);
                    }
                    (None, None) => last.fill(T::ZERO),
                }
            }
        }
    }

    fn input_gradients(
        &mut self,
        batch: RecurrentBatch<'_, T>,
        d_gates: Matrix<'_, T>,
        d_input: &mut [T],
        epilogue: Epilogue<'_, T>,
        grads: &mut RecurrentGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let inputs = self.inputs;
        let (d_gates, x) = match batch.input {
            RecurrentInput::Dense(x) => (d_gates, Matrix::dense(x, d_gates.rows, inputs)),
            RecurrentInput::Embedded { ids, embedding } => {
                let vocab = embedding.len() / inputs;
                let table = sized(&mut self.d_table, vocab * d_gates.cols);
                table.fill(T::ZERO);
                scatter_add(table, d_gates, time_major(ids, batch.len), team);
                let d_table = Matrix::dense(&*table, vocab, d_gates.cols);
                (d_table, Matrix::dense(embedding, vocab, inputs))
            }
        };
        weight_gradient(grads.weight_ih, inputs, d_gates, x, Epilogue::Replace, team);
        let input = &self.weights.input;
        input.backward_on(d_gates, d_input, epilogue, team);
    }
}

/// The number of positions whose input projection is computed in one product, so that it has about
/// `ROWS` rows: with few rows, reading the weights takes longer than the arithmetic. The rows of
/// several positions are adjacent only if they are not split among threads.
fn positions_per_product(rows: usize, ranges: usize) -> usize {
    const ROWS: usize = 32;
    match ranges {
        1 => (ROWS / rows.max(1)).max(1),
        _ => 1,
    }
}
