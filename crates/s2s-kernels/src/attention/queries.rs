//! Linear maps of the decoder's state, computed in one product.

use super::kernel::Step;
use crate::linear::{Linear, bias_gradient, weight_gradient};
use crate::matrix::{Epilogue, Matrix, padded_stride};
use crate::real::Real;
use crate::team::Team;

/// Linear maps of the state, from `D` to `Q` numbers in total.
///
/// For each row, a step saves the `Q` outputs, then their gradients, then other numbers of the mechanism.
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

    /// How many numbers are saved per row: the outputs and their gradients, plus padding. Without padding, rows
    /// that are a multiple of 4 KiB apart would share a few lines of the first-level cache.
    pub(super) fn saved_len(&self) -> usize {
        padded_stride(2 * self.width())
    }

    /// Writes the outputs of a step to the beginning of each row of `saved`; its rows are `stride` apart.
    pub(super) fn forward(&self, step: Step<'_, T>, saved: &mut [T], stride: usize) {
        self.linear
            .forward(step.state, saved, stride, Epilogue::Bias(&self.bias));
    }

    /// Adds to `d_state [rows, D]`, from the gradients in `saved`.
    pub(super) fn backward(
        &self,
        step: Step<'_, T>,
        saved: &[T],
        stride: usize,
        d_state: &mut [T],
    ) {
        let saved = Matrix {
            data: saved,
            cols: stride,
            stride,
            rows: step.rows.len(),
        };
        let d_outputs = saved.columns(self.width(), self.width());
        self.linear
            .backward(d_outputs, d_state, step.state.cols, Epilogue::Add);
    }

    /// Computes the gradients of the maps' weights and biases, in the order of [`pack`](Self::pack), from what
    /// all steps saved.
    pub(super) fn gradients<'a, 'b: 'a>(
        &self,
        saved: Matrix<'_, T>,
        states: Matrix<'_, T>,
        grads: impl IntoIterator<Item = [&'a mut &'b mut [T]; 2]>,
        team: &mut Team<T>,
    ) {
        let mut first = self.width();
        for [weight, bias] in grads {
            let d_outputs = saved.columns(first, bias.len());
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
