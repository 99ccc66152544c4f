//! Tables of the evaluations by length.

use s2s_runlog::{LengthRecord, Lengths, LengthsRecord};
use s2s_viz::Table;

use super::{Row, costs, parts, records, rows};
use crate::experiment::lengths::{Group, Published};
use crate::experiment::report::{NOTHING, Report};
use crate::experiment::summary::Summary;

/// Lengths that a table has columns for; the others stand in `lengths.csv`.
const MAX_COLUMNS: usize = 8;

/// Of each group, with a title, the means over its lengths beside those of others.
pub(crate) fn summaries(report: &Report) -> Vec<(String, Table)> {
    let groups = report.plan.experiment.lengths.iter();
    groups
        .filter_map(|group| {
            let request = group.request().ok()?;
            let (lengths, samples) = (named(&request.lengths), request.samples);
            let title = format!("{}: {lengths}, {samples} sequences of each", group.name);
            Some((title, means(report, group)))
        })
        .collect()
}

/// Of each group, the summary, and exact match and token accuracy at single lengths.
pub(crate) fn tables(report: &Report) -> Vec<(String, Table)> {
    let all = rows(report);
    let mut tables = Vec::new();
    for (group, summary) in report.plan.experiment.lengths.iter().zip(summaries(report)) {
        tables.push(summary);
        let rows: Vec<&Row> = all.iter().filter(|row| row.group == group.name).collect();
        let mut lengths: Vec<usize> = rows.iter().map(|row| row.length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let lengths = spread_out(lengths);
        let exact = |row: &Row| {
            let (low, high) = (row.exact_match_low, row.exact_match_high);
            let interval = interval(low, high);
            let share = 100.0 * row.exact_match;
            format!(
                "{share:.1} ({} of {}) {interval}",
                row.n_runs_exact, row.n_runs
            )
        };
        let token = |row: &Row| {
            let (low, high) = (row.token_accuracy_low, row.token_accuracy_high);
            let (share, least) = (100.0 * row.token_accuracy, 100.0 * row.token_accuracy_min);
            format!("{share:.1} ({least:.1}) {}", interval(low, high))
        };
        let name = |figure| format!("{}: {figure} [95 %]", group.name);
        tables.push((
            name("exact match in %, mean (runs with every sequence right)"),
            by_length(&rows, &lengths, exact),
        ));
        tables.push((
            name("token accuracy in %, mean (least run)"),
            by_length(&rows, &lengths, token),
        ));
    }
    tables.extend(costs::table(report));
    tables
}

/// In percent.
fn interval(low: f64, high: f64) -> String {
    format!("[{:.1}, {:.1}]", 100.0 * low, 100.0 * high)
}

/// The lengths themselves, or how many there are where that would be long to read.
fn named(lengths: &Lengths) -> String {
    const MOST: usize = 40;
    let text = lengths.to_string();
    let (first, last) = (lengths.iter().next(), lengths.iter().last());
    match (first, last) {
        (Some(first), Some(last)) if text.len() > MOST => {
            format!("{} lengths from {first} to {last}", lengths.iter().count())
        }
        _ => format!("lengths {text}"),
    }
}

/// A row for each cell and mode, a column for each length.
fn by_length(rows: &[&Row], lengths: &[usize], figure: impl Fn(&Row) -> String) -> Table {
    let parts: Vec<&[&Row]> = rows
        .chunk_by(|a, b| (&a.cell, a.mode) == (&b.cell, b.mode))
        .collect();
    let mut table = Table::new()
        .column("cell", parts.iter().map(|part| &part[0].cell))
        .column("decoding", parts.iter().map(|part| part[0].mode));
    for length in lengths {
        let cells = parts.iter().map(|part| {
            let row = part.iter().find(|row| row.length == *length);
            row.map_or(NOTHING.to_owned(), |row| figure(row))
        });
        table = table.column(length.to_string(), cells);
    }
    table
}

/// Means over the lengths of a group: each run's, then over the runs; and those that are published.
fn means(report: &Report, group: &Group) -> Table {
    let mut columns: [Vec<String>; 8] = Default::default();
    let mut add = |row: [String; 8]| {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    };
    for (_, cell, mode) in parts(report).filter(|(other, ..)| other.name == group.name) {
        let records = records(report, group, cell);
        let summary = |value: fn(&LengthRecord) -> f64| {
            let of_run = |record: &&LengthsRecord| {
                let rows = record.rows.iter().filter(|row| row.mode == mode);
                Summary::new(&rows.map(value).collect::<Vec<_>>()).map(|summary| summary.mean)
            };
            let runs: Vec<f64> = records.iter().filter_map(of_run).collect();
            Summary::new(&runs)
        };
        let mean = |summary: Option<Summary>| match summary {
            Some(Summary {
                mean, sd: Some(sd), ..
            }) => format!("{mean:.5} ± {sd:.5}"),
            Some(Summary { mean, .. }) => format!("{mean:.5}"),
            None => NOTHING.to_owned(),
        };
        let least = |summary: Option<Summary>| {
            summary.map_or(NOTHING.to_owned(), |summary| format!("{:.5}", summary.min))
        };
        let exact = summary(|row| row.exact_match);
        let token = summary(|row| row.token_accuracy);
        add([
            cell.name.clone(),
            mode.to_string(),
            records.len().to_string(),
            mean(exact),
            least(exact),
            mean(token),
            least(token),
            mean(summary(|row| row.fine_accuracy)),
        ]);
    }
    for row in published(report, group) {
        let figure =
            |value: Option<f64>| value.map_or(NOTHING.to_owned(), |value| value.to_string());
        let nothing = || NOTHING.to_owned();
        add([
            row.name.clone(),
            format!("published: {}", row.source),
            nothing(),
            figure(row.exact_match),
            nothing(),
            figure(row.token_accuracy),
            nothing(),
            figure(row.fine_accuracy),
        ]);
    }
    let names = [
        "cell",
        "decoding",
        "runs",
        "exact match, mean ± sd",
        "least",
        "token accuracy, mean ± sd",
        "least",
        "fine accuracy, mean ± sd",
    ];
    let add = |table: Table, (name, column)| table.column(name, column);
    names.into_iter().zip(columns).fold(Table::new(), add)
}

fn published<'a>(report: &'a Report, group: &Group) -> impl Iterator<Item = &'a Published> {
    let rows = report.plan.experiment.published.iter();
    rows.filter(move |row| row.group == group.name)
}

