//! Comparisons of cells on the seeds that they share.

use serde::Serialize;

use crate::cell::Cell;
use crate::comparison::Compare;
use crate::measure::Metric;
use crate::report::Report;
use crate::statistics::{
    Interval, PairedTest, holm, mean, mean_interval, paired_effect, paired_test, smallest_p,
};

/// The difference of a metric between a cell and the baseline, over the seeds for which both have a result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The name of the cell.
    pub cell: String,
    /// Number of shared seeds.
    pub n_pairs: usize,
    /// Mean of cell minus baseline, in the unit of the metric; `None` without a shared seed.
    pub mean: Option<f64>,
    /// The 95 % confidence interval of the mean; see [`mean_interval`] for when it is `None`.
    pub interval: Option<Interval>,
    /// Number of seeds on which the cell is higher.
    pub n_higher: usize,
    /// Number of seeds on which the cell is lower.
    pub n_lower: usize,
    /// Cohen's d of the differences; see [`paired_effect`] for when it is `None`.
    pub effect: Option<f64>,
    /// The permutation test; `None` without a shared seed.
    pub test: Option<PairedTest>,
    /// The p-value after Holm's correction over all differences of the [`Compare`] table; `None` without a
    /// test.
    pub adjusted_p: Option<f64>,
}

impl Compare {
    /// A difference for each compared cell, in the order of the cells. Empty if the baseline is not a cell.
    pub fn differences(&self, report: &Report) -> Vec<Difference> {
        let experiment = &report.plan.experiment;
        let Some(baseline) = experiment.cells.iter().find(|c| c.name == self.baseline) else {
            return Vec::new();
        };
        let cells = experiment.cells.iter();
        let cells = cells.filter(|cell| cell.name != self.baseline && self.includes(&cell.name));
        let mut all: Vec<Difference> = cells
            .map(|cell| difference(report, self.metric, cell, baseline))
            .collect();
        let tested = || all.iter().filter_map(|found| Some(found.test?.p));
        let mut adjusted = holm(&tested().collect::<Vec<_>>()).into_iter();
        for found in all.iter_mut().filter(|found| found.test.is_some()) {
            found.adjusted_p = adjusted.next();
        }
        all
    }
}

fn difference(report: &Report, metric: Metric, cell: &Cell, baseline: &Cell) -> Difference {
    let value = |cell: &Cell, seed: u64| {
        let run = report.outcomes_of(cell).find(|run| run.job.seed == seed)?;
        run.metric(metric)
    };
    let seeds = report.plan.experiment.seeds.iter();
    let differences: Vec<f64> = seeds
        .filter_map(|&seed| Some(value(cell, seed)? - value(baseline, seed)?))
        .collect();
    Difference {
        cell: cell.name.clone(),
        n_pairs: differences.len(),
        mean: mean(&differences),
        interval: mean_interval(&differences),
        n_higher: differences.iter().filter(|value| **value > 0.0).count(),
        n_lower: differences.iter().filter(|value| **value < 0.0).count(),
        effect: paired_effect(&differences),
        test: paired_test(&differences),
        adjusted_p: None,
    }
}

/// Why no difference of a table can be significant, if the seeds are too few for that.
pub(crate) fn too_few_seeds(differences: &[Difference]) -> Option<String> {
    const LEVEL: f64 = 0.05;
    let n_tests = differences.iter().filter(|d| d.test.is_some()).count();
    let n_pairs = differences.iter().map(|d| d.n_pairs).max()?;
    let smallest = |n_pairs| smallest_p(n_pairs) * n_tests as f64;
    if n_tests == 0 || smallest(n_pairs) < LEVEL {
        return None;
    }
    let enough = (n_pairs..64).find(|&n| smallest(n) < LEVEL)?;
    let seeds = if n_pairs == 1 { "seed" } else { "seeds" };
    let tests = match n_tests {
        1 => "one comparison".to_owned(),
        n => format!("{n} comparisons"),
    };
    Some(format!(
        "**Too few seeds for a test**: with {n_pairs} shared {seeds} and {tests}, the smallest p-value \
         that is possible after Holm's correction is {:.4}, so nothing can be significant at 5 %. It \
         takes {enough} seeds.",
        smallest(n_pairs).min(1.0)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    fn compare() -> Compare {
        Compare {
            metric: Metric::ExactMatch,
            baseline: "additive".to_owned(),
            cells: None,
        }
    }

    #[test]
    fn cells_are_compared_on_shared_seeds() {
        let mut report = fixtures::report();
        let found = compare().differences(&report);
        assert_eq!(found.len(), 1);
        // of 0 - 1 and 0.25 - 0.9995
        assert!((found[0].mean.unwrap() + 0.874_75).abs() < 1e-12);
        assert_eq!((found[0].n_pairs, found[0].n_lower), (2, 2));
        assert_eq!(found[0].test.unwrap().p, 0.5);

        report.outcomes[0].record.test = None;
        assert_eq!(compare().differences(&report)[0].n_pairs, 1);
    }

    #[test]
    fn too_few_seeds_are_stated_with_the_number_that_is_enough() {
        let found = compare().differences(&fixtures::report());
        let text = too_few_seeds(&found).unwrap();
        assert!(text.contains("2 shared seeds and one comparison"), "{text}");
        assert!(text.contains("It takes 6 seeds"), "{text}"); // 2 / 2^6 < 0.05
        let mut enough = found[0].clone();
        enough.n_pairs = 6;
        assert_eq!(too_few_seeds(&[enough]), None);
        assert_eq!(too_few_seeds(&[]), None);
    }
}
