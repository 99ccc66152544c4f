//! Location-aware attention on slices: Chorowski et al. (2015), arXiv:1506.07503, equations 8 and 9.
//!
//! ```text
//! feature[b,n,:] = filter[n] over previous[b,:]
//! score[b,s]     = energy · tanh(W state[b] + b + key[b,s] + L feature[b,:,s])
//! ```
//!
//! [`features`](super::features) has the convolutions and the scores.

use super::features::{ScoreGrads, ScoreTerms, convolve, convolve_backward, transpose};
use super::kernel::{Scorer, Step, StepGrads, parameters};
use super::queries::Queries;
use super::start::Start;
use crate::linear::bias_gradient;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

parameters! {
    /// The parameters of location-aware attention.
    LocationParams {
        /// `[A, D]`.
        query_weight,
        /// `[A]`.
        query_bias,
        /// `[N, width]`.
        filters,
        /// `[A, N]`.
        location,
        /// `[A]`.
        energy,
    }
}

/// Additive scores with convolutions of the previous weights as additional terms.
#[derive(Clone, Debug, Default)]
pub struct Location<T: Real> {
    query: Queries<T>,
    filters: Vec<T>,
    location: Vec<T>, // [N, A]
    energy: Vec<T>,
    width: usize,
    start: Start,
}

impl<T: Real> Location<T> {
    /// A scorer without parameters; its filters have `width` taps.
    pub fn new(width: usize, start: Start) -> Self {
        Self {
            width,
            start,
            ..Self::default()
        }
    }

    /// `N`.
    fn filters(&self) -> usize {
        self.filters.len() / self.width
    }

    /// The features in a row of `saved`.
    fn places(&self, source_len: usize) -> usize {
        self.filters() * source_len
    }
}

impl<T: Real> Scorer<T> for Location<T> {
    fn pack(&mut self, params: &[&[T]]) {
        let LocationParams {
            query_weight,
            query_bias,
            filters,
            location,
            energy,
        } = LocationParams::of(params);
        self.query.pack(&[[query_weight, query_bias]]);
        self.filters.clear();
        self.filters.extend_from_slice(filters);
        self.location.resize(location.len(), T::ZERO);
        transpose(&mut self.location, location, filters.len() / self.width);
        self.energy.clear();
        self.energy.extend_from_slice(energy);
    }

    fn start(&self) -> Start {
        self.start
    }

    /// The query, scratch memory for one sum, the features.
    fn saved_len(&self, source_len: usize) -> usize {
        self.query.saved_len() + self.energy.len() + self.places(source_len)
    }

    /// Gradients of the energy, `L` and the filters.
    fn summed_len(&self) -> usize {
        self.energy.len() + self.location.len() + self.filters.len()
    }

    fn scores(&self, step: Step<'_, T>, saved: &mut [T], scores: &mut [T]) {
        let stride = self.saved_len(step.memory.len);
        self.query.forward(step, saved, stride);
        forward(self, step, saved, scores);
    }

    fn backward(
        &self,
        step: Step<'_, T>,
        saved: &mut [T],
        d_scores: &mut [T],
        grads: StepGrads<'_, T>,
    ) {
        let stride = self.saved_len(step.memory.len);
        let StepGrads {
            state,
            previous,
            keys,
            summed,
        } = grads;
        backward(self, step, saved, d_scores, previous, keys, summed);
        self.query.backward(step, saved, stride, state);
    }

    fn gradients(
        &self,
        saved: Matrix<'_, T>,
        states: Matrix<'_, T>,
        summed: Matrix<'_, T>,
        grads: &mut [&mut [T]],
        team: &mut Team<T>,
    ) {
        let LocationParams {
            query_weight,
            query_bias,
            filters,
            location,
            energy,
        } = LocationParams::of_mut(grads);
        let query = [query_weight, query_bias];
        self.query.gradients(saved, states, [query], team);
        bias_gradient(energy, summed.columns(0, energy.len()), team);
        let mut transposed = vec![T::ZERO; location.len()];
        let first = energy.len();
        bias_gradient(&mut transposed, summed.columns(first, location.len()), team);
        transpose(location, &transposed, energy.len());
        let first = first + location.len();
        bias_gradient(filters, summed.columns(first, filters.len()), team);
    }
}

multiversion! {
    fn forward<T>(scorer: &Location<T>, step: Step<'_, T>, saved: &mut [T], scores: &mut [T]) {
        let (units, len) = (scorer.energy.len(), step.memory.len);
        let stride = scorer.saved_len(len);
        for (index, &row) in step.rows.iter().enumerate() {
            let length = step.memory.lengths[row];
            let saved = &mut saved[index * stride..][..stride];
            let (query, rest) = saved.split_at_mut(scorer.query.saved_len());
            let (sum, features) = rest.split_at_mut(units);
            let previous = &step.previous[index * len..][..length];
            convolve(&scorer.filters, scorer.width, previous, features, len);
            let terms = ScoreTerms {
                base: &query[..units],
                keys: step.memory.keys_of(row),
                location: &scorer.location,
                energy: &scorer.energy,
                source_len: len,
            };
            terms.scores(features, sum, &mut scores[index * len..][..length]);
        }
    }

    fn backward<T>(
        scorer: &Location<T>,
        step: Step<'_, T>,
        saved: &mut [T],
        d_scores: &[T],
        d_previous: &mut [T],
        d_keys: &mut [T],
        summed: &mut [T],
    ) {
        let (units, len) = (scorer.energy.len(), step.memory.len);
        let (stride, summed_len) = (scorer.saved_len(len), scorer.summed_len());
        for (index, &row) in step.rows.iter().enumerate() {
            let length = step.memory.lengths[row];
            let saved = &mut saved[index * stride..][..stride];
            let (queries, rest) = saved.split_at_mut(scorer.query.saved_len());
            let (query, d_query) = queries.split_at_mut(units);
            let (sum, features) = rest.split_at_mut(units);
            let (d_energy, rest) = summed[index * summed_len..][..summed_len].split_at_mut(units);
            let (d_location, d_filters) = rest.split_at_mut(scorer.location.len());
            let d_query = &mut d_query[..units];
            d_query.fill(T::ZERO);
            let terms = ScoreTerms {
                base: query,
                keys: step.memory.keys_of(row),
                location: &scorer.location,
                energy: &scorer.energy,
                source_len: len,
            };
            let mut grads = ScoreGrads {
                base: d_query,
                keys: &mut d_keys[index * len * units..][..len * units],
                location: d_location,
                energy: d_energy,
            };
            let d_scores = &d_scores[index * len..][..length];
            terms.backward(features, sum, d_scores, &mut grads);
            convolve_backward(
                &scorer.filters,
                scorer.width,
                &step.previous[index * len..][..length],
                features,
                len,
                d_filters,
                &mut d_previous[index * len..][..length],
            );
        }
    }
}
