//! The comparisons that the experiment file asks for.

use s2s_viz::Table;

use super::{ABSENT, rows};
use crate::compare::{Difference, too_few_seeds};
use crate::comparison::Compare;
use crate::measure::Metric;
use crate::report::Report;

/// A table for each `[[compare]]`, with a statement if it has too few seeds.
pub(super) fn sections(report: &Report) -> Vec<String> {
    let all = report.plan.experiment.compare.iter();
    all.map(|compare| section(report, compare)).collect()
}

/// What the columns mean.
pub(super) const EXPLANATION: &str = "\
Differences are those of the cell minus the baseline on the same seed. p: two-sided paired permutation \
test of the mean difference, exact for up to 12 seeds; Holm: p after Holm's correction over the rows of \
the table; d: mean difference divided by the standard deviation of the differences.";

fn section(report: &Report, compare: &Compare) -> String {
    let differences = compare.differences(report);
    let title = format!(
        "**{}: each cell against {}**",
        compare.metric.title(),
        compare.baseline
    );
    let table = table(compare.metric, &differences).markdown();
    let parts = [Some(title), Some(table), too_few_seeds(&differences)];
    let parts = parts.into_iter().flatten();
    parts
        .map(|part| part.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn table(metric: Metric, differences: &[Difference]) -> Table {
    let names = [
        "cell",
        "shared seeds",
        "mean difference",
        "95 % interval",
        "higher on",
        "lower on",
        "d",
        "p",
        "Holm",
    ];
    rows::table(names, differences.iter().map(|found| row(metric, found)))
}

fn row(metric: Metric, found: &Difference) -> [String; 9] {
    let size = found.mean.unwrap_or(0.0);
    let signed = |value: f64| format!("{value:+.*}", metric.decimals(size));
    let absent = || ABSENT.to_owned();
    let p = |p: Option<f64>| p.map_or_else(absent, |p| format!("{p:.4}"));
    [
        found.cell.clone(),
        found.n_pairs.to_string(),
        found.mean.map_or_else(absent, signed),
        found.interval.map_or_else(absent, |interval| {
            format!("[{}, {}]", signed(interval.low), signed(interval.high))
        }),
        found.n_higher.to_string(),
        found.n_lower.to_string(),
        found.effect.map_or_else(absent, |d| format!("{d:+.2}")),
        p(found.test.map(|test| test.p)),
        p(found.adjusted_p),
    ]
}
