//! Convolutions of the weights of the step before, and additive scores of their features, for one row.
//!
//! ```text
//! feature[n,i] = Σ_j filter[n,j] weight[i + j - ⌊width / 2⌋]                    0 beyond both ends
//! score[i]     = Σ_a energy[a] tanh(base[a] + key[i,a] + Σ_n location[n,a] feature[n,i])
//! ```
//!
//! `features` is `[N, S]` with the padded length as `S`. Only real positions are read and written.

use std::ops::Range;

use super::kernel::add_scaled;
use crate::lanes::{dot, sum_of};
use crate::linear::add_to;
use crate::real::Real;

/// Computes the features of the real positions: one row of `features` for each filter of `width` numbers.
#[inline(always)]
pub(super) fn convolve<T: Real>(
    filters: &[T],
    width: usize,
    weights: &[T],
    features: &mut [T],
    source_len: usize,
) {
    let features = features.chunks_exact_mut(source_len);
    for (feature, filter) in features.zip(filters.chunks_exact(width)) {
        let feature = &mut feature[..weights.len()];
        feature.fill(T::ZERO);
        for (tap, &factor) in filter.iter().enumerate() {
            let (to, from) = overlap(tap, width, weights.len());
            add_scaled(&mut feature[to], factor, &weights[from]);
        }
    }
}

/// Adds the gradients of the filters and of the weights, given those of the features.
#[inline(always)]
pub(super) fn convolve_backward<T: Real>(
    filters: &[T],
    width: usize,
    weights: &[T],
    d_features: &[T],
    source_len: usize,
    d_filters: &mut [T],
    d_weights: &mut [T],
) {
    let filters = filters.chunks_exact(width);
    let grads = d_filters
        .chunks_exact_mut(width)
        .zip(d_features.chunks_exact(source_len));
    for (filter, (d_filter, d_feature)) in filters.zip(grads) {
        for ((tap, &factor), d_factor) in filter.iter().enumerate().zip(d_filter) {
            // forward: feature[to] += factor * weights[from]
            let (to, from) = overlap(tap, width, weights.len());
            *d_factor += dot(&d_feature[to.clone()], &weights[from.clone()]);
            add_scaled(&mut d_weights[from], factor, &d_feature[to]);
        }
    }
}

/// The positions that a tap writes, and the positions that it reads.
#[inline(always)]
fn overlap(tap: usize, width: usize, len: usize) -> (Range<usize>, Range<usize>) {
    let center = width / 2;
    let (back, on) = (center.saturating_sub(tap), tap.saturating_sub(center)); // one of them is 0
    let shared = len.saturating_sub(back + on);
    let (to, from) = (back.min(len), on.min(len));
    (to..to + shared, from..from + shared)
}

/// The terms of the scores.
#[derive(Clone, Copy)]
pub(super) struct ScoreTerms<'a, T> {
    /// `[A]`.
    pub(super) base: &'a [T],
    /// `[S, A]`, or empty.
    pub(super) keys: &'a [T],
    /// `[N, A]`.
    pub(super) location: &'a [T],
    /// `[A]`.
    pub(super) energy: &'a [T],
    /// `S`.
    pub(super) source_len: usize,
}

impl<T: Real> ScoreTerms<'_, T> {
    /// The sum at a position, before tanh.
    #[inline(always)]
    fn sum_at(&self, position: usize, features: &[T], sum: &mut [T]) {
        let units = self.energy.len();
        sum.copy_from_slice(self.base);
        if !self.keys.is_empty() {
            add_to(sum, &self.keys[position * units..][..units]);
        }
        let features = features.chunks_exact(self.source_len);
        for (location, feature) in self.location.chunks_exact(units).zip(features) {
            add_scaled(sum, feature[position], location);
        }
    }

    /// Computes the scores of the real positions; `sum [A]` is scratch memory.
    #[inline(always)]
    pub(super) fn scores(&self, features: &[T], sum: &mut [T], scores: &mut [T]) {
        for (position, score) in scores.iter_mut().enumerate() {
            self.sum_at(position, features, sum);
            *score = sum_of(sum, self.energy, |sum, energy| energy * sum.tanh());
        }
    }

    /// Adds to the gradients `d`, and replaces the features by their gradients.
    #[inline(always)]
    pub(super) fn backward(
        &self,
        features: &mut [T],
        sum: &mut [T],
        d_scores: &[T],
        d: &mut ScoreGrads<'_, T>,
    ) {
        let units = self.energy.len();
        for (position, &d_score) in d_scores.iter().enumerate() {
            self.sum_at(position, features, sum);
            for ((sum, &energy), d_energy) in sum.iter_mut().zip(self.energy).zip(&mut *d.energy) {
                let t = sum.tanh();
                // forward: score += energy * t
                *d_energy += d_score * t;
                // forward: t = tanh(sum), so dt = 1 - t²
                *sum = d_score * energy * (T::ONE - t * t);
            }
            let d_sum = &*sum;
            // forward: sum = base + key + Σ_n feature[n] * location[n]
            add_to(d.base, d_sum);
            if !d.keys.is_empty() {
                add_to(&mut d.keys[position * units..][..units], d_sum);
            }
            let location = self.location.chunks_exact(units);
            let features = features.chunks_exact_mut(self.source_len);
            let d_location = d.location.chunks_exact_mut(units);
            for ((feature, location), d_location) in features.zip(location).zip(d_location) {
                add_scaled(d_location, feature[position], d_sum);
                feature[position] = dot(location, d_sum);
            }
        }
    }
}

/// The gradients of [`ScoreTerms`].
pub(super) struct ScoreGrads<'a, T> {
    /// `[A]`.
    pub(super) base: &'a mut [T],
    /// `[S, A]`, or empty.
    pub(super) keys: &'a mut [T],
    /// `[N, A]`.
    pub(super) location: &'a mut [T],
    /// `[A]`.
    pub(super) energy: &'a mut [T],
}

/// `out [C, R]` from `matrix [R, C]`.
pub(super) fn transpose<T: Real>(out: &mut [T], matrix: &[T], cols: usize) {
    let rows = matrix.len().checked_div(cols).unwrap_or(0);
    for (index, &value) in matrix.iter().enumerate() {
        out[index % cols * rows + index / cols] = value;
    }
}
