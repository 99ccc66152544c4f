//! Tables of an experiment, from all its cells.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use s2s_lab::statistics::{Summary, exponent, mean, median, percent};
use s2s_lab::{LengthOutcome, Metric, Report};

use super::{at_lengths, evaluated, exact, exact_runs, grouped, runs};
use crate::docs::Table;

pub(in crate::reproduce) fn mechanisms(report: &Report, mut table: Table) -> Result<Table> {
    let cells = &report.plan.experiment.cells;
    ensure!(
        table.rows.len() == cells.len(),
        "docs/measurements/mechanisms.json must have a row for each cell"
    );
    for (row, cell) in table.rows.iter_mut().zip(cells) {
        let found = at_lengths(report, &cell.name, "far")?;
        row.truncate(2); // the mechanism and its start
        row.extend(found.into_iter().map(|(_, text)| text));
    }
    Ok(table)
}

/// The share of exact sequences at which a run counts as one that does a task.
const MOSTLY: f64 = 0.95;

/// One row for each mechanism, one column for each task: how many runs do it at the longest length of training,
/// and at 2, 5 and 12.5 times this length.
pub(in crate::reproduce) fn tasks(report: &Report, mut table: Table) -> Result<Table> {
    table.header = vec!["mechanism".to_owned()];
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let task = cell
            .settings
            .get("data.task")
            .and_then(|task| task.as_str());
        let task = task.context("a cell has no task")?;
        let mechanism = cell
            .name
            .strip_suffix(task)
            .context("a cell is not named after its task")?;
        let mechanism = mechanism.trim_end_matches('-').to_owned();
        if !table.header.iter().any(|title| title == task) {
            table.header.push(task.to_owned());
        }
        let runs = runs(report, &cell.name)?;
        let at = |length: usize| {
            let rows = runs.iter().flat_map(|run| evaluated(run, "range"));
            let rows = rows.filter(|row| row.length == length);
            rows.filter(|row| exact(row) >= MOSTLY).count().to_string()
        };
        let found = [40, 80, 200, 500].map(at).join(" ");
        match table.rows.iter_mut().find(|row| row[0] == mechanism) {
            Some(row) => row.push(found),
            None => table.rows.push(vec![mechanism, found]),
        }
    }
    table.align = format!("l{}", "r".repeat(table.header.len() - 1));
    Ok(table)
}

pub(in crate::reproduce) fn teacher_forcing(report: &Report, mut table: Table) -> Result<Table> {
    table.header = ["teacher forcing", "exact match", "loss", "exposure gap"]
        .map(str::to_owned)
        .into();
    table.align = "lrrr".to_owned();
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let runs = runs(report, &cell.name)?;
        let of = |metric: Metric| -> Vec<f64> {
            runs.iter().filter_map(|run| run.metric(metric)).collect()
        };
        let number =
            |metric: Metric| mean(&of(metric)).map_or(String::new(), |x| format!("{x:.5}"));
        table.rows.push(vec![
            cell.name.clone(),
            mean(&of(Metric::ExactMatch)).map_or(String::new(), percent),
            number(Metric::Loss),
            number(Metric::ExposureGap),
        ]);
    }
    Ok(table)
}

/// Time and memory of a sequence, over the seeds: the first model at every length, the others at their longest.
pub(in crate::reproduce) fn long(report: &Report, mut table: Table) -> Result<Table> {
    table.header = [
        "model",
        "symbols",
        "seconds, median of seeds",
        "slowest seed",
        "peak memory, MiB",
        "exact seeds",
        "exponent of time",
    ]
    .map(str::to_owned)
    .into();
    table.align = "lrrrrrr".to_owned();
    table.rows.clear();
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or(String::new(), |value| format!("{value:.decimals$}"))
    };
    for (index, cell) in report.plan.experiment.cells.iter().enumerate() {
        let runs = runs(report, &cell.name)?;
        let evaluations: Vec<&LengthOutcome> = runs.iter().flat_map(|run| &run.lengths).collect();
        let exponents: Vec<f64> = evaluations
            .iter()
            .filter_map(|found| time_exponent(found))
            .collect();
        let rows = || evaluations.iter().flat_map(|found| &found.record.rows);
        let lengths: BTreeSet<usize> = rows().map(|row| row.length).collect();
        let n_hidden = if index > 0 {
            lengths.len().saturating_sub(1)
        } else {
            0
        };
        for &length in lengths.iter().skip(n_hidden) {
            let timing = || {
                let all = evaluations.iter().flat_map(|found| &found.timing);
                all.filter(|timing| timing.length == length)
            };
            let secs: Vec<f64> = timing().map(|timing| timing.secs).collect();
            let secs = Summary::new(&secs);
            let peak = timing()
                .filter_map(|timing| timing.peak_mib)
                .reduce(f64::max);
            let at = rows().filter(|row| row.length == length);
            let at: Vec<f64> = at.map(|row| row.exact_match).collect();
            let is_last = lengths.last() == Some(&length);
            table.rows.push(vec![
                cell.name.clone(),
                grouped(length as u64),
                number(secs.map(|secs| secs.median), 3),
                number(secs.map(|secs| secs.max), 3),
                number(peak, 0),
                exact_runs(&at),
                number(median(&exponents).filter(|_| is_last), 2),
            ]);
        }
    }
    Ok(table)
}

/// The exponent of time over length within one evaluation of one sequence for each length.
fn time_exponent(evaluation: &LengthOutcome) -> Option<f64> {
    let points = evaluation
        .timing
        .iter()
        .map(|timing| (timing.length as f64, timing.secs));
    exponent(&points.collect::<Vec<_>>())
}
