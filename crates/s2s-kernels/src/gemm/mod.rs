//! Matrix products whose right side is packed once and used many times.
//!
//! ```text
//! multiply:             C[M,N] (+)= A[M,K] · B[K,N]      B packed
//! multiply_transposed:  C[N,K] (+)= D[M,N]ᵀ · X[M,K]     the gradient of a weight [N,K]
//! ```
//!
//! Every element of C is accumulated over the reduced axis in the same order whatever the number
//! of rows, and whatever the number of threads: a row alone has the bits of that row in a batch.

mod block;
mod vector;

use crate::simd::Isa;
use block::{Left, Right};

/// Columns of a panel: one AVX-512 register, two of AVX2, four of NEON.
const PANEL: usize = 16;

/// One row of a panel. Aligned to a cache line, or each load of it would touch two.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct PanelRow([f32; PANEL]);

/// The longest stretch of the reduced axis that is summed in registers. Longer ones are cut in
/// equal parts, so that three panels and a few rows of A stay in the second-level cache.
const MAX_DEPTH: usize = 768;

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

/// A right side `B [K, N]`, laid out in the order in which the product reads it: panels of 16
/// columns, the last one filled up with zeros; in a panel, row after row.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    inner: usize,
    cols: usize,
    panels: Vec<PanelRow>,
}

impl Packed {
    /// An empty pack that `pack` or `pack_transposed` fills.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs `b [K, N]`, rows of `N`. Reuses the memory of an earlier pack.
    pub fn pack(&mut self, b: &[f32], inner: usize, cols: usize) {
        assert_eq!(b.len(), inner * cols, "B must be [{inner}, {cols}]");
        self.pack_strided(b, cols, inner, cols);
    }

    fn pack_strided(&mut self, b: &[f32], stride: usize, inner: usize, cols: usize) {
        self.resize(inner, cols);
        if inner == 0 {
            return;
        }
        for (p, panel) in self.panels.chunks_exact_mut(inner).enumerate() {
            let col = p * PANEL;
            let width = PANEL.min(cols - col);
            for (k, PanelRow(row)) in panel.iter_mut().enumerate() {
                let from = &b[k * stride + col..][..width];
                match <&[f32; PANEL]>::try_from(from) {
                    Ok(from) => *row = *from,
                    Err(_) => row[..width].copy_from_slice(from),
                }
            }
        }
    }

    /// Packs the transpose of `weight [N, K]`, as PyTorch stores a linear layer's.
    pub fn pack_transposed(&mut self, weight: &[f32], inner: usize, cols: usize) {
        assert_eq!(
            weight.len(),
            inner * cols,
            "weight must be [{cols}, {inner}]"
        );
        self.resize(inner, cols);
        if inner == 0 {
            return;
        }
        for (panel, rows) in self
            .panels
            .chunks_exact_mut(inner)
            .zip(weight.chunks(PANEL * inner))
        {
            for (lane, row) in rows.chunks_exact(inner).enumerate() {
                for (PanelRow(to), &value) in panel.iter_mut().zip(row) {
                    to[lane] = value;
                }
            }
        }
    }

    fn resize(&mut self, inner: usize, cols: usize) {
        (self.inner, self.cols) = (inner, cols);
        let panels = cols.div_ceil(PANEL);
        self.panels.resize(panels * inner, PanelRow([0.0; PANEL]));
        if !cols.is_multiple_of(PANEL) {
            let last = self.panels.len() - inner;
            self.panels[last..].fill(PanelRow([0.0; PANEL]));
        }
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

/// Memory that `multiply_transposed` packs its sides into; grows to the largest product.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    right: Packed,
}

impl Scratch {
    /// Empty: the first product allocates.
    pub fn new() -> Self {
        Self::default()
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
    let left = Left {
        data: a,
        row_stride: a_stride,
        depth_stride: 1,
        rows,
    };
    multiply_with(Isa::best(), c, c_stride, left, b, output);
}

fn multiply_with(isa: Isa, c: &mut [f32], c_stride: usize, left: Left, b: &Packed, output: Output) {
    let parts = b.inner.div_ceil(MAX_DEPTH).max(1);
    let depth = b.inner.div_ceil(parts);
    for part in 0..parts {
        let start = part * depth;
        let depth = depth.min(b.inner - start);
        let right = Right {
            panels: &b.panels[start.min(b.panels.len())..],
            stride: b.inner,
            depth,
            cols: b.cols,
        };
        let left = Left {
            data: &left.data[(start * left.depth_stride).min(left.data.len())..],
            ..left
        };
        let output = if part == 0 { output } else { Output::Add };
        block::multiply(isa, c, c_stride, left, right, output);
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
    let d = Strided {
        data: d,
        stride: d_stride,
        rows,
        cols: d_cols,
    };
    let x = Strided {
        data: x,
        stride: x_stride,
        rows,
        cols: x_cols,
    };
    multiply_transposed_with(Isa::best(), c, c_stride, d, x, output, scratch);
}

/// A matrix whose rows are `stride` apart.
#[derive(Clone, Copy)]
struct Strided<'a> {
    data: &'a [f32],
    stride: usize,
    rows: usize,
    cols: usize,
}

fn multiply_transposed_with(
    isa: Isa,
    c: &mut [f32],
    c_stride: usize,
    d: Strided,
    x: Strided,
    output: Output,
    scratch: &mut Scratch,
) {
    let left = Left {
        data: d.data,
        row_stride: 1,
        depth_stride: d.stride,
        rows: d.cols,
    };
    scratch.right.pack_strided(x.data, x.stride, x.rows, x.cols);
    multiply_with(isa, c, c_stride, left, &scratch.right, output);
}

#[cfg(test)]
mod tests;
