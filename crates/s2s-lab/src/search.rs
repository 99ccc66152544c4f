//! Cells that are drawn at random.
//!
//! ```text
//! [search]
//! samples = 20                                          number of cells
//! seed = 0
//! [search.space]
//! train.learning_rate = { log_uniform = [1e-4, 1e-2] }
//! train.dropout = { uniform = [0.0, 0.5] }
//! model.hidden = { choice = [32, 64] }
//! ```

use std::collections::BTreeSet;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::settings::{Settings, flatten, number};

/// Draws for each sample before the space counts as too small.
const MAX_DRAWS: usize = 100;

/// The `[search]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    samples: usize,
    #[serde(default)]
    seed: u64,
    space: Table,
}

enum Range {
    Uniform(Value, Value),
    LogUniform(Value, Value),
    Choice(Vec<Value>),
}

impl Search {
    /// Different points of the space. A value depends on the seed, its key and the number of its draw
    /// alone, so more samples or another key do not change the other values.
    ///
    /// # Errors
    /// With the reason, if the table is not valid.
    pub(crate) fn points(&self, max: usize) -> Result<Vec<Settings>, String> {
        let space = self.ranges()?;
        if self.samples == 0 || self.samples > max {
            let samples = self.samples;
            return Err(format!(
                "[search] samples: expected 1 to {max}, got {samples}"
            ));
        }
        let (mut points, mut seen) = (Vec::new(), BTreeSet::new());
        for draw in 0..self.samples.saturating_mul(MAX_DRAWS) {
            let values = space.iter().map(|(key, range)| {
                let value = range.at(self.share(key, draw));
                (key.clone(), value)
            });
            let point: Settings = values.collect();
            if seen.insert(format!("{point:?}")) {
                points.push(point);
            }
            if points.len() == self.samples {
                return Ok(points);
            }
        }
        Err(format!(
            "[search] samples: the space has fewer than {} different points; {} were found",
            self.samples,
            points.len()
        ))
    }

    fn ranges(&self) -> Result<Vec<(String, Range)>, String> {
        let ranges = flatten(&self.space).into_iter();
        let ranges = ranges.map(|(key, value)| range(&key, value));
        let ranges: Vec<(String, Range)> = ranges.collect::<Result<_, _>>()?;
        match ranges.is_empty() {
            true => Err("[search.space] has no key".to_owned()),
            false => Ok(ranges),
        }
    }

    /// A number in [0, 1).
    fn share(&self, key: &str, draw: usize) -> f64 {
        let hash = Sha256::digest(format!("{} {key} {draw}", self.seed));
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The range of a key, which `flatten` joined with its kind.
fn range(path: &str, value: Value) -> Result<(String, Range), String> {
    let expected = || {
        format!(
            "[search.space] {path}: expected {{ uniform = [low, high] }}, \
             {{ log_uniform = [low, high] }} or {{ choice = [...] }}"
        )
    };
    let (key, kind) = path.rsplit_once('.').ok_or_else(expected)?;
    let Value::Array(values) = value else {
        return Err(expected());
    };
    let bounds = |least: f64| match &values[..] {
        [low, high] => match (number(low), number(high)) {
            (Some(a), Some(b)) if a < b && a > least && b.is_finite() => {
                Ok((low.clone(), high.clone()))
            }
            _ => Err(format!(
                "[search.space] {path}: expected low < high, got {low} and {high}"
            )),
        },
        _ => Err(expected()),
    };
    let range = match kind {
        "uniform" => bounds(f64::NEG_INFINITY).map(|(low, high)| Range::Uniform(low, high))?,
        "log_uniform" => bounds(0.0)
            .map(|(low, high)| Range::LogUniform(low, high))
            .map_err(|problem| format!("{problem}; both must be above 0"))?,
        "choice" if !values.is_empty() => Range::Choice(values),
        _ => return Err(expected()),
    };
    match key {
        "seed" => Err("[search.space] seed: use `seeds` instead".to_owned()),
        key => Ok((key.to_owned(), range)),
    }
}

impl Range {
    /// The value at a share of the range. Whole bounds give whole numbers, others three digits.
    fn at(&self, share: f64) -> Value {
        match self {
            Self::Choice(values) => {
                let index = (share * values.len() as f64) as usize;
                values[index.min(values.len() - 1)].clone()
            }
            Self::Uniform(Value::Integer(low), Value::Integer(high)) => {
                let width = (high - low + 1) as f64;
                Value::Integer((low + (share * width) as i64).min(*high))
            }
            Self::Uniform(low, high) => {
                let (low, high) = ends(low, high);
                Value::Float(rounded(low + share * (high - low)).clamp(low, high))
            }
            Self::LogUniform(low, high) => {
                let (a, b) = ends(low, high);
                let value = (a.ln() + share * (b.ln() - a.ln())).exp();
                match (low, high) {
                    (Value::Integer(low), Value::Integer(high)) => {
                        Value::Integer((value.round() as i64).clamp(*low, *high))
                    }
                    _ => Value::Float(rounded(value).clamp(a, b)),
                }
            }
        }
    }
}

fn ends(low: &Value, high: &Value) -> (f64, f64) {
    (number(low).unwrap_or(0.0), number(high).unwrap_or(0.0))
}

/// Three significant digits, so that names are short.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Result<Vec<Settings>, String> {
        let search: Search = toml::from_str(text).unwrap();
        search.points(1000)
    }

