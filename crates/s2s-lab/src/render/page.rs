//! `report.html`: the cells to sort, filter and draw.

use std::path::{Path, PathBuf};

use s2s_runlog::exists;
use s2s_viz::{ExperimentPage, LinePlot, PageCell, PageCellRun, PageCurve, PageMetric, Series};
use serde_json::Value;

use super::{metrics, plots};
use crate::cell::Cell;
use crate::event::count;
use crate::measure::Metric;
use crate::outcome::Outcome;
use crate::plan::Experiment;
use crate::report::Report;
use crate::settings::{Settings, differing};

pub(super) fn page(report: &Report) -> ExperimentPage {
    let experiment = &report.plan.experiment;
    let axes = axes(experiment);
    let cell = |cell: &Cell| {
        let summaries = experiment.table.iter().map(|&metric| {
            let summary = report.metric(cell, metric);
            let interval = summary.and_then(|summary| metrics::interval(metric, &summary));
            (summary.map(|summary| summary.mean), interval)
        });
        let (means, intervals) = summaries.unzip();
        let setting = |key: &String| cell.settings.get(key).map_or(Value::Null, json_of);
        PageCell {
            name: cell.name.clone(),
            settings: axes.iter().map(setting).collect(),
            means,
            intervals,
            runs: report.outcomes_of(cell).map(run).collect(),
        }
    };
    let n_pending = report.pending.len();
    let mut notes = metrics::constants(report);
    notes.extend(metrics::too_few_seeds(report));
    if n_pending > 0 {
        let is = if n_pending == 1 { "is" } else { "are" };
        notes.push(format!("{} {is} not finished.", count(n_pending, "run")));
    }
    ExperimentPage {
        title: experiment.title.clone(),
        question: experiment.question.clone(),
        notes,
        metrics: experiment.table.iter().copied().map(metric).collect(),
        cells: experiment.cells.iter().map(cell).collect(),
        curves: plots::curves(report)
            .iter()
            .map(|(_, plot)| curve(plot))
            .collect(),
        axes,
    }
}

/// The keys that the cells set, in the order of the file, if their values differ.
fn axes(experiment: &Experiment) -> Vec<String> {
    let settings: Vec<&Settings> = experiment.cells.iter().map(|cell| &cell.settings).collect();
    let differing = differing(&settings);
    let mut axes: Vec<String> = Vec::new();
    let sets = experiment.cells.iter().flat_map(|cell| &cell.set);
    for set in sets {
        let key = set.split('=').next().unwrap_or_default().trim();
        if !axes.iter().any(|axis| axis == key) && differing.iter().any(|other| other == key) {
            axes.push(key.to_owned());
        }
    }
    axes
}

/// A metric of a page.
pub(crate) fn metric(metric: Metric) -> PageMetric {
    PageMetric {
        key: metric.key().to_owned(),
        title: metric.title().to_owned(),
        unit: metric.unit().to_owned(),
        is_share: metric.is_share(),
    }
}

/// A setting of a page.
pub(crate) fn json_of(value: &toml::Value) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn run(outcome: &Outcome) -> PageCellRun {
    let folder = &outcome.job.folder;
    let name = folder.file_name().map(PathBuf::from);
    PageCellRun {
        name: format!("seed {}", outcome.job.seed),
        status: outcome.record.status.name().to_owned(),
        page: name.and_then(|name| own_page(folder, &name)),
    }
}

/// The page of the run in `folder`, from where the folder is `link`; `None` if it has none.
pub(crate) fn own_page(folder: &Path, link: &Path) -> Option<PathBuf> {
    let exists = exists(folder.join("report.html")).unwrap_or(false);
    exists.then(|| link.join("report.html"))
}

fn curve(plot: &LinePlot) -> PageCurve {
    let of_cell = |series: &Series| {
        let points = series.points.iter().zip(&series.band);
        let points = points.map(|(&(x, y), &(_, low, high))| [x, y, low, high]);
        (series.label.clone(), points.collect())
    };
    PageCurve {
        title: plot.title.clone(),
        x_label: plot.x_label.clone(),
        is_share: plot.y_axis == s2s_viz::YAxis::Share,
        of_cell: plot.series.iter().map(of_cell).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn a_cell_has_its_settings_its_means_and_its_runs() {
        let mut report = fixtures::report();
        for (cell, kind) in report.plan.experiment.cells.iter_mut().zip(["a", "b"]) {
            cell.set = vec![format!("kind={kind}")];
            cell.settings.insert("kind".to_owned(), kind.into());
            cell.settings.insert("seed".to_owned(), 0.into());
        }
        report.pending.push(report.outcomes[0].job.clone());
        let page = page(&report);
        assert_eq!(page.axes, ["kind"]);
        assert_eq!(page.cells[1].settings, ["b"]);
        assert_eq!(page.cells[1].means[0], Some(0.125));
        assert_eq!(page.cells[1].runs[1].name, "seed 1");
        assert_eq!(page.cells[1].runs[1].page, None, "it has no page");
        assert_eq!(page.notes, ["1 run is not finished."]);
        assert_eq!(page.curves[0].of_cell[0].1.len(), 2);
    }
}
