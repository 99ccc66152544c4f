//! The evaluations by length of an experiment's runs, over the seeds.

mod costs;
mod findings;
mod plots;
mod tables;

use s2s_runlog::{DecodingMode, LengthRecord, LengthsRecord, wilson};
use serde::Serialize;

use super::lengths::Group;
use super::plan::Cell;
use super::report::Report;
use super::summary::Summary;

pub(crate) use findings::findings;
pub(crate) use plots::plots;
pub(crate) use tables::{summaries, tables};

/// A cell at a length, over its seeds: a line of `lengths.csv`. Means, least values and greatest ones
/// are those of the runs; an interval is Wilson's over the sequences of all runs, and so speaks of
/// these models, not of others that the recipe might lead to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    group: String,
    cell: String,
    mode: DecodingMode,
    length: usize,
    n_runs: usize,
    /// Runs that had every sequence right.
    n_runs_exact: usize,
    n_sequences: u64,
    exact_match: f64,
    exact_match_min: f64,
    exact_match_max: f64,
    exact_match_low: f64,
    exact_match_high: f64,
    token_accuracy: f64,
    token_accuracy_min: f64,
    token_accuracy_max: f64,
    token_accuracy_low: f64,
    token_accuracy_high: f64,
    fine_accuracy: f64,
    fine_accuracy_min: f64,
    n_stopped_early: u64,
    n_ran_over: u64,
    n_wrong_token: u64,
    alignment_mass: Option<f64>,
    alignment_accuracy: Option<f64>,
    attention_entropy: Option<f64>,
}

/// Group by group, cell by cell, mode by mode, from the shortest length to the longest.
pub(crate) fn rows(report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    for (group, cell, mode) in parts(report) {
        let records = records(report, group, cell);
        let lengths = group.request().map(|request| request.lengths);
        for length in lengths.iter().flat_map(|lengths| lengths.iter()) {
            let is_here = |row: &&LengthRecord| (row.length, row.mode) == (length, mode);
            let found: Vec<&LengthRecord> = records
                .iter()
                .flat_map(|record| record.rows.iter().filter(is_here))
                .collect();
            rows.extend(row(group, cell, &found));
        }
    }
    rows
}

fn row(group: &Group, cell: &Cell, found: &[&LengthRecord]) -> Option<Row> {
    let summary = |value: fn(&LengthRecord) -> f64| {
        Summary::new(&found.iter().map(|row| value(row)).collect::<Vec<_>>())
    };
    let mean = |value: fn(&LengthRecord) -> Option<f64>| {
        let values: Vec<f64> = found.iter().filter_map(|row| value(row)).collect();
        Summary::new(&values).map(|summary| summary.mean)
    };
    let sum = |value: fn(&LengthRecord) -> u64| found.iter().map(|row| value(row)).sum::<u64>();
    let exact = summary(|row| row.exact_match)?;
    let token = summary(|row| row.token_accuracy)?;
    let fine = summary(|row| row.fine_accuracy)?;
    let n_sequences = sum(|row| row.n_sequences);
    // Shares of runs with as many sequences each: their mean is the share of all.
    let (exact_match_low, exact_match_high) = wilson(exact.mean, n_sequences);
    let (token_accuracy_low, token_accuracy_high) = wilson(token.mean, n_sequences);
    Some(Row {
        group: group.name.clone(),
        cell: cell.name.clone(),
        mode: found[0].mode,
        length: found[0].length,
        n_runs: found.len(),
        n_runs_exact: found.iter().filter(|row| is_exact(row)).count(),
        n_sequences,
        exact_match: exact.mean,
        exact_match_min: exact.min,
        exact_match_max: exact.max,
        exact_match_low,
        exact_match_high,
        token_accuracy: token.mean,
        token_accuracy_min: token.min,
        token_accuracy_max: token.max,
        token_accuracy_low,
        token_accuracy_high,
        fine_accuracy: fine.mean,
        fine_accuracy_min: fine.min,
        n_stopped_early: sum(|row| row.n_stopped_early),
        n_ran_over: sum(|row| row.n_ran_over),
        n_wrong_token: sum(|row| row.n_wrong_token),
        alignment_mass: mean(|row| row.alignment_mass),
        alignment_accuracy: mean(|row| row.alignment_accuracy),
        attention_entropy: mean(|row| row.attention_entropy),
    })
}

