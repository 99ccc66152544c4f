//! The numbers that the kernels compute with: `f32`, and `f64` for tests by finite differences.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Range, Sub};

use crate::activation;
use crate::gemm;
use crate::team::Team;

/// A floating-point number with its activations and its matrix products.
///
/// `f32` runs on [`gemm`](crate::gemm) and [`activation`](crate::activation); `f64` is naive and
/// exact, so that a kernel's derivatives can be held against central differences.
pub trait Real:
    Copy
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
    /// From 1 to the next greater number.
    const EPSILON: Self;

    /// A right side in the order in which the product reads it.
    type Packed: Clone + Debug + Default + Send + Sync;
    /// Memory for the left side of the transposed product.
    type Scratch: Clone + Debug + Default + Send + Sync;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The same number, in f64.
    fn to_f64(self) -> f64;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `1 / (1 + exp(-x))`.
    fn sigmoid(self) -> Self;
    /// The exponential.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;

    /// Packs `b [K, N]` on a team.
    fn pack(packed: &mut Self::Packed, b: Matrix<'_, Self>, team: &mut Team<Self>);
    /// Packs the transpose of `weight [N, K]`.
    fn pack_transposed(packed: &mut Self::Packed, weight: &[Self], inner: usize, cols: usize);
    /// `C[M,N] (+)= A[M,K] · B[K,N]`; see [`gemm::multiply`].
    fn multiply(
        c: &mut [Self],
        c_stride: usize,
        a: &[Self],
        a_stride: usize,
        rows: usize,
        b: &Self::Packed,
        output: Output<'_, Self>,
    );
    /// `C[N,K] (+)= D[M,N]ᵀ · X[M,K]`; see [`gemm::multiply_transposed`].
    fn multiply_transposed(
        c: &mut [Self],
        c_stride: usize,
        d: Matrix<'_, Self>,
        x: &Self::Packed,
        output: Output<'_, Self>,
        scratch: &mut Self::Scratch,
    );
    /// The parts of a reduced axis, each of which a product sums on its own.
    fn depths(inner: usize) -> impl Iterator<Item = Range<usize>>;
}

/// What becomes of what stands in a product's output, as [`gemm::Output`], for any [`Real`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output<'a, T> {
    /// `C = A·B`
    Replace,
    /// `C += A·B`
    Add,
    /// `C = A·B + bias`, the bias `[N]` added to every row.
    Bias(&'a [T]),
}

/// A view of `[rows, cols]` numbers; neighboring rows begin `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// From the first row's first number to the last row's last, at least.
    pub data: &'a [T],
    /// Numbers of a row.
    pub cols: usize,
    /// Numbers from the beginning of one row to the next.
    pub stride: usize,
    /// Rows.
    pub rows: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows that follow each other without a gap.
    pub fn dense(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self {
            data,
            cols,
            stride: cols,
            rows,
        }
    }

    /// The columns from `first` on, `cols` of them.
    pub fn columns(self, first: usize, cols: usize) -> Self {
        let first = first.min(self.data.len());
        Self {
            data: &self.data[first..],
            cols,
            ..self
        }
    }

    /// The rows from `first` on, `rows` of them.
    pub fn rows(self, first: usize, rows: usize) -> Self {
        let first = (first * self.stride).min(self.data.len());
        Self {
            data: &self.data[first..],
            rows,
            ..self
        }
    }
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

    fn pack(packed: &mut Self::Packed, b: Matrix<'_, Self>, team: &mut Team<Self>) {
        /// Numbers that are packed sooner than another thread begins.
        const FEW: usize = 1 << 14;
        let n = match b.rows * b.cols {
            0..FEW => 1,
            _ => team.threads(),
        };
        team.run(packed.pieces(b.rows, b.cols, n), |pieces, _| {
            pieces
                .into_iter()
                .for_each(|piece| piece.pack(b.data, b.stride));
        });
    }

    fn pack_transposed(packed: &mut Self::Packed, weight: &[Self], inner: usize, cols: usize) {
        packed.pack_transposed(weight, inner, cols);
    }

    fn multiply(
        c: &mut [Self],
        c_stride: usize,
        a: &[Self],
        a_stride: usize,
        rows: usize,
        b: &Self::Packed,
        output: Output<'_, Self>,
    ) {
        gemm::multiply(c, c_stride, a, a_stride, rows, b, output.into());
    }

    fn multiply_transposed(
        c: &mut [Self],
        c_stride: usize,
        d: Matrix<'_, Self>,
        x: &Self::Packed,
        output: Output<'_, Self>,
        scratch: &mut Self::Scratch,
    ) {
        assert_eq!(d.rows, x.inner(), "both sides must have the same rows");
        let output = output.into();
        gemm::multiply_transposed(c, c_stride, d.data, d.stride, d.cols, x, output, scratch);
    }

    fn depths(inner: usize) -> impl Iterator<Item = Range<usize>> {
        gemm::depths(inner)
    }
}

impl<'a> From<Output<'a, f32>> for gemm::Output<'a> {
    fn from(output: Output<'a, f32>) -> Self {
        match output {
            Output::Replace => Self::Replace,
            Output::Add => Self::Add,
            Output::Bias(bias) => Self::Bias(bias),
        }
    }
}

/// `[K, N]`, as it is.
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

    fn pack(packed: &mut Unpacked, b: Matrix<'_, Self>, _team: &mut Team<Self>) {
        let rows = (0..b.rows).flat_map(|row| &b.data[row * b.stride..][..b.cols]);
        packed.data = rows.copied().collect();
        packed.cols = b.cols;
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
        a: &[Self],
        a_stride: usize,
        rows: usize,
        b: &Unpacked,
        output: Output<'_, Self>,
    ) {
        let inner = b.data.len().checked_div(b.cols).unwrap_or(0);
        for row in 0..rows {
            for n in 0..b.cols {
                let sum = (0..inner)
                    .map(|k| a[row * a_stride + k] * b.data[k * b.cols + n])
                    .sum();
                finish(&mut c[row * c_stride + n], sum, n, output);
            }
        }
    }

    fn multiply_transposed(
        c: &mut [Self],
        c_stride: usize,
        d: Matrix<'_, Self>,
        x: &Unpacked,
        output: Output<'_, Self>,
        (): &mut (),
    ) {
        for n in 0..d.cols {
            for k in 0..x.cols {
                let sum = (0..d.rows)
                    .map(|row| d.data[row * d.stride + n] * x.data[row * x.cols + k])
                    .sum();
                finish(&mut c[n * c_stride + k], sum, k, output);
            }
        }
    }

    fn depths(inner: usize) -> impl Iterator<Item = Range<usize>> {
        std::iter::once(0..inner)
    }
}

fn finish(out: &mut f64, sum: f64, col: usize, output: Output<'_, f64>) {
    *out = match output {
        Output::Replace => sum,
        Output::Add => *out + sum,
        Output::Bias(bias) => sum + bias[col],
    };
}
