//! Additive attention on slices: see the [equations](super).

use super::kernel::{Keys, Memory, Scorer, Step, StepGrads};
use crate::lanes::sum_of_three;
use crate::linear::{Linear, bias_gradient, weight_gradient};
use crate::real::{Matrix, Output, Real, multiversion_real};
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

    fn kept(&self) -> usize {
        self.energy.len() // the query, then its gradient
    }

    fn sums(&self) -> usize {
        self.energy.len() // the gradient of the energy
    }

    fn scores(&self, step: Step<'_, T>, query: &mut [T], scores: &mut [T]) {
        self.query
            .forward(step.state, query, self.kept(), Output::Bias(&self.bias));
        additive_scores(step.memory, step.rows, query, &self.energy, scores);
    }

    fn backward(
        &self,
        step: Step<'_, T>,
        query: &mut [T],
        d_scores: &[T],
        grads: StepGrads<'_, '_, T>,
    ) {
        let StepGrads {
            state, keys, sums, ..
        } = grads;
        let memory = step.memory;
        additive_backward(memory, step.rows, query, &self.energy, d_scores, keys, sums);
        let d_query = Matrix::dense(&*query, step.rows.len(), self.kept());
        self.query
            .backward(d_query, state, step.state.cols, Output::Add);
    }

    fn gradients(
        &self,
        d_query: Matrix<'_, T>,
        states: Matrix<'_, T>,
        sums: Matrix<'_, T>,
        grads: AdditiveGrads<'_, T>,
        team: &mut Team<T>,
    ) {
        let weight = grads.query_weight;
        weight_gradient(weight, states.cols, d_query, states, Output::Replace, team);
        bias_gradient(grads.query_bias, d_query, team);
        bias_gradient(grads.energy, sums, team);
    }
}

multiversion_real! {
    /// `scores[b,s] = Σ_a energy[a] tanh(query[b,a] + key[b,s,a])`, at the real positions.
    pub(crate) fn additive_scores<T>(
        memory: Memory<'_, T>,
        rows: &[usize],
        query: &[T],
        energy: &[T],
        scores: &mut [T],
    ) {
        for (index, &row) in rows.iter().enumerate() {
            let query = &query[index * energy.len()..][..energy.len()];
            let scores = &mut scores[index * memory.len..][..memory.lengths[row]];
            for (position, score) in scores.iter_mut().enumerate() {
                let key = memory.key(position, row);
                *score = sum_of_three(query, key, energy, |q, k, e| e * (q + k).tanh());
            }
        }
    }

    /// The queries become their gradients; the keys' and the energy's are added to.
    pub(crate) fn additive_backward<T>(
        memory: Memory<'_, T>,
        rows: &[usize],
        query: &mut [T],
        energy: &[T],
        d_scores: &[T],
        d_keys: &mut Keys<'_, T>,
        d_energy: &mut [T],
    ) {
        const WIDTH: usize = 32;
        let units = energy.len();
        for (index, &row) in rows.iter().enumerate() {
            let d_scores = &d_scores[index * memory.len..][..memory.lengths[row]];
            let columns = index * units..(index + 1) * units;
            let query = query[columns.clone()].chunks_mut(WIDTH);
            let d_energy = d_energy[columns.clone()].chunks_mut(WIDTH);
            let mut first = 0;
            for ((query, d_energy), energy) in query.zip(d_energy).zip(energy.chunks(WIDTH)) {
                let mut d_query = [T::ZERO; WIDTH];
                let d_query = &mut d_query[..query.len()];
                for (position, &d_score) in d_scores.iter().enumerate() {
                    let key = &memory.key(position, row)[first..][..query.len()];
                    let d_key = &mut d_keys.at(position)[columns.start + first..][..query.len()];
                    additive_block(d_score, query, key, energy, d_query, d_key, d_energy);
                }
                query.copy_from_slice(d_query);
                first += query.len();
            }
        }
    }
}

/// Some units of one row and position.
#[inline(always)]
fn additive_block<T: Real>(
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
