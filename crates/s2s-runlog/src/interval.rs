//! Confidence intervals of proportions.

/// The 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % Wilson score interval `(low, high)` of a proportion `share` over `n` independent samples;
/// `(0, 1)` for `n = 0`.
///
/// ```text
/// (p + z²/2n ± z √(p (1-p)/n + z²/4n²)) / (1 + z²/n)
/// ```
///
/// Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference, Journal of
/// the American Statistical Association 22(158). The interval assumes samples that are
/// either 0 or 1. For samples in `[0, 1]`, such as the token accuracy of a sequence, it is
/// conservative: their variance is at most p (1-p).
///
/// # Panics
/// If `n > 0` and `share` is NaN or outside `[0, 1]`.
pub fn wilson(share: f64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let n = n as f64;
    let (z2, scale) = (Z * Z, 1.0 + Z * Z / n);
    let center = (share + z2 / (2.0 * n)) / scale;
    let half_width = Z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / scale;
    // Rounding must not exclude the share itself, or leave [0, 1].
    let low = (center - half_width).clamp(0.0, share);
    let high = (center + half_width).clamp(share, 1.0);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::wilson;

    /// Newcombe (1998), Two-sided confidence intervals for the single proportion, Statistics in
    /// Medicine 17, table I, method 3: the score method without continuity correction.
    #[test]
    fn intervals_equal_published_ones() {
        for (right, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0000, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let found = wilson(f64::from(right) / f64::from(n), u64::try_from(n).unwrap());
            assert!((found.0 - low).abs() < 5e-5, "{found:?} for {right} of {n}");
            assert!(
                (found.1 - high).abs() < 5e-5,
                "{found:?} for {right} of {n}"
            );
        }
    }

    #[test]
    fn intervals_are_those_of_scipy() {
        // scipy 1.17.1: stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
        for (right, n, low, high) in [
            (0, 10, 0.0, 0.277_532_799_862_889_26),
            (7, 10, 0.396_778_147_461_145_26, 0.892_208_732_593_699),
            (1990, 2000, 0.990_820_304_050_058_2, 0.997_281_819_141_501_5),
            (64, 64, 0.943_375_940_207_194_6, 1.0),
        ] {
            let found = wilson(f64::from(right) / f64::from(n), u64::try_from(n).unwrap());
            assert!(
                (found.0 - low).abs() < 1e-14,
                "{found:?} for {right} of {n}"
            );
            assert!(
                (found.1 - high).abs() < 1e-14,
                "{found:?} for {right} of {n}"
            );
        }
    }

    #[test]
    fn intervals_contain_the_share_and_shrink_with_more_samples() {
        for share in [0.0, 0.1, 0.5, 0.999, 1.0] {
            let mut width = 1.0 + f64::EPSILON;
            for n in [0, 1, 2, 10, 1_000, 1_000_000_000] {
                let (low, high) = wilson(share, n);
                assert!(0.0 <= low && low <= share && share <= high && high <= 1.0);
                assert!(high - low < width, "{share} of {n}");
                width = high - low;
            }
        }
    }

    #[test]
    fn intervals_are_symmetric_in_success_and_failure() {
        let ((low, high), (low_wrong, high_wrong)) = (wilson(0.3, 40), wilson(0.7, 40));
        assert!((low - (1.0 - high_wrong)).abs() < 1e-15);
        assert!((high - (1.0 - low_wrong)).abs() < 1e-15);
    }
}
