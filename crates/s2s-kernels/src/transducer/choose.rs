//! The next mode and the next move, computed from what the head reads.

use super::TransducerSizes;
use crate::attention::kernel::add_scaled;
use crate::lanes::{dot, max, sum};
use crate::real::Real;

/// Added to a probability of a mode before its logarithm, and to that of a move in the entropy.
const MODE_FLOOR: f64 = 1e-12;
pub(super) const MOVE_FLOOR: f64 = 1e-8;

/// By how much the annealing raises the exponent that sharpens the modes.
const MODE_SHARPENING: f64 = 0.5;

/// Replaces the first numbers that the head read by the transitions `[K, K]` and the moves of each mode
/// `[K, N]`: the softmax of each row.
#[inline(always)]
pub(super) fn normalize<T: Real>(sizes: TransducerSizes, read: &mut [T]) {
    let choices = &mut read[..sizes.choices()];
    let (transitions, moves) = choices.split_at_mut(sizes.modes * sizes.modes);
    for row in transitions.chunks_exact_mut(sizes.modes) {
        below_maximum(row);
    }
    for row in moves.chunks_exact_mut(sizes.moves()) {
        below_maximum(row);
    }
    // One long loop, so that it is vectorized.
    for choice in &mut *choices {
        *choice = choice.exp();
    }
    let (transitions, moves) = choices.split_at_mut(sizes.modes * sizes.modes);
    for row in transitions.chunks_exact_mut(sizes.modes) {
        divide_by_sum(row);
    }
    for row in moves.chunks_exact_mut(sizes.moves()) {
        divide_by_sum(row);
    }
}

#[inline(always)]
fn below_maximum<T: Real>(row: &mut [T]) {
    let max = max(row);
    for x in row {
        *x = *x - max;
    }
}

#[inline(always)]
fn divide_by_sum<T: Real>(row: &mut [T]) {
    let scale = T::ONE / sum(row);
    for x in row {
        *x *= scale;
    }
}

/// Replaces the result of a softmax by the gradient of its input, if the gradient of the result is
/// `factor · d`.
#[inline(always)]
fn normalize_backward<T: Real>(row: &mut [T], factor: T, d: &[T]) {
    let mean = dot(row, d);
    for (x, &d) in row.iter_mut().zip(d) {
        *x *= factor * (d - mean);
    }
}

#[inline(always)]
fn mode_exponent<T: Real>(progress: T) -> T {
    T::ONE + T::from_f64(MODE_SHARPENING) * progress
}

/// The next mode, from the previous mode and the [normalized](normalize) choices. `mixed` is the mode before
/// sharpening.
#[inline(always)]
pub(super) fn next_mode<T: Real>(
    sizes: TransducerSizes,
    choices: &[T],
    progress: T,
    before: &[T],
    mixed: &mut [T],
    mode: &mut [T],
) {
    let (floor, exponent) = (T::from_f64(MODE_FLOOR), mode_exponent(progress));
    mixed.fill(T::ZERO);
    for (&from, transitions) in before.iter().zip(choices.chunks_exact(sizes.modes)) {
        add_scaled(mixed, from, transitions);
    }
    for (mode, &mixed) in mode.iter_mut().zip(&*mixed) {
        *mode = exponent * (mixed + floor).ln();
    }
    below_maximum(mode);
    for x in mode.iter_mut() {
        *x = x.exp();
    }
    divide_by_sum(mode);
}

/// Replaces the gradient of the next mode by that of the previous mode, and the transitions among the
/// choices by the gradients of the numbers that the head read.
#[inline(always)]
pub(super) fn next_mode_backward<T: Real>(
    sizes: TransducerSizes,
    choices: &mut [T],
    progress: T,
    before: &[T],
    mixed: &mut [T],
    mode: &[T],
    d_mode: &mut [T],
) {
    // forward: mode = softmax(exponent · ln(mixed + floor))
    let (floor, exponent) = (T::from_f64(MODE_FLOOR), mode_exponent(progress));
    let mean = dot(mode, d_mode);
    for ((mixed, &mode), &d) in mixed.iter_mut().zip(mode).zip(&*d_mode) {
        *mixed = mode * (d - mean) * exponent / (*mixed + floor);
    }
    // forward: mixed = Σ_i before[i] transitions[i]
    let d_mixed = &*mixed;
    let rows = choices.chunks_exact_mut(sizes.modes);
    for ((&from, row), d) in before.iter().zip(rows).zip(d_mode) {
        *d = dot(row, d_mixed);
        normalize_backward(row, from, d_mixed);
    }
}

/// The probability of each move, `[N]`, from the mode and the [normalized](normalize) choices.
#[inline(always)]
pub(super) fn move_probabilities<T: Real>(
    sizes: TransducerSizes,
    choices: &[T],
    mode: &[T],
    probabilities: &mut [T],
) {
    probabilities.fill(T::ZERO);
    let moves = choices[sizes.modes * sizes.modes..].chunks_exact(sizes.moves());
    for (&mode, moves) in mode.iter().zip(moves) {
        add_scaled(probabilities, mode, moves);
    }
}

/// Adds to the gradient of the mode, and replaces the moves among the choices by the gradients of the numbers
/// that the head read.
#[inline(always)]
pub(super) fn move_probabilities_backward<T: Real>(
    sizes: TransducerSizes,
    choices: &mut [T],
    mode: &[T],
    d_probabilities: &[T],
    d_mode: &mut [T],
) {
    let moves = choices[sizes.modes * sizes.modes..sizes.choices()].chunks_exact_mut(sizes.moves());
    for ((&mode, moves), d) in mode.iter().zip(moves).zip(d_mode) {
        *d += dot(moves, d_probabilities);
        normalize_backward(moves, mode, d_probabilities);
    }
}

/// Adds the gradient of `-factor` times the entropy of the moves.
#[inline(always)]
pub(super) fn entropy_backward<T: Real>(probabilities: &[T], factor: T, d_probabilities: &mut [T]) {
    let floor = T::from_f64(MOVE_FLOOR);
    for (d, &move_) in d_probabilities.iter_mut().zip(probabilities) {
        let floored = move_ + floor;
        *d += factor * (floored.ln() + move_ / floored);
    }
}
