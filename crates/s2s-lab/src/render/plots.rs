//! The plots of a report.

use s2s_viz::{LinePlot, Look, Series, Spread, YAxis, points, x_label};

use super::lengths;
use crate::measure::Curve;
use crate::plan::Cell;
use crate::report::Report;

/// Every plot of the report, with its file name without extension.
pub(super) fn all(report: &Report) -> Vec<(String, LinePlot)> {
    let mut all = curves(report);
    all.extend(lengths::plots(report));
    all
}

/// The curves that the experiment file lists, except those without an evaluation.
pub(super) fn curves(report: &Report) -> Vec<(String, LinePlot)> {
    let wanted = report.plan.experiment.plots.iter();
    wanted
        .map(|&curve| (curve.key().to_owned(), plot(report, curve)))
        .filter(|(_, plot)| !plot.series.is_empty())
        .collect()
}

/// The mean of each cell in front of its runs.
fn plot(report: &Report, curve: Curve) -> LinePlot {
    let experiment = &report.plan.experiment;
    let series = |(index, cell): (usize, &Cell)| {
        let runs: Vec<Vec<(f64, f64)>> = report
            .outcomes_of(cell)
            .map(|outcome| points(&outcome.metrics, |record| curve.value(record)))
            .filter(|run| !run.is_empty())
            .collect();
        Series::over_runs(&cell.name, Look::nth(index), &runs, Spread::Runs)
    };
    let all = experiment.cells.iter().enumerate().map(series);
    let series: Vec<Series> = all.filter(|series| !series.points.is_empty()).collect();
    let subtitle = match experiment.seeds.len() {
        1 => "one seed".to_owned(),
        n => format!("line: mean over {n} seeds; faint lines: single runs"),
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
}
