//! Values multiplied by layer 0's weights for the context, once per sequence instead of once per step.
//!
//! ```text
//! W context[t] = W Σ_s weight[t,s] value[s] = Σ_s weight[t,s] (W value[s])
//! ```
//!
//! For a short sequence, the right side reads a few products, whereas the left side reads all of `W`,
//! which takes most of the time of a step with a single row.

use crate::attention::kernel::{Memory, add_scaled_row};
use crate::linear::Linear;
use crate::matrix::{Epilogue, Matrix};
use crate::real::Real;

/// A row is short if its length times this constant is at most the width of its values. For a single
/// sequence, the products pay off up to about a hundred positions. In a batch, whose rows share one
/// read of `W`, they cost a few percent of the time at this length, and more for longer rows.
const WIDTH_OF_A_POSITION: usize = 32;

/// The products of the short rows. Whether a row is short depends on that row alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Projected<T> {
    /// The index of the first product of each row of the memory; `None` if the row is not short.
    starts: Vec<Option<usize>>,
    /// `[Σ length, N]`.
    products: Vec<T>,
    values: Vec<T>,
}

impl<T: Real> Projected<T> {
    /// Multiplies the values of all short rows of a memory by `weight [N, C]`.
    pub(super) fn fill(&mut self, weight: &Linear<T>, outputs: usize, memory: Memory<'_, T>) {
        let width = memory.values.len() / (memory.len * memory.batch()).max(1);
        let mut n_positions = 0;
        self.starts.clear();
        self.values.clear();
        for (row, &length) in memory.lengths.iter().enumerate() {
            let is_short = length * WIDTH_OF_A_POSITION <= width;
            self.starts.push(is_short.then_some(n_positions));
            if is_short {
                let values = &memory.values[row * memory.len * width..][..length * width];
                self.values.extend_from_slice(values);
                n_positions += length;
            }
        }
        self.products.resize(n_positions * outputs, T::ZERO);
        let values = Matrix::dense(&self.values, n_positions, width);
        weight.forward(values, &mut self.products, outputs, Epilogue::Replace);
    }

