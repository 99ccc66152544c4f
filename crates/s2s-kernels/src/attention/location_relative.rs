//! Location-relative attention on slices: additive scores, and the weights before as a prior.
//!
//! ```text
//! score[b,:] = energy · tanh(W state[b] + b + key[b,:]) + γ ln(shifted(previous[b,:]) + 1e-8)
//! ```
//!
//! The shift and γ are [`shift`](super::shift)'s.

use super::additive::{AdditiveRow, additive_backward, additive_scores};
use super::kernel::{Scorer, Step, StepGrads, all_of, all_of_mut};
use super::queries::Queries;
use super::shift::{self, CONTROLS};
use super::start::Start;
use crate::linear::bias_gradient;
use crate::real::{Matrix, Real};
use crate::simd::multiversion;
use crate::team::Team;

/// Additive scores, with the weights before, shifted and sharpened, as a prior.
///
/// Parameters: `W [A, D]`, `b [A]`, `energy [A]`; weight and bias of the shift's kernel, `[3, D]` and
/// `[3]`, and of its sharpness, `[1, D]` and `[1]`.
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
        let &[
            weight,
            bias,
            energy,
            shift,
            shift_bias,
            sharpen,
            sharpen_bias,
        ] = all_of(params);
        self.queries
            .pack(&[[weight, bias], [shift, shift_bias], [sharpen, sharpen_bias]]);
        self.energy.clear();
        self.energy.extend_from_slice(energy);
    }

    fn start(&self) -> Start {
        self.start
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
        additive_scores(step.memory, step.rows, kept, stride, &self.energy, scores);
        add_prior(
            step,
            self.queries.width(),
            self.queries.kept(),
            kept,
            scores,
        );
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
        let [
            weight,
            bias,
            energy,
            shift,
            shift_bias,
            sharpen,
            sharpen_bias,
        ] = all_of_mut(grads);
        let maps = [[weight, bias], [shift, shift_bias], [sharpen, sharpen_bias]];
        self.queries.gradients(kept, states, maps, team);
        bias_gradient(energy, sums, team);
    }
}

multiversion! {
    /// Adds the prior to the scores; of each row's `kept`, the controls are the last of `width`
    /// queries, and the shifted weights stand after the first `before` numbers.
    fn add_prior<T>(
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
            shift::forward(
                &mut queries[width - CONTROLS..width],
                &step.previous[index * len..][..length],
                &mut shifted[..length],
                &mut scores[index * len..][..length],
            );
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
