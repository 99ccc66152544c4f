//! One step of a GRU on slices: the packed weights, the gates and their derivatives.
//!
//! `gates [rows, 4H]` keeps r, z, n and `W_hn h + b_hn` of each row until the backward step turns
//! them, in place, into the derivatives by what stands inside the sigmoids and tanhs: by r, z and n,
//! whose first three parts are the gradient of the input's share, and by `W_hn h + b_hn`, which
//! with those of r and z is the gradient of the state's share.

use super::{GruGrads, GruParams};
use crate::linear::{Linear, add_to, bias_gradient, weight_gradient};
use crate::real::{Matrix, Output, Real};
use crate::simd::multiversion;
use crate::team::Team;

/// The weights of one layer and direction in the order in which products read them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell<T: Real> {
    /// `I -> 3H`.
    pub(crate) input: Linear<T>,
    /// `H -> 3H`.
    hidden: T::Packed,
    /// `2H -> H`: the gradients of r and z to that of the state.
    d_reset_update: T::Packed,
    /// `H -> H`: the gradient of n's share to that of the state.
    d_new: T::Packed,
    pub(crate) bias_ih: Vec<T>,
    pub(crate) bias_hh: Vec<T>,
    pub(crate) units: usize,
}

/// From the gates of one row to those of the next. Rows whose distance is a multiple of 4 KiB
/// would compete for the same few places of the nearest cache.
pub(crate) fn gates_stride(units: usize) -> usize {
    const CACHE_LINE: usize = 16;
    4 * units + CACHE_LINE
}

impl<T: Real> Cell<T> {
    /// Packs `weight_hh`, and of `weight_ih [3H, stride]` the given columns.
    pub(crate) fn pack(&mut self, params: GruParams<'_, T>, weight_ih: Matrix<'_, T>) {
        let units = params.units();
        self.units = units;
        self.bias_ih.clear();
        self.bias_ih.extend_from_slice(params.bias_ih);
        self.bias_hh.clear();
        self.bias_hh.extend_from_slice(params.bias_hh);
        self.input.pack(weight_ih);
        let (reset_update, new) = params.weight_hh.split_at(2 * units * units);
        T::pack_transposed(&mut self.hidden, params.weight_hh, units, 3 * units);
        T::pack(&mut self.d_reset_update, reset_update, 2 * units, units);
        T::pack(&mut self.d_new, new, units, units);
    }

    /// The state's share of the gates: `hidden_gates [rows, 3H] = state W_hhᵀ + b_hh`.
    pub(crate) fn hidden_gates(&self, state: Matrix<'_, T>, hidden_gates: &mut [T]) {
        let output = Output::Bias(&self.bias_hh);
        let (stride, rows) = (3 * self.units, state.rows);
        T::multiply(
            hidden_gates,
            stride,
            state.data,
            state.stride,
            rows,
            &self.hidden,
            output,
        );
    }

    /// Adds to `d_state [rows, H]` what comes through the state's share of the gates.
    pub(crate) fn hidden_backward(&self, d_gates: &[T], d_state: &mut [T]) {
        let units = self.units;
        let rows = d_state.len() / units.max(1);
        let d = gates_matrix(d_gates, units, rows);
        let new = d.columns(3 * units, units);
        let output = Output::Add;
        T::multiply(
            d_state,
            units,
            d.data,
            d.stride,
            rows,
            &self.d_reset_update,
            output,
        );
        T::multiply(
            d_state,
            units,
            new.data,
            new.stride,
            rows,
            &self.d_new,
            output,
        );
    }
}

/// `rows` rows of gates, `[rows, 4H]`.
pub(crate) fn gates_matrix<T>(gates: &[T], units: usize, rows: usize) -> Matrix<'_, T> {
    Matrix {
        data: gates,
        cols: 4 * units,
        stride: gates_stride(units),
        rows,
    }
}

/// The gradient of `weight_hh` from the derivatives of all steps.
///
/// `d_gates [M, 4H]` and `previous [M, H]`, the states before, run over the same rows.
pub(crate) fn hidden_gradients<T: Real>(
    d_gates: Matrix<'_, T>,
    previous: Matrix<'_, T>,
    grads: &mut GruGrads<'_, T>,
    team: &mut Team<T>,
) {
    let units = previous.cols;
    let (reset_update, new) = grads.weight_hh.split_at_mut(2 * units * units);
    let d_new = d_gates.columns(3 * units, units);
    let d_reset_update = d_gates.columns(0, 2 * units);
    weight_gradient(
        reset_update,
        units,
        d_reset_update,
        previous,
        Output::Replace,
        team,
    );
    weight_gradient(new, units, d_new, previous, Output::Replace, team);
}

/// The gradients of both biases from the derivatives of all steps, `d_gates [M, 4H]`.
pub(crate) fn bias_gradients<T: Real>(
    d_gates: Matrix<'_, T>,
    grads: &mut GruGrads<'_, T>,
    team: &mut Team<T>,
) {
    let units = grads.bias_ih.len() / 3;
    bias_gradient(grads.bias_ih, d_gates.columns(0, 3 * units), team);
    let (shared, new) = grads.bias_hh.split_at_mut(2 * units);
    shared.copy_from_slice(&grads.bias_ih[..2 * units]);
    bias_gradient(new, d_gates.columns(3 * units, units), team);
}

