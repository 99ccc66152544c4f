//! Shift and sharpening: moves the weights of a row by at most one position and sharpens them, as the state decides.
//!
//! Graves, Wayne, Danihelka (2014), arXiv:1410.5401, equations 8 and 9.
//!
//! ```text
//! k          = softmax(controls[0..3])                offsets -1, 0, +1
//! γ          = 1 + softplus(controls[3])
//! shifted[i] = Σ_o k[o] weights[i - o]                0 beyond both ends
//! score[i]  += γ ln(shifted[i] + 1e-8)
//! ```

use super::kernel::{softmax, softmax_backward};
use crate::lanes::{dot, sum_of};
use crate::real::Real;

/// How many numbers control the shift: three for the kernel, one for the sharpness.
pub(super) const CONTROLS: usize = TAPS + 1;

/// Taps of the kernel: offsets -1, 0 and +1.
const TAPS: usize = 3;

/// Added to each shifted weight before the logarithm.
pub(crate) const FLOOR: f64 = 1e-8;

/// Replaces the controls of the kernel by the kernel: their softmax.
#[inline(always)]
pub(super) fn normalize<T: Real>(controls: &mut [T]) {
    softmax(&mut controls[..TAPS]);
}

/// Writes the shifted weights to `shifted` and adds their logarithms, times γ, to `scores`. `controls` are
/// [normalized](normalize). The slices cover the row's real positions, or a part of them outside of which
/// all weights are 0, with a weight of 0 at each end that is not an end of the row.
#[inline(always)]
pub(super) fn forward<T: Real>(controls: &[T], weights: &[T], shifted: &mut [T], scores: &mut [T]) {
    let (kernel, sharpness) = controls.split_at(TAPS);
    shifted.fill(T::ZERO);
    for (tap, &factor) in kernel.iter().enumerate() {
        let (to, from) = overlap(tap, weights.len());
        for (to, &from) in shifted[to].iter_mut().zip(&weights[from]) {
            *to += factor * from;
        }
    }
    let gamma = T::ONE + softplus(sharpness[0]);
    for (score, &shifted) in scores.iter_mut().zip(&*shifted) {
        *score += prior(gamma, shifted);
    }
}

/// What [`forward`] adds to the score of a position whose shifted weight is 0.
#[inline(always)]
pub(super) fn lowest<T: Real>(controls: &[T]) -> T {
    prior(T::ONE + softplus(controls[TAPS]), T::ZERO)
}

#[inline(always)]
pub(crate) fn prior<T: Real>(gamma: T, shifted: T) -> T {
    gamma * (shifted + T::from_f64(FLOOR)).ln()
}

/// Replaces `d_scores` by the gradients of the shifted weights, and writes the gradient of the sharpness to
/// `d_controls`.
#[inline(always)]
pub(super) fn sharpen_backward<T: Real>(
    controls: &[T],
    shifted: &[T],
    d_scores: &mut [T],
    d_controls: &mut [T],
) {
    let (sharpness, floor) = (controls[TAPS], T::from_f64(FLOOR));
    let gamma = T::ONE + softplus(sharpness);
    // forward: score += gamma * ln(shifted + floor), gamma = 1 + softplus(sharpness)
    let d_gamma = sum_of(d_scores, shifted, |d, shifted| d * (shifted + floor).ln());
    d_controls[TAPS] = d_gamma * sharpness.sigmoid();
    for (d, &shifted) in d_scores.iter_mut().zip(shifted) {
        *d = *d * gamma / (shifted + floor);
    }
}

/// Adds the gradients of the weights to `d_weights`, given those of the shifted weights, and writes the gradients
/// of the kernel's controls. `kernel` is [normalized](normalize).
#[inline(always)]
pub(super) fn shift_backward<T: Real>(
    kernel: &[T],
    weights: &[T],
    d_shifted: &[T],
    d_weights: &mut [T],
    d_controls: &mut [T],
) {
    let (kernel, d_controls) = (&kernel[..TAPS], &mut d_controls[..TAPS]);
    for ((tap, &factor), d_factor) in kernel.iter().enumerate().zip(&mut *d_controls) {
        // forward: shifted[i] += kernel[tap] * weights[i - (tap - 1)]
        let (to, from) = overlap(tap, weights.len());
        *d_factor = dot(&d_shifted[to.clone()], &weights[from.clone()]);
        for (d_weight, &d) in d_weights[from].iter_mut().zip(&d_shifted[to]) {
            *d_weight += factor * d;
        }
    }
    // forward: kernel = softmax(controls)
    softmax_backward(kernel, d_controls);
}

/// The positions that a tap writes, and the positions that it reads.
#[inline(always)]
fn overlap(tap: usize, len: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let rest = len.saturating_sub(1);
    match tap {
        0 => (0..rest, len - rest..len), // one back: i reads i + 1
        1 => (0..len, 0..len),
        _ => (len - rest..len, 0..rest), // one on: i reads i - 1
    }
}

/// `ln(1 + exp(x))`, without overflow for large `x`.
#[inline(always)]
pub(crate) fn softplus<T: Real>(x: T) -> T {
    let (positive, negative) = if x > T::ZERO {
        (x, T::ZERO - x)
    } else {
        (T::ZERO, x)
    };
    positive + (T::ONE + negative.exp()).ln()
}
