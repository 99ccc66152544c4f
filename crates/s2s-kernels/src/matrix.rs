//! Views of matrices, and what a matrix product does with its output.

/// A read-only view of `[rows, cols]` numbers; consecutive rows start `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// At least from the first number of the first row to the last number of the last row.
    pub data: &'a [T],
    /// Numbers per row.
    pub cols: usize,
    /// Numbers from the start of one row to the start of the next.
    pub stride: usize,
    /// Number of rows.
    pub rows: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows without gaps between them.
    pub fn dense(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self {
            data,
            cols,
            stride: cols,
            rows,
        }
    }

    /// Columns `first..first + cols`.
    pub fn columns(self, first: usize, cols: usize) -> Self {
        let first = first.min(self.data.len());
        Self {
            data: &self.data[first..],
            cols,
            ..self
        }
    }

    /// Rows `first..first + rows`.
    pub fn rows(self, first: usize, rows: usize) -> Self {
        let first = (first * self.stride).min(self.data.len());
        Self {
            data: &self.data[first..],
            rows,
            ..self
        }
    }
}

/// How a matrix product `A·B` is written to its output `C`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Epilogue<'a, T> {
    /// `C = A·B`
    Replace,
    /// `C += A·B`
    Add,
    /// `C = A·B + bias`; the bias `[N]` is added to every row.
    Bias(&'a [T]),
}

/// The row stride for buffers with `width` numbers per row that are read and written column block by
/// column block: at least `width`, and never within a cache line of a multiple of 4 KiB (in f32).
///
/// Rows that are a multiple of 4 KiB apart map to the same sets of the first-level cache and evict
/// each other.
pub(crate) fn padded_stride(width: usize) -> usize {
    const CACHE_LINE: usize = 64 / size_of::<f32>();
    const PERIOD: usize = 4096 / size_of::<f32>();
    let stride = width + CACHE_LINE;
    let is_near = !(CACHE_LINE..=PERIOD - CACHE_LINE).contains(&(stride % PERIOD));
    stride + if is_near { 2 * CACHE_LINE } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_strides_keep_a_cache_line_away_from_multiples_of_4_kib() {
        // A GRU and an LSTM save 4 numbers per unit; the decoder's features are D + C wide.
        for width in (0..=4096).flat_map(|units| [units, 2 * units, 4 * units]) {
            let stride = padded_stride(width);
            assert!(stride >= width && stride <= width + 48, "{width}: {stride}");
            assert!((16..=1008).contains(&(stride % 1024)), "{width}: {stride}");
        }
    }
}
