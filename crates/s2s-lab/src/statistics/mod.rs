//! Statistics over seeds: means, medians, intervals, tests and effect sizes.
//!
//! A seed is one draw from the distribution of results of a configuration, so everything here is over
//! runs, never over the sequences of several runs together. Results depend on the values alone, not on
//! their order: samples are sorted before they are resampled, and the generators are seeded.
//!
//! ```
//! use s2s_lab::statistics::{Summary, paired_test};
//!
//! let (wide, narrow) = ([0.98, 0.99, 0.97, 0.99, 0.98], [0.95, 0.97, 0.96, 0.96, 0.97]);
//! let summary = Summary::new(&wide).expect("there are values");
//! assert_eq!((summary.count, summary.median), (5, 0.98));
//! let differences: Vec<f64> = wide.iter().zip(&narrow).map(|(a, b)| a - b).collect();
//! let test = paired_test(&differences).expect("there are pairs");
//! assert_eq!((test.p, test.is_exact), (0.0625, true)); // 2 of 32 assignments of signs
//! ```
//!
//! The Wilson interval of a proportion is [`s2s_runlog::wilson`]: the records of an evaluation by length
//! contain it, and whoever writes these records cannot depend on this crate.

mod bootstrap;
mod effect;
mod exponent;
mod holm;
mod interval;
mod permutation;

pub use effect::paired_effect;
pub use exponent::exponent;
pub use holm::holm;
pub use interval::{Interval, IntervalMethod, mean_interval};
pub use permutation::{EXACT_PAIRS, PairedTest, paired_test, smallest_p};

use serde::Serialize;

/// Statistics of one value over several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of values.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (denominator `count - 1`); `None` for a single value.
    pub sd: Option<f64>,
    /// 95 % confidence interval of the mean; see [`mean_interval`] for when it is `None`.
    pub interval: Option<Interval>,
    /// Median; of an even number of values, the midpoint of the middle two.
    pub median: f64,
    /// Interquartile mean, see [`interquartile_mean`].
    pub iqm: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Summary {
    /// The statistics of at least one value, or `None`.
    pub fn new(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mean = mean(values)?;
        Some(Self {
            count,
            mean,
            sd: sd(values),
            interval: mean_interval(values),
            median: median(values)?,
            iqm: interquartile_mean(values)?,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// The arithmetic mean of at least one value, or `None`.
pub fn mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

/// The sample standard deviation (denominator n - 1) of at least two values, or `None`.
///
/// The squared deviations are summed in a second pass: Chan, Golub, LeVeque (1983), Algorithms for
/// Computing the Sample Variance, The American Statistician 37(3), equation 1.1.
pub fn sd(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let count = values.len();
    (count > 1).then(|| (squares / (count as f64 - 1.0)).sqrt())
}

/// The mean of the middle half of at least one value, or `None`: the lowest and the highest quarter,
/// rounded down to whole values, do not count. Of fewer than four values it is the mean.
///
/// Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical Precipice,
/// arXiv:2108.13264, section 4.3.
pub fn interquartile_mean(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let cut = sorted.len() / 4;
    mean(&sorted[cut..sorted.len() - cut])
}

/// The median of at least one value, or `None`: of an even number, the midpoint of the middle two.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A share in `[0, 1]` as a percentage with two decimals and the sign: `99.50 %`. See [`percentage`].
pub fn percent(share: f64) -> String {
    format!("{} %", percentage(share, 2))
}

/// A share in `[0, 1]` as a percentage without the sign: `99.5` for 0.995 and one decimal. Rounding never
/// turns a share below 1 into 100.
pub fn percentage(share: f64, decimals: usize) -> String {
    let percentage = 100.0 * share;
    let shown = match share < 1.0 {
        true => percentage.min(100.0 - 0.1_f64.powi(decimals as i32)),
        false => percentage,
    };
    format!("{shown:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_the_sample_standard_deviation() {
        let summary = Summary::new(&[2.0, 4.0, 9.0]).unwrap();
        assert_eq!((summary.count, summary.mean), (3, 5.0));
        assert_eq!(summary.sd, Some(13_f64.sqrt())); // (9 + 1 + 16) / 2
        assert_eq!((summary.min, summary.max), (2.0, 9.0));
    }

    #[test]
    fn values_far_from_zero_keep_their_spread() {
        let summary = Summary::new(&[1e9, 1e9 + 1.0, 1e9 + 2.0]).unwrap();
        assert_eq!(summary.sd, Some(1.0));
    }

    #[test]
    fn one_value_has_no_spread_and_no_values_have_no_statistics() {
        let single = Summary::new(&[0.5]).unwrap();
        assert_eq!((single.mean, single.sd), (0.5, None));
        assert_eq!(Summary::new(&[]), None);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_median_of_an_even_number_is_the_midpoint_of_two_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[1.0]), Some(1.0));
    }

    #[test]
    fn the_interquartile_mean_is_that_of_scipy() {
        // scipy 1.17.1: scipy.stats.trim_mean(values, 0.25)
        let twelve = [
            0.91, 0.85, 0.97, 0.99, 0.62, 0.88, 0.93, 0.95, 0.90, 0.40, 0.96, 0.98,
        ];
        let five = [0.9995, 0.9980, 1.0, 0.9875, 0.9930];
        for (values, expected) in [
            (&twelve[..], 0.921_666_666_666_666_7),
            (&twelve[..10], 0.903_333_333_333_333_3),
            (&five[..], 0.996_833_333_333_333_3),
            (&[3.0, 1.0, 2.0][..], 2.0),
        ] {
            let found = interquartile_mean(values).unwrap();
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
        assert_eq!(interquartile_mean(&[]), None);
    }

    #[test]
    fn mean_spread_and_median_are_those_of_numpy() {
        // numpy 2.4.6: np.mean(x), np.std(x, ddof=1), np.median(x)
        let twelve = [
            0.91, 0.85, 0.97, 0.99, 0.62, 0.88, 0.93, 0.95, 0.90, 0.40, 0.96, 0.98,
        ];
        let five = [0.9995, 0.9980, 1.0, 0.9875, 0.9930];
        for (values, expected) in [
            (
                &twelve[..],
                [0.861_666_666_666_666_7, 0.175_852_899_959_717_53, 0.92],
            ),
            (&five[..], [0.995_6, 0.005_308_012_810_836_08, 0.998]),
        ] {
            let found = Summary::new(values).unwrap();
            let found = [found.mean, found.sd.unwrap(), found.median];
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-15, "{found} {expected}");
            }
        }
    }

    #[test]
    fn only_a_share_of_one_is_100_percent() {
        assert_eq!(percent(1.0), "100.00 %");
        assert_eq!(percent(0.999_99), "99.99 %");
        assert_eq!(percent(0.5), "50.00 %");
        assert_eq!(percentage(0.9999, 1), "99.9");
        assert_eq!(percentage(0.9999, 0), "99");
    }
}
