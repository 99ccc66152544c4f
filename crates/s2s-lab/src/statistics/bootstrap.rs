//! The bias-corrected and accelerated (BCa) bootstrap of a mean.
//!
//! Efron, Tibshirani (1993), An Introduction to the Bootstrap, section 14.3.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

use super::{mean, sorted};

/// Enough for ends that move by about a hundredth of the interval from one seed to another.
const RESAMPLES: usize = 100_000;

/// Of the generator that draws the resamples.
const SEED: u64 = 0;

/// The ends of the 95 % interval; `None` if the values are all equal or fewer than two.
pub(super) fn mean_interval(values: &[f64]) -> Option<(f64, f64)> {
    let values = sorted(values);
    let means = sorted(&resampled_means(&values));
    let observed = mean(&values)?;
    let normal = Normal::standard();
    // The bias: the share of resamples below the observed mean, where equal ones count half.
    let n_below = means.iter().filter(|mean| **mean < observed).count();
    let n_up_to = means.iter().filter(|mean| **mean <= observed).count();
    let share = (n_below + n_up_to) as f64 / (2 * means.len()) as f64;
    let bias = normal.inverse_cdf(share);
    let acceleration = acceleration(&values)?;
    let end = |z: f64| {
        let shifted = bias + z;
        let level = normal.cdf(bias + shifted / (1.0 - acceleration * shifted));
        percentile(&means, level)
    };
    let z = normal.inverse_cdf(0.975);
    let (low, high) = (end(-z), end(z));
    (low.is_finite() && high.is_finite()).then_some((low, high))
}

fn resampled_means(values: &[f64]) -> Vec<f64> {
    let mut generator = ChaCha8Rng::seed_from_u64(SEED);
    let count = values.len();
    let resample = |_| {
        let sum: f64 = (0..count)
            .map(|_| values[generator.random_range(0..count)])
            .sum();
        sum / count as f64
    };
    (0..RESAMPLES).map(resample).collect()
}

/// From the means without one value each: how fast the standard error changes with the mean.
fn acceleration(values: &[f64]) -> Option<f64> {
    let (total, count) = (values.iter().sum::<f64>(), values.len() as f64);
    let without: Vec<f64> = values
        .iter()
        .map(|value| (total - value) / (count - 1.0))
        .collect();
    let center = mean(&without)?;
    let power = |exponent| {
        without
            .iter()
            .map(|x| (center - x).powi(exponent))
            .sum::<f64>()
    };
    let squares = power(2);
    (squares > 0.0).then(|| power(3) / (6.0 * squares.powf(1.5)))
}

/// The value at a share of a sorted sample, interpolated.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let position = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let weight = position - below as f64;
    sorted[below] * (1.0 - weight) + sorted[above] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_scipy() {
        // scipy 1.17.1: stats.bootstrap((x,), np.mean, method="BCa", n_resamples=2_000_000)
        let twelve = [
            0.91, 0.85, 0.97, 0.99, 0.62, 0.88, 0.93, 0.95, 0.90, 0.40, 0.96, 0.98,
        ];
        for (values, low, high) in [
            (&twelve[..], 0.715_833, 0.930_833),
            (&twelve[..10], 0.677, 0.921),
        ] {
            let found = mean_interval(values).unwrap();
            let tolerance = 0.02 * (high - low); // 100,000 resamples, not two million
            assert!((found.0 - low).abs() < tolerance, "{found:?} {low}");
            assert!((found.1 - high).abs() < tolerance, "{found:?} {high}");
        }
    }

    #[test]
    fn the_order_of_the_values_does_not_matter() {
        let values = [0.3, 0.9, 0.1, 0.5, 0.7, 0.2, 0.8, 0.4, 0.6, 0.95];
        let mut reversed = values;
        reversed.reverse();
        assert_eq!(mean_interval(&values), mean_interval(&reversed));
    }
}
