//! Tables of the evaluations by length.

use s2s_runlog::{LengthRecord, Lengths};
use s2s_viz::Table;

use super::costs;
use super::part::{Part, parts};
use super::rows::{Row, rows};
use crate::lengths::LengthGroup;
use crate::lengths::Published;
use crate::render::{ABSENT, rows as by_row};
use crate::report::Report;
use crate::statistics::{Summary, mean, percentage};

/// A table has at most so many lengths. `lengths.csv` has all.
const MAX_COLUMNS: usize = 8;

/// A part of the report: a table with a title, or a sentence.
#[derive(Debug)]
pub(in crate::render) enum Section {
    Table { title: String, table: Table },
    Sentence(String),
}

impl Section {
    pub(in crate::render) fn markdown(&self) -> String {
        match self {
            Self::Table { title, table } => format!("**{title}**\n\n{}", table.markdown()),
            Self::Sentence(text) => text.clone(),
        }
    }
}

/// For each group its title and the means over its lengths, next to published ones.
pub(in crate::render) fn summaries(report: &Report) -> Vec<(String, Table)> {
    let groups = report.plan.experiment.lengths.iter();
    groups
        .map(|group| (title(group), means(report, group)))
        .collect()
}

/// For each group the means, then exact match and token accuracy at single lengths. What would only
/// repeat 100 % is one sentence.
pub(in crate::render) fn sections(report: &Report) -> Vec<Section> {
    let all = rows(report);
    let mut sections = Vec::new();
    for group in &report.plan.experiment.lengths {
        let rows: Vec<&Row> = all.iter().filter(|row| row.group == group.name).collect();
        let is_exact = !rows.is_empty() && rows.iter().all(|row| row.is_exact());
        if is_exact {
            sections.push(Section::Sentence(exact_sentence(group, &rows)));
        }
        if !is_exact || published(report, group).next().is_some() {
            let (title, table) = (title(group), means(report, group));
            sections.push(Section::Table { title, table });
        }
        if !is_exact {
            sections.extend(single_lengths(group, &rows));
        }
    }
    if let Some(table) = costs::table(report) {
        let title = "Time and memory at the longest length of each group".to_owned();
        sections.push(Section::Table { title, table });
    }
    sections
}

fn exact_sentence(group: &LengthGroup, rows: &[&Row]) -> String {
    let lowest = rows.iter().map(|row| row.run_low);
    let lowest = lowest.fold(1.0, f64::min);
    format!(
        "**{}**: every output of every run, cell and decoding mode is an exact match. The 95 % \
         Wilson intervals of a single run at a single length start at {} % or above.",
        title(group),
        percentage(lowest, 1)
    )
}

/// Tables with a column for each length; none for a single length, whose value is the mean.
fn single_lengths(group: &LengthGroup, rows: &[&Row]) -> Vec<Section> {
    let mut lengths: Vec<usize> = rows.iter().map(|row| row.length).collect();
    lengths.sort_unstable();
    lengths.dedup();
    if lengths.len() < 2 {
        return Vec::new();
    }
    let lengths = spread_out(lengths);
    let exact = |row: &Row| {
        format!(
            "{} ({} of {}){}",
            percentage(row.exact_match, 1),
            row.n_runs_exact,
            row.n_runs,
            interval(row.exact_match_low, row.exact_match_high)
        )
    };
    let token = |row: &Row| {
        format!(
            "{} ({}){}",
            percentage(row.token_accuracy, 1),
            percentage(row.token_accuracy_min, 1),
            interval(row.token_accuracy_low, row.token_accuracy_high)
        )
    };
    let section = |metric: &str, table| Section::Table {
        title: format!("{}: {metric}", group.name),
        table,
    };
    vec![
        section(
            "exact match in %: mean (runs with only exact matches) [95 % interval]",
            by_length(rows, &lengths, exact),
        ),
        section(
            "token accuracy in %: mean (lowest run) [95 % interval]",
            by_length(rows, &lengths, token),
        ),
    ]
}

fn interval(low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!(" [{}, {}]", percentage(low, 1), percentage(high, 1)),
        _ => String::new(),
    }
}

/// `far: lengths 40,80; 10 sequences per length`. A long list of lengths is only counted.
fn title(group: &LengthGroup) -> String {
    let lengths = match group.request() {
        Ok(request) => listed(&request.lengths),
        Err(problem) => problem,
    };
    let n = group.samples;
    let sequences = if n == 1 { "sequence" } else { "sequences" };
    format!("{}: {lengths}; {n} {sequences} per length", group.name)
}

fn listed(lengths: &Lengths) -> String {
    const MAX_CHARS: usize = 40;
    let text = lengths.to_string();
    let n = lengths.iter().count();
    match (lengths.iter().next(), lengths.iter().last()) {
        (Some(only), Some(_)) if n == 1 => format!("length {only}"),
        (Some(first), Some(last)) if text.len() > MAX_CHARS => {
            format!("{n} lengths from {first} to {last}")
        }
        _ => format!("lengths {text}"),
    }
}

