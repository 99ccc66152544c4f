//! Sums and maxima across elements, in a fixed order that the compiler can vectorize.

use std::ops::Range;

use crate::real::Real;

/// The number of partial sums: the elements of one or a few vector registers.
const LANES: usize = 16;

/// Numbers that [`long_sum`] adds in their own precision, a multiple of [`LANES`].
const BLOCK: usize = 1024;

/// `Σ_i f(a[i], b[i])`: partial sums, then a pairwise sum of those, then the remaining elements.
#[inline(always)]
pub(crate) fn sum_of<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    let mut sum = total(lanes);
    for (&a, &b) in rest {
        sum += f(a, b);
    }
    sum
}

/// `Σ_i f(a[i], b[i], c[i])`, in the order of [`sum_of`].
#[inline(always)]
pub(crate) fn sum_of_three<T: Real>(a: &[T], b: &[T], c: &[T], f: impl Fn(T, T, T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let c_chunks = c.chunks_exact(LANES);
    let rest = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .zip(c_chunks.remainder());
    for ((a, b), c) in a_chunks.zip(b_chunks).zip(c_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane], c[lane]);
        }
    }
    let mut sum = total(lanes);
    for ((&a, &b), &c) in rest {
        sum += f(a, b, c);
    }
    sum
}

/// `Σ_i a[i] b[i]`
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    sum_of(a, b, |a, b| a * b)
}

/// `Σ_i a[i]`
#[inline(always)]
pub(crate) fn sum<T: Real>(a: &[T]) -> T {
    sum_of(a, a, |a, _| a)
}

/// `Σ_i a[i]`, with the sums of blocks added in f64, so that the rounding error does not grow with the
/// number of elements.
#[inline(always)]
pub(crate) fn long_sum<T: Real>(a: &[T]) -> f64 {
    a.chunks(BLOCK).map(|block| sum(block).to_f64()).sum()
}

/// [`long_sum`] of numbers that are 0 outside of `range`, without reading those far from it. The
/// bits are the same: each number is added to the same lane of the same block, and the rest adds 0.
#[inline(always)]
pub(crate) fn long_sum_within<T: Real>(a: &[T], range: Range<usize>) -> f64 {
    let first = range.start / BLOCK * BLOCK;
    let end = range.end.next_multiple_of(LANES).min(a.len());
    0.0 + long_sum(&a[first.min(end)..end]) // an empty sum is -0
}

#[inline(always)]
fn total<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            let other = lanes[lane + half];
            lanes[lane] += other;
        }
        half /= 2;
    }
    lanes[0]
}

/// The maximum, ignoring NaN; -∞ if there are no elements.
#[inline(always)]
pub(crate) fn max<T: Real>(a: &[T]) -> T {
    let larger = |max: T, x: T| if x > max { x } else { max };
    let mut lanes = [T::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(T::NEG_INFINITY, |max, &x| larger(max, x))
}

/// The index of the first maximum; NaN is none, and 0 is the index if there is no other element.
#[inline(always)]
pub fn argmax<T: Real>(a: &[T]) -> usize {
    let mut best = (0, T::NEG_INFINITY);
    for (i, &x) in a.iter().enumerate() {
        if x > best.1 {
            best = (i, x);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_include_every_element() {
        for n in [0, 1, 15, 16, 17, 40] {
            let a: Vec<f64> = (0..n).map(f64::from).collect();
            assert_eq!(sum(&a), f64::from(n * (n - 1) / 2));
            assert_eq!(dot(&a, &vec![2.0; a.len()]), f64::from(n * (n - 1)));
        }
    }

    #[test]
    fn the_rounding_error_of_a_long_sum_is_small() {
        for n in [1000, 1024, 1025, 40_000] {
            let exact = f64::from(0.1_f32) * f64::from(n);
            let error = (long_sum(&vec![0.1_f32; n as usize]) - exact).abs() / exact;
            assert!(error < 1e-6, "{error:e} at {n}");
        }
    }

    #[test]
    fn a_sum_within_a_range_has_the_bits_of_the_whole() {
        for n in [1, 15, 16, 17, 1023, 1024, 1039, 2047, 2050, 3077] {
            for start in [0, 1, 14, 16, 31, 1000, 1023, 1024, 2040, 2048, 3071] {
                for width in [0, 1, 2, 3, 17, 1030] {
                    let range = start.min(n)..(start + width).min(n);
                    let mut a = vec![0.0_f32; n];
                    for (index, x) in a[range.clone()].iter_mut().enumerate() {
                        *x = 0.1 / (1.0 + index as f32);
                    }
                    let bits = long_sum_within(&a, range.clone()).to_bits();
                    assert_eq!(bits, long_sum(&a).to_bits(), "{range:?} of {n}");
                }
            }
        }
    }

    #[test]
    fn argmax_is_the_first_maximum_and_max_ignores_nan() {
        assert_eq!(argmax(&[0.0, 3.0, 3.0, -1.0]), 1);
        assert_eq!(argmax::<f32>(&[]), 0);
        assert_eq!(max(&[-2.0, -1.0]), -1.0);
        assert_eq!(max::<f32>(&[]), f32::NEG_INFINITY);
        for index in 0..40 {
            let mut numbers = [-1.0; 40];
            numbers[index] = 1.0;
            numbers[39 - index] = f32::NAN;
            assert_eq!(max(&numbers), 1.0);
        }
    }
}
