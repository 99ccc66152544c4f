//! Location-relative attention on slices: additive scores, and the weights before as a prior.
//!
//! ```text
//! score[b,:] = energy · tanh(W state[b] + b + key[b,:]) + γ ln(shifted(previous[b,:]) + 1e-8)
//! ```
//!
//! The shift and γ are [`shift`](super::shift)'s.
//!
//! Content is bounded, by `Σ |energy|`, and the prior is not: where the walk is far from, content
//! cannot matter, and neither keys nor values are read. A step's time still grows with the length of
//! the source, but by a few operations a position instead of hundreds.

use super::additive::{AdditiveRow, additive_backward};
use super::kernel::{Scorer, Step, StepGrads, parameters};
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
        let stride = self.kept(step.memory.len);
        self.queries.forward(step, kept, stride);
        prior(
            step,
            self.queries.width(),
            self.queries.kept(),
            kept,
            scores,
        );
        add_content(step, kept, stride, &self.energy, scores);
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
    /// The priors; of each row's `kept`, the controls are the last of `width` queries, and the shifted
    /// weights stand after the first `before` numbers.
    fn prior<T>(
        step: Step<'_, T>,
        width: usize,
        before: usize,
        kept: &mut [T],
        scores: &mut [T],
    ) {
        let len = step.memory.len;
        for (index, &row) in step.rows.iter().enumerate() {
            let length = step.memory.lengths[row];
            let kept = &mut kept[index * (before + len)..][..before + len];
            let (queries, shifted) = kept.split_at_mut(before);
            let scores = &mut scores[index * len..][..length];
            scores.fill(T::ZERO);
            shift::forward(
                &mut queries[width - CONTROLS..width],
                &step.previous[index * len..][..length],
                &mut shifted[..length],
                scores,
            );
        }
    }

    /// Adds additive scores to the priors, where they can lead to a weight; -∞ elsewhere. Rows of the
    /// query are `stride` apart.
    fn add_content<T>(
        step: Step<'_, T>,
        query: &[T],
        stride: usize,
        energy: &[T],
        scores: &mut [T],
    ) {
        let memory = step.memory;
        // No content score is greater, nor less than its negative.
        let bound = sum_of(energy, energy, |e, _| if e < T::ZERO { T::ZERO - e } else { e });
        for (index, &row) in step.rows.iter().enumerate() {
            let query = &query[index * stride..][..energy.len()];
            let scores = &mut scores[index * memory.len..][..memory.lengths[row]];
            let content = |position| {
                let key = memory.key(position, row);
                sum_of_three(query, key, energy, |q, k, e| e * (q + k).tanh())
            };
            let greatest = max(scores);
            let Some(likeliest) = scores.iter().position(|&score| score == greatest) else {
                continue;
            };
            let least = greatest + content(likeliest) - bound + nothing::<T>(scores.len());
            for (position, score) in scores.iter_mut().enumerate() {
                *score = match *score < least {
                    true => T::NEG_INFINITY,
                    false => *score + content(position),
                };
            }
        }
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
fn nothing<T: Real>(positions: usize) -> T {
    T::from_f64((T::EPSILON.to_f64() / (4.0 * positions.max(1) as f64)).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::additive::additive_scores;
    use crate::attention::kernel::{Memory, softmax};
    use crate::gradcheck::numbers;
    use crate::simd::on_every_isa;

    const UNITS: usize = 17;
    const LEN: usize = 3000;
    const PLACE: usize = 1000;

    fn single(seed: u64, n: usize, scale: f64) -> Vec<f32> {
        let numbers = numbers(seed, n);
        numbers.iter().map(|x| (x * scale) as f32).collect()
    }

    /// One row that looked at one place before: its scores, and those without any position left out.
    /// The greater `sharpness`, the more the place before matters.
    fn scores(sharpness: f32, loudness: f64) -> [Vec<f32>; 2] {
        let (keys, energy) = (single(1, LEN * UNITS, 1.0), single(2, UNITS, loudness));
        let (weight, bias) = (single(3, UNITS, 1.0), single(4, UNITS, 1.0));
        let (shift, shift_bias) = (single(5, 3, 1.0), single(6, 3, 1.0));
        let mut scorer = LocationRelative::<f32>::new(Start::Last);
        scorer.pack(&[
            &weight,
            &bias,
            &energy,
            &shift,
            &shift_bias,
            &[0.0],
            &[sharpness],
        ]);
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
        shift::forward(controls, &previous, &mut vec![0.0; LEN], &mut all);
        [scores, all]
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
