//! Activation functions that the compiler vectorizes: additions, multiplications and one division.
//!
//! | function | largest error, over all floats |
//! | --- | --- |
//! | [`tanh`] | 4.7e-7, absolute |
//! | [`sigmoid`] | 2.5e-7, absolute |
//! | [`exp`] | 8.4e-8, relative, where the result is a normal number |
//! | [`ln`] | 8.4e-8, relative |
//!
//! Infinities give the limits. NaN, and the logarithm of a negative number, give NaN. Far from zero,
//! `tanh` is exactly ±1 and `sigmoid` exactly 0 or 1; neither ever exceeds these limits. `tanh` is odd,
//! bit for bit. No multiplication is fused with an addition, so an element has the same bits on every
//! CPU, in the vector body of a loop and in its remainder.
//!
//! The scalar functions are meant for loops inside [`multiversion!`]; elsewhere they give the same
//! results, but take three times as long.

use crate::simd::multiversion;

/// Beyond this limit, the quotient in [`tanh`] is ±1.
const TANH_LIMIT: f32 = 7.905_311;

/// The hyperbolic tangent: the quotient of an odd and an even polynomial, as in Eigen.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let x = x.clamp(-TANH_LIMIT, TANH_LIMIT);
    let square = x * x;
    let numerator = polynomial(
        square,
        [
            4.893_524_6e-3,
            6.372_619_3e-4,
            1.485_722_4e-5,
            5.122_297_1e-8,
            -8.604_672e-11,
            2.000_188e-13,
            -2.760_768_5e-16,
        ],
    );
    let denominator = polynomial(
        square,
        [4.893_525e-3, 2.268_434_6e-3, 1.185_347_1e-4, 1.198_258_4e-6],
    );
    x * numerator / denominator
}

/// `1 / (1 + exp(-x))`, as `(1 + tanh(x / 2)) / 2`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    0.5 * tanh(0.5 * x) + 0.5
}

/// The exponential function: a power of two times a polynomial, as in Cephes.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // At and beyond these bounds, the result is 0 or infinite.
    let x = x.clamp(-104.0, 89.0);
    // Adding and subtracting 1.5 · 2^23 rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    // ln 2 in two parts: the product of `power` and the first part, which has nine bits, is exact.
    let rest = x - power * (355.0 / 512.0) + power * 2.121_944_4e-4;
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
    // 2^power in two factors, because it may be out of range when the result is not.
    let power = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .cast_signed();
    let half = power >> 1;
    mantissa * power_of_two(half) * power_of_two(power.wrapping_sub(half))
}

/// The natural logarithm: that of a power of two plus a polynomial around 1, as in Cephes.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // A subnormal number is first scaled to a normal one.
    const SHIFT: f32 = 8_388_608.0; // 2^23
    let is_small = x < f32::MIN_POSITIVE;
    let (scaled, shift) = if is_small {
        (x * SHIFT, -23.0)
    } else {
        (x, 0.0)
    };
    // x = 2^power · (1 + rest), with 1 + rest between √½ and √2.
    let bits = scaled.to_bits().cast_signed();
    let power = bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits().cast_signed()) >> 23;
    let rest = f32::from_bits(bits.wrapping_sub(power << 23).cast_unsigned()) - 1.0;
    let power = power as f32 + shift;
    let square = rest * rest;
    let series = polynomial(
        rest,
        [
            3.333_333e-1,
            -2.499_999_4e-1,
            2.000_071_5e-1,
            -1.666_805_8e-1,
            1.424_932_3e-1,
            -1.242_014_1e-1,
            1.167_699_9e-1,
            -1.151_461e-1,
            7.037_683_6e-2,
        ],
    );
    // ln 2 in two parts, as in `exp`.
    let small = series * rest * square + power * -2.121_944_4e-4 - 0.5 * square;
    let finite = rest + small + power * (355.0 / 512.0);
    if x > 0.0 && x < f32::INFINITY {
        finite
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else if x > 0.0 {
        f32::INFINITY
    } else {
        f32::NAN
    }
}

