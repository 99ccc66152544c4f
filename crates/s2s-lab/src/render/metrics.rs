//! The metrics of the test split, over the seeds of each cell.

use s2s_viz::Table;

use super::ABSENT;
use crate::event::count;
use crate::measure::Metric;
use crate::report::Report;
use crate::statistics::Summary;

/// From this number of runs on the interquartile mean differs from the mean.
const IQM_FROM: usize = 4;
/// From this number of runs on the median differs from the mean.
const MEDIAN_FROM: usize = 3;

/// The metrics that are the same in every run, one sentence each.
pub(super) fn constants(report: &Report) -> Vec<String> {
    let metrics = report.plan.experiment.table.iter();
    metrics
        .filter_map(|&metric| {
            let (value, count) = constant(report, metric)?;
            let decimals = metric.decimals(value);
            let title = metric.title();
            Some(format!(
                "The {title} is {value:.decimals$} in all {count} runs."
            ))
        })
        .collect()
}

/// The number of runs of each cell, if it is the same for all.
pub(super) fn n_runs(report: &Report) -> Option<usize> {
    let cells = report.plan.experiment.cells.iter();
    let mut counts = cells.map(|cell| {
        let tested = report.outcomes_of(cell);
        tested.filter(|run| run.record.test.is_some()).count()
    });
    let first = counts.next()?;
    counts.all(|n| n == first).then_some(first)
}

/// A statement if a cell has only one run, so that nothing is known about other seeds.
pub(super) fn too_few_seeds(report: &Report) -> Option<String> {
    let cells = report.plan.experiment.cells.iter();
    let single = cells.filter(|cell| report.outcomes_of(cell).count() == 1);
    let cells = match (single.count(), n_runs(report)) {
        (0, _) => return None,
        (_, Some(1)) => "each cell".to_owned(),
        (n, _) => count(n, "cell"),
    };
    Some(format!(
        "Too few seeds for an interval: {cells} with one run, so nothing is known about other seeds. An \
         interval takes two seeds; with fewer than five it is wide."
    ))
}

/// The number of rows of [`table`].
pub(super) fn n_rows(report: &Report) -> usize {
    let experiment = &report.plan.experiment;
    let metrics = experiment.table.iter();
    let metrics = metrics.filter(|metric| constant(report, **metric).is_none());
    metrics.count() * experiment.cells.len()
}

/// Each metric that differs between runs, with the cells below each other; `None` if there is none.
pub(super) fn table(report: &Report) -> Option<Table> {
    let experiment = &report.plan.experiment;
    let metrics = experiment.table.iter();
    let metrics = metrics.filter(|metric| constant(report, **metric).is_none());
    let rows: Vec<Row> = metrics
        .flat_map(|&metric| {
            let cells = experiment.cells.iter();
            cells.map(move |cell| Row {
                metric,
                cell: cell.name.clone(),
                summary: report.metric(cell, metric),
            })
        })
        .collect();
    let most = rows
        .iter()
        .filter_map(|row| row.summary)
        .map(|s| s.count)
        .max()?;
    let column = |table: Table, name: &str, write: &dyn Fn(&Row) -> Option<String>| {
        let cells = rows
            .iter()
            .map(|row| write(row).unwrap_or(ABSENT.to_owned()));
        table.column(name, cells)
    };
    let mut table = Table::new()
        .column("metric", rows.iter().map(|row| row.metric.title()))
        .column("cell", rows.iter().map(|row| &row.cell));
    if n_runs(report).is_none() {
        let counts = rows.iter().map(|row| row.summary.map_or(0, |s| s.count));
        table = table.column("runs", counts);
    }
    table = column(table, "mean ± sd", &|row| {
        let summary = row.summary?;
        let mean = row.written(summary.mean);
        Some(match summary.sd {
            Some(sd) => format!("{mean} ± {}", row.written(sd)),
            None => mean,
        })
    });
    if rows
        .iter()
        .any(|row| row.summary.is_some_and(|s| s.interval.is_some()))
    {
        table = column(table, "95 % interval", &|row| {
            let [low, high] = row.interval()?.map(|end| row.written(end));
            Some(format!("[{low}, {high}]"))
        });
    }
    if most >= MEDIAN_FROM {
        table = column(table, "median", &|row| {
            Some(row.written(row.summary?.median))
        });
    }
    if most >= IQM_FROM {
        table = column(table, "IQM", &|row| Some(row.written(row.summary?.iqm)));
    }
    table = column(table, "min", &|row| Some(row.written(row.summary?.min)));
    table = column(table, "max", &|row| Some(row.written(row.summary?.max)));
    Some(table)
}

struct Row {
    metric: Metric,
    cell: String,
    summary: Option<Summary>,
}

impl Row {
    fn written(&self, value: f64) -> String {
        let size = self.summary.map_or(value, |summary| summary.mean);
        format!("{value:.*}", self.metric.decimals(size))
    }

    fn interval(&self) -> Option<[f64; 2]> {
        interval(self.metric, &self.summary?)
    }
}

/// The ends of the interval of a mean, cut at the ends of the metric's range.
pub(super) fn interval(metric: Metric, summary: &Summary) -> Option<[f64; 2]> {
    let highest = if metric.is_share() {
        1.0
    } else {
        f64::INFINITY
    };
    let lowest = match metric {
        Metric::ExposureGap => f64::NEG_INFINITY,
        _ => 0.0,
    };
    let found = summary.interval?;
    Some([found.low, found.high].map(|end| end.clamp(lowest, highest)))
}

/// The value of a metric and the number of its runs, if there are several and all have this value.
pub(super) fn constant(report: &Report, metric: Metric) -> Option<(f64, usize)> {
    let values: Vec<f64> = report
        .outcomes
        .iter()
        .filter_map(|run| run.metric(metric))
        .collect();
    let is_constant = values.len() > 1 && values.iter().all(|value| *value == values[0]);
    is_constant.then(|| (values[0], values.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn a_metric_that_is_the_same_in_all_runs_is_one_sentence() {
        let mut report = fixtures::report();
        assert!(constants(&report).is_empty());
        for run in &mut report.outcomes {
            run.record.test.as_mut().unwrap().exact_match = 1.0;
        }
        assert_eq!(
            constants(&report),
            ["The exact match is 1.00000 in all 4 runs."]
        );
        let text = table(&report).unwrap().text();
        assert!(!text.contains("exact match"), "{text}");
        report.plan.experiment.table.truncate(1);
        assert_eq!(table(&report), None);
    }

    #[test]
    fn the_median_and_the_interquartile_mean_are_shown_where_they_differ_from_the_mean() {
        let mut report = fixtures::report();
        let text = table(&report).unwrap().text();
        assert!(!text.contains("median") && !text.contains("IQM"), "{text}");
        let more = report.outcomes[..2].to_vec();
        report.outcomes.splice(..0, more);
        let text = table(&report).unwrap().text();
        assert!(text.contains("median") && text.contains("IQM"), "{text}");
    }
}
