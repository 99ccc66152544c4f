//! The rows of `lengths.csv`.

use s2s_runlog::{DecodingMode, LengthRecord};
use serde::Serialize;

use super::part::{Part, is_exact, parts};
use crate::report::Report;
use crate::statistics::{Summary, mean};

/// A cell at a length, over its seeds. Mean, minimum and maximum are over runs. Intervals are those of
/// the mean over runs; sequences of several runs are not pooled, since the runs differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::render) struct Row {
    pub(super) group: String,
    pub(super) cell: String,
    pub(super) mode: DecodingMode,
    pub(super) length: usize,
    pub(super) n_runs: usize,
    /// Runs in which every output is an exact match.
    pub(super) n_runs_exact: usize,
    pub(super) n_sequences: u64,
    pub(super) exact_match: f64,
    exact_match_min: f64,
    exact_match_max: f64,
    pub(super) exact_match_low: Option<f64>,
    pub(super) exact_match_high: Option<f64>,
    pub(super) token_accuracy: f64,
    pub(super) token_accuracy_min: f64,
    token_accuracy_max: f64,
    pub(super) token_accuracy_low: Option<f64>,
    pub(super) token_accuracy_high: Option<f64>,
    fine_accuracy: f64,
    fine_accuracy_min: f64,
    /// The lowest lower end of the runs' own Wilson intervals of exact match.
    #[serde(skip)]
    pub(super) run_low: f64,
    n_stopped_early: u64,
    n_ran_over: u64,
    n_wrong_token: u64,
    alignment_mass: Option<f64>,
    alignment_accuracy: Option<f64>,
    attention_entropy: Option<f64>,
}

/// By group, cell, mode and length.
pub(in crate::render) fn rows(report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in parts(report) {
        let lengths = part.group.request().map(|request| request.lengths);
        for length in lengths.iter().flat_map(|lengths| lengths.iter()) {
            rows.extend(row(&part, length));
        }
    }
    rows
}

fn row(part: &Part<'_>, length: usize) -> Option<Row> {
    let found = part.at(length);
    let summary = |value: fn(&LengthRecord) -> f64| {
        Summary::new(&found.iter().map(|row| value(row)).collect::<Vec<_>>())
    };
    let mean = |value: fn(&LengthRecord) -> Option<f64>| {
        mean(
            &found
                .iter()
                .filter_map(|row| value(row))
                .collect::<Vec<_>>(),
        )
    };
    let sum = |value: fn(&LengthRecord) -> u64| found.iter().map(|row| value(row)).sum::<u64>();
    let exact = summary(|row| row.exact_match)?;
    let token = summary(|row| row.token_accuracy)?;
    let fine = summary(|row| row.fine_accuracy)?;
    let n_sequences = sum(|row| row.n_sequences);
    let ends = |summary: Summary| {
        let share = |end: f64| end.clamp(0.0, 1.0);
        let interval = summary.interval.map(|i| (share(i.low), share(i.high)));
        interval.unzip()
    };
    let (exact_match_low, exact_match_high) = ends(exact);
    let (token_accuracy_low, token_accuracy_high) = ends(token);
    Some(Row {
        group: part.group.name.clone(),
        cell: part.cell.name.clone(),
        mode: part.mode,
        length,
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
        run_low: found
            .iter()
            .map(|row| row.exact_match_low)
            .fold(1.0, f64::min),
        n_stopped_early: sum(|row| row.n_stopped_early),
        n_ran_over: sum(|row| row.n_ran_over),
        n_wrong_token: sum(|row| row.n_wrong_token),
        alignment_mass: mean(|row| row.alignment_mass),
        alignment_accuracy: mean(|row| row.alignment_accuracy),
        attention_entropy: mean(|row| row.attention_entropy),
    })
}

impl Row {
    /// Whether every output of every run is an exact match.
    pub(super) fn is_exact(&self) -> bool {
        self.n_runs_exact == self.n_runs
    }
}

#[cfg(test)]
mod tests {
    use s2s_runlog::wilson;

    use super::*;
    use crate::report::fixtures::report_with_lengths;

    #[test]
    fn a_row_pools_the_runs_of_a_cell() {
        let rows = rows(&report_with_lengths());
        assert_eq!(rows.len(), 2 * 2 * 2); // cells, modes, lengths
        let row = &rows[0];
        assert_eq!(
            (row.exact_match, row.exact_match_min, row.exact_match_max),
            (0.8, 0.6, 1.0)
        );
        assert_eq!((row.n_sequences, row.n_wrong_token), (20, 4));
        assert_eq!((row.n_runs, row.n_runs_exact), (2, 1));
        // scipy 1.17.1: stats.t.interval(0.95, 1, 0.8, 0.2), cut at 0 and 1
        assert_eq!(
            (row.exact_match_low, row.exact_match_high),
            (Some(0.0), Some(1.0))
        );
        assert_eq!(row.run_low, wilson(0.6, 10).0);
    }
}
