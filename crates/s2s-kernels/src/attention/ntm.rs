//! The addressing of neural Turing machines on slices: Graves, Wayne, Danihelka (2014),
//! arXiv:1410.5401, equations 7 to 9.
//!
//! ```text
//! content[b,:] = softmax(energy · tanh(W state[b] + b + key[b,:]))
//! gated[b,:]   = m content[b,:] + (1 - m) previous[b,:]      m = sigmoid of a linear map of the state
//! score[b,:]   = γ ln(shifted(gated[b,:]) + 1e-8)
//! ```
//!
//! [`shift`](super::shift) defines the shift and γ.
//!
//! The denominator of each content weight is a sum over all positions, and its terms depend on the query, so
//! a step reads all positions.

use super::additive::{AdditiveRow, additive_backward, additive_scores};
use super::kernel::{Scorer, Step, StepGrads, parameters, softmax, softmax_backward};
use super::queries::Queries;
use super::shift::{self, CONTROLS};
use super::start::Start;
use crate::lanes::sum_of_three;
use crate::linear::bias_gradient;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

parameters! {
    /// The parameters of the addressing of neural Turing machines.
    NtmParams {
        /// `[A, D]`.
        query_weight,
        /// `[A]`.
        query_bias,
        /// `[A]`.
        energy,
        /// `[1, D]`.
        gate_weight,
        /// `[1]`.
        gate_bias,
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

impl<P> NtmParams<P> {
    /// Weights and biases of the maps of the state, in the order in which they are packed.
    fn maps(self) -> [[P; 2]; 4] {
        [
            [self.query_weight, self.query_bias],
            [self.gate_weight, self.gate_bias],
            [self.shift_weight, self.shift_bias],
            [self.sharpen_weight, self.sharpen_bias],
        ]
    }
}

/// A gate interpolates between content weights and previous weights; then the shift follows.
#[derive(Clone, Debug, Default)]
pub struct Ntm<T: Real> {
    /// Maps the state to the query, the gate and the controls of the shift.
    queries: Queries<T>,
    energy: Vec<T>,
    start: Start,
}

impl<T: Real> Ntm<T> {
    /// A scorer without parameters.
    pub fn new(start: Start) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }
}

impl<T: Real> Scorer<T> for Ntm<T> {
    fn pack(&mut self, params: &[&[T]]) {
        let params = NtmParams::of(params);
        self.queries.pack(&params.maps());
        self.energy.clear();
        self.energy.extend_from_slice(params.energy);
    }

    fn start(&self) -> Start {
        self.start
    }

    /// The queries, then the content weights, the gated weights and the shifted weights.
    fn saved_len(&self, source_len: usize) -> usize {
        self.queries.saved_len() + 3 * source_len
    }

    /// Gradient of the energy.
    fn summed_len(&self) -> usize {
        self.energy.len()
    }

    fn scores(&self, step: Step<'_, T>, saved: &mut [T], scores: &mut [T]) {
        let stride = self.saved_len(step.memory.len);
        self.queries.forward(step, saved, stride);
        additive_scores(step.memory, step.rows, saved, stride, &self.energy, scores);
        address(
            step,
            self.queries.width(),
            self.queries.saved_len(),
            saved,
            scores,
        );
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
            let places = rest.len() - 3 * len;
            let ((query, controls), (d_query, d_controls)) =
                (queries.split_at(units), d_queries.split_at_mut(units));
            let d_scores = &mut d_scores[index * len..][..len];
            address_backward(
                controls,
                &step.previous[index * len..][..len],
                &mut rest[places..],
                step.memory.lengths[row],
                d_scores,
                &mut grads.previous[index * len..][..len],
                d_controls,
            );
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
        let grads = NtmParams::of_mut(grads);
        bias_gradient(grads.energy, summed, team);
        self.queries.gradients(saved, states, grads.maps(), team);
    }
}

multiversion! {
    /// Replaces the content scores by the scores. In each row of `saved`, gate and controls are
    /// the last of `width` queries, and the weights begin after `before` numbers.
    fn address<T>(
        step: Step<'_, T>,
        width: usize,
        before: usize,
        saved: &mut [T],
        scores: &mut [T],
    ) {
        let len = step.memory.len;
        let stride = before + 3 * len;
        for (index, &row) in step.rows.iter().enumerate() {
            let length = step.memory.lengths[row];
            let scores = &mut scores[index * len..][..length];
            let (queries, weights) = saved[index * stride..][..stride].split_at_mut(before);
            let controls = &mut queries[width - CONTROLS - 1..width];
            let [content, gated, shifted] = thirds(weights, length);
            content.copy_from_slice(scores);
            softmax(content);
            controls[0] = controls[0].sigmoid();
            let previous = &step.previous[index * len..][..length];
            for ((gated, &content), &previous) in gated.iter_mut().zip(&*content).zip(previous) {
                *gated = previous + controls[0] * (content - previous);
            }
            scores.fill(T::ZERO);
            shift::normalize(&mut controls[1..]);
            shift::forward(&controls[1..], gated, shifted, scores);
        }
    }

    /// Replaces the gradients of one row's scores by those of its content scores. It overwrites the saved
    /// `weights [3, S]`.
    fn address_backward<T>(
        controls: &[T],
        previous: &[T],
        weights: &mut [T],
        length: usize,
        d_scores: &mut [T],
        d_previous: &mut [T],
        d_controls: &mut [T],
    ) {
        let [content, gated, shifted] = thirds(weights, length);
        let previous = &previous[..length];
        let (gate, d_scores) = (controls[0], &mut d_scores[..length]);
        let (d_gate, d_controls) = d_controls.split_at_mut(1);
        shift::sharpen_backward(&controls[1..], shifted, d_scores, d_controls);
        let d_gated = shifted;
        d_gated.fill(T::ZERO);
        shift::shift_backward(&controls[1..], gated, d_scores, d_gated, d_controls);
        // forward: gated = previous + gate * (content - previous)
        let sum = sum_of_three(d_gated, content, previous, |d, content, previous| {
            d * (content - previous)
        });
        // forward: gate = sigmoid(controls[0]), which the gate has replaced
        d_gate[0] = sum * gate * (T::ONE - gate);
        for ((&d, d_content), d_previous) in d_gated.iter().zip(&mut *d_scores).zip(d_previous) {
            *d_content = gate * d;
            *d_previous += d - gate * d;
        }
        // forward: content = softmax(scores of the content)
        softmax_backward(content, d_scores);
    }
}

/// The content weights, the gated weights and the shifted weights, each at the real positions only.
#[inline(always)]
fn thirds<T>(weights: &mut [T], length: usize) -> [&mut [T]; 3] {
    let (content, rest) = weights.split_at_mut(weights.len() / 3);
    let (gated, shifted) = rest.split_at_mut(content.len());
    [content, gated, shifted].map(|weights| &mut weights[..length])
}