    /// `out [rows, N] += W context`: from the attention weights `[rows, S]` for short rows, and from
    /// `context [rows, C]` for the others. `rows` holds the memory's row for each row.
    pub(super) fn add(
        &self,
        weight: &Linear<T>,
        rows: &[usize],
        weights: Matrix<'_, T>,
        context: Matrix<'_, T>,
        out: &mut [T],
    ) {
        let outputs = out.len() / rows.len().max(1);
        let mut first = 0;
        let is_projected = |row: &usize| self.starts[*row].is_some();
        for rows in rows.chunk_by(|a, b| is_projected(a) == is_projected(b)) {
            let out = &mut out[first * outputs..][..rows.len() * outputs];
            let weights = weights.rows(first, rows.len());
            let context = context.rows(first, rows.len());
            first += rows.len();
            if !is_projected(&rows[0]) {
                weight.forward(context, out, outputs, Epilogue::Add);
                continue;
            }
            let outs = out.chunks_exact_mut(outputs);
            let weights = weights.data.chunks_exact(weights.cols.max(1));
            for ((out, weights), &row) in outs.zip(weights).zip(rows) {
                let start = self.starts[row].expect("all rows of this chunk are short");
                let products = self.products[start * outputs..].chunks_exact(outputs);
                for (&weight, product) in weights.iter().zip(products) {
                    // Padding has weight 0, and its product would add 0.
                    if weight != T::ZERO {
                        add_scaled_row(out, weight, product);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::numbers;

    const WIDTH: usize = 2 * WIDTH_OF_A_POSITION; // rows of 1 and 2 positions are short
    const OUTPUTS: usize = 21;
    const LEN: usize = 4;
    const LENGTHS: [usize; 5] = [2, 4, 0, 3, 1];

    /// Attention weights for each row of the memory: 0 where padded, and one other weight that is 0.
    fn attention() -> Vec<f64> {
        let mut weights = numbers(1, LENGTHS.len() * LEN);
        for (weights, &length) in weights.chunks_exact_mut(LEN).zip(&LENGTHS) {
            weights[length..].fill(0.0);
        }
        weights[1] = 0.0;
        weights
    }

    /// `[rows, C]` for each row of the memory.
    fn contexts<T: Real>(weights: &[T], values: &[T]) -> Vec<T> {
        let rows = weights
            .chunks_exact(LEN)
            .zip(values.chunks_exact(LEN * WIDTH));
        rows.flat_map(|(weights, values)| {
            let mut context = vec![T::ZERO; WIDTH];
            for (&weight, value) in weights.iter().zip(values.chunks_exact(WIDTH)) {
                add_scaled_row(&mut context, weight, value);
            }
            context
        })
        .collect()
    }

    fn linear<T: Real>() -> Linear<T> {
        let weight = as_real::<T>(&numbers(2, OUTPUTS * WIDTH));
        let mut linear = Linear::new();
        linear.pack(Matrix::dense(&weight, OUTPUTS, WIDTH));
        linear
    }

    fn as_real<T: Real>(numbers: &[f64]) -> Vec<T> {
        numbers.iter().copied().map(T::from_f64).collect()
    }

    /// What [`Projected::add`] adds for some `rows` of a memory that consists of the rows `kept`.
    fn added<T: Real>(kept: &[usize], rows: &[usize]) -> Vec<T> {
        let (linear, all) = (linear::<T>(), LENGTHS.len());
        let values = as_real::<T>(&numbers(3, all * LEN * WIDTH));
        let weights = as_real::<T>(&attention());
        let contexts = contexts(&weights, &values);
        let of = |buffer: &[T], rows: &[usize]| -> Vec<T> {
            let width = buffer.len() / all;
            rows.iter()
                .flat_map(|row| buffer[row * width..][..width].to_vec())
                .collect()
        };
        let lengths: Vec<usize> = kept.iter().map(|row| LENGTHS[*row]).collect();
        let memory = Memory {
            values: &of(&values, kept),
            keys: &[],
            lengths: &lengths,
            len: LEN,
        };
        let mut projected = Projected::default();
        projected.fill(&linear, OUTPUTS, memory);
        let source_rows: Vec<usize> = rows.iter().map(|row| kept[*row]).collect();
        let context = of(&contexts, &source_rows);
        let context = Matrix::dense(&context, rows.len(), WIDTH);
        let mut out = vec![T::ONE; rows.len() * OUTPUTS];
        let weights = of(&weights, &source_rows);
        let weights = Matrix::dense(&weights, rows.len(), LEN);
        projected.add(&linear, rows, weights, context, &mut out);
        out
    }

    #[test]
    fn adding_weighted_products_equals_multiplying_the_context() {
        let rows = [3, 0, 0, 4, 1, 2, 4];
        let context = contexts(&attention(), &numbers(3, LENGTHS.len() * LEN * WIDTH));
        let mut expected = vec![1.0; rows.len() * OUTPUTS];
        for (row, out) in rows.iter().zip(expected.chunks_exact_mut(OUTPUTS)) {
            let context = Matrix::dense(&context[row * WIDTH..][..WIDTH], 1, WIDTH);
            linear::<f64>().forward(context, out, OUTPUTS, Epilogue::Add);
        }
        let all = [0, 1, 2, 3, 4];
        for (sum, expected) in added::<f64>(&all, &rows).iter().zip(expected) {
            // Sums of 64 products of numbers below 1, in different orders.
            assert!((sum - expected).abs() < 1e-12, "{sum} {expected}");
        }
        assert!(added::<f64>(&all, &[]).is_empty());
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_in_a_batch() {
        let all = [0, 1, 2, 3, 4];
        let together = added::<f32>(&all, &all);
        for (row, expected) in all.iter().zip(together.chunks_exact(OUTPUTS)) {
            assert_eq!(added::<f32>(&[*row], &[0]), expected);
        }
    }
}
