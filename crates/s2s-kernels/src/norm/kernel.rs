//! Layer normalization on slices.

use super::EPSILON;
use crate::lanes::{sum, sum_of, sum_of_three};
use crate::linear::bias_gradient;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

/// A layer normalization: a copy of its parameters.
#[derive(Clone, Debug, Default)]
pub struct LayerNorm<T> {
    gain: Vec<T>,
    bias: Vec<T>,
}

/// Where the gradients of the parameters of a [`LayerNorm`] are written, `[N]` each.
#[derive(Debug)]
pub struct NormGrads<'a, T> {
    /// Of the gain.
    pub gain: &'a mut [T],
    /// Of the bias.
    pub bias: &'a mut [T],
}

impl<T: Real> LayerNorm<T> {
    /// Copies the parameters, `[N]` each.
    pub fn pack(&mut self, gain: &[T], bias: &[T]) {
        assert_eq!(gain.len(), bias.len(), "gain and bias must have one width");
        gain.clone_into(&mut self.gain);
        bias.clone_into(&mut self.bias);
    }

    /// `N`.
    pub fn width(&self) -> usize {
        self.gain.len()
    }

    /// Numbers per row that the backward pass needs: the normalized row and its scale, `N + 1`.
    pub fn saved(&self) -> usize {
        self.width() + 1
    }

    /// Replaces rows `x [rows, N]` by `y`. Fills `saved [rows, N + 1]`.
    pub fn forward(&self, x: &mut [T], saved: &mut [T]) {
        normalize(saved, x, self.width());
        scale(x, saved, &self.gain, &self.bias);
    }

    /// [`forward`](Self::forward) in parallel.
    pub fn forward_on(&self, x: &mut [T], saved: &mut [T], team: &mut Team<T>) {
        let (width, n_saved) = (self.width(), self.saved());
        let rows = x.len() / width;
        team.on_rows(saved, rows, n_saved, |range, saved| {
            normalize(
                saved,
                &x[range.start * width..][..range.len() * width],
                width,
            );
        });
        team.on_rows(x, rows, width, |range, x| {
            let saved = &saved[range.start * n_saved..][..range.len() * n_saved];
            scale(x, saved, &self.gain, &self.bias);
        });
    }

    /// Replaces the gradients `d_y [rows, N]` by those of `x`.
    pub fn backward(&self, d: &mut [T], saved: &[T]) {
        normalize_backward(d, saved, &self.gain);
    }

    /// [`backward`](Self::backward) in parallel.
    pub fn backward_on(&self, d: &mut [T], saved: &[T], team: &mut Team<T>) {
        let (width, n_saved) = (self.width(), self.saved());
        team.on_rows(d, d.len() / width, width, |range, d| {
            self.backward(d, &saved[range.start * n_saved..][..range.len() * n_saved]);
        });
    }

    /// The gradients of the parameters, summed over all rows in order, from `d_y [rows, N]`.
    pub fn gradients(&self, grads: NormGrads<'_, T>, d_y: &[T], saved: &[T], team: &mut Team<T>) {
        let (width, n_saved) = (self.width(), self.saved());
        let rows = d_y.len() / width;
        let d_y = Matrix::dense(d_y, rows, width);
        let normalized = Matrix {
            data: saved,
            cols: width,
            stride: n_saved,
            rows,
        };
        bias_gradient(grads.bias, d_y, team);
        team.on_rows(grads.gain, width, 1, |range, d_gain| {
            let (first, n) = (range.start, range.len());
            sum_products(d_gain, d_y.columns(first, n), normalized.columns(first, n));
        });
    }
}

