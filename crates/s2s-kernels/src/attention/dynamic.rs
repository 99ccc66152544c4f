//! Dynamic convolution attention on slices: Battenberg et al. (2020), arXiv:1910.10288, equation 8,
//! without the prior filter.
//!
//! ```text
//! hidden[b]      = tanh(W state[b] + w)
//! dynamic[b]     = V hidden[b]                                      N filters
//! feature[b,n,:] = [filter; dynamic[b]][n] over previous[b,:]       2N features
//! score[b,s]     = energy · tanh(L feature[b,:,s] + l)
//! ```
//!
//! [`features`](super::features) has the convolutions and the scores.

use super::features::{ScoreGrads, ScoreTerms, convolve, convolve_backward, transpose};
use super::kernel::{Scorer, Step, StepGrads, add_scaled, parameters};
use super::queries::Queries;
use super::start::Start;
use crate::lanes::dot;
use crate::linear::{bias_gradient, weight_gradient};
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

parameters! {
    /// The parameters of dynamic convolution attention.
    DynamicConvolutionParams {
        /// `[A, D]`.
        query_weight,
        /// `[A]`.
        query_bias,
        /// `[N·width, A]`.
        dynamic,
        /// The fixed filters, `[N, width]`.
        filters,
        /// `[A, 2N]`.
        location_weight,
        /// `[A]`.
        location_bias,
        /// `[A]`.
        energy,
    }
}

/// Scores from convolutions of the previous weights with fixed filters and with filters computed from the state.
#[derive(Clone, Debug, Default)]
pub struct DynamicConvolution<T: Real> {
    query: Queries<T>,
    dynamic: Vec<T>, // [N·width, A]
    filters: Vec<T>,
    location: Vec<T>, // [2N, A]
    bias: Vec<T>,
    energy: Vec<T>,
    width: usize,
    start: Start,
}

impl<T: Real> DynamicConvolution<T> {
    /// A scorer without parameters; its filters have `width` taps.
    pub fn new(width: usize, start: Start) -> Self {
        Self {
            width,
            start,
            ..Self::default()
        }
    }

    /// `2N`.
    fn features(&self) -> usize {
        2 * self.filters.len() / self.width
    }

    /// The offset of the dynamic filters in a row of `saved`: after the query and the scratch memory for one sum.
    fn dynamic_at(&self) -> usize {
        self.query.saved_len() + self.energy.len()
    }

    #[inline(always)]
    fn terms(&self, source_len: usize) -> ScoreTerms<'_, T> {
        ScoreTerms {
            base: &self.bias,
            keys: &[],
            location: &self.location,
            energy: &self.energy,
            source_len,
        }
    }
}

impl<T: Real> Scorer<T> for DynamicConvolution<T> {
    fn pack(&mut self, params: &[&[T]]) {
        let DynamicConvolutionParams {
            query_weight,
            query_bias,
            dynamic,
            filters,
            location_weight: location,
            location_bias: bias,
            energy,
        } = DynamicConvolutionParams::of(params);
        self.query.pack(&[[query_weight, query_bias]]);
        for (own, given) in [
            (&mut self.dynamic, dynamic),
            (&mut self.filters, filters),
            (&mut self.bias, bias),
            (&mut self.energy, energy),
        ] {
            own.clear();
            own.extend_from_slice(given);
        }
        self.location.resize(location.len(), T::ZERO);
        let features = self.features();
        transpose(&mut self.location, location, features);
    }

    fn start(&self) -> Start {
        self.start
    }

    /// The hidden units, scratch memory for one sum, the dynamic filters and their gradients, the features.
    fn saved_len(&self, source_len: usize) -> usize {
        self.dynamic_at() + 2 * self.filters.len() + self.features() * source_len
    }

    /// Gradients of the energy, `l`, `L` and the fixed filters.
    fn summed_len(&self) -> usize {
        2 * self.energy.len() + self.location.len() + self.filters.len()
    }

    fn scores(&self, step: Step<'_, T>, saved: &mut [T], scores: &mut [T]) {
        self.query
            .forward(step, saved, self.saved_len(step.memory.len));
        forward(self, step, saved, scores);
    }

    fn backward(
        &self,
        step: Step<'_, T>,
        saved: &mut [T],
        d_scores: &mut [T],
        grads: StepGrads<'_, T>,
    ) {
        backward(self, step, saved, d_scores, grads.previous, grads.summed);
        self.query
            .backward(step, saved, self.saved_len(step.memory.len), grads.state);
    }