multiversion! {
    /// The next states of the `active` rows, from both shares of their gates `[rows, 3H]`.
    pub(crate) fn forward<T>(
        active: &[usize],
        input_gates: Matrix<'_, T>,
        hidden_gates: Matrix<'_, T>,
        previous: Matrix<'_, T>,
        gates: &mut [T],
        states: &mut [T],
        states_stride: usize,
    ) {
        let (units, stride) = (previous.cols, gates_stride(previous.cols));
        for &row in active {
            let input = &input_gates.data[row * input_gates.stride..][..3 * units];
            let hidden = &hidden_gates.data[row * hidden_gates.stride..][..3 * units];
            let previous = &previous.data[row * previous.stride..][..units];
            let state = &mut states[row * states_stride..][..units];
            let (reset_update, rest) = gates[row * stride..][..4 * units].split_at_mut(2 * units);
            let (new, hidden_new) = rest.split_at_mut(units);
            let (reset, update) = reset_update.split_at_mut(units);
            sigmoid_of_sum(reset, &input[..units], &hidden[..units]);
            sigmoid_of_sum(update, &input[units..2 * units], &hidden[units..2 * units]);
            hidden_new.copy_from_slice(&hidden[2 * units..]);
            new_state(new, &input[2 * units..], reset, hidden_new);
            interpolate(state, new, update, previous);
        }
    }

    /// Turns the `active` rows' gates into their derivatives, and `d_state` into what reaches the
    /// previous state directly; the gates of other rows become 0.
    pub(crate) fn backward<T>(
        active: &[usize],
        previous: Matrix<'_, T>,
        gates: &mut [T],
        d_state: &mut [T],
    ) {
        let (units, stride) = (previous.cols, gates_stride(previous.cols));
        let mut next = 0;
        for &row in active {
            gates[next * stride..row * stride].fill(T::ZERO);
            next = row + 1;
            let previous = &previous.data[row * previous.stride..][..units];
            let d_state = &mut d_state[row * units..][..units];
            let (reset_update, rest) = gates[row * stride..][..4 * units].split_at_mut(2 * units);
            let (reset, update) = reset_update.split_at_mut(units);
            let (new, hidden_new) = rest.split_at_mut(units);
            interpolate_backward(update, new, d_state, previous);
            new_state_backward(reset, hidden_new, new);
        }
        gates[next * stride..].fill(T::ZERO);
    }
}

/// r = σ(input + hidden), and z likewise.
#[inline(always)]
fn sigmoid_of_sum<T: Real>(gate: &mut [T], input: &[T], hidden: &[T]) {
    for ((gate, &input), &hidden) in gate.iter_mut().zip(input).zip(hidden) {
        *gate = (input + hidden).sigmoid();
    }
}

/// n = tanh(input + r ⊙ hidden)
#[inline(always)]
fn new_state<T: Real>(new: &mut [T], input: &[T], reset: &[T], hidden: &[T]) {
    for (((new, &input), &reset), &hidden) in new.iter_mut().zip(input).zip(reset).zip(hidden) {
        *new = (input + reset * hidden).tanh();
    }
}

/// From `n` and `hidden` to the derivatives inside r and by `hidden`; `d_new` is that inside n.
#[inline(always)]
fn new_state_backward<T: Real>(reset: &mut [T], hidden: &mut [T], d_new: &[T]) {
    for ((reset, hidden), &d_new) in reset.iter_mut().zip(hidden).zip(d_new) {
        let r = *reset;
        // forward: n = tanh(.. + r * hidden)
        let d_reset = d_new * *hidden;
        *hidden = d_new * r;
        // forward: r = σ(..), so dr = r (1 - r)
        *reset = d_reset * r * (T::ONE - r);
    }
}

/// h' = n + z ⊙ (h - n)
#[inline(always)]
fn interpolate<T: Real>(state: &mut [T], new: &[T], update: &[T], previous: &[T]) {
    for (((state, &n), &z), &h) in state.iter_mut().zip(new).zip(update).zip(previous) {
        *state = n + z * (h - n);
    }
}

/// From z and n to the derivatives inside them, and from d_h' to d_h.
#[inline(always)]
fn interpolate_backward<T: Real>(
    update: &mut [T],
    new: &mut [T],
    d_state: &mut [T],
    previous: &[T],
) {
    for (((update, new), d_state), &h) in update.iter_mut().zip(new).zip(d_state).zip(previous) {
        let (z, n, d) = (*update, *new, *d_state);
        // forward: h' = n + z * (h - n)
        let d_update = d * (h - n);
        let d_new = d * (T::ONE - z);
        *d_state = d * z;
        // forward: z = σ(..), so dz = z (1 - z); n = tanh(..), so dn = 1 - n²
        *update = d_update * z * (T::ONE - z);
        *new = d_new * (T::ONE - n * n);
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
