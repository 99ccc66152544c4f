//! Additive attention on slices: see the [equations](super).

use super::kernel::{Memory, Scorer, Step, StepGrads, parameters};
use super::queries::Queries;
use crate::lanes::sum_of_three;
use crate::linear::bias_gradient;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

parameters! {
    /// The parameters of additive attention.
    AdditiveParams {
        /// `[A, D]`.
        query_weight,
        /// `[A]`.
        query_bias,
        /// `[A]`.
        energy,
    }
}

/// `score[b,s] = energy · tanh(W state[b] + b + key[b,s])`, its weights packed.
#[derive(Clone, Debug, Default)]
pub struct Additive<T: Real> {
    query: Queries<T>,
    energy: Vec<T>,
}

impl<T: Real> Additive<T> {
    /// A scorer without parameters.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: Real> Scorer<T> for Additive<T> {
    fn pack(&mut self, params: &[&[T]]) {
        let params = AdditiveParams::of(params);
        self.query.pack(&[[params.query_weight, params.query_bias]]);
        self.energy.clear();
        self.energy.extend_from_slice(params.energy);
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> Option<crate::cuda::ScoreKernel> {
        Some(crate::cuda::ScoreKernel::Additive)
    }

    fn saved_len(&self, _source_len: usize) -> usize {
        self.query.saved_len()
    }

    /// Gradient of the energy.
    fn summed_len(&self) -> usize {
        self.energy.len()
    }

    fn scores(&self, step: Step<'_, T>, saved: &mut [T], scores: &mut [T]) {
        let stride = self.query.saved_len();
        self.query.forward(step, saved, stride);
        additive_scores(step.memory, step.rows, saved, stride, &self.energy, scores);
    }

    fn backward(
        &self,
        step: Step<'_, T>,
        saved: &mut [T],
        d_scores: &mut [T],
        grads: StepGrads<'_, T>,
    ) {
        let (units, stride) = (self.energy.len(), self.query.saved_len());
        let width = step.memory.len * units;
        for (index, &row) in step.rows.iter().enumerate() {
            let (query, rest) = saved[index * stride..].split_at_mut(units);
            let mut grads = AdditiveRow {
                query: &mut rest[..units],
                energy: &mut grads.summed[index * units..][..units],
                keys: &mut grads.keys[index * width..][..width],
            };
            let d_scores = &d_scores[index * step.memory.len..][..step.memory.len];
            additive_backward(step.memory, row, query, &self.energy, d_scores, &mut grads);
        }
        self.query.backward(step, saved, stride, grads.state);
    }

    fn gradients(
        &self,
        saved: Matrix<'_, T>,
        states: Matrix<'_, T>,
        summed: Matrix<'_, T>,
        grads: &mut [&mut [T]],
        team: &mut Team<T>,
    ) {
        let grads = AdditiveParams::of_mut(grads);
        let query = [grads.query_weight, grads.query_bias];
        self.query.gradients(saved, states, [query], team);
        bias_gradient(grads.energy, summed, team);
    }
}

multiversion! {
    /// `scores[b,s] = Σ_a energy[a] tanh(query[b,a] + key[b,s,a])` at the real positions. Rows of
    /// `queries` are `stride` apart.
    pub(crate) fn additive_scores<T>(
        memory: Memory<'_, T>,
        rows: &[usize],
        query: &[T],
        stride: usize,
        energy: &[T],
        scores: &mut [T],
    ) {
        for (index, &row) in rows.iter().enumerate() {
            let query = &query[index * stride..][..energy.len()];
            let scores = &mut scores[index * memory.len..][..memory.lengths[row]];
            for (position, score) in scores.iter_mut().enumerate() {
                let key = memory.key(position, row);
                *score = sum_of_three(query, key, energy, |q, k, e| e * (q + k).tanh());
            }
        }
    }

    /// The backward pass of one row: replaces the gradient of the query, and adds to those of keys and energy.
    pub(crate) fn additive_backward<T>(
        memory: Memory<'_, T>,
        row: usize,
        query: &[T],
        energy: &[T],
        d_scores: &[T],
        grads: &mut AdditiveRow<'_, T>,
    ) {
        grads.query.fill(T::ZERO);
        let d_scores = &d_scores[..memory.lengths[row]];
        let d_keys = grads.keys.chunks_exact_mut(energy.len());
        for ((position, &d_score), d_key) in d_scores.iter().enumerate().zip(d_keys) {
            let key = memory.key(position, row);
            additive_position(d_score, query, key, energy, grads.query, d_key, grads.energy);
        }
    }
}

/// The gradients of one row.
pub(crate) struct AdditiveRow<'a, T> {
    /// `[A]`.
    pub(crate) query: &'a mut [T],
    /// `[A]`.
    pub(crate) energy: &'a mut [T],
    /// `[S, A]`.
    pub(crate) keys: &'a mut [T],
}

/// One position of one row.
#[inline(always)]
fn additive_position<T: Real>(
    d_score: T,
    query: &[T],
    key: &[T],
    energy: &[T],
    d_query: &mut [T],
    d_key: &mut [T],
    d_energy: &mut [T],
) {
    let inputs = query.iter().zip(key).zip(energy);
    let grads = d_query.iter_mut().zip(d_key).zip(d_energy);
    for (((&q, &k), &e), ((d_query, d_key), d_energy)) in inputs.zip(grads) {
        let t = (q + k).tanh(); // again: keeping it would take [B, T, S, A]
        // forward: score += e * t
        *d_energy += d_score * t;
        // forward: t = tanh(q + k), so dt = 1 - t²
        let d_sum = d_score * e * (T::ONE - t * t);
        *d_query += d_sum;
        *d_key += d_sum;
    }
}
