//! Location-relative attention on slices: additive scores plus a prior, which comes from the previous weights.
//!
//! ```text
//! score[b,:] = energy · tanh(W state[b] + b + key[b,:]) + γ ln(shifted(previous[b,:]) + 1e-8)
//! ```
//!
//! [`shift`](super::shift) defines the shift and γ.
//!
//! The content score is bounded, so the weight of a position with a low prior rounds to 0, and neither its
//! key nor its value is read. In decoding, a step reads only the positions that the shift can reach
//! from positions with a weight, and takes the same time at any length: all others have the same prior,
//! that of a shifted weight of 0. If a content score could outweigh that prior, the step reads all positions.
//!
//! The first bound is `Σ |energy|`, which needs no key. If it is too wide, the bound is the content score
//! of the row's [best key](best_key), which decoding computes once per row.

use std::ops::Range;

use super::additive::{AdditiveRow, additive_backward};
use super::kernel::{Memory, Scorer, Step, StepGrads, parameters};
use super::queries::Queries;
use super::shift::{self, CONTROLS};
use super::start::Start;
use crate::lanes::{max, sum_of, sum_of_three};
use crate::linear::bias_gradient;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

parameters! {
    /// The parameters of location-relative attention.
    LocationRelativeParams {
        /// `[A, D]`.
        query_weight,
        /// `[A]`.
        query_bias,
        /// `[A]`.
        energy,
        /// `[3, D]`.
        shift_weight,
        /// `[3]`.
        shift_bias,
        /// `[1, D]`.
        sharpen_weight,
        /// `[1]`.
        sharpen_bias,
    }
}

impl<P> LocationRelativeParams<P> {
    /// Weights and biases of the maps of the state, in the order in which they are packed.
    fn maps(self) -> [[P; 2]; 3] {
        [
            [self.query_weight, self.query_bias],
            [self.shift_weight, self.shift_bias],
            [self.sharpen_weight, self.sharpen_bias],
        ]
    }
}

/// Additive scores with a prior: the previous weights, shifted and sharpened.
#[derive(Clone, Debug, Default)]
pub struct LocationRelative<T: Real> {
    /// Maps the state to the query and the controls of the shift.
    queries: Queries<T>,
    energy: Vec<T>,
    start: Start,
}

impl<T: Real> LocationRelative<T> {
    /// A scorer without parameters.
    pub fn new(start: Start) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// Writes the queries and the normalized controls of a step to `saved`.
    fn controls(&self, step: Step<'_, T>, saved: &mut [T]) {
        let stride = self.queries.saved_len() + step.memory.len;
        self.queries.forward(step, saved, stride);
        normalize(saved, stride, self.energy.len());
    }

    /// Scores the positions `near` of a row of the step; see [`score_row`].
    fn score(
        &self,
        step: Step<'_, T>,
        index: usize,
        near: Range<usize>,
        best: &mut Vec<T>,
        saved: &mut [T],
        scores: &mut [T],
    ) -> bool {
        let (memory, len) = (step.memory, step.memory.len);
        let stride = self.queries.saved_len() + len;
        let (queries, shifted) =
            saved[index * stride..][..stride].split_at_mut(self.queries.saved_len());
        let (query, controls) = queries[..self.queries.width()].split_at(self.energy.len());
        let row = Row {
            memory,
            row: step.rows[index],
            previous: &step.previous[index * len..][..len],
            query,
            controls,
            energy: &self.energy,
        };
        score_row(row, near, best, shifted, &mut scores[index * len..][..len])
    }
}

/// The inputs of the scores of a row.
#[derive(Clone, Copy)]
struct Row<'a, T> {
    memory: Memory<'a, T>,
    /// The row of the memory.
    row: usize,
    /// The weights of the step before, `[S]`.
    previous: &'a [T],
    query: &'a [T],
    /// [Normalized](shift::normalize).
    controls: &'a [T],
    energy: &'a [T],
}

impl<T: Real> Scorer<T> for LocationRelative<T> {
    fn pack(&mut self, params: &[&[T]]) {
        let params = LocationRelativeParams::of(params);
        self.queries.pack(&params.maps());
        self.energy.clear();
        self.energy.extend_from_slice(params.energy);
    }