/// A row for each cell and decoding mode, a column for each length.
fn by_length(rows: &[&Row], lengths: &[usize], write: impl Fn(&Row) -> String) -> Table {
    let parts: Vec<&[&Row]> = rows
        .chunk_by(|a, b| (&a.cell, a.mode) == (&b.cell, b.mode))
        .collect();
    let mut table = Table::new()
        .column("cell", parts.iter().map(|part| &part[0].cell))
        .column("decoding", parts.iter().map(|part| part[0].mode));
    for length in lengths {
        let cells = parts.iter().map(|part| {
            let row = part.iter().find(|row| row.length == *length);
            row.map_or(ABSENT.to_owned(), |row| write(row))
        });
        table = table.column(length.to_string(), cells);
    }
    table
}

/// Means over the lengths of a group: of each run, then over the runs; and the published ones.
fn means(report: &Report, group: &LengthGroup) -> Table {
    let names = [
        "cell",
        "decoding",
        "runs",
        "exact match, mean ± sd",
        "min",
        "token accuracy, mean ± sd",
        "min",
        "fine accuracy, mean ± sd",
    ];
    let ours = parts(report).filter(|part| part.group.name == group.name);
    let published = published(report, group).map(published_row);
    by_row::table(names, ours.map(|part| means_row(&part)).chain(published))
}

fn means_row(part: &Part<'_>) -> [String; 8] {
    let summary = |value: fn(&LengthRecord) -> f64| {
        let runs = part.evaluations().filter_map(|run| {
            let values: Vec<f64> = part.rows_of(run).map(value).collect();
            mean(&values)
        });
        Summary::new(&runs.collect::<Vec<_>>())
    };
    let mean = |summary: Option<Summary>| match summary {
        Some(Summary {
            mean, sd: Some(sd), ..
        }) => format!("{mean:.5} ± {sd:.5}"),
        Some(Summary { mean, .. }) => format!("{mean:.5}"),
        None => ABSENT.to_owned(),
    };
    let min = |summary: Option<Summary>| {
        summary.map_or(ABSENT.to_owned(), |summary| format!("{:.5}", summary.min))
    };
    let exact = summary(|row| row.exact_match);
    let token = summary(|row| row.token_accuracy);
    [
        part.cell.name.clone(),
        part.mode.to_string(),
        part.evaluations().count().to_string(),
        mean(exact),
        min(exact),
        mean(token),
        min(token),
        mean(summary(|row| row.fine_accuracy)),
    ]
}

fn published_row(row: &Published) -> [String; 8] {
    let value = |value: Option<f64>| value.map_or(ABSENT.to_owned(), |value| value.to_string());
    [
        row.name.clone(),
        format!("published: {}", row.source),
        ABSENT.to_owned(),
        value(row.exact_match),
        ABSENT.to_owned(),
        value(row.token_accuracy),
        ABSENT.to_owned(),
        value(row.fine_accuracy),
    ]
}

fn published<'a>(
    report: &'a Report,
    group: &LengthGroup,
) -> impl Iterator<Item = &'a Published> + use<'a> {
    let name = group.name.clone();
    let rows = report.plan.experiment.published.iter();
    rows.filter(move |row| row.group == name)
}

/// At most [`MAX_COLUMNS`] of the lengths, evenly spread, with the first and the last.
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
    use super::*;
    use crate::report::fixtures::report_with_lengths;

    fn text(sections: &[Section]) -> String {
        sections.iter().map(Section::markdown).collect()
    }

    #[test]
    fn results_stand_next_to_published_ones() {
        let sections = sections(&report_with_lengths());
        assert_eq!(sections.len(), 3);
        let means = sections[0].markdown();
        assert!(means.contains("0.70000 ± 0.42426"), "{means}"); // of 1.0 and 0.4
        assert!(means.contains("published: a paper"), "{means}");
        let exact = sections[1].markdown();
        assert!(exact.contains("60.0 (1 of 2) ["), "{exact}"); // of 1.0 and 0.2
    }

    #[test]
    fn a_group_without_an_error_is_one_sentence() {
        let mut report = report_with_lengths();
        report.outcomes.retain(|outcome| outcome.job.seed == 0);
        assert_eq!(sections(&report).len(), 2); // the published row needs the table of means
        report.plan.experiment.published.clear();
        assert_eq!(
            text(&sections(&report)),
            "**far: lengths 4,8; 10 sequences per length**: every output of every run, cell and \
             decoding mode is an exact match. The 95 % Wilson intervals of a single run at a single \
             length start at 72.2 % or above."
        );
    }

    #[test]
    fn a_long_list_of_lengths_is_counted() {
        assert_eq!(listed(&"40,80".parse().unwrap()), "lengths 40,80");
        assert_eq!(listed(&"1000".parse().unwrap()), "length 1000");
        let many = Lengths::parse("41..500", 9).unwrap();
        assert_eq!(listed(&many), "52 lengths from 41 to 500");
    }

    #[test]
    fn a_table_shows_the_first_and_the_last_of_many_lengths() {
        let shown = spread_out((41..=500).collect());
        assert_eq!((shown.len(), shown[0], shown[7]), (8, 41, 500));
        assert_eq!(spread_out(vec![1, 2]), [1, 2]);
    }
}
