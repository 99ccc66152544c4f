//! Comparisons that an experiment file asks for.

use serde::{Deserialize, Serialize};

use crate::measure::Metric;
use crate::pattern;

/// A `[[compare]]` table: a metric of all cells against that of one of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// The metric.
    pub metric: Metric,
    /// The name of the cell that the others are compared with.
    pub baseline: String,
    /// The cells to compare, by name or pattern (`*` stands for any characters); all if absent.
    pub cells: Option<Vec<String>>,
}

impl Compare {
    /// Whether a cell is compared.
    pub(crate) fn includes(&self, cell: &str) -> bool {
        let cells = self.cells.as_ref();
        cells.is_none_or(|cells| cells.iter().any(|pattern| pattern::matches(pattern, cell)))
    }
}
