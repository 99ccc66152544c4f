//! The linear layer on slices. Its weight is packed once and used many times.

use std::sync::Arc;

use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

/// A weight `[N, K]`, or some columns of a weight, packed for the forward and the backward product.
///
/// Clones share the packed weight until one of them packs again.
#[derive(Clone, Debug, Default)]
pub struct Linear<T: Real> {
    forward: Arc<T::Packed>,
    backward: Arc<T::Packed>,
    columns: Vec<T>,
}

impl<T: Real> Linear<T> {
    /// A layer without a weight; call [`pack`](Self::pack) before use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs `weight [N, K]`. Reuses the memory of the previous call.
    pub fn pack(&mut self, weight: Matrix<'_, T>) {
        let Matrix { rows, cols, .. } = weight;
        if weight.stride == cols {
            self.pack_dense(&weight.data[..rows * cols], rows, cols);
        } else {
            let mut columns = std::mem::take(&mut self.columns);
            columns.clear();
            for row in 0..rows {
                columns.extend_from_slice(&weight.data[row * weight.stride..][..cols]);
            }
            self.pack_dense(&columns, rows, cols);
            self.columns = columns;
        }
    }

    fn pack_dense(&mut self, weight: &[T], outputs: usize, inputs: usize) {
        let (forward, backward) = (&mut self.forward, &mut self.backward);
        T::pack_transposed(Arc::make_mut(forward), weight, inputs, outputs);
        let weight = Matrix::dense(weight, outputs, inputs);
        T::pack(Arc::make_mut(backward), weight);
    }

    /// `y = x Wᵀ`, finished by the epilogue. Rows of `y` are `y_stride` apart.
    pub fn forward(
        &self,
        x: Matrix<'_, T>,
        y: &mut [T],
        y_stride: usize,
        epilogue: Epilogue<'_, T>,
    ) {
        T::multiply(y, y_stride, x, &self.forward, epilogue);
    }

    /// `d_x = d_y W`, finished by the epilogue. Rows of `d_x` are `d_x_stride` apart.
    pub fn backward(
        &self,
        d_y: Matrix<'_, T>,
        d_x: &mut [T],
        d_x_stride: usize,
        epilogue: Epilogue<'_, T>,
    ) {
        T::multiply(d_x, d_x_stride, d_y, &self.backward, epilogue);
    }

    /// [`forward`](Self::forward) in parallel; `y` has no gaps between its rows.
    pub fn forward_on(
        &self,
        x: Matrix<'_, T>,
        y: &mut [T],
        epilogue: Epilogue<'_, T>,
        team: &mut Team<T>,
    ) {
        let run = |x: Matrix<'_, T>, y: &mut [T], stride| self.forward(x, y, stride, epilogue);
        on_rows(x, y, run, team);
    }

    /// [`backward`](Self::backward) in parallel; `d_x` has no gaps between its rows.
    pub fn backward_on(
        &self,
        d_y: Matrix<'_, T>,
        d_x: &mut [T],
        epilogue: Epilogue<'_, T>,
        team: &mut Team<T>,
    ) {
        let run = |d_y: Matrix<'_, T>, d_x: &mut [T], stride| {
            self.backward(d_y, d_x, stride, epilogue);
        };
        on_rows(d_y, d_x, run, team);
    }
}

/// Splits the rows of a product among the threads.
fn on_rows<T: Real>(
    from: Matrix<'_, T>,
    to: &mut [T],
    run: impl Fn(Matrix<'_, T>, &mut [T], usize) + Sync,
    team: &mut Team<T>,
) {
    let stride = to.len().checked_div(from.rows).unwrap_or(0);
    team.on_rows(to, from.rows, stride, |range, to| {
        run(from.rows(range.start, range.len()), to, stride)
    });
}

/// `d_weight[N,K] = d_yᵀ x`, finished by the epilogue: one product over all rows. Rows of `d_weight`
/// are `stride` apart.
pub fn weight_gradient<T: Real>(
    d_weight: &mut [T],
    stride: usize,
    d_y: Matrix<'_, T>,
    x: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    team: &mut Team<T>,
) {
    weight_gradients(&mut [(d_weight, d_y)], stride, x, epilogue, team);
}

/// [`weight_gradient`] for several weights with the same input `x`, which is packed once.
pub(crate) fn weight_gradients<T: Real>(
    weights: &mut [(&mut [T], Matrix<'_, T>)],
    stride: usize,
    x: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    team: &mut Team<T>,
) {
    let mut packed = std::mem::take(&mut team.packed);
    for depths in T::depths(x.rows) {
        let epilogue = match depths.start {
            0 => epilogue,
            _ => Epilogue::Add,
        };
        let x = x.rows(depths.start, depths.len());
        let tasks = T::pack_tasks(&mut packed, x, team.threads());
        team.run(tasks, |task, _| task());
        let mut work: Vec<Vec<_>> = (0..team.threads()).map(|_| Vec::new()).collect();
        for (d_weight, d_y) in &mut *weights {
            let d_y = d_y.rows(depths.start, depths.len());
            let mut rest = &mut **d_weight;
            for (range, work) in team.ranges(d_y.cols).into_iter().zip(&mut work) {
                let (rows, after) = rest.split_at_mut((range.len() * stride).min(rest.len()));
                rest = after;
                work.push((rows, d_y.columns(range.start, range.len())));
            }
        }
        team.run(work, |work, scratch| {
            for (rows, d_y) in work {
                T::multiply_transposed(rows, stride, d_y, &packed, epilogue, scratch);
            }
        });
    }
    team.packed = packed;
}

/// `d_bias[N] = Σ_m d_y[m]`, summed in row order.
pub fn bias_gradient<T: Real>(d_bias: &mut [T], d_y: Matrix<'_, T>, team: &mut Team<T>) {
    team.on_rows(d_bias, d_y.cols, 1, |range, part| {
        sum_rows(part, d_y.columns(range.start, range.len()));
    });
}

multiversion! {
    fn sum_rows<T>(sums: &mut [T], matrix: Matrix<'_, T>) {
        sums.fill(T::ZERO);
        for row in 0..matrix.rows {
            add_to(sums, &matrix.data[row * matrix.stride..][..matrix.cols]);
        }
    }
}

/// `sums += values`, element by element.
#[inline(always)]
pub(crate) fn add_to<T: Real>(sums: &mut [T], values: &[T]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}
