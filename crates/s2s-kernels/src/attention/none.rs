//! No attention, inside a decoder that asks for one.

use super::kernel::{Scorer, Step, StepGrads, all_of, all_of_mut};
use crate::real::{Matrix, Real};
use crate::team::Team;

/// Scores of -∞: all weights are 0, and the context is, too. It has no parameters.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl<T: Real> Scorer<T> for Nowhere {
    fn pack(&mut self, params: &[&[T]]) {
        let [] = all_of(params);
    }

    fn kept(&self, _source_len: usize) -> usize {
        0
    }

    fn sums(&self) -> usize {
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
        grads: &mut [&mut [T]],
        _team: &mut Team<T>,
    ) {
        let [] = all_of_mut(grads);
    }
}
