//! The result of an experiment, from the outcomes of all its runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use s2s_runlog::{write_csv, write_file};
use s2s_viz::{Hue, LinePlot, Series, Spread, Table, points, x_label};
use serde_json::{Value, json};

use super::measure::{Curve, Figure};
use super::outcome::Outcome;
use super::plan::{Cell, Plan};
use super::summary::Summary;
use super::{by_length, markdown};

/// What stands where there is no value.
pub(crate) const NOTHING: &str = "–";

/// What an experiment asked for, and what came of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) plan: Plan,
    /// Of all jobs, in their order.
    pub(crate) outcomes: Vec<Outcome>,
}

impl Report {
    pub(crate) fn new(plan: Plan, mut outcomes: Vec<Outcome>) -> Self {
        // Curves share an axis: epochs if all runs count them, else steps.
        let mut records = outcomes.iter().flat_map(|outcome| &outcome.metrics);
        if records.any(|record| record.epoch.is_none()) {
            for record in outcomes.iter_mut().flat_map(|o| &mut o.metrics) {
                record.epoch = None;
            }
        }
        Self { plan, outcomes }
    }

    /// Writes plots, `report.json` and, last, `report.md`, whose path it returns.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let folder = self.plan.folder();
        for (name, plot) in self.pictures() {
            let figure = plot.draw().with_context(|| format!("plotting {name}"))?;
            let path = folder.join("plots").join(name);
            write_file(path.with_extension("svg"), figure.svg().as_bytes())?;
            write_file(path.with_extension("png"), &figure.png().bytes)?;
        }
        let rows = by_length::rows(self);
        if !rows.is_empty() {
            write_csv(folder.join("lengths.csv"), &rows)?;
        }
        let json = format!("{:#}\n", self.json());
        write_file(folder.join("report.json"), json.as_bytes())?;
        let path = folder.join("report.md");
        write_file(&path, markdown::render(self).as_bytes())?;
        Ok(path)
    }

    /// Copies `report.md` and its plots, as SVG, to where they are kept; [`write`](Self::write) them
    /// first.
    pub(crate) fn publish(&self) -> Result<PathBuf> {
        let (from, to) = (self.plan.folder(), self.plan.published());
        let plots = self.pictures().into_iter();
        let plots = plots.map(|(name, _)| format!("plots/{name}.svg"));
        for name in plots.chain(["report.md".to_owned()]) {
            let path = from.join(&name);
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            write_file(to.join(&name), &bytes)?;
        }
        Ok(to.join("report.md"))
    }

    /// Every plot of the report, with its name.
    fn pictures(&self) -> Vec<(String, LinePlot)> {
        let curves = self.plots().into_iter();
        let curves = curves.map(|(curve, plot)| (curve.key().to_owned(), plot));
        curves.chain(by_length::plots(self)).collect()
    }

    /// The plots that were asked for and can be drawn: those with a cell that came to an evaluation.
    pub(crate) fn plots(&self) -> Vec<(Curve, LinePlot)> {
        let wanted = self.plan.experiment.plots.iter();
        wanted
            .map(|&curve| (curve, self.plot(curve)))
            .filter(|(_, plot)| !plot.series.is_empty())
            .collect()
    }

    /// The mean of each cell before its runs.
    fn plot(&self, curve: Curve) -> LinePlot {
        let experiment = &self.plan.experiment;
        let series = |(index, cell): (usize, &Cell)| {
            let runs: Vec<Vec<(f64, f64)>> = self
                .outcomes_of(cell)
                .map(|outcome| points(&outcome.metrics, |record| curve.value(record)))
                .filter(|run| !run.is_empty())
                .collect();
            Series::over_runs(&cell.name, Hue::nth(index), &runs, Spread::Runs)
        };
        let subtitle = match experiment.seeds.len() {
            1 => "one seed".to_owned(),
            n => format!("mean over {n} seeds; faint, the single runs"),
        };
        let first = self.outcomes.iter().find(|o| !o.metrics.is_empty());
        LinePlot {
            title: curve.title().to_owned(),
            subtitle,
            x_label: first.map_or("", |o| x_label(&o.metrics)).to_owned(),
            y_label: curve.y_label().to_owned(),
            y_axis: curve.y_axis(),
            series: experiment
                .cells
                .iter()
                .enumerate()
                .map(series)
                .filter(|series| !series.points.is_empty())
                .collect(),
            ..LinePlot::default()
        }
    }

    /// Each figure, with the cells below each other.
    pub(crate) fn summary_table(&self) -> Table {
        let mut columns: [Vec<String>; 6] = Default::default();
        for &figure in &self.plan.experiment.table {
            for cell in &self.plan.experiment.cells {
                let summary = self.summary(cell, figure);
                let row = summary_row(figure, cell, summary);
                for (column, value) in columns.iter_mut().zip(row) {
                    column.push(value);
                }
            }
        }
        let names = ["figure", "cell", "runs", "mean ± sd", "min", "max"];
        let add = |table: Table, (name, column)| table.column(name, column);
        names.into_iter().zip(columns).fold(Table::new(), add)
    }

    fn summary(&self, cell: &Cell, figure: Figure) -> Option<Summary> {
        let runs = self.outcomes_of(cell);
        let values: Vec<f64> = runs.filter_map(|run| figure.value(run)).collect();
        Summary::new(&values)
    }

    pub(crate) fn outcomes_of(&self, cell: &Cell) -> impl Iterator<Item = &Outcome> {
        let is_of_cell = |outcome: &&Outcome| outcome.job.cell == cell.name;
        self.outcomes.iter().filter(is_of_cell)
    }

    /// The same figures, and those of every run, unrounded.
    fn json(&self) -> Value {
        let experiment = &self.plan.experiment;
        let run = |outcome: &Outcome| {
            json!({
                "seed": outcome.job.seed,
                "folder": outcome.job.folder,
                "train_secs": outcome.train_secs,
                "run": outcome.record,
                "environment": outcome.environment,
                "settings": outcome.settings,
            })
        };
        let cell = |cell: &Cell| {
            let figures = experiment.table.iter();
            let summary: BTreeMap<Figure, Option<Summary>> = figures
                .map(|&figure| (figure, self.summary(cell, figure)))
                .collect();
            json!({
                "name": cell.name,
                "set": cell.set,
                "summary": summary,
                "runs": self.outcomes_of(cell).map(run).collect::<Vec<_>>(),
            })
        };
        json!({
            "title": experiment.title,
            "question": experiment.question,
            "cells": experiment.cells.iter().map(cell).collect::<Vec<_>>(),
            "lengths": by_length::rows(self),
        })
    }
}

