//! Location-relative attention on slices: additive scores, and the weights before as a prior.
//!
//! ```text
//! score[b,:] = energy · tanh(W state[b] + b + key[b,:]) + γ ln(shifted(previous[b,:]) + 1e-8)
//! ```
//!
//! The shift and γ are [`shift`](super::shift)'s.
//!
//! Content is bounded by `Σ |energy|`, so a position with a low prior has a weight that rounds to 0,
//! and neither its key nor its value is read. When decoding, a step reads only the positions that the
//! shift can reach from those with a weight, and takes the same time at any length: all others have
//! the same prior, that of a moved weight of 0. If content could make up for that prior, the step
//! reads all positions.

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

/// Additive scores, with the weights before, shifted and sharpened, as a prior.
#[derive(Clone, Debug, Default)]
pub struct LocationRelative<T: Real> {
    /// The query, then the shift's controls.
    queries: Queries<T>,
    energy: Vec<T>,
    start: Start,
}

impl<T: Real> LocationRelative<T> {
    /// Nothing packed yet.
    pub fn new(start: Start) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// The queries and the normalized controls of a step, to `kept`.
    fn controls(&self, step: Step<'_, T>, kept: &mut [T]) {
        let stride = self.queries.kept() + step.memory.len;
        self.queries.forward(step, kept, stride);
        normalize(kept, stride, self.energy.len());
    }

    /// Scores the positions `near` of a row of the step; see [`score_row`].
    fn score(
        &self,
        step: Step<'_, T>,
        index: usize,
        near: Range<usize>,
        kept: &mut [T],
        scores: &mut [T],
    ) -> bool {
        let (memory, len) = (step.memory, step.memory.len);
        let stride = self.queries.kept() + len;
        let (queries, shifted) = kept[index * stride..][..stride].split_at_mut(self.queries.kept());
        let (query, controls) = queries[..self.queries.width()].split_at(self.energy.len());
        let row = Row {
            memory,
            row: step.rows[index],
            previous: &step.previous[index * len..][..len],
            query,
            controls,
            energy: &self.energy,
        };
        score_row(row, near, shifted, &mut scores[index * len..][..len])
    }
}

