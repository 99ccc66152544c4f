//! The metrics of the test split, over the seeds of each cell.

use s2s_viz::Table;

use super::{ABSENT, rows};
use crate::measure::Metric;
use crate::plan::Cell;
use crate::report::Report;

/// Each metric, with the cells below each other.
pub(super) fn table(report: &Report) -> Table {
    let experiment = &report.plan.experiment;
    let names = ["metric", "cell", "runs", "mean ± sd", "min", "max"];
    let rows = experiment.table.iter().flat_map(|&metric| {
        let cells = experiment.cells.iter();
        cells.map(move |cell| row(report, metric, cell))
    });
    rows::table(names, rows)
}

fn row(report: &Report, metric: Metric, cell: &Cell) -> [String; 6] {
    let (title, name) = (metric.title().to_owned(), cell.name.clone());
    let Some(summary) = report.metric(cell, metric) else {
        let [mean, min, max] = [(); 3].map(|()| ABSENT.to_owned());
        return [title, name, "0".to_owned(), mean, min, max];
    };
    let decimals = metric.decimals(summary.mean);
    let written = |value: f64| format!("{value:.decimals$}");
    let mean = match summary.sd {
        Some(sd) => format!("{} ± {}", written(summary.mean), written(sd)),
        None => written(summary.mean),
    };
    let (min, max) = (written(summary.min), written(summary.max));
    [title, name, summary.count.to_string(), mean, min, max]
}