fn summary_row(figure: Figure, cell: &Cell, summary: Option<Summary>) -> [String; 6] {
    let (figure_name, cell_name) = (figure.title().to_owned(), cell.name.clone());
    let Some(Summary {
        count,
        mean,
        sd,
        min,
        max,
    }) = summary
    else {
        let nothing = || NOTHING.to_owned();
        return [
            figure_name,
            cell_name,
            "0".to_owned(),
            nothing(),
            nothing(),
            nothing(),
        ];
    };
    let decimals = figure.decimals(mean);
    let written = |value: f64| format!("{value:.decimals$}");
    let mean = match sd {
        Some(sd) => format!("{} ± {}", written(mean), written(sd)),
        None => written(mean),
    };
    [
        figure_name,
        cell_name,
        count.to_string(),
        mean,
        written(min),
        written(max),
    ]
}

#[cfg(test)]
mod tests {
    use s2s_runlog::RunStatus;

    use super::*;
    use crate::experiment::outcome::fixtures;

    #[test]
    fn a_report_is_written_as_approved() {
        insta::assert_snapshot!(markdown::render(&fixtures::report()));
    }

    #[test]
    fn diverged_runs_are_shown_and_not_averaged() {
        let mut report = fixtures::report();
        let last = report.outcomes.last_mut().unwrap();
        last.record.status = RunStatus::Diverged;
        last.record.test = None;
        last.metrics.clear();
        let table = report.summary_table().markdown();
        let counts: Vec<&str> = table
            .lines()
            .skip(2)
            .map(|line| line.split('|').nth(3).unwrap().trim())
            .collect();
        assert_eq!(counts, ["2", "1", "2", "1", "2", "1"]);
        assert!(markdown::render(&report).contains("diverged"));
        assert_eq!(report.plots()[0].1.series[1].traces.len(), 1);
    }

    #[test]
    fn curves_of_runs_that_count_no_epochs_are_over_steps() {
        let report = fixtures::report();
        assert_eq!(report.plots()[0].1.x_label, "epoch");
        let mut outcomes = report.outcomes;
        outcomes[3].metrics[0].epoch = None;
        let report = Report::new(report.plan, outcomes);
        let plot = &report.plots()[0].1;
        assert_eq!(plot.x_label, "step");
        assert_eq!(plot.series[0].points.last().unwrap().0, 200.0);
    }

    #[test]
    fn the_json_holds_unrounded_figures() {
        let json = fixtures::report().json();
        let cell = &json["cells"][1];
        assert_eq!(cell["name"], "none");
        assert_eq!(cell["runs"][1]["run"]["test"]["exact_match"], 0.25);
        assert_eq!(cell["summary"]["exact_match"]["mean"], 0.125);
    }
}
