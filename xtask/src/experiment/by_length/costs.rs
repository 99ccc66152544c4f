//! What the evaluations by length took.

use s2s_runlog::LengthTiming;
use s2s_viz::Table;

use super::{parts, records};
use crate::experiment::report::{NOTHING, Report};
use crate::experiment::summary::Summary;

/// At the longest length of every group: the time of a sequence, and the memory; nothing if no time
/// was taken.
pub(super) fn table(report: &Report) -> Option<(String, Table)> {
    let mut columns: [Vec<String>; 6] = Default::default();
    for (group, cell, mode) in parts(report) {
        let is_of_group = |(name, _): &&(String, Vec<LengthTiming>)| *name == group.name;
        let runs = report.outcomes_of(cell);
        let times: Vec<&LengthTiming> = runs
            .filter_map(|run| run.times.iter().find(is_of_group))
            .filter_map(|(_, times)| {
                let times = times.iter().filter(|taken| taken.mode == mode);
                times.max_by_key(|taken| taken.length)
            })
            .collect();
        let Some(longest) = times.iter().map(|taken| taken.length).max() else {
            continue;
        };
        let records = records(report, group, cell);
        let n_sequences = records
            .iter()
            .flat_map(|record| &record.rows)
            .find(|row| (row.length, row.mode) == (longest, mode))
            .map_or(1, |row| row.n_sequences.max(1));
        let secs: Vec<f64> = times
            .iter()
            .map(|taken| taken.secs / n_sequences as f64)
            .collect();
        let mean = Summary::new(&secs).map_or(f64::NAN, |summary| summary.mean);
        let threads = times.iter().map(|taken| taken.threads).max().unwrap_or(1);
        let peak = times.iter().filter_map(|taken| taken.peak_mib);
        let peak = peak.reduce(f64::max);
        let row = [
            longest.to_string(),
            cell.name.clone(),
            mode.to_string(),
            format!("{mean:.3}"),
            threads.to_string(),
            peak.map_or(NOTHING.to_owned(), |mib| format!("{mib:.0}")),
        ];
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    if columns[0].is_empty() {
        return None;
    }
    let names = [
        "length",
        "cell",
        "decoding",
        "seconds a sequence",
        "threads",
        "peak MiB of the process",
    ];
    let add = |table: Table, (name, column)| table.column(name, column);
    let table = names.into_iter().zip(columns).fold(Table::new(), add);
    Some((
        "time and memory, at the longest length of each group".to_owned(),
        table,
    ))
}
