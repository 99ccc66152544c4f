//! Activations that the compiler vectorizes: a few additions, multiplications and one division.
//!
//! | function | largest error, over all floats |
//! | --- | --- |
//! | [`tanh`] | TODO absolute |
//! | [`sigmoid`] | TODO absolute |
//! | [`exp`] | TODO relative, where the result is a normal number |
//!
//! Infinities give the limits, NaN gives NaN, and far from zero `tanh` is exactly ±1 and `sigmoid`
//! exactly 0 or 1. No multiplication is fused with an addition, so an element has the same bits on
//! every processor, in the vector body of a loop and in its rest.
//!
//! The scalar functions are for loops in a [`multiversion!`](crate::simd) function.

use crate::simd::multiversion;

/// Beyond this, the quotient below is ±1.
const TANH_LIMIT: f32 = 7.905_311;

/// The hyperbolic tangent: an odd polynomial over an even one, as in Eigen.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let x = x.clamp(-TANH_LIMIT, TANH_LIMIT);
    let square = x * x;
    let numerator = polynomial(
        square,
        [
            4.893_524_6e-3,
            6.372_619_3e-4,
            1.485_722_4e-5,
            5.122_297_1e-8,
            -8.604_671_5e-11,
            2.000_187_9e-13,
            -2.760_768_5e-16,
        ],
    );
    let denominator = polynomial(
        square,
        [
            4.893_525_2e-3,
            2.268_434_6e-3,
            1.185_347_1e-4,
            1.198_258_4e-6,
        ],
    );
    x * numerator / denominator
}

/// `1 / (1 + exp(-x))`, as `(1 + tanh(x / 2)) / 2`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    0.5 * tanh(0.5 * x) + 0.5
}

/// The exponential: a power of two times a polynomial, as in Cephes.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or infinite, as it is on them.
    let x = x.clamp(-104.0, 89.0);
    // Adding and subtracting 1.5 · 2^23 rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    // ln 2 in two parts: `power` times the first, of ten bits, is exact.
    let rest = x - power * 0.693_359_375 + power * 2.121_944_4e-4;
    let series = polynomial(
        rest,
        [
            0.5,
            1.666_666_5e-1,
            4.166_579_6e-2,
            8.333_452e-3,
            1.398_199_9e-3,
            1.987_569_1e-4,
        ],
    );
    let mantissa = series * rest * rest + rest + 1.0;
    // 2^power in two factors, for it may lie beyond the normal numbers when the result does not.
    let power = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .cast_signed();
    let half = power >> 1;
    mantissa * power_of_two(half) * power_of_two(power.wrapping_sub(half))
}

/// `2^power`, for powers of normal numbers.
#[inline(always)]
fn power_of_two(power: i32) -> f32 {
    f32::from_bits((power.wrapping_add(127) << 23).cast_unsigned())
}

/// `c[0] + c[1]·x + c[2]·x² + …`
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = sum * x + coefficients[i];
    }
    sum
}

multiversion! {
    /// [`tanh`] of every element.
    pub fn tanh_in_place(values: &mut [f32]) {
        for value in values {
            *value = tanh(*value);
        }
    }

    /// [`sigmoid`] of every element.
    pub fn sigmoid_in_place(values: &mut [f32]) {
        for value in values {
            *value = sigmoid(*value);
        }
    }

    /// [`exp`] of every element.
    pub fn exp_in_place(values: &mut [f32]) {
        for value in values {
            *value = exp(*value);
        }
    }
}
