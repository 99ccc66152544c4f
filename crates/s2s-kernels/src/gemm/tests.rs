use super::*;
use crate::real::Real;
use crate::simd::on_every_isa;
use proptest::prelude::*;

/// `b [inner, cols]`, packed.
fn pack(b: &[f32], stride: usize, inner: usize, cols: usize) -> Packed {
    let mut packed = Packed::default();
    f32::pack(&mut packed, view(b, inner, cols, stride));
    packed
}

fn view(data: &[f32], rows: usize, cols: usize, stride: usize) -> Matrix<'_, f32> {
    Matrix {
        stride,
        ..Matrix::dense(data, rows, cols)
    }
}

/// A matrix of distinct values in (-1, 1), with rows `stride` apart. The gaps hold NaN, which any use
/// of them would spread.
fn matrix(seed: u32, rows: usize, cols: usize, stride: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut values = vec![f32::NAN; rows * stride];
    for row in 0..rows {
        values[row * stride..][..cols].fill_with(&mut next);
    }
    values
}

/// The reference: the dot product that defines an element, in f64, and the sum of the products'
/// magnitudes, which bounds the rounding error.
fn naive(depth: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> (f64, f64) {
    let products = (0..depth).map(|k| f64::from(a(k)) * f64::from(b(k)));
    products.fold((0.0, 0.0), |(sum, size), ab| (sum + ab, size + ab.abs()))
}

/// The error of a sum of `depth` f32 products is at most `depth` roundings of the sum of magnitudes,
/// plus two for the old value and for a product that is rounded because it is not fused.
#[track_caller]
fn assert_near(got: f32, (sum, size): (f64, f64), old: f32, depth: usize) {
    let bound = (depth + 2) as f64 * f64::from(f32::EPSILON) * (size + f64::from(old.abs()));
    let error = (f64::from(got) - (sum + f64::from(old))).abs();
    assert!(
        error <= bound,
        "{got} differs from {sum} + {old} by {error:e}, more than {bound:e}"
    );
}

/// The sizes of a product, with `gap` unused numbers after each row.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    rows: usize,
    inner: usize,
    cols: usize,
    gap: usize,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    // Long reduced axes are rare, because they take most of the time of the reference.
    let inner = prop_oneof![4 => 0..40_usize, 1 => 760..780_usize, 1 => 1530..1540_usize];
    (0..40_usize, inner, 0..150_usize, 0..3_usize).prop_map(|(rows, inner, cols, gap)| Sizes {
        rows,
        inner,
        cols,
        gap,
    })
}

fn epilogues(bias: &[f32]) -> [Epilogue<'_, f32>; 3] {
    [Epilogue::Replace, Epilogue::Add, Epilogue::Bias(bias)]
}

fn old_value(epilogue: Epilogue<'_, f32>, c: f32, col: usize) -> f32 {
    match epilogue {
        Epilogue::Replace => 0.0,
        Epilogue::Add => c,
        Epilogue::Bias(bias) => bias[col],
    }
}

#[track_caller]
fn check_multiply(sizes: Sizes) {
    let Sizes {
        rows,
        inner,
        cols,
        gap,
    } = sizes;
    let (a_stride, c_stride) = (inner + gap, cols + gap);
    let a = matrix(1, rows, inner, a_stride);
    let b = matrix(2, inner, cols, cols);
    let before = matrix(3, rows, cols, c_stride);
    let bias = matrix(4, 1, cols, cols);
    let packed = pack(&b, cols, inner, cols);
    on_every_isa(|isa| {
        for epilogue in epilogues(&bias) {
            let mut c = before.clone();
            let left = view(&a, rows, inner, a_stride);
            multiply(&mut c, c_stride, left, &packed, epilogue);
            for row in 0..rows {
                let (got, gap) = c[row * c_stride..][..c_stride].split_at(cols);
                assert!(
                    gap.iter().all(|x| x.is_nan()),
                    "{isa:?} wrote past a row of C"
                );
                for (col, &got) in got.iter().enumerate() {
                    let exact = naive(inner, |k| a[row * a_stride + k], |k| b[k * cols + col]);
                    let old = old_value(epilogue, before[row * c_stride + col], col);
                    assert_near(got, exact, old, inner);
                }
            }
        }
    });
}

