//! The weights of a cell, packed, and their products: both shares of the gates, and back.

use std::marker::PhantomData;

use super::{Cell, RecurrentGrads, RecurrentParams};
use crate::linear::{Linear, add_to, bias_gradient, weight_gradients};
use crate::real::{Matrix, Output, Real};
use crate::team::Team;

/// The weights of one layer and direction in the order in which products read them.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellWeights<T: Real, C> {
    /// `I -> G·H`.
    pub(crate) input: Linear<T>,
    /// `H -> G·H`.
    hidden: T::Packed,
    /// The gradients of each block of gates to that of the state.
    d_blocks: Vec<T::Packed>,
    pub(crate) bias_ih: Vec<T>,
    pub(crate) bias_hh: Vec<T>,
    pub(crate) units: usize,
    cell: PhantomData<C>,
}

/// What `rows` rows have saved, `[rows, SAVED·H]`.
pub(crate) fn gates_matrix<C: Cell, T>(gates: &[T], units: usize, rows: usize) -> Matrix<'_, T> {
    Matrix {
        data: gates,
        cols: C::SAVED * units,
        stride: C::gates_stride(units),
        rows,
    }
}

impl<T: Real, C: Cell> CellWeights<T, C> {
    /// Packs `weight_hh`, and of `weight_ih [G·H, stride]` the given columns.
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
            .resize_with(C::STATE_SHARE.len(), Default::default);
        for (packed, block) in self.d_blocks.iter_mut().zip(C::STATE_SHARE) {
            let rows = block.gates.len() * units;
            let weight = &params.weight_hh[block.gates.start * units * units..][..rows * units];
            let weight = Matrix::dense(weight, rows, units);
            T::pack(packed, weight, &mut Team::single());
        }
    }

    /// Numbers of a row's gates, `G·H`.
    pub(crate) fn gates(&self) -> usize {
        C::GATES * self.units
    }

    /// The state's share of the gates: `hidden_gates [rows, G·H] = state W_hhᵀ + b_hh`.
    pub(crate) fn hidden_gates(&self, state: Matrix<'_, T>, hidden_gates: &mut [T]) {
        let output = Output::Bias(&self.bias_hh);
        T::multiply(
            hidden_gates,
            self.gates(),
            state.data,
            state.stride,
            state.rows,
            &self.hidden,
            output,
        );
    }

    /// Adds to `d_state [rows, H]` what comes through the state's share of the gates.
    pub(crate) fn hidden_backward(&self, d_gates: &[T], d_state: &mut [T]) {
        let units = self.units;
        let rows = d_state.len() / units.max(1);
        let d = gates_matrix::<C, T>(d_gates, units, rows);
        for (packed, block) in self.d_blocks.iter().zip(C::STATE_SHARE) {
            let d = d.columns(block.saved * units, block.gates.len() * units);
            T::multiply(d_state, units, d.data, d.stride, rows, packed, Output::Add);
        }
    }
}

/// The gradient of `weight_hh` from the derivatives of all steps.
///
/// `d_gates [M, SAVED·H]` and `previous [M, H]`, the states before, run over the same rows.
pub(crate) fn hidden_gradients<T: Real, C: Cell>(
    d_gates: Matrix<'_, T>,
    previous: Matrix<'_, T>,
    grads: &mut RecurrentGrads<'_, T>,
    team: &mut Team<T>,
) {
    let units = previous.cols;
    let mut rest = &mut *grads.weight_hh;
    let mut blocks: Vec<_> = C::STATE_SHARE
        .iter()
        .map(|block| {
            let rows = block.gates.len() * units;
            let (d_weight, after) = std::mem::take(&mut rest).split_at_mut(rows * units);
            rest = after;
            (d_weight, d_gates.columns(block.saved * units, rows))
        })
        .collect();
    weight_gradients(&mut blocks, units, previous, Output::Replace, team);
}

/// The gradients of both biases from the derivatives of all steps, `d_gates [M, SAVED·H]`.
pub(crate) fn bias_gradients<T: Real, C: Cell>(
    d_gates: Matrix<'_, T>,
    grads: &mut RecurrentGrads<'_, T>,
    team: &mut Team<T>,
) {
    let units = grads.bias_ih.len() / C::GATES;
    bias_gradient(grads.bias_ih, d_gates.columns(0, C::GATES * units), team);
    for block in C::STATE_SHARE {
        let columns = block.gates.start * units..block.gates.end * units;
        let d_bias = &mut grads.bias_hh[columns.clone()];
        if block.saved == block.gates.start {
            // The derivatives by both shares are the same numbers.
            d_bias.copy_from_slice(&grads.bias_ih[columns]);
        } else {
            bias_gradient(
                d_bias,
                d_gates.columns(block.saved * units, columns.len()),
                team,
            );
        }
    }
}

/// `d_state [rows, H]` plus what reaches the states of the `active` rows from outside.
pub(crate) fn add_rows<T: Real>(d_state: &mut [T], active: &[usize], outside: Matrix<'_, T>) {
    let units = outside.cols;
    for &row in active {
        let outside = &outside.data[row * outside.stride..][..units];
        add_to(&mut d_state[row * units..][..units], outside);
    }
}