/// At most [`MAX_COLUMNS`], evenly spread, with the first and the last.
fn spread_out(lengths: Vec<usize>) -> Vec<usize> {
    if lengths.len() <= MAX_COLUMNS {
        return lengths;
    }
    let last = lengths.len() - 1;
    (0..MAX_COLUMNS)
        .map(|i| lengths[i * last / (MAX_COLUMNS - 1)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn tables_stand_beside_what_others_published() {
        let tables = tables(&report());
        assert_eq!(tables.len(), 3);
        assert_eq!(tables[0].0, "far: lengths 4,8, 10 sequences of each");
        let means = tables[0].1.markdown();
        assert!(means.contains("0.70000 ± 0.42426"), "{means}"); // of 1.0 and 0.4
        assert!(means.contains("published: a paper"), "{means}");
        let exact = tables[1].1.markdown();
        assert!(exact.contains("60.0 (1 of 2) ["), "{exact}"); // of 1.0 and 0.2
    }

    #[test]
    fn a_long_list_of_lengths_is_counted() {
        assert_eq!(named(&"40,80".parse().unwrap()), "lengths 40,80");
        let many = Lengths::parse("41..500", 9).unwrap();
        assert_eq!(named(&many), "52 lengths from 41 to 500");
    }

    #[test]
    fn many_lengths_are_shown_from_the_first_to_the_last() {
        let shown = spread_out((41..=500).collect());
        assert_eq!((shown.len(), shown[0], shown[7]), (8, 41, 500));
        assert_eq!(spread_out(vec![1, 2]), [1, 2]);
    }
}
