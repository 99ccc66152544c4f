//! The packed weights of a cell and their products: the projections to the gates, and their gradients.

use std::marker::PhantomData;

use super::{Cell, RecurrentGrads, RecurrentParams};
use crate::linear::{Linear, add_to, bias_gradient, weight_gradients};
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::team::Team;

/// The packed weights of one layer and direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellWeights<T: Real, C> {
    /// `I -> G·H`.
    pub(crate) input: Linear<T>,
    /// `H -> G·H`.
    hidden: T::Packed,
    /// For each of the cell's [`GateBlock`](super::GateBlock)s, from the gradient of its gates to that
    /// of the state.
    d_blocks: Vec<T::Packed>,
    pub(crate) bias_ih: Vec<T>,
    pub(crate) bias_hh: Vec<T>,
    pub(crate) units: usize,
    cell: PhantomData<C>,
}

/// The saved numbers of `rows` rows, `[rows, SAVED·H]`.
pub(crate) fn gates_matrix<C: Cell, T>(gates: &[T], units: usize, rows: usize) -> Matrix<'_, T> {
    Matrix {
        data: gates,
        cols: C::SAVED * units,
        stride: C::gates_stride(units),
        rows,
    }
}

impl<T: Real, C: Cell> CellWeights<T, C> {
    /// Packs `weight_hh` and the given columns of `weight_ih`.
    pub(crate) fn pack(&mut self, params: RecurrentParams<'_, T>, weight_ih: Matrix<'_, T>) {
        let units = params.units();
        assert_eq!(params.bias_hh.len(), C::GATES * units, "biases are [G·H]");
        self.units = units;
        self.bias_ih.clear();
        self.bias_ih.extend_from_slice(params.bias_ih);
        self.bias_hh.clear();
        self.bias_hh.extend_from_slice(params.bias_hh);
        self.input.pack(weight_ih);
        T::pack_transposed(&mut self.hidden, params.weight_hh, units, C::GATES * units);
        self.d_blocks
            .resize_with(C::HIDDEN_BLOCKS.len(), Default::default);
        for (packed, block) in self.d_blocks.iter_mut().zip(C::HIDDEN_BLOCKS) {
            let rows = block.gates.len() * units;
            let weight = &params.weight_hh[block.gates.start * units * units..][..rows * units];
            T::pack(packed, Matrix::dense(weight, rows, units));
        }
    }

    /// The width of a row's gates, `G·H`.
    pub(crate) fn gates(&self) -> usize {
        C::GATES * self.units
    }

    /// The hidden projection: `hidden_gates [rows, G·H] = state W_hhᵀ + b_hh`.
    pub(crate) fn hidden_gates(&self, state: Matrix<'_, T>, hidden_gates: &mut [T]) {
        let bias = Epilogue::Bias(&self.bias_hh);
        T::multiply(hidden_gates, self.gates(), state, &self.hidden, bias);
    }

    /// Adds to `d_state [rows, H]` the gradient that flows through the hidden projection.
    pub(crate) fn hidden_backward(&self, d_gates: &[T], d_state: &mut [T]) {
        let units = self.units;
        let rows = d_state.len() / units.max(1);
        let d = gates_matrix::<C, T>(d_gates, units, rows);
        for (packed, block) in self.d_blocks.iter().zip(C::HIDDEN_BLOCKS) {
            let d = d.columns(block.saved * units, block.gates.len() * units);
            T::multiply(d_state, units, d, packed, Epilogue::Add);
        }
    }
}

/// The gradient of `weight_hh` over some steps, finished by the epilogue.
///
/// `d_gates [M, SAVED·H]` and the previous states `[M, H]` have the same rows.
pub(crate) fn hidden_gradients<T: Real, C: Cell>(
    d_gates: Matrix<'_, T>,
    previous: Matrix<'_, T>,
    grads: &mut RecurrentGrads<'_, T>,
    epilogue: Epilogue<'_, T>,
    team: &mut Team<T>,
) {
    let units = previous.cols;
    let mut rest = &mut *grads.weight_hh;
    let mut blocks: Vec<_> = C::HIDDEN_BLOCKS
        .iter()
        .map(|block| {
            let rows = block.gates.len() * units;
            let (d_weight, after) = std::mem::take(&mut rest).split_at_mut(rows * units);
            rest = after;
            (d_weight, d_gates.columns(block.saved * units, rows))
        })
        .collect();
    weight_gradients(&mut blocks, units, previous, epilogue, team);
}

/// The gradients of both biases over all steps, from `d_gates [M, SAVED·H]`.
pub(crate) fn bias_gradients<T: Real, C: Cell>(
    d_gates: Matrix<'_, T>,
    grads: &mut RecurrentGrads<'_, T>,
    team: &mut Team<T>,
) {
    let units = grads.bias_ih.len() / C::GATES;
    bias_gradient(grads.bias_ih, d_gates.columns(0, C::GATES * units), team);
    for block in C::HIDDEN_BLOCKS {
        let columns = block.gates.start * units..block.gates.end * units;
        let d_bias = &mut grads.bias_hh[columns.clone()];
        if block.saved == block.gates.start {
            // These gates have the same gradient with respect to both projections.
            d_bias.copy_from_slice(&grads.bias_ih[columns]);
        } else {
            let d_gates = d_gates.columns(block.saved * units, columns.len());
            bias_gradient(d_bias, d_gates, team);
        }
    }
}

/// `d_state [rows, H] += values`, for the `active` rows.
pub(crate) fn add_rows<T: Real>(d_state: &mut [T], active: &[usize], values: Matrix<'_, T>) {
    let units = values.cols;
    for &row in active {
        let values = &values.data[row * values.stride..][..units];
        add_to(&mut d_state[row * units..][..units], values);
    }
}