multiversion! {
    /// `saved = [n, scale]` of each row of `x`.
    fn normalize<T>(saved: &mut [T], x: &[T], width: usize) {
        let n = T::from_f64(width as f64);
        for (saved, x) in saved.chunks_exact_mut(width + 1).zip(x.chunks_exact(width)) {
            let mean = sum(x) / n;
            let variance = sum_of(x, x, |x, _| (x - mean) * (x - mean)) / n;
            let scale = T::from_f64((variance.to_f64() + EPSILON).sqrt().recip());
            let (normalized, saved_scale) = saved.split_at_mut(width);
            for (normalized, &x) in normalized.iter_mut().zip(x) {
                *normalized = (x - mean) * scale;
            }
            saved_scale[0] = scale;
        }
    }

    /// `y = gain ⊙ n + bias`
    fn scale<T>(y: &mut [T], saved: &[T], gain: &[T], bias: &[T]) {
        let width = gain.len();
        for (y, saved) in y.chunks_exact_mut(width).zip(saved.chunks_exact(width + 1)) {
            for (((y, &normalized), &gain), &bias) in y.iter_mut().zip(saved).zip(gain).zip(bias) {
                *y = gain * normalized + bias;
            }
        }
    }

    /// forward: y = gain ⊙ n + bias, n = (x - mean) · scale
    fn normalize_backward<T>(d: &mut [T], saved: &[T], gain: &[T]) {
        let width = gain.len();
        let n = T::from_f64(width as f64);
        for (d, saved) in d.chunks_exact_mut(width).zip(saved.chunks_exact(width + 1)) {
            let (normalized, scale) = saved.split_at(width);
            let mean = sum_of(d, gain, |d, gain| d * gain) / n;
            let along = sum_of_three(d, gain, normalized, |d, gain, n| d * gain * n) / n;
            for ((d, &gain), &normalized) in d.iter_mut().zip(gain).zip(normalized) {
                *d = scale[0] * (*d * gain - mean - normalized * along);
            }
        }
    }

    fn sum_products<T>(sums: &mut [T], a: Matrix<'_, T>, b: Matrix<'_, T>) {
        sums.fill(T::ZERO);
        for row in 0..a.rows {
            let a = &a.data[row * a.stride..][..a.cols];
            let b = &b.data[row * b.stride..][..b.cols];
            for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use candle_core::{Device, Result, Tensor};

    use super::super::reference::layer_norm;
    use super::*;
    use crate::gradcheck::{assert_gradient, dot, numbers};

    const ROWS: usize = 5;
    const WIDTH: usize = 19;

    /// Gain and bias.
    fn params() -> [Vec<f64>; 2] {
        [numbers(1, WIDTH), numbers(2, WIDTH)]
    }

    fn norm(gain: &[f64], bias: &[f64]) -> LayerNorm<f64> {
        let mut norm = LayerNorm::default();
        norm.pack(gain, bias);
        norm
    }

    fn normalized(norm: &LayerNorm<f64>, x: &[f64], threads: usize) -> (Vec<f64>, Vec<f64>) {
        let mut team = Team::new(NonZeroUsize::new(threads).unwrap());
        let (mut y, mut saved) = (x.to_vec(), vec![f64::NAN; ROWS * norm.saved()]);
        norm.forward_on(&mut y, &mut saved, &mut team);
        (y, saved)
    }

    #[test]
    fn kernel_equals_the_reference_for_rows_of_any_scale() -> Result<()> {
        let [gain, bias] = params();
        let norm = norm(&gain, &bias);
        for scale in [0.0, 1e-3, 1.0, 1e6] {
            let x: Vec<f64> = numbers(3, ROWS * WIDTH)
                .iter()
                .map(|x| 7.0 + scale * x)
                .collect();
            let tensor = |numbers: &[f64]| Tensor::from_slice(numbers, numbers.len(), &Device::Cpu);
            let rows = tensor(&x)?.reshape((ROWS, WIDTH))?;
            let expected = layer_norm(&rows, &tensor(&gain)?, &tensor(&bias)?)?;
            let expected = expected.flatten_all()?.to_vec1::<f64>()?;
            for threads in [1, 2] {
                for (y, expected) in normalized(&norm, &x, threads).0.iter().zip(&expected) {
                    assert!((y - expected).abs() < 1e-9, "{scale}: {y} {expected}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_central_differences() {
        let ([gain, bias], x) = (params(), numbers(3, ROWS * WIDTH));
        let weights = numbers(4, ROWS * WIDTH);
        let loss = |gain: &[f64], bias: &[f64], x: &[f64]| {
            dot(&normalized(&norm(gain, bias), x, 1).0, &weights)
        };
        for threads in [1, 2] {
            let norm = norm(&gain, &bias);
            let (_, saved) = normalized(&norm, &x, threads);
            let mut team = Team::new(NonZeroUsize::new(threads).unwrap());
            let (mut d_gain, mut d_bias) = (vec![f64::NAN; WIDTH], vec![f64::NAN; WIDTH]);
            let grads = NormGrads {
                gain: &mut d_gain,
                bias: &mut d_bias,
            };
            norm.gradients(grads, &weights, &saved, &mut team);
            let mut d_x = weights.clone();
            norm.backward_on(&mut d_x, &saved, &mut team);
            assert_gradient("gain", &gain, &d_gain, |gain| loss(gain, &bias, &x));
            assert_gradient("bias", &bias, &d_bias, |bias| loss(&gain, bias, &x));
            assert_gradient("x", &x, &d_x, |x| loss(&gain, &bias, x));
        }
    }
}
