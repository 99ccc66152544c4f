//! The 95 % confidence interval of a mean over seeds.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{bootstrap, mean, sd};

/// From this number of values on, the interval is bootstrapped; below it, resamples repeat too few
/// distinct values, and Student's t is used.
const BOOTSTRAP_FROM: usize = 10;

/// A 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How it was computed.
    pub method: IntervalMethod,
}

/// How an interval was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IntervalMethod {
    /// Student's t: assumes that the mean of the values is about normally distributed.
    T,
    /// The bias-corrected and accelerated bootstrap.
    Bca,
}

impl IntervalMethod {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::T => "t",
            Self::Bca => "bca",
        }
    }
}

/// The 95 % confidence interval of the mean: Student's t for fewer than ten values, else the BCa
/// bootstrap. `None` for fewer than two values, and for equal values, of which it would be a point and
/// say nothing about other seeds.
pub fn mean_interval(values: &[f64]) -> Option<Interval> {
    let (mean, sd) = (mean(values)?, sd(values)?);
    if values.iter().all(|value| *value == values[0]) {
        return None;
    }
    let count = values.len();
    if count >= BOOTSTRAP_FROM {
        let (low, high) = bootstrap::mean_interval(values)?;
        let method = IntervalMethod::Bca;
        return Some(Interval { low, high, method });
    }
    let t = StudentsT::new(0.0, 1.0, count as f64 - 1.0).ok()?;
    let half = t.inverse_cdf(0.975) * sd / (count as f64).sqrt();
    Some(Interval {
        low: mean - half,
        high: mean + half,
        method: IntervalMethod::T,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_the_t_interval_of_scipy() {
        // scipy 1.17.1: stats.t.interval(0.95, n - 1, np.mean(x), stats.sem(x))
        let found = mean_interval(&[0.9995, 0.9980, 1.0, 0.9875, 0.9930]).unwrap();
        assert!(
            (found.low - 0.989_009_231_590_780_6).abs() < 1e-9,
            "{found:?}"
        );
        assert!(
            (found.high - 1.002_190_768_409_219_7).abs() < 1e-9,
            "{found:?}"
        );
        assert_eq!(found.method, IntervalMethod::T);
    }

    #[test]
    fn ten_values_are_bootstrapped() {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(mean_interval(&values).unwrap().method, IntervalMethod::Bca);
        assert_eq!(
            mean_interval(&values[..9]).unwrap().method,
            IntervalMethod::T
        );
    }

    #[test]
    fn one_value_and_equal_values_have_no_interval() {
        assert_eq!(mean_interval(&[]), None);
        assert_eq!(mean_interval(&[0.5]), None);
        assert_eq!(mean_interval(&[1.0; 5]), None);
        assert_eq!(mean_interval(&[1.0; 12]), None);
    }
}
