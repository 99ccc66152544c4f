//! What a mechanism computes from the state: linear maps of it, side by side in one product.

use super::kernel::Step;
use crate::linear::{Linear, bias_gradient, weight_gradient};
use crate::matrix::{Epilogue, Matrix, padded_stride};
use crate::real::Real;
use crate::team::Team;

/// Linear maps of the state, `D` to `Q` in all.
///
/// Of each row a step keeps `Q` numbers, then their gradients, then whatever else the mechanism
/// keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Queries<T: Real> {
    linear: Linear<T>,
    weights: Vec<T>,
    bias: Vec<T>,
}

impl<T: Real> Queries<T> {
    /// Packs maps, each a weight `[N, D]` and a bias `[N]`.
    pub(super) fn pack(&mut self, maps: &[[&[T]; 2]]) {
        self.weights.clear();
        self.bias.clear();
        for [weight, bias] in maps {
            self.weights.extend_from_slice(weight);
            self.bias.extend_from_slice(bias);
        }
        let inputs = self.weights.len().checked_div(self.width()).unwrap_or(0);
        self.linear
            .pack(Matrix::dense(&self.weights, self.width(), inputs));
    }

    /// `Q`.
    pub(super) fn width(&self) -> usize {
        self.bias.len()
    }

    /// Numbers that are kept: the outputs, and beside them their gradients; a cache line between the
    /// rows, which would compete for the same few places of the nearest cache if they were a
    /// multiple of 4 KiB apart.
    pub(super) fn kept(&self) -> usize {
        padded_stride(2 * self.width())
    }

    /// The outputs of a step, to the beginning of each row of `kept`, whose rows are `stride` apart.
    pub(super) fn forward(&self, step: Step<'_, T>, kept: &mut [T], stride: usize) {
        self.linear
            .forward(step.state, kept, stride, Epilogue::Bias(&self.bias));
    }

    /// From the gradients in `kept`, adds to `d_state [rows, D]`.
    pub(super) fn backward(&self, step: Step<'_, T>, kept: &[T], stride: usize, d_state: &mut [T]) {
        let kept = Matrix {
            data: kept,
            cols: stride,
            stride,
            rows: step.rows.len(),
        };
        let d_outputs = kept.columns(self.width(), self.width());
        self.linear
            .backward(d_outputs, d_state, step.state.cols, Epilogue::Add);
    }

    /// The gradients of the maps' weights and biases, in the order in which they were packed, from
    /// what was kept of all steps.
    pub(super) fn gradients<'a, 'b: 'a>(
        &self,
        kept: Matrix<'_, T>,
        states: Matrix<'_, T>,
        grads: impl IntoIterator<Item = [&'a mut &'b mut [T]; 2]>,
        team: &mut Team<T>,
    ) {
        let mut first = self.width();
        for [weight, bias] in grads {
            let d_outputs = kept.columns(first, bias.len());
            first += bias.len();
            weight_gradient(
                weight,
                states.cols,
                d_outputs,
                states,
                Epilogue::Replace,
                team,
            );
            bias_gradient(bias, d_outputs, team);
        }
    }
}