    fn start(&self) -> Start {
        self.start
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> Option<crate::cuda::ScoreKernel> {
        Some(crate::cuda::ScoreKernel::LocationRelative(self.start))
    }

    /// The queries and the shifted weights.
    fn saved_len(&self, source_len: usize) -> usize {
        self.queries.saved_len() + source_len
    }

    /// Gradient of the energy.
    fn summed_len(&self) -> usize {
        self.energy.len()
    }

    fn scores(&self, step: Step<'_, T>, saved: &mut [T], scores: &mut [T]) {
        self.controls(step, saved);
        for (index, &row) in step.rows.iter().enumerate() {
            let all = 0..step.memory.lengths[row];
            self.score(step, index, all, &mut Vec::new(), saved, scores);
        }
    }

    fn scores_within(
        &self,
        step: Step<'_, T>,
        reach: &mut [Range<usize>],
        found: &mut [Vec<T>],
        saved: &mut [T],
        scores: &mut [T],
    ) {
        self.controls(step, saved);
        for ((index, &row), reach) in step.rows.iter().enumerate().zip(reach) {
            let (length, best) = (step.memory.lengths[row], &mut found[row]);
            *reach = reach.start.saturating_sub(1)..(reach.end + 1).min(length);
            if !self.score(step, index, reach.clone(), best, saved, scores) {
                *reach = 0..length;
                self.score(step, index, 0..length, best, saved, scores);
            }
        }
    }

    fn backward(
        &self,
        step: Step<'_, T>,
        saved: &mut [T],
        d_scores: &mut [T],
        grads: StepGrads<'_, T>,
    ) {
        let (units, len) = (self.energy.len(), step.memory.len);
        let stride = self.saved_len(len);
        for (index, &row) in step.rows.iter().enumerate() {
            let (queries, rest) =
                saved[index * stride..][..stride].split_at_mut(self.queries.width());
            let (d_queries, rest) = rest.split_at_mut(self.queries.width());
            let shifted = &rest[rest.len() - len..];
            let ((query, controls), (d_query, d_controls)) =
                (queries.split_at(units), d_queries.split_at_mut(units));
            let d_scores = &mut d_scores[index * len..][..len];
            let mut content = AdditiveRow {
                query: d_query,
                energy: &mut grads.summed[index * units..][..units],
                keys: &mut grads.keys[index * len * units..][..len * units],
            };
            additive_backward(
                step.memory,
                row,
                query,
                &self.energy,
                d_scores,
                &mut content,
            );
            let length = step.memory.lengths[row];
            prior_backward(
                controls,
                &step.previous[index * len..][..length],
                &shifted[..length],
                &mut d_scores[..length],
                &mut grads.previous[index * len..][..length],
                d_controls,
            );
        }
        self.queries.backward(step, saved, stride, grads.state);
    }

    fn gradients(
        &self,
        saved: Matrix<'_, T>,
        states: Matrix<'_, T>,
        summed: Matrix<'_, T>,
        grads: &mut [&mut [T]],
        team: &mut Team<T>,
    ) {
        let grads = LocationRelativeParams::of_mut(grads);
        bias_gradient(grads.energy, summed, team);
        self.queries.gradients(saved, states, grads.maps(), team);
    }
}

multiversion! {
    /// Normalizes the controls in all rows of `saved`; they begin after `before` numbers.
    fn normalize<T>(saved: &mut [T], stride: usize, before: usize) {
        for saved in saved.chunks_exact_mut(stride) {
            shift::normalize(&mut saved[before..][..CONTROLS]);
        }
    }

    /// Scores the positions `near` of a row: prior plus content where their sum can lead to a weight, -∞
    /// elsewhere. The previous weights must be 0 at all positions from which the shift does not reach
    /// `near`. `best` is the row's [best key](best_key), or empty until it is needed.
    ///
    /// Returns false if positions outside of `near` may have a weight; the scores are then incomplete.
    fn score_row<T>(
        row: Row<'_, T>,
        near: Range<usize>,
        best: &mut Vec<T>,
        shifted: &mut [T],
        scores: &mut [T],
    ) -> bool {
        let Row { memory, row, previous, query, controls, energy } = row;
        let length = memory.lengths[row];
        let is_all = near.len() == length;
        let first = near.start;
        let (shifted, scores) = (&mut shifted[near.clone()], &mut scores[near.clone()]);
        scores.fill(T::ZERO);
        shift::forward(controls, &previous[near], shifted, scores);
        let content = |key| sum_of_three(query, key, energy, |q, k, e| e * (q + k).tanh());
        let content_at = |index| content(memory.key(first + index, row));
        let greatest = max(scores);
        let Some(likeliest) = scores.iter().position(|&score| score == greatest) else {
            return is_all;
        };
        let likely = greatest + content_at(likeliest);
        let (lowest, nothing) = (shift::lowest(controls), nothing::<T>(length));
        // Below this prior, a position has no weight, provided that no content score exceeds `bound`.
        let least_within = |bound| likely - bound + nothing;
        let is_rest_less = |least| lowest < least;
        let absolute = |e: T, _| if e < T::ZERO { T::ZERO - e } else { e };
        let mut least = least_within(sum_of(energy, energy, absolute));
        // Every bound is at least the content score of the most probable position.
        if !is_rest_less(least) && is_rest_less(greatest + nothing) {
            if best.is_empty() {
                *best = best_key(memory, row, energy);
            }
            least = least_within(content(best));
        }
        if !is_all && !is_rest_less(least) {
            return false;
        }
        for (index, score) in scores.iter_mut().enumerate() {
            *score = match *score < least {
                true => T::NEG_INFINITY,
                false => *score + content_at(index),
            };
        }
        true
    }

    /// The backward pass of the prior of one row; it overwrites the gradients of the scores.
    fn prior_backward<T>(
        controls: &[T],
        previous: &[T],
        shifted: &[T],
        d_scores: &mut [T],
        d_previous: &mut [T],
        d_controls: &mut [T],
    ) {
        shift::sharpen_backward(controls, shifted, d_scores, d_controls);
        shift::shift_backward(controls, previous, d_scores, d_previous, d_controls);
    }
}

/// A key whose content score is an upper bound for all positions of the row, for any query: each number is
/// the maximum over the row's keys if its energy is positive, otherwise the minimum.
#[inline(always)]
fn best_key<T: Real>(memory: Memory<'_, T>, row: usize, energy: &[T]) -> Vec<T> {
    let mut best = memory.key(0, row).to_vec();
    for position in 1..memory.lengths[row] {
        let key = memory.key(position, row);
        for ((best, &key), &energy) in best.iter_mut().zip(key).zip(energy) {
            *best = if energy * key > energy * *best {
                key
            } else {
                *best
            };
        }
    }
    best
}

/// Logarithm of a negligible weight, relative to the greatest of a row: even if all positions had it, their
/// sum would be less than half the rounding error of the greatest.
#[inline(always)]
pub(crate) fn nothing<T: Real>(positions: usize) -> T {
    T::from_f64((T::EPSILON.to_f64() / (4.0 * positions.max(1) as f64)).ln())
}

#[cfg(test)]
mod tests;
