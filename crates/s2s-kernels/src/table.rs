//! Embeddings on slices: rows of a table by token id, and gradients summed into those rows.
//!
//! A linear map of an embedding has only as many different results as the vocabulary has tokens.
//! Therefore `table = embedding Wᵀ + b`, `[V, N]`, is computed once, and its rows are copied.

use crate::linear::add_to;
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

/// `out[i] = table[ids[i]]` for rows of `cols` numbers; the table is `[V, cols]`.
pub fn gather<T: Real>(out: &mut [T], table: &[T], cols: usize, ids: impl Iterator<Item = u32>) {
    for (out, id) in out.chunks_exact_mut(cols.max(1)).zip(ids) {
        out.copy_from_slice(&table[id as usize * cols..][..cols]);
    }
}

/// `table[ids[i]] += rows[i]`, in ascending order of `i`; the table is `[V, N]`.
///
/// Each thread updates its own part of the vocabulary.
pub fn scatter_add<T: Real>(
    table: &mut [T],
    rows: Matrix<'_, T>,
    ids: impl Iterator<Item = u32> + Clone + Sync,
    team: &mut Team<T>,
) {
    let cols = rows.cols;
    let vocab = table.len() / cols.max(1);
    team.on_rows(table, vocab, cols, |range, part| {
        for (row, id) in ids.clone().enumerate().take(rows.rows) {
            let id = id as usize;
            if range.contains(&id) {
                let sums = &mut part[(id - range.start) * cols..][..cols];
                add_row(sums, &rows.data[row * rows.stride..][..cols]);
            }
        }
    });
}

/// The token ids `[B, S]` in time-major order, `[S, B]`.
pub fn time_major(ids: &[u32], len: usize) -> impl Iterator<Item = u32> + Clone + Sync {
    let batch = ids.len().checked_div(len).unwrap_or(0);
    (0..len).flat_map(move |position| (0..batch).map(move |row| ids[row * len + position]))
}

/// `values [outer, inner, W]` as `out [inner, outer, W]`: between time-major and batch-major order.
pub fn swap_axes<T: Real>(
    out: &mut [T],
    values: &[T],
    outer: usize,
    inner: usize,
    team: &mut Team<T>,
) {
    assert_eq!(out.len(), values.len(), "[{outer}, {inner}, ..]");
    let width = values.len().checked_div(outer * inner).unwrap_or(0);
    team.on_rows(out, inner, outer * width, |range, part| {
        for (index, out) in part.chunks_exact_mut(width.max(1)).enumerate() {
            let (i, o) = (range.start + index / outer, index % outer);
            out.copy_from_slice(&values[(o * inner + i) * width..][..width]);
        }
    });
}

/// `x [S, B, W] *= mask [B, S, W]`: activations are time-major, dropout masks batch-major.
pub fn multiply_mask<T: Real>(
    x: &mut [T],
    mask: &[T],
    len: usize,
    batch: usize,
    team: &mut Team<T>,
) {
    assert_eq!(x.len(), mask.len(), "[{len}, {batch}, ..]");
    let width = x.len().checked_div(len * batch).unwrap_or(0);
    team.on_rows(x, len, batch * width, |range, part| {
        for (index, x) in part.chunks_exact_mut(width.max(1)).enumerate() {
            let (position, row) = (range.start + index / batch, index % batch);
            multiply_by(x, &mask[(row * len + position) * width..][..width]);
        }
    });
}

multiversion! {
    /// `sums += values`, element by element.
    pub fn add_row<T>(sums: &mut [T], values: &[T]) {
        add_to(sums, values);
    }

    /// `values *= factors`, element by element.
    pub(crate) fn multiply_by<T>(values: &mut [T], factors: &[T]) {
        for (value, &factor) in values.iter_mut().zip(factors) {
            *value *= factor;
        }
    }
}
