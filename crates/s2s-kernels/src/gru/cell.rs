//! One step of a GRU on slices: the gates and their derivatives.
//!
//! A step saves r, z, n and `W_hn h + b_hn` of each row. The backward step replaces them by the
//! derivatives with respect to the pre-activations. Those of r, z and n are the gradient of the input
//! projection; those of r, z and `W_hn h + b_hn` are the gradient of the hidden projection.

use super::Gru;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::recurrent::{Cell, GateBlock, NextState, State, sigmoid_of_sum};
use crate::simd::multiversion;

impl Cell for Gru {
    const GATES: usize = 3;
    const SAVED: usize = 4;
    const CELL_STATES: usize = 0;
    const HIDDEN_BLOCKS: &'static [GateBlock] = &[
        GateBlock {
            gates: 0..2,
            saved: 0,
        },
        GateBlock {
            gates: 2..3,
            saved: 3,
        },
    ];

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
            previous.hidden,
            gates,
            next,
        );
    }

    fn backward<T: Real>(
        active: &[usize],
        previous: State<Matrix<'_, T>>,
        _next_cell: Matrix<'_, T>,
        gates: &mut [T],
        d_state: State<&mut [T]>,
    ) {
        backward(active, previous.hidden, gates, d_state.hidden);
    }
}

multiversion! {
    /// The next states of the `active` rows, from both projections `[rows, 3H]`.
    fn forward<T>(
        active: &[usize],
        input_gates: Matrix<'_, T>,
        hidden_gates: Matrix<'_, T>,
        previous: Matrix<'_, T>,
        gates: &mut [T],
        next: NextState<'_, T>,
    ) {
        let (units, stride) = (previous.cols, Gru::gates_stride(previous.cols));
        for &row in active {
            let input = &input_gates.data[row * input_gates.stride..][..3 * units];
            let hidden = &hidden_gates.data[row * hidden_gates.stride..][..3 * units];
            let previous = &previous.data[row * previous.stride..][..units];
            let state = &mut next.hidden[row * next.hidden_stride..][..units];
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

    /// Replaces the gates of the `active` rows by their derivatives, those of the other rows by 0, and
    /// `d_state` by the part of the previous state's gradient that does not flow through the gates.
    fn backward<T>(
        active: &[usize],
        previous: Matrix<'_, T>,
        gates: &mut [T],
        d_state: &mut [T],
    ) {
        let (units, stride) = (previous.cols, Gru::gates_stride(previous.cols));
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

/// n = tanh(input + r ⊙ hidden)
#[inline(always)]
fn new_state<T: Real>(new: &mut [T], input: &[T], reset: &[T], hidden: &[T]) {
    for (((new, &input), &reset), &hidden) in new.iter_mut().zip(input).zip(reset).zip(hidden) {
        *new = (input + reset * hidden).tanh();
    }
}

/// Replaces r by the derivative with respect to its pre-activation and `hidden` by its derivative;
/// `d_new` is the derivative with respect to the pre-activation of n.
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

/// Replaces z and n by the derivatives with respect to their pre-activations, and d_h' by d_h.
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
