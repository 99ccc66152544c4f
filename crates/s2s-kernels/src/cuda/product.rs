//! Matrix products on the device, by cuBLAS.

#![expect(unsafe_code, reason = "calls cuBLAS")]

use std::ops::Range;

use candle_core::Result;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::result::{sgemm, sgemm_strided_batched};
use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;

use super::queue::{Queue, View};

/// A matrix in device memory.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: View<'a, f32>,
    rows: usize,
    cols: usize,
    stride: usize, // of a row as it lies in memory
    is_transposed: bool,
}

/// What a product does with its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// `c = a b`.
    Replace,
    /// `c += a b`.
    Add,
}

impl<'a> Matrix<'a> {
    /// Rows side by side.
    pub fn dense(data: View<'a, f32>, rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` numbers apart.
    pub fn strided(data: View<'a, f32>, rows: usize, cols: usize, stride: usize) -> Self {
        assert!(
            cols <= stride,
            "{cols} columns need a stride of as many, got {stride}"
        );
        assert!(
            rows == 0 || (rows - 1) * stride + cols <= data.len,
            "{} numbers are not {rows} rows of {cols}, {stride} apart",
            data.len
        );
        Self {
            data,
            rows,
            cols,
            stride,
            is_transposed: false,
        }
    }

    /// Some columns.
    #[must_use]
    pub fn columns(self, range: Range<usize>) -> Self {
        assert!(
            !self.is_transposed,
            "columns are selected before transposing"
        );
        let cols = range.len();
        Self::strided(self.data.from(range.start), self.rows, cols, self.stride)
    }

    /// The transposed matrix.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            is_transposed: !self.is_transposed,
            ..self
        }
    }

    fn operation(&self) -> cublasOperation_t {
        match self.is_transposed {
            true => cublasOperation_t::CUBLAS_OP_T,
            false => cublasOperation_t::CUBLAS_OP_N,
        }
    }
}

impl Queue {
    /// The product of `a [M, K]` and `b [K, N]` into `c [M, N]`.
    ///
    /// # Errors
    /// If cuBLAS fails.
    pub fn multiply(
        &self,
        a: Matrix<'_>,
        b: Matrix<'_>,
        c: Matrix<'_>,
        update: Update,
    ) -> Result<()> {
        self.check(a, b, c)?;
        let (alpha, beta) = (1.0_f32, beta(update));
        // cuBLAS stores columns: it computes the transposed product of the transposed matrices.
        // SAFETY: `strided` has checked that the matrices lie in their views.
        unsafe {
            sgemm(
                *self.device.cublas_handle().handle(),
                b.operation(),
                a.operation(),
                int(c.cols),
                int(c.rows),
                int(a.cols),
                &raw const alpha,
                b.data.pointer as *const f32,
                int(b.stride),
                a.data.pointer as *const f32,
                int(a.stride),
                &raw const beta,
                c.data.pointer as *mut f32,
                int(c.stride),
            )
        }
        .w()
    }

    /// Two products in one call: the second one's matrices begin so many numbers after the first one's.
    ///
    /// # Errors
    /// If cuBLAS fails.
    pub fn multiply_pair(
        &self,
        (a, a_apart): (Matrix<'_>, usize),
        (b, b_apart): (Matrix<'_>, usize),
        (c, c_apart): (Matrix<'_>, usize),
        update: Update,
    ) -> Result<()> {
        self.check(a, b, c)?;
        for (matrix, apart) in [(a, a_apart), (b, b_apart), (c, c_apart)] {
            let (rows, cols) = match matrix.is_transposed {
                true => (matrix.cols, matrix.rows),
                false => (matrix.rows, matrix.cols),
            };
            let _second = Matrix::strided(matrix.data.from(apart), rows, cols, matrix.stride);
        }
        let (alpha, beta) = (1.0_f32, beta(update));
        // SAFETY: `strided` has checked that all six matrices lie in their views.
        unsafe {
            sgemm_strided_batched(
                *self.device.cublas_handle().handle(),
                b.operation(),
                a.operation(),
                int(c.cols),
                int(c.rows),
                int(a.cols),
                &raw const alpha,
                b.data.pointer as *const f32,
                int(b.stride),
                b_apart as i64,
                a.data.pointer as *const f32,
                int(a.stride),
                a_apart as i64,
                &raw const beta,
                c.data.pointer as *mut f32,
                int(c.stride),
                c_apart as i64,
                2,
            )
        }
        .w()
    }

    fn check(&self, a: Matrix<'_>, b: Matrix<'_>, c: Matrix<'_>) -> Result<()> {
        assert_eq!(
            (a.rows, a.cols, b.cols),
            (c.rows, b.rows, c.cols),
            "shapes of a product"
        );
        assert!(!c.is_transposed, "a product is written row by row");
        self.bind()
    }
}

fn beta(update: Update) -> f32 {
    match update {
        Update::Replace => 0.0,
        Update::Add => 1.0,
    }
}

fn int(n: usize) -> i32 {
    i32::try_from(n).expect("a size fits 31 bits")
}
