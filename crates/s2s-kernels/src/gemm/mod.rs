//! Matrix products whose right side is packed once and used many times.
//!
//! ```text
//! multiply:             C[M,N] = A[M,K] · B[K,N]      B packed
//! multiply_transposed:  C[N,K] = D[M,N]ᵀ · X[M,K]     X packed; the gradient of a weight [N,K]
//! ```
//!
//! An [`Epilogue`] says whether the product replaces C, is added to C or gets a bias. Each element of
//! C is accumulated over the reduced axis in an order that depends neither on the number of rows nor
//! on the number of threads: a row has the same bits alone and in a batch. Callers that use several
//! threads give each thread some rows of C.

mod block;
#[cfg(test)]
mod tests;
mod vector;

use std::ops::Range;

use crate::matrix::{Epilogue, Matrix};
use block::{Left, Right, extent};

/// Columns of a panel: one AVX-512 register, two AVX2 registers, four NEON registers.
const PANEL: usize = 16;

/// One row of a panel, aligned so that a load touches only one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct PanelRow([f32; PANEL]);

/// The longest part of the reduced axis that is summed in registers. Three panels of this depth take
/// 144 KiB and must stay in the second-level cache while all rows are multiplied with them. A longer
/// axis is split into parts, and the sums of the later parts are added to C.
const MAX_DEPTH: usize = 768;

/// The most rows that are multiplied with a panel before the next panel: they must stay in the cache,
/// too.
const MAX_ROWS: usize = 192;

/// A right side `B [K, N]`, packed in the order in which the product reads it: for each part of the
/// reduced axis, panels of 16 columns, the last of which is padded with zeros.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    inner: usize,
    cols: usize,
    panels: Vec<PanelRow>,
}

impl Packed {
    /// Makes room for `[K, N]` and splits it into `n` ranges of columns that can be packed
    /// independently. Each range has one piece per part of the reduced axis.
    pub(crate) fn pieces(&mut self, inner: usize, cols: usize, n: usize) -> Vec<Vec<Piece<'_>>> {
        let panels = cols.div_ceil(PANEL);
        let mut ranges: Vec<Vec<Piece<'_>>> = (0..n).map(|_| Vec::new()).collect();
        for (depths, mut rest) in self.resize(inner, cols) {
            for (range, pieces) in ranges.iter_mut().enumerate() {
                let own = panels * range / n..panels * (range + 1) / n;
                let (panels, after) = rest.split_at_mut(own.len() * depths.len());
                rest = after;
                pieces.push(Piece {
                    depths: depths.clone(),
                    columns: own.start * PANEL..cols.min(own.end * PANEL),
                    panels,
                });
            }
        }
        ranges
    }

    /// Packs the transpose of `weight [N, K]`, the layout of a linear layer in PyTorch.
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

    /// Makes room for `[K, N]`, with zeros in the padding of the last panel. Returns the parts of the
    /// reduced axis and the panels of each.
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
}

/// The panels of some columns for one part of the reduced axis.
pub(crate) struct Piece<'a> {
    depths: Range<usize>,
    columns: Range<usize>,
    panels: &'a mut [PanelRow],
}

impl Piece<'_> {
    /// Copies its part of `b [K, N]`, whose rows are `stride` apart.
    pub(crate) fn pack(self, b: &[f32], stride: usize) {
        // A few rows at a time are read from end to end, a pattern that the prefetcher detects.
        const ROWS: usize = 8;
        let depth = self.depths.len();
        for first in (0..depth).step_by(ROWS) {
            for (p, panel) in self.panels.chunks_exact_mut(depth).enumerate() {
                let col = self.columns.start + p * PANEL;
                let width = PANEL.min(self.columns.end - col);
                for (k, PanelRow(to)) in panel.iter_mut().enumerate().skip(first).take(ROWS) {
                    let from = &b[(self.depths.start + k) * stride + col..][..width];
                    // A copy whose length is known at compile time takes one or two instructions.
                    match <&[f32; PANEL]>::try_from(from) {
                        Ok(from) => *to = *from,
                        Err(_) => to[..width].copy_from_slice(from),
                    }
                }
            }
        }
    }
}

