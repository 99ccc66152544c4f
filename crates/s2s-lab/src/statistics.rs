//! Means, medians, spreads and percentages.
//!
//! The Wilson interval is [`s2s_runlog::wilson`]: the records of an evaluation by length contain it,
//! and whoever writes these records cannot depend on this crate.

use serde::Serialize;

/// Statistics of one value over several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of values.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (denominator `count - 1`); absent for a single value.
    pub sd: Option<f64>,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Summary {
    /// The statistics of at least one value, or `None`.
    ///
    /// The squared deviations are summed in a second pass: Chan, Golub, LeVeque (1983), Algorithms
    /// for Computing the Sample Variance, The American Statistician 37(3), equation 1.1.
    pub fn new(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mean = mean(values)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            count,
            mean,
            sd: (count > 1).then(|| (squares / (count as f64 - 1.0)).sqrt()),
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

/// The median of at least one value, or `None`: of an even number, the midpoint of the middle two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// A share as a percentage with two decimals and the sign: `99.50 %`. See [`percentage`].
pub fn percent(share: f64) -> String {
    format!("{} %", percentage(share, 2))
}

/// A share as a percentage without the sign. Rounding never turns a share below 1 into 100.
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
    fn only_a_share_of_one_is_100_percent() {
        assert_eq!(percent(1.0), "100.00 %");
        assert_eq!(percent(0.999_99), "99.99 %");
        assert_eq!(percent(0.5), "50.00 %");
        assert_eq!(percentage(0.9999, 1), "99.9");
        assert_eq!(percentage(0.9999, 0), "99");
    }
}