/// What the scores of a row depend on.
#[derive(Clone, Copy)]
struct Row<'a, T> {
    memory: Memory<'a, T>,
    /// The memory's row.
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
    fn on_cuda(&self) -> Option<crate::cuda::Scores> {
        Some(crate::cuda::Scores::LocationRelative(self.start))
    }

    /// The queries, and the shifted weights.
    fn kept(&self, source_len: usize) -> usize {
        self.queries.kept() + source_len
    }

    /// The gradient of the energy.
    fn sums(&self) -> usize {
        self.energy.len()
    }

    fn scores(&self, step: Step<'_, T>, kept: &mut [T], scores: &mut [T]) {
        self.controls(step, kept);
        for (index, &row) in step.rows.iter().enumerate() {
            self.score(step, index, 0..step.memory.lengths[row], kept, scores);
        }
    }

    fn scores_within(
        &self,
        step: Step<'_, T>,
        reach: &mut [Range<usize>],
        kept: &mut [T],
        scores: &mut [T],
    ) {
        self.controls(step, kept);
        for ((index, &row), reach) in step.rows.iter().enumerate().zip(reach) {
            let length = step.memory.lengths[row];
            *reach = reach.start.saturating_sub(1)..(reach.end + 1).min(length);
            if !self.score(step, index, reach.clone(), kept, scores) {
                *reach = 0..length;
                self.score(step, index, 0..length, kept, scores);
            }
        }
    }

    fn backward(
        &self,
        step: Step<'_, T>,
        kept: &mut [T],
        d_scores: &mut [T],
        grads: StepGrads<'_, T>,
    ) {
        let (units, len) = (self.energy.len(), step.memory.len);
        let stride = self.kept(len);
        for (index, &row) in step.rows.iter().enumerate() {
            let (queries, rest) =
                kept[index * stride..][..stride].split_at_mut(self.queries.width());
            let (d_queries, rest) = rest.split_at_mut(self.queries.width());
            let shifted = &rest[rest.len() - len..];
            let ((query, controls), (d_query, d_controls)) =
                (queries.split_at(units), d_queries.split_at_mut(units));
            let d_scores = &mut d_scores[index * len..][..len];
            let mut content = AdditiveRow {
                query: d_query,
                energy: &mut grads.sums[index * units..][..units],
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
        self.queries.backward(step, kept, stride, grads.state);
    }

    fn gradients(
        &self,
        kept: Matrix<'_, T>,
        states: Matrix<'_, T>,
        sums: Matrix<'_, T>,
        grads: &mut [&mut [T]],
        team: &mut Team<T>,
    ) {
        let grads = LocationRelativeParams::of_mut(grads);
        bias_gradient(grads.energy, sums, team);
        self.queries.gradients(kept, states, grads.maps(), team);
    }
}

multiversion! {
    /// Normalizes the controls of all rows of `kept`, which stand after the first `before` numbers.
    fn normalize<T>(kept: &mut [T], stride: usize, before: usize) {
        for kept in kept.chunks_exact_mut(stride) {
            shift::normalize(&mut kept[before..][..CONTROLS]);
        }
    }

    /// Scores the positions `near` of a row: the prior, and the content where both together can lead
    /// to a weight; -∞ elsewhere. All weights of the step before must be 0 where the shift does not
    /// reach `near` from.
    ///
    /// Returns false if positions outside of `near` may have a weight; the scores are then incomplete.
    fn score_row<T>(
        row: Row<'_, T>,
        near: Range<usize>,
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
        // No content score is greater, nor less than its negative.
        let bound = sum_of(energy, energy, |e, _| if e < T::ZERO { T::ZERO - e } else { e });
        let content = |index| {
            let key = memory.key(first + index, row);
            sum_of_three(query, key, energy, |q, k, e| e * (q + k).tanh())
        };
        let greatest = max(scores);
        let Some(likeliest) = scores.iter().position(|&score| score == greatest) else {
            return is_all;
        };
        let least = greatest + content(likeliest) - bound + nothing::<T>(length);
        let is_rest_less = shift::lowest(controls) < least;
        if !is_all && !is_rest_less {
            return false;
        }
        for (index, score) in scores.iter_mut().enumerate() {
            *score = match *score < least {
                true => T::NEG_INFINITY,
                false => *score + content(index),
            };
        }
        true
    }

    /// The gradients of one row's prior; those of the scores are used up.
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

/// Logarithm of a weight so small, against the greatest of a row, that all positions together with
/// such weights are less than half of what rounding takes from the greatest.
#[inline(always)]
pub(crate) fn nothing<T: Real>(positions: usize) -> T {
    T::from_f64((T::EPSILON.to_f64() / (4.0 * positions.max(1) as f64)).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::additive::additive_scores;
    use crate::attention::kernel::{softmax, weigh_within};
    use crate::gradcheck::numbers;
    use crate::simd::on_every_isa;

    const UNITS: usize = 17;
    const LEN: usize = 3000;
    const PLACE: usize = 1000;

    fn single(seed: u64, n: usize, scale: f64) -> Vec<f32> {
        let numbers = numbers(seed, n);
        numbers.iter().map(|x| (x * scale) as f32).collect()
    }

    fn scorer(sharpness: f32, loudness: f64) -> LocationRelative<f32> {
        let (weight, bias) = (single(3, UNITS, 1.0), single(4, UNITS, 1.0));
        let (shift, shift_bias) = (single(5, 3, 1.0), single(6, 3, 1.0));
        let mut scorer = LocationRelative::new(Start::Last);
        scorer.pack(&[
            &weight,
            &bias,
            &single(2, UNITS, loudness),
            &shift,
            &shift_bias,
            &[0.0],
            &[sharpness],
        ]);
        scorer
    }

    /// One row that looked at one place before: its scores, and those without any position left out.
    /// The greater `sharpness`, the more the place before matters.
    fn scores(sharpness: f32, loudness: f64) -> [Vec<f32>; 2] {
        let (keys, energy) = (single(1, LEN * UNITS, 1.0), single(2, UNITS, loudness));
        let scorer = scorer(sharpness, loudness);
        let mut previous = vec![0.0; LEN];
        previous[PLACE] = 1.0;
        let memory = Memory {
            values: &[],
            keys: &keys,
            lengths: &[LEN],
            len: LEN,
        };
        let step = Step {
            state: Matrix::dense(&[0.5], 1, 1),
            previous: &previous,
            memory,
            rows: &[0],
        };
        let stride = scorer.kept(LEN);
        let (mut kept, mut scores) = (vec![0.0; stride], vec![0.0; LEN]);
        scorer.scores(step, &mut kept, &mut scores);

        scorer.queries.forward(step, &mut kept, stride);
        let mut all = vec![0.0; LEN];
        additive_scores(memory, &[0], &kept, stride, &energy, &mut all);
        let controls = &mut kept[UNITS..][..CONTROLS];
        shift::normalize(controls);
        shift::forward(controls, &previous, &mut vec![0.0; LEN], &mut all);
        [scores, all]
    }

    type Read =
        fn(&LocationRelative<f32>, Step<'_, f32>, &mut [Range<usize>], &mut [f32], &mut [f32]);

    /// Two steps from the weights `before` around a place: the weights and the contexts, as bits.
    fn two_steps(
        scorer: &LocationRelative<f32>,
        memory: Memory<'_, f32>,
        before: &[f32],
        place: usize,
        read: Read,
    ) -> (Vec<u32>, Range<usize>) {
        let mut previous = vec![0.0; memory.len];
        previous[place..][..before.len()].copy_from_slice(before);
        let near = place..place + before.len();
        let mut reach = [near];
        let mut kept = vec![0.0; scorer.kept(memory.len)];
        let mut bits = Vec::new();
        for state in [[0.5], [-0.8]] {
            let step = Step {
                state: Matrix::dense(&state, 1, 1),
                previous: &previous,
                memory,
                rows: &[0],
            };
            let mut weights = vec![0.0; memory.len];
            let mut context = vec![0.0; UNITS];
            read(scorer, step, &mut reach, &mut kept, &mut weights);
            weigh_within(
                memory,
                &[0],
                &mut reach,
                &mut weights,
                &mut context,
                UNITS,
                UNITS,
            );
            bits.extend(weights.iter().chain(&context).map(|x| x.to_bits()));
            previous = weights;
        }
        let [reach] = reach;
        (bits, reach)
    }

    #[test]
    fn a_step_that_reads_near_positions_has_the_bits_of_one_that_reads_all() {
        const LONGEST: usize = 4000;
        let keys = single(1, LONGEST * UNITS, 1.0);
        on_every_isa(|isa| {
            let (mut n_near, mut n_all) = (0, 0);
            for len in 1..=LONGEST {
                let (sharpness, loudness) = match len % 16 {
                    0 => (0.0, 1.0), // needs all positions
                    1..8 => (3.0, 1.0),
                    _ => (9.0, 2.0),
                };
                let scorer = scorer(sharpness, loudness);
                let keys = &keys[..len * UNITS];
                let memory = Memory {
                    values: keys,
                    keys,
                    lengths: &[len],
                    len,
                };
                let before: &[f32] = [&[1.0][..], &[0.25, 0.75], &[1e-30, 0.0, 1.0]][len % 5 % 3];
                let before = &before[..before.len().min(len)];
                let place = [0, len / 2, len - before.len()][len % 7 % 3].min(len - before.len());
                let (near, reach) = two_steps(
                    &scorer,
                    memory,
                    before,
                    place,
                    |scorer, step, reach, kept, scores| {
                        scorer.scores_within(step, reach, kept, scores);
                    },
                );
                let (all, _) = two_steps(
                    &scorer,
                    memory,
                    before,
                    place,
                    |scorer, step, reach, kept, scores| {
                        scorer.scores(step, kept, scores);
                        reach[0] = 0..step.memory.len;
                    },
                );
                assert!(near == all, "length {len}, place {place}, {isa:?}");
                *(if reach.len() < len {
                    &mut n_near
                } else {
                    &mut n_all
                }) += 1;
            }
            assert!(n_near > 3500 && n_all > 200, "{n_near} {n_all}");
        });
    }

    #[test]
    fn what_is_left_out_weighs_nothing() {
        on_every_isa(|isa| {
            for (sharpness, loudness, n_read) in [
                (3.0, 1.0, 3..=3),
                (0.0, 1.0, LEN..=LEN),
                (3.0, 9.0, 4..=LEN),
            ] {
                let [mut scores, mut all] = scores(sharpness, loudness);
                let read = scores.iter().filter(|&&score| score > f32::NEG_INFINITY);
                let read = read.count();
                assert!(n_read.contains(&read), "{read} positions read on {isa:?}");
                softmax(&mut scores);
                softmax(&mut all);
                for (weight, right) in scores.iter().zip(&all) {
                    let error = (weight - right).abs();
                    assert!(
                        error < f32::EPSILON * right.max(0.5),
                        "{weight}, not {right}"
                    );
                }
            }
        });
    }
}
