//! Rows of a table by their number, and sums into them: embeddings on slices.
//!
//! A linear map of an embedding has as many different results as the vocabulary has words, so
//! `table = embedding Wᵀ + b`, `[V, N]`, is computed once and its rows are copied.

use crate::linear::add_to;
use crate::real::{Matrix, Real};
use crate::simd::multiversion;
use crate::team::Team;

/// Row `ids[i]` of `table [V, N]` becomes row `i` of `out`.
pub fn gather<T: Real>(out: &mut [T], table: &[T], cols: usize, ids: impl Iterator<Item = u32>) {
    for (out, id) in out.chunks_exact_mut(cols.max(1)).zip(ids) {
        out.copy_from_slice(&table[id as usize * cols..][..cols]);
    }
}

/// `table[ids[i]] += rows[i]`, in ascending order of `i`; the table is `[V, N]`.
///
/// Each thread sums into the rows of its own part of the vocabulary.
pub fn scatter_add<T: Real>(
    table: &mut [T],
    rows: Matrix<'_, T>,
    ids: impl Iterator<Item = u32> + Clone + Sync,
    team: &mut Team<T>,
) {
    let cols = rows.cols;
    let n_words = table.len() / cols.max(1);
    team.on_rows(table, (n_words, cols), |range, part| {
        for (row, id) in ids.clone().enumerate().take(rows.rows) {
            let id = id as usize;
            if range.contains(&id) {
                let sums = &mut part[(id - range.start) * cols..][..cols];
                add_row(sums, &rows.data[row * rows.stride..][..cols]);
            }
        }
    });
}

/// The numbers of `[B, S]` in the order of `[S, B]`.
pub fn position_first(ids: &[u32], len: usize) -> impl Iterator<Item = u32> + Clone + Sync {
    let batch = ids.len().checked_div(len).unwrap_or(0);
    (0..len).flat_map(move |position| (0..batch).map(move |row| ids[row * len + position]))
}

/// `values [M, N, W]` into `out [N, M, W]`: from position first to batch first, or back.
pub fn swap_axes<T: Real>(out: &mut [T], values: &[T], (m, n): (usize, usize), team: &mut Team<T>) {
    assert_eq!(out.len(), values.len(), "[{m}, {n}, ..]");
    let width = values.len().checked_div(m * n).unwrap_or(0);
    team.on_rows(out, (n, m * width), |range, part| {
        for (index, out) in part.chunks_exact_mut(width.max(1)).enumerate() {
            let (i, j) = (range.start + index / m, index % m);
            out.copy_from_slice(&values[(j * n + i) * width..][..width]);
        }
    });
}

/// `x [S, B, W] *= mask [B, S, W]`: activations are position first, masks batch first.
pub fn multiply_mask<T: Real>(
    x: &mut [T],
    mask: &[T],
    (len, batch): (usize, usize),
    team: &mut Team<T>,
) {
    assert_eq!(x.len(), mask.len(), "[{len}, {batch}, ..]");
    let width = x.len().checked_div(len * batch).unwrap_or(0);
    team.on_rows(x, (len, batch * width), |range, part| {
        for (index, x) in part.chunks_exact_mut(width.max(1)).enumerate() {
            let (position, row) = (range.start + index / batch, index % batch);
            multiply_by(x, &mask[(row * len + position) * width..][..width]);
        }
    });
}

multiversion! {
    fn add_row<T>(sums: &mut [T], values: &[T]) {
        add_to(sums, values);
    }

    /// `values *= factors`, element by element.
    pub(crate) fn multiply_by<T>(values: &mut [T], factors: &[T]) {
        for (value, &factor) in values.iter_mut().zip(factors) {
            *value *= factor;
        }
    }
}
