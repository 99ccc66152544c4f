//! Additive attention on slices: see the [equations](super).

use super::kernel::{Memory, Scorer, Step, StepGrads};
use crate::lanes::sum_of_three;
use crate::linear::{Linear, bias_gradient, weight_gradient};
use crate::real::{Matrix, Output, Real};
use crate::simd::multiversion;
use crate::team::Team;

/// The parameters on the decoder's side; the keys are projected by whoever prepares the memory.
#[derive(Clone, Copy, Debug)]
pub struct AdditiveParams<'a, T> {
    /// `[A, D]`.
    pub query_weight: &'a [T],
    /// `[A]`.
    pub query_bias: &'a [T],
    /// `[A]`.
    pub energy: &'a [T],
}

/// Where the gradients of [`AdditiveParams`] are written.
#[derive(Debug)]
pub struct AdditiveGrads<'a, T> {
    /// `[A, D]`.
    pub query_weight: &'a mut [T],
    /// `[A]`.
    pub query_bias: &'a mut [T],
    /// `[A]`.
    pub energy: &'a mut [T],
}

/// `score[b,s] = energy · tanh(W state[b] + b + key[b,s])`, its weights packed.
#[derive(Clone, Debug, Default)]
pub struct Additive<T: Real> {
    query: Linear<T>,
    bias: Vec<T>,
    energy: Vec<T>,
}

impl<T: Real> Additive<T> {
    /// Nothing packed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs the weights; once after each change of them.
    pub fn pack(&mut self, params: AdditiveParams<'_, T>) {
        let units = params.energy.len();
        let inputs = params.query_weight.len().checked_div(units).unwrap_or(0);
        self.query
            .pack(Matrix::dense(params.query_weight, units, inputs));
        self.bias.clear();
        self.bias.extend_from_slice(params.query_bias);
        self.energy.clear();
        self.energy.extend_from_slice(params.energy);
    }
}

impl<T: Real> Scorer<T> for Additive<T> {
    type Grads<'a> = AdditiveGrads<'a, T>;

    /// The query, and beside it its gradient; a cache line between the rows, which would compete
    /// for the same few places of the nearest cache if they were a multiple of 4 KiB apart.
    fn kept(&self) -> usize {
        const CACHE_LINE: usize = 16;
        2 * self.energy.len() + CACHE_LINE
    }

    /// The gradient of the energy.
    fn sums(&self) -> usize {
        self.energy.len()
    }

    fn scores(&self, step: Step<'_, T>, kept: &mut [T], scores: &mut [T]) {
        let stride = self.kept();
        let bias = Output::Bias(&self.bias);
        self.query.forward(step.state, kept, stride, bias);
        additive_scores(step.memory, step.rows, kept, stride, &self.energy, scores);
    }

    fn backward(&self, step: Step<'_, T>, kept: &mut [T], d_scores: &[T], grads: StepGrads<'_, T>) {
        let StepGrads {
            state, keys, sums, ..
        } = grads;
        let energy = &self.energy;
        for (index, &row) in step.rows.iter().enumerate() {
            let (query, rest) = kept[index * self.kept()..].split_at_mut(energy.len());
            let width = step.memory.len * energy.len();
            let mut grads = AdditiveRow {
                query: &mut rest[..energy.len()],
                energy: &mut sums[index * energy.len()..][..energy.len()],
                keys: &mut keys[index * width..][..width],
            };
            let d_scores = &d_scores[index * step.memory.len..][..step.memory.len];
            additive_backward(step.memory, row, query, energy, d_scores, &mut grads);
        }
        let kept = Matrix {
            data: kept,
            cols: self.kept(),
            stride: self.kept(),
            rows: step.rows.len(),
        };
        let d_query = kept.columns(energy.len(), energy.len());
        self.query
            .backward(d_query, state, step.state.cols, Output::Add);
    }

    fn gradients(
        &self,
        kept: Matrix<'_, T>,
        states: Matrix<'_, T>,
        sums: Matrix<'_, T>,
        grads: AdditiveGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let units = self.energy.len();
        let d_query = kept.columns(units, units);
        let weight = grads.query_weight;
        weight_gradient(weight, states.cols, d_query, states, Output::Replace, team);
        bias_gradient(grads.query_bias, d_query, team);
        bias_gradient(grads.energy, sums, team);
    }
}

multiversion! {
    /// `scores[b,s] = Σ_a energy[a] tanh(query[b,a] + key[b,s,a])`, at the real positions; rows of
    /// the query are `stride` apart.
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

    /// The gradients of one row; the query's is replaced, the keys' and the energy's added to.
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