/// Memory into which [`multiply_transposed`] copies its left side; it grows to the largest product.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    left: Vec<f32>,
}

/// `C[M,N] = A[M,K] · B[K,N]`, finished by the epilogue. Rows of C are `c_stride` apart.
///
/// # Panics
/// If A and B disagree on `K`, or if a slice is too short for its matrix.
pub(crate) fn multiply(
    c: &mut [f32],
    c_stride: usize,
    a: Matrix<'_, f32>,
    b: &Packed,
    epilogue: Epilogue<'_, f32>,
) {
    let (rows, inner, cols) = (a.rows, b.inner, b.cols);
    assert!(
        a.data.len() >= extent(rows, a.stride, inner),
        "A is too short for {rows}×{inner}"
    );
    assert!(
        c.len() >= extent(rows, c_stride, cols),
        "C is too short for {rows}×{cols}"
    );
    if rows == 0 || cols == 0 {
        return;
    }
    assert_eq!(a.cols, inner, "A and B must have the same K");
    for depths in depths(inner) {
        let panels = &b.panels[depths.start * cols.div_ceil(PANEL)..];
        let right = Right::new(panels, depths.len(), cols);
        let epilogue = match depths.start {
            0 => epilogue,
            _ => Epilogue::Add,
        };
        for rows in parts(rows, MAX_ROWS) {
            let left = a
                .rows(rows.start, rows.len())
                .columns(depths.start, depths.len());
            let c = &mut c[rows.start * c_stride..];
            block::multiply(c, c_stride, Left::rows(left), right, epilogue);
        }
    }
}

/// `C[N,K] = D[M,N]ᵀ · X[M,K]`, finished by the epilogue: the gradient of a weight is one product over
/// all rows (batch × time). Rows of C are `c_stride` apart.
///
/// # Panics
/// If D and X disagree on `M`, or if a slice is too short for its matrix.
pub(crate) fn multiply_transposed(
    c: &mut [f32],
    c_stride: usize,
    d: Matrix<'_, f32>,
    x: &Packed,
    epilogue: Epilogue<'_, f32>,
    scratch: &mut Scratch,
) {
    /// Columns of D that are multiplied with a panel of X before the next panel.
    const COLUMNS: usize = 192;
    /// The smallest number of columns of X for which copying D pays off. Without a copy, each step
    /// along the reduced axis reads another row of D: another page, and often the same cache set.
    const PACK_FROM: usize = 256;

    let (rows, x_cols, d_cols) = (x.inner, x.cols, d.cols);
    assert_eq!(d.rows, rows, "D and X must have the same rows");
    assert!(
        d.data.len() >= extent(rows, d.stride, d_cols),
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
        let epilogue = match depths.start {
            0 => epilogue,
            _ => Epilogue::Add,
        };
        for start in (0..d_cols).step_by(COLUMNS) {
            let columns = COLUMNS.min(d_cols - start);
            let mut d = d.rows(depths.start, depth).columns(start, columns);
            if x_cols >= PACK_FROM {
                left.clear();
                for row in d.data.chunks(d.stride).take(depth) {
                    left.extend_from_slice(&row[..columns]);
                }
                d = Matrix::dense(left, depth, columns);
            }
            let c = &mut c[start * c_stride..];
            block::multiply(c, c_stride, Left::columns(d), right, epilogue);
        }
    }
}

/// The parts of a reduced axis, each of which is summed separately.
pub(crate) fn depths(inner: usize) -> impl Iterator<Item = Range<usize>> {
    parts(inner, MAX_DEPTH)
}

/// Splits `0..len` into the fewest parts of at most `most`. All parts have the same length, except that
/// the last may be shorter: 10 in parts of at most 4 is 4, 4, 2. An empty axis is one empty part,
/// because an empty sum must still be written.
fn parts(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = len.div_ceil(most).max(1);
    let size = len.div_ceil(count);
    (0..count).map(move |part| (part * size).min(len)..((part + 1) * size).min(len))
}
