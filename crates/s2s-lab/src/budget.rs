//! Limits on what an experiment may cost.

use serde::Deserialize;

/// The `[budget]` of an experiment file. Once it is spent, no further run starts; runs that have started
/// are finished. All cells get their first seed before any gets its second.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Number of runs; no limit if absent.
    pub runs: Option<usize>,
    /// Wall time of training, validation and evaluation by length, summed over all runs of the experiment: a
    /// number with `s`, `min` or `h`, such as `30min`. No limit if absent.
    pub time: Option<String>,
}

impl Budget {
    pub(crate) fn is_limited(&self) -> bool {
        self.runs.is_some() || self.time.is_some()
    }

    /// Whether no further run may start after these.
    pub(crate) fn is_spent(&self, n_runs: usize, secs: f64) -> bool {
        let secs_limit = self.time.as_deref().and_then(parse_secs);
        self.runs.is_some_and(|limit| n_runs >= limit)
            || secs_limit.is_some_and(|limit| secs >= limit)
    }

    pub(crate) fn problem(&self) -> Option<String> {
        let time = self.time.as_deref()?;
        match parse_secs(time) {
            Some(_) => None,
            None => Some(format!(
                "[budget] time: expected a number with s, min or h, such as \"90min\", got {time:?}"
            )),
        }
    }
}

fn parse_secs(text: &str) -> Option<f64> {
    let units = [("min", 60.0), ("h", 3600.0), ("s", 1.0)];
    units.iter().find_map(|(unit, secs)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        (number.is_finite() && number > 0.0).then_some(number * secs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, secs) in [("90min", 5400.0), ("2 h", 7200.0), ("1.5s", 1.5)] {
            assert_eq!(parse_secs(text), Some(secs));
        }
        for text in ["90", "h", "-1h", "2days", "infs"] {
            assert_eq!(parse_secs(text), None, "{text}");
        }
    }

    #[test]
    fn a_budget_is_spent_when_either_limit_is_reached() {
        let budget: Budget = toml::from_str("runs = 3\ntime = \"10s\"").unwrap();
        assert!(!budget.is_spent(2, 9.9));
        assert!(budget.is_spent(3, 0.0));
        assert!(budget.is_spent(0, 10.0));
        assert!(!Budget::default().is_spent(1000, 1e9));
    }
}
