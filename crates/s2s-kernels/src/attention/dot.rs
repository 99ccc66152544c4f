//! Dot-product attention on slices: Luong, Pham, Manning (2015), arXiv:1508.04025; the scale as in
//! Vaswani et al. (2017), arXiv:1706.03762.
//!
//! ```text
//! score[b,s] = scale · state[b] · key[b,s]
//! ```

use super::kernel::{Scorer, Step, StepGrads, add_scaled};
use crate::lanes::dot;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

/// `score[b,s] = scale · state[b] · key[b,s]`. It has no parameters: the keys are the values, or
/// projected by whoever prepares the memory.
#[derive(Clone, Debug)]
pub struct Dot<T> {
    scale: T,
}

impl<T: Real> Dot<T> {
    /// Products times `scale`.
    pub fn new(scale: f64) -> Self {
        Self {
            scale: T::from_f64(scale),
        }
    }
}

impl<T: Real> Scorer<T> for Dot<T> {
    fn pack(&mut self, _params: &[&[T]]) {}

    fn saved_len(&self, _source_len: usize) -> usize {
        0
    }

    fn summed_len(&self) -> usize {
        0
    }

    fn scores(&self, step: Step<'_, T>, _kept: &mut [T], scores: &mut [T]) {
        forward(step, self.scale, scores);
    }

    fn backward(
        &self,
        step: Step<'_, T>,
        _kept: &mut [T],
        d_scores: &mut [T],
        grads: StepGrads<'_, T>,
    ) {
        backward(step, self.scale, d_scores, grads.state, grads.keys);
    }

    fn gradients(
        &self,
        _kept: Matrix<'_, T>,
        _states: Matrix<'_, T>,
        _sums: Matrix<'_, T>,
        _grads: &mut [&mut [T]],
        _team: &mut Team<T>,
    ) {
    }
}

multiversion! {
    fn forward<T>(step: Step<'_, T>, scale: T, scores: &mut [T]) {
        let memory = step.memory;
        for (index, &row) in step.rows.iter().enumerate() {
            let state = &step.state.data[index * step.state.stride..][..step.state.cols];
            let scores = &mut scores[index * memory.len..][..memory.lengths[row]];
            for (position, score) in scores.iter_mut().enumerate() {
                *score = scale * dot(state, memory.key(position, row));
            }
        }
    }

    fn backward<T>(
        step: Step<'_, T>,
        scale: T,
        d_scores: &[T],
        d_states: &mut [T],
        d_keys: &mut [T],
    ) {
        let (memory, width) = (step.memory, step.state.cols);
        for (index, &row) in step.rows.iter().enumerate() {
            let state = &step.state.data[index * step.state.stride..][..width];
            let d_state = &mut d_states[index * width..][..width];
            let d_scores = &d_scores[index * memory.len..][..memory.lengths[row]];
            let d_keys = d_keys[index * memory.len * width..].chunks_exact_mut(width);
            for ((position, &d_score), d_key) in d_scores.iter().enumerate().zip(d_keys) {
                let d_product = scale * d_score;
                add_scaled(d_state, d_product, memory.key(position, row));
                add_scaled(d_key, d_product, state);
            }
        }
    }
}