/// Whether every sequence is right.
fn is_exact(row: &LengthRecord) -> bool {
    row.n_exact == row.n_sequences
}

/// Every group with its cells and ways of decoding.
fn parts(report: &Report) -> impl Iterator<Item = (&Group, &Cell, DecodingMode)> {
    let experiment = &report.plan.experiment;
    experiment.lengths.iter().flat_map(move |group| {
        let cells = experiment.cells.iter().filter(|cell| group.has(&cell.name));
        let modes = group.request().map_or(Vec::new(), |request| request.modes);
        cells.flat_map(move |cell| {
            modes
                .clone()
                .into_iter()
                .map(move |mode| (group, cell, mode))
        })
    })
}

fn records<'a>(report: &'a Report, group: &Group, cell: &'a Cell) -> Vec<&'a LengthsRecord> {
    let runs = report
        .outcomes_of(cell)
        .flat_map(|outcome| &outcome.lengths);
    let of_group = runs.filter(|(name, _)| *name == group.name);
    of_group.map(|(_, record)| record).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use s2s_runlog::LengthSums;

    use super::*;
    use crate::experiment::lengths::Published;
    use crate::experiment::outcome::fixtures;

    /// Two cells under two seeds, evaluated at two lengths.
    pub(in super::super) fn report() -> Report {
        let mut report = fixtures::report();
        let groups = r#"
            [[lengths]]
            name = "far"
            lengths = "4,8"
            samples = 10
            mode = "both"
            [[published]]
            name = "Others"
            source = "a paper"
            group = "far"
            exact_match = 0.04
        "#;
        #[derive(serde::Deserialize)]
        struct Groups {
            lengths: Vec<Group>,
            published: Vec<Published>,
        }
        let Groups { lengths, published } = toml::from_str(groups).unwrap();
        report.plan.experiment.lengths = lengths;
        report.plan.experiment.published = published;
        let request = report.plan.experiment.lengths[0].request().unwrap();
        for outcome in &mut report.outcomes {
            let row = |(length, mode): (usize, DecodingMode)| {
                let n_exact = 10 - outcome.job.seed * length as u64;
                let sums = LengthSums {
                    n_sequences: 10,
                    n_tokens: 10 * length as u64,
                    n_exact,
                    n_wrong_token: 10 - n_exact,
                    ..LengthSums::default()
                };
                sums.record(mode, length, length)
            };
            let pairs = [4, 8].into_iter().flat_map(|length| {
                [DecodingMode::Eos, DecodingMode::Oracle].map(|mode| (length, mode))
            });
            let mut record = LengthsRecord {
                request: request.clone(),
                step: 100,
                min_trained: 1,
                max_trained: 4,
                deviations: Vec::new(),
                is_complete: false,
                means: Vec::new(),
                without_samples: Vec::new(),
                rows: pairs.map(row).collect(),
            };
            record.complete();
            outcome.lengths.push(("far".to_owned(), record));
        }
        report
    }

    #[test]
    fn a_cell_at_a_length_is_its_runs_together() {
        let rows = rows(&report());
        assert_eq!(rows.len(), 2 * 2 * 2); // cells, modes, lengths
        let Row {
            exact_match,
            exact_match_min,
            exact_match_max,
            n_sequences,
            n_wrong_token,
            ..
        } = rows[0];
        assert_eq!(
            (exact_match, exact_match_min, exact_match_max),
            (0.8, 0.6, 1.0)
        );
        assert_eq!((n_sequences, n_wrong_token), (20, 4));
        let bounds = (rows[0].exact_match_low, rows[0].exact_match_high);
        assert_eq!(bounds, wilson(0.8, 20));
    }
}
