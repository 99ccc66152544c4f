//! Matrix products whose right side is packed once and used many times.
//!
//! ```text
//! multiply:             C[M,N] (+)= A[M,K] · B[K,N]      B packed
//! multiply_transposed:  C[N,K] (+)= D[M,N]ᵀ · X[M,K]     X packed; the gradient of a weight [N,K]
//! ```
//!
//! Every element of C is accumulated over the reduced axis in the same order whatever the number
//! of rows, and whatever the number of threads: a row alone has the bits of that row in a batch.
//! Callers that use several threads give each of them rows of C.
//!
//! ```
//! use s2s_kernels::gemm::{Output, Packed, multiply};
//!
//! let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [N=2, K=3], as PyTorch stores it
//! let mut packed = Packed::new();
//! packed.pack_transposed(&weight, 3, 2);
//!
//! let mut c = [0.0; 2];
//! multiply(&mut c, 2, &[1.0, 0.0, -1.0], 3, 1, &packed, Output::Bias(&[10.0, 20.0]));
//! assert_eq!(c, [8.0, 18.0]);
//! ```

mod block;
#[cfg(test)]
mod tests;
mod vector;

use block::{Left, Right, extent};
use std::ops::Range;

/// Columns of a panel: one register of AVX-512, two of AVX2, four of NEON.
const PANEL: usize = 16;

/// One row of a panel. Aligned to a cache line, or each load of it would touch two.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct PanelRow([f32; PANEL]);

/// The longest stretch of the reduced axis that is summed in registers: three panels of it take
/// 144 KiB, and must stay in the second-level cache while all rows pass. What is longer is cut
/// into equal parts, of which each adds to C.
const MAX_DEPTH: usize = 768;

/// The most rows that pass over a panel before the next one: they, too, must stay in the cache.
const MAX_ROWS: usize = 192;

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

/// A right side `B [K, N]`, laid out in the order in which the product reads it: for each part of the
/// reduced axis panels of 16 columns, the last one filled up with zeros.
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

    /// Packs `b [K, N]`, whose rows are `stride` apart. Reuses the memory of an earlier pack.
    ///
    /// # Panics
    /// If `b` is too short for its matrix.
    pub fn pack(&mut self, b: &[f32], stride: usize, inner: usize, cols: usize) {
        assert!(
            b.len() >= extent(inner, stride, cols),
            "B is too short for {inner}×{cols}"
        );
        for piece in self.pieces(inner, cols, 1).into_iter().flatten() {
            piece.pack(b, stride);
        }
    }

    /// What is to be packed of `[K, N]` in `n` shares, each of some columns: a piece for each part of
    /// the reduced axis.
    pub(crate) fn pieces(&mut self, inner: usize, cols: usize, n: usize) -> Vec<Vec<Piece<'_>>> {
        let panels = cols.div_ceil(PANEL);
        let mut shares: Vec<Vec<Piece<'_>>> = (0..n).map(|_| Vec::new()).collect();
        for (depths, mut rest) in self.resize(inner, cols) {
            for (share, pieces) in shares.iter_mut().enumerate() {
                let own = panels * share / n..panels * (share + 1) / n;
                let (panels, after) = rest.split_at_mut(own.len() * depths.len());
                rest = after;
                pieces.push(Piece {
                    depths: depths.clone(),
                    columns: own.start * PANEL..cols.min(own.end * PANEL),
                    panels,
                });
            }
        }
        shares
    }

    /// Packs the transpose of `weight [N, K]`, as PyTorch stores a linear layer's.
    pub fn pack_transposed(&mut self, weight: &[f32], inner: usize, cols: usize) {
        assert_eq!(
            weight.len(),
            inner * cols,
            "weight must be [{cols}, {inner}]"
        );
        for (depths, panels) in self.resize(inner, cols) {
            for (p, panel) in panels.chunks_exact_mut(depths.len().max(1)).enumerate() {
                let rows = &weight[p * PANEL * inner..];
                for (lane, row) in rows.chunks_exact(inner).take(PANEL).enumerate() {
                    for (PanelRow(to), &value) in panel.iter_mut().zip(&row[depths.clone()]) {
                        to[lane] = value;
                    }
                }
            }
        }
    }

    /// Makes room, with zeros where the last panel has columns that B does not; the parts of the
    /// reduced axis, and the panels of each.
    fn resize(
        &mut self,
        inner: usize,
        cols: usize,
    ) -> impl Iterator<Item = (Range<usize>, &mut [PanelRow])> {
        const ZERO: PanelRow = PanelRow([0.0; PANEL]);
        (self.inner, self.cols) = (inner, cols);
        let panels = cols.div_ceil(PANEL);
        self.panels.resize(panels * inner, ZERO);
        let mut rest = &mut self.panels[..];
        depths(inner).map(move |depths| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(panels * depths.len());
            rest = after;
            if !cols.is_multiple_of(PANEL) {
                let last = part.len() - depths.len();
                part[last..].fill(ZERO);
            }
            (depths, part)
        })
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

/// The panels of some columns in one part of the reduced axis.
pub(crate) struct Piece<'a> {
    depths: Range<usize>,
    columns: Range<usize>,
    panels: &'a mut [PanelRow],
}

