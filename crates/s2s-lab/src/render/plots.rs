//! The plots of a report.

use s2s_viz::{DotPlot, DotRow, LinePlot, Look, Series, YAxis, points, x_label};

use super::picture::Picture;
use super::{is_plotted, metrics};
use crate::cell::Cell;
use crate::measure::{Curve, Metric};
use crate::report::Report;
use crate::statistics::median;

/// Each metric of the table with a dot for every run, except those that are the same in all runs.
pub(super) fn dots(report: &Report) -> Vec<(String, DotPlot)> {
    if !is_plotted(report) {
        return Vec::new();
    }
    let wanted = report.plan.experiment.table.iter();
    wanted
        .filter(|metric| metrics::constant(report, **metric).is_none())
        .map(|&metric| (format!("seeds-{}", metric.key()), dot_plot(report, metric)))
        .filter(|(_, plot)| plot.rows.iter().any(|row| !row.values.is_empty()))
        .collect()
}

fn dot_plot(report: &Report, metric: Metric) -> DotPlot {
    let row = |(index, cell): (usize, &Cell)| {
        let runs = report.outcomes_of(cell);
        let summary = report.metric(cell, metric);
        DotRow {
            label: cell.name.clone(),
            hue: Look::nth(index).hue,
            values: runs.filter_map(|run| run.metric(metric)).collect(),
            mean: summary.map(|summary| summary.mean),
            interval: summary.and_then(|summary| {
                let [low, high] = metrics::interval(metric, &summary)?;
                // Zero is not on a logarithmic axis.
                let is_log = matches!(metric, Metric::Loss | Metric::ForcedLoss);
                (!is_log || low > 0.0).then_some((low, high))
            }),
        }
    };
    let rows: Vec<DotRow> = report
        .plan
        .experiment
        .cells
        .iter()
        .enumerate()
        .map(row)
        .collect();
    let has_interval = rows.iter().any(|row| row.interval.is_some());
    let band = if has_interval {
        "; band: its 95 % interval over seeds"
    } else {
        ""
    };
    DotPlot {
        title: format!("Test split: {}", metric.title()),
        subtitle: format!("dot: a run; mark: mean{band}"),
        label: metric.unit().to_owned(),
        axis: match metric {
            Metric::ExactMatch | Metric::TokenAccuracy | Metric::ExposureGap => YAxis::Fit,
            Metric::Loss | Metric::ForcedLoss => YAxis::Loss,
            Metric::TrainSecs => YAxis::FromZero,
        },
        rows,
    }
}

/// The curves that the experiment file lists, except those without an evaluation.
pub(super) fn curves(report: &Report) -> Vec<(String, LinePlot)> {
    if !is_plotted(report) {
        return Vec::new();
    }
    let wanted = report.plan.experiment.plots.iter();
    wanted
        .map(|&curve| (curve.key().to_owned(), plot(report, curve)))
        .filter(|(_, plot)| !plot.series.is_empty())
        .collect()
}

/// The [curves] as pictures, with their file names.
pub(super) fn pictures(report: &Report) -> Vec<(String, Picture)> {
    let curves = curves(report).into_iter();
    curves
        .map(|(name, plot)| (name, Picture::of_cells(report, plot)))
        .collect()
}

/// The median of each cell in front of the band of its runs.
fn plot(report: &Report, curve: Curve) -> LinePlot {
    let experiment = &report.plan.experiment;
    let series = |(index, cell): (usize, &Cell)| {
        let runs: Vec<Vec<(f64, f64)>> = report
            .outcomes_of(cell)
            .map(|outcome| points(&outcome.metrics, |record| curve.value(record)))
            .filter(|run| !run.is_empty())
            .collect();
        over_seeds(&cell.name, Look::nth(index), &runs)
    };
    let all = experiment.cells.iter().enumerate().map(series);
    let series: Vec<Series> = all.filter(|series| !series.points.is_empty()).collect();
    let subtitle = match experiment.seeds.len() {
        1 => "one seed".to_owned(),
        n => format!("line: median of {n} seeds; band: all seeds"),
    };
    let first = report.outcomes.iter().find(|o| !o.metrics.is_empty());
    LinePlot {
        title: curve.title().to_owned(),
        subtitle,
        x_label: first.map_or("", |o| x_label(&o.metrics)).to_owned(),
        y_label: curve.y_label().to_owned(),
        y_axis: match curve.is_share() {
            true => YAxis::Share,
            false => YAxis::Loss,
        },
        series,
        ..LinePlot::default()
    }
}

/// The median of several runs and the band from the lowest to the highest, where every run has a point.
fn over_seeds(label: &str, look: Look, runs: &[Vec<(f64, f64)>]) -> Series {
    let mut all: Vec<(f64, f64)> = runs.iter().flatten().copied().collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut series = Series::new(label, look, Vec::new());
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let ys: Vec<f64> = group.iter().map(|&(_, y)| y).collect();
        if let Some(median) = median(&ys).filter(|_| ys.len() == runs.len()) {
            series.points.push((group[0].0, median));
            let low = ys.iter().copied().fold(f64::INFINITY, f64::min);
            let high = ys.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            series.band.push((group[0].0, low, high));
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn curves_share_an_axis_of_epochs_or_of_steps() {
        let report = fixtures::report();
        assert_eq!(curves(&report)[0].1.x_label, "epoch");
        let mut outcomes = report.outcomes;
        outcomes[3].metrics[0].epoch = None;
        let report = Report::new(report.plan, outcomes);
        let plot = &curves(&report)[0].1;
        assert_eq!(plot.x_label, "step");
        assert_eq!(plot.series[0].points.last().unwrap().0, 200.0);
    }

    #[test]
    fn a_curve_is_the_median_in_the_band_of_all_seeds() {
        let runs = [
            vec![(1.0, 2.0), (2.0, 4.0)],
            vec![(1.0, 4.0), (2.0, 8.0), (3.0, 1.0)],
            vec![(1.0, 9.0), (2.0, 5.0)],
        ];
        let series = over_seeds("base", Look::nth(0), &runs);
        assert_eq!(series.points, [(1.0, 4.0), (2.0, 5.0)]);
        assert_eq!(series.band, [(1.0, 2.0, 9.0), (2.0, 4.0, 8.0)]);
    }

    #[test]
    fn every_run_is_a_dot() {
        let plots = dots(&fixtures::report());
        let names: Vec<&str> = plots.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["seeds-exact_match", "seeds-loss", "seeds-train_secs"]
        );
        assert_eq!(plots[0].1.rows[1].values, [0.0, 0.25]);
        for (_, plot) in plots {
            plot.draw().unwrap();
        }
    }
}