    fn gradients(
        &self,
        saved: Matrix<'_, T>,
        states: Matrix<'_, T>,
        summed: Matrix<'_, T>,
        grads: &mut [&mut [T]],
        team: &mut Team<T>,
    ) {
        let DynamicConvolutionParams {
            query_weight,
            query_bias,
            dynamic,
            filters,
            location_weight: location,
            location_bias: bias,
            energy,
        } = DynamicConvolutionParams::of_mut(grads);
        let query = [query_weight, query_bias];
        self.query.gradients(saved, states, [query], team);
        // forward: dynamic = V hidden
        let hidden = saved.columns(0, energy.len());
        let d_dynamic = saved.columns(self.dynamic_at() + filters.len(), filters.len());
        weight_gradient(
            dynamic,
            energy.len(),
            d_dynamic,
            hidden,
            Epilogue::Replace,
            team,
        );
        let mut transposed = vec![T::ZERO; location.len()];
        let mut first = 0;
        for part in [&mut **energy, bias, &mut transposed, filters] {
            bias_gradient(part, summed.columns(first, part.len()), team);
            first += part.len();
        }
        transpose(location, &transposed, energy.len());
    }
}

multiversion! {
    fn forward<T>(
        scorer: &DynamicConvolution<T>,
        step: Step<'_, T>,
        saved: &mut [T],
        scores: &mut [T],
    ) {
        let (units, n_taps, len) = (scorer.energy.len(), scorer.filters.len(), step.memory.len);
        let stride = scorer.saved_len(len);
        for (index, &row) in step.rows.iter().enumerate() {
            let length = step.memory.lengths[row];
            let saved = &mut saved[index * stride..][..stride];
            let (hidden, rest) = saved.split_at_mut(scorer.query.saved_len());
            let (sum, rest) = rest.split_at_mut(units);
            let (dynamic, rest) = rest.split_at_mut(n_taps);
            let features = &mut rest[n_taps..];
            let hidden = &mut hidden[..units];
            for hidden in hidden.iter_mut() {
                *hidden = hidden.tanh();
            }
            for (tap, weight) in dynamic.iter_mut().zip(scorer.dynamic.chunks_exact(units)) {
                *tap = dot(weight, hidden);
            }
            let previous = &step.previous[index * len..][..length];
            let (fixed, own) = features.split_at_mut(features.len() / 2);
            convolve(&scorer.filters, scorer.width, previous, fixed, len);
            convolve(dynamic, scorer.width, previous, own, len);
            let scores = &mut scores[index * len..][..length];
            scorer.terms(len).scores(features, sum, scores);
        }
    }

    fn backward<T>(
        scorer: &DynamicConvolution<T>,
        step: Step<'_, T>,
        saved: &mut [T],
        d_scores: &[T],
        d_previous: &mut [T],
        summed: &mut [T],
    ) {
        let (units, n_taps, len) = (scorer.energy.len(), scorer.filters.len(), step.memory.len);
        let (stride, summed_len) = (scorer.saved_len(len), scorer.summed_len());
        for (index, &row) in step.rows.iter().enumerate() {
            let length = step.memory.lengths[row];
            let saved = &mut saved[index * stride..][..stride];
            let (queries, rest) = saved.split_at_mut(scorer.query.saved_len());
            let (hidden, d_hidden) = queries.split_at_mut(units);
            let (sum, rest) = rest.split_at_mut(units);
            let (dynamic, rest) = rest.split_at_mut(n_taps);
            let (d_dynamic, features) = rest.split_at_mut(n_taps);
            let (d_energy, rest) = summed[index * summed_len..][..summed_len].split_at_mut(units);
            let (d_bias, rest) = rest.split_at_mut(units);
            let (d_location, d_filters) = rest.split_at_mut(scorer.location.len());
            let mut grads = ScoreGrads {
                base: d_bias,
                keys: &mut [],
                location: d_location,
                energy: d_energy,
            };
            let d_scores = &d_scores[index * len..][..length];
            scorer
                .terms(len)
                .backward(features, sum, d_scores, &mut grads);
            let previous = &step.previous[index * len..][..length];
            let d_previous = &mut d_previous[index * len..][..length];
            let (width, half) = (scorer.width, features.len() / 2);
            d_dynamic.fill(T::ZERO);
            let (fixed, own) = features.split_at(half);
            convolve_backward(&scorer.filters, width, previous, fixed, len, d_filters, d_previous);
            convolve_backward(dynamic, width, previous, own, len, d_dynamic, d_previous);
            // forward: dynamic = V hidden
            let d_hidden = &mut d_hidden[..units];
            d_hidden.fill(T::ZERO);
            for (&d, weight) in d_dynamic.iter().zip(scorer.dynamic.chunks_exact(units)) {
                add_scaled(d_hidden, d, weight);
            }
            // forward: hidden = tanh(query)
            for (d, &hidden) in d_hidden.iter_mut().zip(&*hidden) {
                *d *= T::ONE - hidden * hidden;
            }
        }
    }
}