impl Piece<'_> {
    /// Fills it from all of `b [K, N]`, whose rows are `stride` apart.
    pub(crate) fn pack(self, b: &[f32], stride: usize) {
        // So many rows at a time are read from end to end, which the hardware foresees.
        const ROWS: usize = 8;
        let depth = self.depths.len();
        for first in (0..depth).step_by(ROWS) {
            for (p, panel) in self.panels.chunks_exact_mut(depth).enumerate() {
                let col = self.columns.start + p * PANEL;
                let width = PANEL.min(self.columns.end - col);
                for (k, PanelRow(to)) in panel.iter_mut().enumerate().skip(first).take(ROWS) {
                    let from = &b[(self.depths.start + k) * stride + col..][..width];
                    // A copy of known length is an instruction or two.
                    match <&[f32; PANEL]>::try_from(from) {
                        Ok(from) => *to = *from,
                        Err(_) => to[..width].copy_from_slice(from),
                    }
                }
            }
        }
    }
}

/// Memory that `multiply_transposed` copies its left side into; grows to the largest product.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    left: Vec<f32>,
}

impl Scratch {
    /// Empty: the first product allocates.
    pub fn new() -> Self {
        Self::default()
    }
}

/// `C[M,N] (+)= A[M,K] · B[K,N]`; rows of A are `a_stride` apart, rows of C `c_stride`.
///
/// # Panics
/// If a slice is too short for its matrix.
pub fn multiply(
    c: &mut [f32],
    c_stride: usize,
    a: &[f32],
    a_stride: usize,
    rows: usize,
    b: &Packed,
    output: Output,
) {
    let (inner, cols) = (b.inner, b.cols);
    assert!(
        a.len() >= extent(rows, a_stride, inner),
        "A is too short for {rows}×{inner}"
    );
    assert!(
        c.len() >= extent(rows, c_stride, cols),
        "C is too short for {rows}×{cols}"
    );
    if rows == 0 || cols == 0 {
        return;
    }
    for depths in depths(inner) {
        let panels = &b.panels[depths.start * cols.div_ceil(PANEL)..];
        let right = Right::new(panels, depths.len(), cols);
        let output = if depths.start == 0 {
            output
        } else {
            Output::Add
        };
        for rows in parts(rows, MAX_ROWS) {
            let a = if inner == 0 {
                a
            } else {
                &a[rows.start * a_stride + depths.start..]
            };
            let left = Left::rows(a, rows.len(), a_stride, depths.len());
            block::multiply(
                &mut c[rows.start * c_stride..],
                c_stride,
                left,
                right,
                output,
            );
        }
    }
}

/// `C[N,K] (+)= D[M,N]ᵀ · X[M,K]`: one product a weight's gradient, over all rows (batch × time).
///
/// Rows of D are `d_stride` apart, rows of C `c_stride`.
///
/// # Panics
/// If a slice is too short for its matrix.
#[expect(clippy::too_many_arguments, reason = "two strided matrices")]
pub fn multiply_transposed(
    c: &mut [f32],
    c_stride: usize,
    d: &[f32],
    d_stride: usize,
    d_cols: usize,
    x: &Packed,
    output: Output,
    scratch: &mut Scratch,
) {
    /// Columns of D that pass over a panel of X before the next one.
    const COLUMNS: usize = 192;
    /// The columns of X that repay a copy of D: each step along the reduced axis is another row of
    /// D, which is another page, and often the same set of the cache.
    const PACK_FROM: usize = 256;

    let (rows, x_cols) = (x.inner, x.cols);
    assert!(
        d.len() >= extent(rows, d_stride, d_cols),
        "D is too short for {rows}×{d_cols}"
    );
    assert!(
        c.len() >= extent(d_cols, c_stride, x_cols),
        "C is too short for {d_cols}×{x_cols}"
    );
    if d_cols == 0 || x_cols == 0 {
        return;
    }
    let left = &mut scratch.left;
    for depths in depths(rows) {
        let depth = depths.len();
        let panels = &x.panels[depths.start * x_cols.div_ceil(PANEL)..];
        let right = Right::new(panels, depth, x_cols);
        let output = if depths.start == 0 {
            output
        } else {
            Output::Add
        };
        for start in (0..d_cols).step_by(COLUMNS) {
            let columns = COLUMNS.min(d_cols - start);
            // Without rows there is nothing behind the first column either.
            let first = (depths.start * d_stride + start).min(d.len());
            let d = &d[first..];
            let left = if x_cols < PACK_FROM {
                Left::columns(d, columns, depth, d_stride)
            } else {
                left.clear();
                for row in d.chunks(d_stride).take(depth) {
                    left.extend_from_slice(&row[..columns]);
                }
                Left::columns(left, columns, depth, columns)
            };
            block::multiply(&mut c[start * c_stride..], c_stride, left, right, output);
        }
    }
}

/// The parts of a reduced axis, each of which is summed on its own.
pub(crate) fn depths(inner: usize) -> impl Iterator<Item = Range<usize>> {
    parts(inner, MAX_DEPTH)
}

/// Cuts `0..len` into the fewest parts of at most `most`, as even as can be; an empty axis is one
/// empty part, since a sum of nothing is still written.
fn parts(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = len.div_ceil(most).max(1);
    let size = len.div_ceil(count);
    (0..count).map(move |part| (part * size).min(len)..((part + 1) * size).min(len))
}
