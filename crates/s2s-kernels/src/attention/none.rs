//! No attention, for a decoder whose loop expects a scorer.

use super::kernel::{Scorer, Step, StepGrads};
use crate::matrix::Matrix;
use crate::real::Real;
use crate::team::Team;

/// Scores of -∞: all weights and the context are 0. It has no parameters.
#[derive(Clone, Copy, Debug)]
pub struct NoScores;

impl<T: Real> Scorer<T> for NoScores {
    fn pack(&mut self, _params: &[&[T]]) {}

    fn saved_len(&self, _source_len: usize) -> usize {
        0
    }

    fn summed_len(&self) -> usize {
        0
    }

    fn scores(&self, _step: Step<'_, T>, _kept: &mut [T], scores: &mut [T]) {
        scores.fill(T::NEG_INFINITY);
    }

    fn backward(
        &self,
        _step: Step<'_, T>,
        _kept: &mut [T],
        _d_scores: &mut [T],
        _grads: StepGrads<'_, T>,
    ) {
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