    const SPACE: &str = "[space]\nrate = { log_uniform = [1e-4, 1e-1] }\n\
        width = { uniform = [1, 4] }\nmodel.kind = { choice = [\"a\", \"b\"] }\n";

    #[test]
    fn samples_cover_their_ranges() {
        let points = points(&format!("samples = 200\n{SPACE}")).unwrap();
        assert_eq!(points.len(), 200);
        let rates = points.iter().map(|point| point["rate"].as_float().unwrap());
        let rates: Vec<f64> = rates.collect();
        assert!(rates.iter().all(|rate| (1e-4..=1e-1).contains(rate)));
        // Half of a logarithmic range lies below its geometric mean; the standard deviation of the
        // count is 7.
        let n_low = rates
            .iter()
            .filter(|rate| **rate < 10_f64.powf(-2.5))
            .count();
        assert!((70..=130).contains(&n_low), "{n_low}");
        let widths: BTreeSet<i64> = points
            .iter()
            .map(|p| p["width"].as_integer().unwrap())
            .collect();
        assert_eq!(widths, BTreeSet::from([1, 2, 3, 4]));
    }

    #[test]
    fn more_samples_or_keys_do_not_change_the_others() {
        let few = points(&format!("samples = 5\n{SPACE}")).unwrap();
        let many = points(&format!(
            "samples = 9\n{SPACE}other = {{ uniform = [0.0, 1.0] }}\n"
        ))
        .unwrap();
        for (a, b) in few.iter().zip(&many) {
            assert!(a.iter().all(|(key, value)| b[key] == *value));
        }
        let other = points(&format!("samples = 5\nseed = 1\n{SPACE}")).unwrap();
        assert_ne!(few, other);
    }

    #[test]
    fn invalid_spaces_are_refused() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let problem = points(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        check("samples = 2\n[space]", "has no key");
        check(
            "samples = 0\n[space]\nx = { choice = [1] }",
            "expected 1 to 1000, got 0",
        );
        check(
            "samples = 3\n[space]\nx = { choice = [1, 2] }",
            "fewer than 3 different points; 2",
        );
        check(
            "samples = 1\n[space]\nx = { uniform = [2, 1] }",
            "expected low < high, got 2 and 1",
        );
        check(
            "samples = 1\n[space]\nx = { log_uniform = [0.0, 1.0] }",
            "above 0",
        );
        check(
            "samples = 1\n[space]\nx = [1, 2]",
            "expected { uniform = [low, high] }",
        );
        check(
            "samples = 1\n[space]\nseed = { choice = [1] }",
            "use `seeds` instead",
        );
    }
}
