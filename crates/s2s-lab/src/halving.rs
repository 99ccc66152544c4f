//! Successive halving: all cells train briefly, and only the best continue.

use serde::Deserialize;
use toml::Value;

use crate::measure::Curve;
use crate::settings::Settings;

/// The configuration keys that the extension of a run changes.
pub(crate) const CHANGED_KEYS: [&str; 3] = [
    "train.max_steps",
    "train.schedule.steps",
    "train.teacher_forcing.steps",
];

/// The `[halving]` table: all cells train for the first number of steps. Of these, one in `keep` is
/// extended to the second number, and so on. An extended run equals one that was extended by hand with
/// `s2s resume --set train.max_steps=N --keep-schedule`. A schedule that spans the whole run spans the last
/// number of steps from the start, so that it does not end with the first.
///
/// Jamieson, Talwalkar (2016), Non-stochastic Best Arm Identification and Hyperparameter Optimization.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halving {
    /// Numbers of optimizer steps, at least two, rising.
    pub steps: Vec<u64>,
    /// One in so many cells is kept, rounded up; 3 by default, at least 2.
    #[serde(default = "default_keep")]
    pub keep: usize,
    /// What decides: the best value that each run has reached (the lowest loss or the highest share), as the
    /// mean over the seeds of a cell. The validation loss by default.
    #[serde(default = "default_curve")]
    pub curve: Curve,
}

fn default_keep() -> usize {
    3
}

fn default_curve() -> Curve {
    Curve::ValLoss
}

impl Halving {
    pub(crate) fn problem(&self) -> Option<String> {
        let is_rising = self.steps.windows(2).all(|pair| pair[0] < pair[1]);
        if self.steps.len() < 2 || self.steps[0] == 0 || !is_rising {
            let steps = &self.steps;
            return Some(format!(
                "[halving] steps: expected at least two rising numbers, got {steps:?}"
            ));
        }
        (self.keep < 2).then(|| format!("[halving] keep: expected at least 2, got {}", self.keep))
    }

    /// The changes that all cells have.
    pub(crate) fn sets(&self) -> [String; 2] {
        let first = self.steps.first().copied().unwrap_or_default();
        [
            "train.epochs=0".to_owned(),
            format!("train.max_steps={first}"),
        ]
    }

    /// The changes to a cell with this configuration whose schedules would span the first number of steps.
    pub(crate) fn schedules(&self, settings: &Settings) -> Vec<String> {
        let last = self.steps.last().copied().unwrap_or_default();
        let is_open = |table: &str, key: &str, value: &str| {
            let kind = settings.get(&format!("{table}.{key}"));
            let steps = settings.get(&format!("{table}.steps"));
            let has_end = steps.and_then(Value::as_integer).unwrap_or(0) != 0;
            kind.and_then(Value::as_str) == Some(value) && !has_end
        };
        let tables = [
            ("train.schedule", "kind", "cosine"),
            ("train.teacher_forcing", "schedule", "linear"),
        ];
        let open = tables
            .iter()
            .filter(|(table, key, value)| is_open(table, key, value));
        open.map(|(table, ..)| format!("{table}.steps={last}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::flatten;

    #[test]
    fn schedules_of_the_whole_run_span_all_steps() {
        let halving: Halving = toml::from_str("steps = [200, 600]").unwrap();
        let schedules = |text: &str| halving.schedules(&flatten(&text.parse().unwrap()));
        assert_eq!(
            schedules("train.schedule.kind = \"cosine\""),
            ["train.schedule.steps=600"]
        );
        assert_eq!(
            schedules("train.teacher_forcing = { schedule = \"linear\", steps = 0 }"),
            ["train.teacher_forcing.steps=600"]
        );
        assert!(schedules("train.schedule = { kind = \"cosine\", steps = 50 }").is_empty());
        assert!(schedules("train.schedule.kind = \"constant\"").is_empty());
    }
}
