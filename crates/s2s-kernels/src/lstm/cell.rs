//! One step of an LSTM on slices: the gates and their derivatives.
//!
//! A step saves i, f, g and o of each row. The backward step replaces them by the derivatives with
//! respect to the pre-activations, which are the gradient of both projections.

use super::Lstm;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::recurrent::{Cell, GateBlock, NextState, State, sigmoid_of_sum};
use crate::simd::multiversion;

impl Cell for Lstm {
    const GATES: usize = 4;
    const SAVED: usize = 4;
    const CELL_STATES: usize = 1;
    const HIDDEN_BLOCKS: &'static [GateBlock] = &[GateBlock {
        gates: 0..4,
        saved: 0,
    }];

    fn forward<T: Real>(
        active: &[usize],
        input_gates: Matrix<'_, T>,
        hidden_gates: Matrix<'_, T>,
        previous: State<Matrix<'_, T>>,
        gates: &mut [T],
        next: NextState<'_, T>,
    ) {
        forward(
            active,
            input_gates,
            hidden_gates,
            previous.cell,
            gates,
            next,
        );
    }

    fn backward<T: Real>(
        active: &[usize],
        previous: State<Matrix<'_, T>>,
        next_cell: Matrix<'_, T>,
        gates: &mut [T],
        d_state: State<&mut [T]>,
    ) {
        backward(active, previous.cell, next_cell, gates, d_state);
    }
}

multiversion! {
    /// The next states of the `active` rows, from both projections `[rows, 4H]`.
    fn forward<T>(
        active: &[usize],
        input_gates: Matrix<'_, T>,
        hidden_gates: Matrix<'_, T>,
        previous: Matrix<'_, T>,
        gates: &mut [T],
        next: NextState<'_, T>,
    ) {
        let (units, stride) = (previous.cols, Lstm::gates_stride(previous.cols));
        for &row in active {
            let input = &input_gates.data[row * input_gates.stride..][..4 * units];
            let hidden = &hidden_gates.data[row * hidden_gates.stride..][..4 * units];
            let previous = &previous.data[row * previous.stride..][..units];
            let state = &mut next.hidden[row * next.hidden_stride..][..units];
            let cell = &mut next.cell[row * units..][..units];
            let gates = &mut gates[row * stride..][..4 * units];
            let (input_forget, new_output) = gates.split_at_mut(2 * units);
            let (new, output) = new_output.split_at_mut(units);
            sigmoid_of_sum(input_forget, &input[..2 * units], &hidden[..2 * units]);
            tanh_of_sum(new, &input[2 * units..3 * units], &hidden[2 * units..3 * units]);
            sigmoid_of_sum(output, &input[3 * units..], &hidden[3 * units..]);
            let (input, forget) = input_forget.split_at(units);
            next_cell(cell, input, forget, new, previous);
            next_state(state, output, cell);
        }
    }

    /// Replaces the gates of the `active` rows by their derivatives, those of the other rows by 0, and
    /// `d_state` by the part of the previous state's gradient that does not flow through the gates.
    fn backward<T>(
        active: &[usize],
        previous: Matrix<'_, T>,
        next_cell: Matrix<'_, T>,
        gates: &mut [T],
        d_state: State<&mut [T]>,
    ) {
        let (units, stride) = (previous.cols, Lstm::gates_stride(previous.cols));
        let mut next = 0;
        for &row in active {
            gates[next * stride..row * stride].fill(T::ZERO);
            next = row + 1;
            let previous = &previous.data[row * previous.stride..][..units];
            let cell = &next_cell.data[row * next_cell.stride..][..units];
            let d_state_row = &mut d_state.hidden[row * units..][..units];
            let d_cell = &mut d_state.cell[row * units..][..units];
            let gates = &mut gates[row * stride..][..4 * units];
            let (input_forget, new_output) = gates.split_at_mut(2 * units);
            let (input, forget) = input_forget.split_at_mut(units);
            let (new, output) = new_output.split_at_mut(units);
            next_state_backward(output, cell, d_cell, d_state_row);
            next_cell_backward(input, forget, new, d_cell, previous);
        }
        gates[next * stride..].fill(T::ZERO);
    }
}

/// g = tanh(input + hidden)
#[inline(always)]
fn tanh_of_sum<T: Real>(gate: &mut [T], input: &[T], hidden: &[T]) {
    for ((gate, &input), &hidden) in gate.iter_mut().zip(input).zip(hidden) {
        *gate = (input + hidden).tanh();
    }
}

/// c' = f ⊙ c + i ⊙ g
#[inline(always)]
fn next_cell<T: Real>(cell: &mut [T], input: &[T], forget: &[T], new: &[T], previous: &[T]) {
    let gates = input.iter().zip(forget).zip(new);
    for ((cell, ((&i, &f), &g)), &c) in cell.iter_mut().zip(gates).zip(previous) {
        *cell = f * c + i * g;
    }
}

/// Replaces i, f and g by the derivatives with respect to their pre-activations, and d_c' by d_c.
#[inline(always)]
fn next_cell_backward<T: Real>(
    input: &mut [T],
    forget: &mut [T],
    new: &mut [T],
    d_cell: &mut [T],
    previous: &[T],
) {
    let gates = input.iter_mut().zip(forget).zip(new);
    for ((((input, forget), new), d_cell), &c) in gates.zip(d_cell).zip(previous) {
        let (i, f, g, d) = (*input, *forget, *new, *d_cell);
        // forward: c' = f * c + i * g; i and f = σ(..), so di = i (1 - i); g = tanh(..), so
        // dg = 1 - g²
        *input = d * g * i * (T::ONE - i);
        *forget = d * c * f * (T::ONE - f);
        *new = d * i * (T::ONE - g * g);
        *d_cell = d * f;
    }
}

/// h' = o ⊙ tanh(c')
#[inline(always)]
fn next_state<T: Real>(state: &mut [T], output: &[T], cell: &[T]) {
    for ((state, &o), &c) in state.iter_mut().zip(output).zip(cell) {
        *state = o * c.tanh();
    }
}

/// Replaces o by the derivative with respect to its pre-activation, adds to d_c', and sets d_h to 0:
/// h affects the next step only through the hidden projection.
#[inline(always)]
fn next_state_backward<T: Real>(output: &mut [T], cell: &[T], d_cell: &mut [T], d_state: &mut [T]) {
    for (((output, &c), d_cell), d_state) in output.iter_mut().zip(cell).zip(d_cell).zip(d_state) {
        let (o, d) = (*output, *d_state);
        let t = c.tanh(); // recomputed: saving it would take another [B, T, H]
        // forward: h' = o * t; t = tanh(c'), so dt = 1 - t²
        *d_cell += d * o * (T::ONE - t * t);
        // forward: o = σ(..), so do = o (1 - o)
        *output = d * t * o * (T::ONE - o);
        *d_state = T::ZERO;
    }
}
