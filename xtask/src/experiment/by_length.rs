//! The evaluations by length of an experiment's runs, over the seeds.

use s2s_runlog::{DecodingMode, LengthRecord, LengthsRecord, wilson};
use s2s_viz::{Hue, LinePlot, Series, Shade, Spread, Table, YAxis, lengths_axis};
use serde::Serialize;

use super::lengths::{Group, Published};
use super::plan::Cell;
use super::report::{NOTHING, Report};
use super::summary::Summary;

/// Lengths that a table has columns for; the others stand in `lengths.csv`.
const MAX_COLUMNS: usize = 8;

const MODES: [DecodingMode; 2] = [DecodingMode::Eos, DecodingMode::Oracle];

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

/// Three tables a group: the means over its lengths beside those of others, then exact match and
/// token accuracy at single lengths.
pub(crate) fn tables(report: &Report) -> Vec<(String, Table)> {
    let all = rows(report);
    let mut tables = Vec::new();
    for group in &report.plan.experiment.lengths {
        let Ok(request) = group.request() else {
            continue;
        };
        let title = format!(
            "{}: lengths {}, {} sequences of each",
            group.name, request.lengths, request.samples
        );
        tables.push((title, means(report, group)));
        let rows: Vec<&Row> = all.iter().filter(|row| row.group == group.name).collect();
        let lengths: Vec<usize> = spread_out(request.lengths.iter().collect());
        let exact = |row: &Row| {
            format!(
                "{:.3} ({:.3}) [{:.3}, {:.3}]",
                row.exact_match, row.exact_match_min, row.exact_match_low, row.exact_match_high
            )
        };
        let token = |row: &Row| {
            format!(
                "{:.3} ({:.3}) [{:.3}, {:.3}]",
                row.token_accuracy,
                row.token_accuracy_min,
                row.token_accuracy_low,
                row.token_accuracy_high
            )
        };
        let name = |figure| format!("{}: {figure}, mean (least run) [95 %]", group.name);
        tables.push((name("exact match"), by_length(&rows, &lengths, exact)));
        tables.push((name("token accuracy"), by_length(&rows, &lengths, token)));
    }
    tables
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

/// Exact match by length, a line a cell and a picture a way of decoding, each with a name.
pub(crate) fn plots(report: &Report) -> Vec<(String, LinePlot)> {
    let plot = |mode: DecodingMode| {
        let cells = report.plan.experiment.cells.iter().enumerate();
        let series = cells.map(|(index, cell)| {
            let runs: Vec<Vec<(f64, f64)>> = report
                .outcomes_of(cell)
                .map(|outcome| points(outcome.lengths.iter().map(|(_, record)| record), mode))
                .filter(|points| !points.is_empty())
                .collect();
            Series::over_runs(&cell.name, Hue::nth(index), &runs, Spread::Range)
        });
        let series: Vec<Series> = series.filter(|series| !series.points.is_empty()).collect();
        let lengths: Vec<usize> = series
            .iter()
            .flat_map(|series| series.points.iter().map(|(x, _)| *x as usize))
            .collect();
        let subtitle = match mode {
            DecodingMode::Eos => "until EOS",
            DecodingMode::Oracle => "the length told, EOS ignored",
        };
        let plot = LinePlot {
            title: "Exact match by length".to_owned(),
            subtitle: format!(
                "{subtitle}; mean over the seeds, from the least run to the greatest"
            ),
            x_label: "symbols of the source".to_owned(),
            x_axis: lengths_axis(&lengths),
            shade: trained(report),
            y_label: "share of sequences".to_owned(),
            y_axis: YAxis::Share,
            series,
        };
        (format!("lengths-{mode}"), plot)
    };
    let is_drawable = |(_, plot): &(String, LinePlot)| !plot.series.is_empty();
    MODES.map(plot).into_iter().filter(is_drawable).collect()
}

/// Exact match at every length of all groups; where two have the same, the first one's.
fn points<'a>(
    records: impl Iterator<Item = &'a LengthsRecord>,
    mode: DecodingMode,
) -> Vec<(f64, f64)> {
    let rows = records
        .flat_map(|record| &record.rows)
        .filter(|row| row.mode == mode);
    let mut points: Vec<(usize, f64)> = rows.map(|row| (row.length, row.exact_match)).collect();
    points.sort_by_key(|(length, _)| *length); // keeps the order of the groups
    points.dedup_by_key(|(length, _)| *length);
    points
        .into_iter()
        .map(|(length, share)| (length as f64, share))
        .collect()
}

/// The lengths of training, if all cells have the same.
fn trained(report: &Report) -> Option<Shade> {
    let mut records = report.outcomes.iter().flat_map(|outcome| &outcome.lengths);
    let ends = |record: &LengthsRecord| (record.min_trained, record.max_trained);
    let first = ends(&records.next()?.1);
    records
        .all(|(_, record)| ends(record) == first)
        .then(|| Shade {
            label: "trained".to_owned(),
            from: first.0 as f64,
            to: first.1 as f64,
        })
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
    use s2s_runlog::LengthSums;

    use super::*;
    use crate::experiment::outcome::fixtures;

    /// Two cells under two seeds, evaluated at two lengths.
    fn report() -> Report {
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
            let pairs = [4, 8]
                .into_iter()
                .flat_map(|length| MODES.map(|mode| (length, mode)));
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

    #[test]
    fn tables_stand_beside_what_others_published() {
        let tables = tables(&report());
        assert_eq!(tables.len(), 3);
        assert_eq!(tables[0].0, "far: lengths 4,8, 10 sequences of each");
        let means = tables[0].1.markdown();
        assert!(means.contains("0.70000 ± 0.42426"), "{means}"); // of 1.0 and 0.4
        assert!(means.contains("published: a paper"), "{means}");
        let exact = tables[1].1.markdown();
        assert!(exact.contains("0.600 (0.200) ["), "{exact}");
    }

    #[test]
    fn each_cell_is_a_line_between_its_runs() {
        let plots = plots(&report());
        assert_eq!(plots.len(), 2);
        let (name, plot) = &plots[0];
        assert_eq!(name, "lengths-eos");
        assert_eq!(plot.series.len(), 2);
        assert_eq!(plot.series[0].points, [(4.0, 0.8), (8.0, 0.6)]);
        assert_eq!(plot.series[0].band[1], (8.0, 0.2, 1.0));
        assert_eq!(plot.shade.as_ref().unwrap().to, 4.0);
        plot.draw().unwrap();
    }

    #[test]
    fn many_lengths_are_shown_from_the_first_to_the_last() {
        let shown = spread_out((41..=500).collect());
        assert_eq!((shown.len(), shown[0], shown[7]), (8, 41, 500));
        assert_eq!(spread_out(vec![1, 2]), [1, 2]);
    }
}