/// `2^power`, if it is a normal number.
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
    /// The hyperbolic tangent of every element, with an absolute error below 4.7e-7.
    pub fn tanh_in_place<T>(values: &mut [T]) {
        for value in values {
            *value = T::tanh(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_every_isa;

    multiversion! {
        fn sigmoid_in_place(values: &mut [f32]) {
            for value in values {
                *value = sigmoid(*value);
            }
        }

        fn exp_in_place(values: &mut [f32]) {
            for value in values {
                *value = exp(*value);
            }
        }

        fn ln_in_place(values: &mut [f32]) {
            for value in values {
                *value = ln(*value);
            }
        }
    }

    /// Floats of every sign and exponent, including subnormal numbers, infinities and NaN. The step is
    /// prime, so that the low bits vary, too.
    fn floats_of_every_magnitude() -> Vec<f32> {
        let mut values: Vec<f32> = (0..u32::MAX).step_by(4099).map(f32::from_bits).collect();
        values.extend([
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            0.0,
            -0.0,
            f32::MAX,
            f32::MIN,
        ]);
        values
    }

    /// A dense sample of the range where the functions are not flat.
    fn dense_floats() -> Vec<f32> {
        (-1_050_000..1_050_000).map(|i| i as f32 * 1e-4).collect()
    }

    #[track_caller]
    fn check(
        in_place: impl Fn(&mut [f32]),
        scalar: impl Fn(f32) -> f32,
        exact: impl Fn(f64) -> f64,
        error: impl Fn(f64, f64) -> f64,
        bound: f64,
    ) {
        for inputs in [floats_of_every_magnitude(), dense_floats()] {
            let expected: Vec<f32> = inputs.iter().map(|&x| scalar(x)).collect();
            for (&x, &y) in inputs.iter().zip(&expected) {
                let exact = exact(f64::from(x));
                assert_eq!(exact.is_nan(), y.is_nan(), "f({x}) = {y}");
                if !exact.is_nan() {
                    let off = error(f64::from(y), exact);
                    assert!(off <= bound, "f({x}) = {y} has an error of {off:e}");
                }
            }
            on_every_isa(|isa| {
                // The remainder of the loop gives the same bits as its vector body.
                let end = inputs.len();
                for start in [0, end - 61, end - 5] {
                    let mut values = inputs[start..].to_vec();
                    in_place(&mut values);
                    for (y, expected) in values.iter().zip(&expected[start..]) {
                        let same =
                            y.to_bits() == expected.to_bits() || y.is_nan() && expected.is_nan();
                        assert!(same, "{isa:?}: {y} is not {expected}");
                    }
                }
            });
        }
    }

    fn absolute(got: f64, exact: f64) -> f64 {
        (got - exact).abs()
    }

    /// The relative error of a normal result; a subnormal result may differ by one unit in the last
    /// place.
    fn relative(got: f64, exact: f64) -> f64 {
        const LAST_PLACE: f64 =
            1.0 / (1_u64 << 63) as f64 / (1_u64 << 63) as f64 / (1 << 23) as f64;
        let off = (got - exact).abs();
        let beyond = exact > f64::from(f32::MAX) && got == f64::INFINITY;
        let subnormal = exact.abs() < f64::from(f32::MIN_POSITIVE) && off <= LAST_PLACE;
        if beyond || subnormal || got == exact {
            0.0
        } else {
            off / exact.abs()
        }
    }

    #[test]
    fn tanh_is_accurate_and_has_the_same_bits_on_every_instruction_set() {
        check(tanh_in_place, tanh, f64::tanh, absolute, 4.7e-7);
    }

    #[test]
    fn sigmoid_is_accurate_and_has_the_same_bits_on_every_instruction_set() {
        check(
            sigmoid_in_place,
            sigmoid,
            |x| 1.0 / (1.0 + (-x).exp()),
            absolute,
            2.5e-7,
        );
    }

    #[test]
    fn exp_is_accurate_and_has_the_same_bits_on_every_instruction_set() {
        check(exp_in_place, exp, f64::exp, relative, 8.4e-8);
    }

    #[test]
    fn ln_is_accurate_and_has_the_same_bits_on_every_instruction_set() {
        check(ln_in_place, ln, f64::ln, relative, 8.4e-8);
    }

    #[test]
    fn tanh_is_odd_and_stays_within_its_limits() {
        for x in floats_of_every_magnitude()
            .into_iter()
            .chain(dense_floats())
        {
            if !x.is_nan() {
                assert_eq!(tanh(-x).to_bits(), (-tanh(x)).to_bits(), "tanh({x})");
                assert!(tanh(x).abs() <= 1.0, "tanh({x})");
                assert!((0.0..=1.0).contains(&sigmoid(x)), "sigmoid({x})");
            }
        }
    }

    #[test]
    fn limits_are_exact() {
        for far in [8.0, 100.0, f32::MAX, f32::INFINITY] {
            assert_eq!([tanh(far), tanh(-far)], [1.0, -1.0]);
            assert_eq!([sigmoid(2.0 * far), sigmoid(-2.0 * far)], [1.0, 0.0]);
        }
        assert_eq!([exp(88.8), exp(-104.0)], [f32::INFINITY, 0.0]);
        assert_eq!(
            [exp(f32::INFINITY), exp(f32::NEG_INFINITY)],
            [f32::INFINITY, 0.0]
        );
        assert_eq!(
            [ln(f32::INFINITY), ln(0.0)],
            [f32::INFINITY, f32::NEG_INFINITY]
        );
        assert_eq!([tanh(0.0), sigmoid(0.0), exp(0.0)], [0.0, 0.5, 1.0]);
        assert_eq!(ln(1.0), 0.0);
    }
}
