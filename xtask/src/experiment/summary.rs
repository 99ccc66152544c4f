//! Several seeds in a few numbers.

use serde::Serialize;

/// Figures of the same cell under several seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Runs that have the figure.
    pub(crate) count: usize,
    pub(crate) mean: f64,
    /// Sample standard deviation, with `count - 1` below the fraction; a single run has none.
    pub(crate) sd: Option<f64>,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Of at least one value.
    ///
    /// The squares are taken around the mean, in a second pass: Chan, Golub, LeVeque (1983),
    /// Algorithms for Computing the Sample Variance, The American Statistician 37(3), equation 1.1.
    pub(crate) fn new(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
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
    fn one_run_has_no_spread_and_none_no_summary() {
        let single = Summary::new(&[0.5]).unwrap();
        assert_eq!((single.mean, single.sd), (0.5, None));
        assert_eq!(Summary::new(&[]), None);
    }
}
