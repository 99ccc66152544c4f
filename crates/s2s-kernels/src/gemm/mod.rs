//! Matrix products whose right side is packed once and used many times.
//!
//! ```text
//! multiply:             C[M,N] (+)= A[M,K] · B[K,N]      B packed
//! multiply_transposed:  C[N,K] (+)= D[M,N]ᵀ · X[M,K]     the gradient of a weight [N,K]
//! ```
//!
//! Every element of C is accumulated over the reduced axis in the same order whatever the number
//! of rows, and whatever the number of threads: a row alone has the bits of that row in a batch.

/// What becomes of what stands in the output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output<'a> {
    /// `C = A·B`
    Replace,
    /// `C += A·B`
    Add,
    /// `C = A·B + bias`, the bias `[N]` added to every row.
    Bias(&'a [f32]),
}

/// Memory that `multiply_transposed` packs its right side into; grows to the largest product.
#[derive(Clone, Debug, Default)]
pub struct Scratch {}

impl Scratch {
    /// Empty: the first product allocates.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A right side `B [K, N]`, laid out in the order in which the product reads it.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    inner: usize,
    cols: usize,
    panels: Vec<f32>,
}

impl Packed {
    /// An empty pack that `pack` or `pack_transposed` fills.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs `b [K, N]`, rows of `N`. Reuses the memory of an earlier pack.
    pub fn pack(&mut self, b: &[f32], inner: usize, cols: usize) {
        assert_eq!(b.len(), inner * cols, "B must be [{inner}, {cols}]");
        (self.inner, self.cols) = (inner, cols);
        self.panels.clear();
        self.panels.extend_from_slice(b);
    }

    /// Packs the transpose of `weight [N, K]`, as PyTorch stores a linear layer's.
    pub fn pack_transposed(&mut self, weight: &[f32], inner: usize, cols: usize) {
        assert_eq!(
            weight.len(),
            inner * cols,
            "weight must be [{cols}, {inner}]"
        );
        (self.inner, self.cols) = (inner, cols);
        self.panels.clear();
        self.panels
            .extend((0..inner).flat_map(|k| (0..cols).map(move |n| weight[n * inner + k])));
    }

    /// The reduced size `K`.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// The columns `N`.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// `C[M,N] (+)= A[M,K] · B[K,N]`; rows of A are `a_stride` apart, rows of C `c_stride`.
pub fn multiply(
    c: &mut [f32],
    c_stride: usize,
    a: &[f32],
    a_stride: usize,
    rows: usize,
    b: &Packed,
    output: Output,
) {
    for row in 0..rows {
        for n in 0..b.cols {
            let sum: f32 = (0..b.inner)
                .map(|k| a[row * a_stride + k] * b.panels[k * b.cols + n])
                .sum();
            let out = &mut c[row * c_stride + n];
            *out = finished(*out, sum, n, output);
        }
    }
}

fn finished(out: f32, sum: f32, col: usize, output: Output) -> f32 {
    match output {
        Output::Replace => sum,
        Output::Add => out + sum,
        Output::Bias(bias) => sum + bias[col],
    }
}

/// `C[N,K] (+)= D[M,N]ᵀ · X[M,K]`: one product a weight's gradient, over all rows (batch × time).
///
/// Rows of D are `d_stride` apart, rows of X `x_stride`, rows of C `c_stride`.
#[expect(clippy::too_many_arguments, reason = "three strided matrices")]
pub fn multiply_transposed(
    c: &mut [f32],
    c_stride: usize,
    d: &[f32],
    d_stride: usize,
    d_cols: usize,
    x: &[f32],
    x_stride: usize,
    x_cols: usize,
    rows: usize,
    output: Output,
    scratch: &mut Scratch,
) {
    let _ = scratch;
    for n in 0..d_cols {
        for k in 0..x_cols {
            let sum: f32 = (0..rows)
                .map(|row| d[row * d_stride + n] * x[row * x_stride + k])
                .sum();
            let out = &mut c[n * c_stride + k];
            *out = finished(*out, sum, k, output);
        }
    }
}