#[track_caller]
fn check_multiply_transposed(sizes: Sizes) {
    // `inner` is the number of rows that are summed, and `rows` the number of columns of D.
    let Sizes {
        rows: d_cols,
        inner: rows,
        cols: x_cols,
        gap,
    } = sizes;
    let (d_stride, x_stride, c_stride) = (d_cols + gap, x_cols + gap, x_cols + gap);
    let d = matrix(1, rows, d_cols, d_stride);
    let x = matrix(2, rows, x_cols, x_stride);
    let before = matrix(3, d_cols, x_cols, c_stride);
    let bias = matrix(4, 1, x_cols, x_cols);
    let packed = pack(&x, x_stride, rows, x_cols);
    let mut scratch = Scratch::default();
    on_every_isa(|isa| {
        for epilogue in epilogues(&bias) {
            let mut c = before.clone();
            let left = view(&d, rows, d_cols, d_stride);
            multiply_transposed(&mut c, c_stride, left, &packed, epilogue, &mut scratch);
            for n in 0..d_cols {
                let (got, gap) = c[n * c_stride..][..c_stride].split_at(x_cols);
                assert!(
                    gap.iter().all(|x| x.is_nan()),
                    "{isa:?} wrote past a row of C"
                );
                for (k, &got) in got.iter().enumerate() {
                    let exact = naive(rows, |m| d[m * d_stride + n], |m| x[m * x_stride + k]);
                    let old = old_value(epilogue, before[n * c_stride + k], k);
                    assert_near(got, exact, old, rows);
                }
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn product_matches_its_definition(sizes in sizes()) {
        check_multiply(sizes);
    }

    #[test]
    fn transposed_product_matches_its_definition(sizes in sizes()) {
        check_multiply_transposed(sizes);
    }

    #[test]
    fn packing_a_transpose_equals_packing_the_matrix(inner in 0..40_usize, cols in 0..70_usize) {
        let weight = matrix(1, cols, inner, inner);
        let mut b = Vec::new();
        for k in 0..inner {
            b.extend((0..cols).map(|n| weight[n * inner + k]));
        }
        // Nothing remains of an earlier, larger matrix.
        let mut straight = pack(&vec![f32::NAN; 80 * 50], 80, 50, 80);
        f32::pack(&mut straight, Matrix::dense(&b, inner, cols));
        let mut transposed = Packed::default();
        transposed.pack_transposed(&weight, inner, cols);
        prop_assert_eq!(straight.panels.len(), transposed.panels.len());
        for (s, t) in straight.panels.iter().zip(&transposed.panels) {
            prop_assert_eq!(s.0, t.0);
        }
    }
}

#[test]
fn packing_in_pieces_equals_packing_at_once() {
    for (inner, cols) in [(0, 40), (3, 1), (5, 70), (MAX_DEPTH + 1, 33)] {
        let b = matrix(1, inner, cols, cols + 1);
        let whole = pack(&b, cols + 1, inner, cols);
        for n in 1..5 {
            let mut in_pieces = Packed::default();
            for piece in in_pieces.pieces(inner, cols, n).into_iter().flatten() {
                piece.pack(&b, cols + 1);
            }
            let numbers =
                |packed: &Packed| packed.panels.iter().map(|row| row.0).collect::<Vec<_>>();
            assert_eq!(
                numbers(&in_pieces),
                numbers(&whole),
                "{inner}×{cols} in {n}"
            );
        }
    }
}

#[test]
fn products_around_every_tile_edge_match_their_definition() {
    let edges = [0, 1, 2, 5, 6, 7, 8, 9, 15, 16, 17];
    let cols = [23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65];
    for rows in edges {
        for inner in [0, 1, 2] {
            for cols in edges.into_iter().chain(cols) {
                let sizes = Sizes {
                    rows,
                    inner,
                    cols,
                    gap: 1,
                };
                check_multiply(sizes);
                check_multiply_transposed(sizes);
            }
        }
    }
}

/// Large enough that every axis is split, with remainders, and that the left side of a gradient is
/// copied.
#[test]
fn large_products_match_their_definition() {
    let inner = 2 * MAX_DEPTH + 5;
    check_multiply(Sizes {
        rows: MAX_ROWS + 7,
        inner,
        cols: 53,
        gap: 1,
    });
    check_multiply_transposed(Sizes {
        rows: 101,
        inner: MAX_DEPTH + 1,
        cols: 261,
        gap: 1,
    });
}

/// A batch with a single position has no previous states, but its recurrent gradient must be 0.
#[test]
fn a_gradient_over_zero_rows_is_zero() {
    for rows in [95, 96, 97, 300] {
        check_multiply_transposed(Sizes {
            rows,
            inner: 0,
            cols: 261,
            gap: 0,
        });
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_a_batch() {
    const ROWS: usize = 300;
    let shapes = [
        (0, 5),
        (1, 16),
        (37, 53),
        (64, 192),
        (MAX_DEPTH + 1, 70),
        (1536, 24),
    ];
    for (inner, cols) in shapes {
        let a = matrix(1, ROWS, inner, inner);
        let packed = pack(&matrix(2, inner, cols, cols), cols, inner, cols);
        let product = |first: usize, rows: usize| {
            let mut c = vec![0.0; rows * cols];
            let left = Matrix::dense(&a[first * inner..], rows, inner);
            multiply(&mut c, cols, left, &packed, Epilogue::Replace);
            c.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        on_every_isa(|isa| {
            let alone: Vec<_> = (0..ROWS).flat_map(|row| product(row, 1)).collect();
            for rows in (2..=40).chain([128, ROWS - 1, ROWS]) {
                // Starting at another row changes the positions of the rows in their tiles.
                for first in [0, ROWS - rows] {
                    let expected = &alone[first * cols..][..rows * cols];
                    assert_eq!(
                        product(first, rows),
                        expected,
                        "{isa:?} {rows}×{inner}×{cols}"
                    );
                }
            }
        });
    }
}

/// Callers give each thread some rows of C, which are columns of D.
#[test]
fn a_gradient_computed_in_parts_has_the_same_bits() {
    for (d_cols, x_cols) in [(101, 53), (130, 256)] {
        let rows = MAX_DEPTH + 9;
        let d = matrix(1, rows, d_cols, d_cols);
        let packed = pack(&matrix(2, rows, x_cols, x_cols), x_cols, rows, x_cols);
        let mut scratch = Scratch::default();
        let mut gradient = |from: usize, to: usize| {
            let mut c = vec![0.0; (to - from) * x_cols];
            let d = Matrix::dense(&d, rows, d_cols).columns(from, to - from);
            multiply_transposed(&mut c, x_cols, d, &packed, Epilogue::Replace, &mut scratch);
            c.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        on_every_isa(|isa| {
            let whole = gradient(0, d_cols);
            for cut in [1, 7, 50, 100] {
                let parts = [gradient(0, cut), gradient(cut, d_cols)].concat();
                assert_eq!(parts, whole, "{isa:?} at {cut}");
            }
        });
    }
}

/// Both use fused multiply-add, in the same order.
#[test]
#[cfg(target_arch = "x86_64")]
fn avx512_has_the_same_bits_as_avx2() {
    let (rows, inner, cols) = (29, 1000, 117);
    let a = matrix(1, rows, inner, inner);
    let packed = pack(&matrix(2, inner, cols, cols), cols, inner, cols);
    let mut products = Vec::new();
    on_every_isa(|isa| {
        if isa != crate::simd::Isa::Portable {
            let mut c = vec![0.0; rows * cols];
            let left = Matrix::dense(&a, rows, inner);
            multiply(&mut c, cols, left, &packed, Epilogue::Replace);
            products.push(c);
        }
    });
    assert!(products.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn parts_cover_the_axis_in_order() {
    for (len, most) in [(0, 4), (1, 4), (4, 4), (5, 4), (9, 4), (1152, 768)] {
        let parts: Vec<_> = parts(len, most).collect();
        assert_eq!(parts.len(), len.div_ceil(most).max(1));
        assert!(parts.iter().all(|part| part.len() <= most), "{parts:?}");
        assert_eq!(
            parts.into_iter().flatten().collect::<Vec<_>>(),
            (0..len).collect::<Vec<_>>()
        );
    }
}

fn multiply_2_by_2(c: &mut [f32], a: &[f32], epilogue: Epilogue<'_, f32>) {
    let b = pack(&[0.0; 6], 2, 3, 2);
    multiply(c, 2, Matrix::dense(a, 2, 3), &b, epilogue);
}

#[test]
#[should_panic(expected = "A is too short")]
fn a_short_left_side_is_refused() {
    multiply_2_by_2(&mut [0.0; 4], &[0.0; 5], Epilogue::Replace);
}

#[test]
#[should_panic(expected = "C is too short")]
fn a_short_output_is_refused() {
    multiply_2_by_2(&mut [0.0; 3], &[0.0; 6], Epilogue::Replace);
}

#[test]
#[should_panic(expected = "the bias must have")]
fn a_short_bias_is_refused() {
    multiply_2_by_2(&mut [0.0; 4], &[0.0; 6], Epilogue::Bias(&[0.0]));
}

#[test]
fn a_linear_layer_multiplies_by_its_transposed_weight_and_adds_its_bias() {
    let weight = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [N=2, K=3]
    let mut packed = Packed::default();
    packed.pack_transposed(&weight, 3, 2);
    let mut c = [0.0; 2];
    let a = Matrix::dense(&[1.0, 0.0, -1.0], 1, 3);
    multiply(&mut c, 2, a, &packed, Epilogue::Bias(&[10.0, 20.0]));
    assert_eq!(c, [8.0, 18.0]);
}
