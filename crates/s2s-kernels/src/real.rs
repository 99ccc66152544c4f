//! The number types of the kernels: `f32`, and `f64` to check gradients by finite differences.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Range, Sub};

use crate::activation;
use crate::gemm;
use crate::matrix::{Epilogue, Matrix};

mod sealed {
    /// Keeps [`Real`](super::Real) from being implemented elsewhere.
    pub trait Sealed {}

    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point type with its activation functions and matrix products.
///
/// `f32` uses vectorized kernels. `f64` uses naive loops and the standard library, so that the
/// derivatives of a kernel can be compared with central differences. The trait is sealed: the kernels are
/// written for these two types.
pub trait Real:
    sealed::Sealed
    + Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + MulAssign
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// -∞.
    const NEG_INFINITY: Self;
    /// The difference between 1 and the next larger number.
    const EPSILON: Self;

    /// The right side of a product, packed in the order in which the product reads it.
    type Packed: Clone + Debug + Default + Send + Sync;
    /// Working memory of the transposed product.
    type Scratch: Clone + Debug + Default + Send + Sync;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The same number as f64.
    fn to_f64(self) -> f64;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `1 / (1 + exp(-x))`.
    fn sigmoid(self) -> Self;
    /// The exponential function.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;

    /// Packs `b [K, N]`.
    fn pack(packed: &mut Self::Packed, b: Matrix<'_, Self>) {
        for task in Self::pack_tasks(packed, b, 1) {
            task();
        }
    }
    /// Packs `b [K, N]` in at most `n` tasks that may run in parallel.
    fn pack_tasks<'p>(
        packed: &'p mut Self::Packed,
        b: Matrix<'p, Self>,
        n: usize,
    ) -> Vec<impl FnOnce() + Send>;
    /// Packs the transpose of `weight [N, K]`.
    fn pack_transposed(packed: &mut Self::Packed, weight: &[Self], inner: usize, cols: usize);
    /// `C[M,N] = A[M,K] · B[K,N]`, finished by the epilogue. Rows of C are `c_stride` apart.
    fn multiply(
        c: &mut [Self],
        c_stride: usize,
        a: Matrix<'_, Self>,
        b: &Self::Packed,
        epilogue: Epilogue<'_, Self>,
    );
    /// `C[N,K] = D[M,N]ᵀ · X[M,K]`, finished by the epilogue. Rows of C are `c_stride` apart.
    fn multiply_transposed(
        c: &mut [Self],
        c_stride: usize,
        d: Matrix<'_, Self>,
        x: &Self::Packed,
        epilogue: Epilogue<'_, Self>,
        scratch: &mut Self::Scratch,
    );
    /// The parts into which a product splits its reduced axis; each part is summed separately.
    fn depths(inner: usize) -> impl Iterator<Item = Range<usize>>;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;
    const EPSILON: Self = Self::EPSILON;

    type Packed = gemm::Packed;
    type Scratch = gemm::Scratch;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        activation::tanh(self)
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        activation::sigmoid(self)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        activation::exp(self)
    }

    #[inline(always)]
    fn ln(self) -> Self {
        activation::ln(self)
    }

    fn pack_tasks<'p>(
        packed: &'p mut Self::Packed,
        b: Matrix<'p, Self>,
        n: usize,
    ) -> Vec<impl FnOnce() + Send> {
        /// Packing fewer numbers takes less time than starting another thread.
        const FEW: usize = 1 << 14;
        let n = if b.rows * b.cols < FEW { 1 } else { n };
        let pieces = packed.pieces(b.rows, b.cols, n).into_iter();
        pieces
            .map(|pieces| {
                move || {
                    for piece in pieces {
                        piece.pack(b.data, b.stride);
                    }
                }
            })
            .collect()
    }

    fn pack_transposed(packed: &mut Self::Packed, weight: &[Self], inner: usize, cols: usize) {
        packed.pack_transposed(weight, inner, cols);
    }

    fn multiply(
        c: &mut [Self],
        c_stride: usize,
        a: Matrix<'_, Self>,
        b: &Self::Packed,
        epilogue: Epilogue<'_, Self>,
    ) {
        gemm::multiply(c, c_stride, a, b, epilogue);
    }

    fn multiply_transposed(
        c: &mut [Self],
        c_stride: usize,
        d: Matrix<'_, Self>,
        x: &Self::Packed,
        epilogue: Epilogue<'_, Self>,
        scratch: &mut Self::Scratch,
    ) {
        gemm::multiply_transposed(c, c_stride, d, x, epilogue, scratch);
    }

    fn depths(inner: usize) -> impl Iterator<Item = Range<usize>> {
        gemm::depths(inner)
    }
}

/// A copy of `[K, N]`, row by row.
#[derive(Clone, Debug, Default)]
pub struct Unpacked {
    data: Vec<f64>,
    cols: usize,
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;
    const EPSILON: Self = Self::EPSILON;

    type Packed = Unpacked;
    type Scratch = ();

    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn tanh(self) -> Self {
        Self::tanh(self)
    }

    fn sigmoid(self) -> Self {
        0.5 * Self::tanh(0.5 * self) + 0.5
    }

    fn exp(self) -> Self {
        Self::exp(self)
    }

    fn ln(self) -> Self {
        Self::ln(self)
    }

    fn pack_tasks<'p>(
        packed: &'p mut Unpacked,
        b: Matrix<'p, Self>,
        _n: usize,
    ) -> Vec<impl FnOnce() + Send> {
        vec![move || {
            let rows = (0..b.rows).flat_map(|row| &b.data[row * b.stride..][..b.cols]);
            packed.data = rows.copied().collect();
            packed.cols = b.cols;
        }]
    }

    fn pack_transposed(packed: &mut Unpacked, weight: &[Self], inner: usize, cols: usize) {
        assert_eq!(weight.len(), inner * cols, "B must be [{inner}, {cols}]");
        packed.data = (0..inner)
            .flat_map(|k| (0..cols).map(move |n| weight[n * inner + k]))
            .collect();
        packed.cols = cols;
    }

    fn multiply(
        c: &mut [Self],
        c_stride: usize,
        a: Matrix<'_, Self>,
        b: &Unpacked,
        epilogue: Epilogue<'_, Self>,
    ) {
        let inner = b.data.len().checked_div(b.cols).unwrap_or(0);
        for row in 0..a.rows {
            for n in 0..b.cols {
                let sum = (0..inner)
                    .map(|k| a.data[row * a.stride + k] * b.data[k * b.cols + n])
                    .sum();
                finish(&mut c[row * c_stride + n], sum, n, epilogue);
            }
        }
    }

    fn multiply_transposed(
        c: &mut [Self],
        c_stride: usize,
        d: Matrix<'_, Self>,
        x: &Unpacked,
        epilogue: Epilogue<'_, Self>,
        (): &mut (),
    ) {
        for n in 0..d.cols {
            for k in 0..x.cols {
                let sum = (0..d.rows)
                    .map(|row| d.data[row * d.stride + n] * x.data[row * x.cols + k])
                    .sum();
                finish(&mut c[n * c_stride + k], sum, k, epilogue);
            }
        }
    }

    fn depths(inner: usize) -> impl Iterator<Item = Range<usize>> {
        std::iter::once(0..inner)
    }
}

fn finish(out: &mut f64, sum: f64, col: usize, epilogue: Epilogue<'_, f64>) {
    *out = match epilogue {
        Epilogue::Replace => sum,
        Epilogue::Add => *out + sum,
        Epilogue::Bias(bias) => sum + bias[col],
    };
}
