//! Up to which length each cell is correct, and how it fails beyond, in sentences.

use s2s_runlog::{DecodingMode, LengthRecord};

use super::part::is_exact;
use crate::cell::Cell;
use crate::outcome::Outcome;
use crate::report::Report;
use crate::statistics::{mean, percentage};

/// A few sentences for each cell and decoding mode, over all groups of lengths.
pub(in crate::render) fn findings(report: &Report) -> Vec<String> {
    let cells = report.plan.experiment.cells.iter();
    let all = cells.flat_map(|cell| {
        [DecodingMode::Eos, DecodingMode::Oracle]
            .into_iter()
            .filter_map(|mode| Some((&cell.name, finding(report, cell, mode)?)))
    });
    let mut merged: Vec<(String, Vec<String>)> = Vec::new();
    for (cell, found) in all {
        let name = format!("**{cell}**");
        match merged.iter_mut().find(|(known, _)| *known == found) {
            Some((_, names)) => names.push(name),
            None => merged.push((found, vec![name])),
        }
    }
    let line = |(found, names): (String, Vec<String>)| format!("{}, {found}", names.join(", "));
    merged.into_iter().map(line).collect()
}

/// The rows of one run in ascending order of their lengths.
type Run<'a> = Vec<&'a LengthRecord>;

fn finding(report: &Report, cell: &Cell, mode: DecodingMode) -> Option<String> {
    let runs: Vec<Run<'_>> = report
        .outcomes_of(cell)
        .map(|outcome| rows(outcome, mode))
        .filter(|rows| !rows.is_empty())
        .collect();
    let (shortest, longest) = (runs.first()?.first()?.length, runs.first()?.last()?.length);
    let n_lengths = runs[0].len();
    let lengths = match n_lengths {
        1 => format!("length {longest}"),
        n => format!("{n} lengths from {shortest} to {longest}"),
    };
    let subject = format!("`{mode}`, {lengths}:");
    let all = || runs.iter().flatten().copied();
    if all().all(is_exact) {
        let n_sequences: u64 = all().map(|row| row.n_sequences).sum();
        return Some(format!(
            "{subject} all {n_sequences} outputs of {} are exact matches.",
            counted(runs.len(), "run")
        ));
    }
    let mut sentences = Vec::new();
    for (what, find) in [
        ("the first error is at length", first_error as fn(&[_]) -> _),
        ("exact match is below 50 % from length", below_half),
        ("no output is an exact match from length", none_from),
    ] {
        let found: Vec<Option<usize>> = runs.iter().map(|run| find(run)).collect();
        if let Some(span) = span(&found) {
            sentences.push(format!("{what} {span}"));
        }
    }
    let mut text = format!("{subject} {}.", sentences.join("; "));
    let details = [
        (mode == DecodingMode::Eos).then(|| kinds(all())),
        correct_tokens(all(), longest),
        attention(all(), shortest, longest),
    ];
    for detail in details.into_iter().flatten() {
        text += &format!(" {detail}");
    }
    Some(text)
}

/// A run's rows at each length of all groups. A length in two groups counts once: the first group's.
fn rows(outcome: &Outcome, mode: DecodingMode) -> Run<'_> {
    let rows = outcome.lengths.iter().flat_map(|found| &found.record.rows);
    let mut rows: Run<'_> = rows.filter(|row| row.mode == mode).collect();
    rows.sort_by_key(|row| row.length); // stable: keeps the order of the groups
    rows.dedup_by_key(|row| row.length);
    rows
}

fn first_error(rows: &[&LengthRecord]) -> Option<usize> {
    let found = rows.iter().find(|row| !is_exact(row));
    found.map(|row| row.length)
}

fn below_half(rows: &[&LengthRecord]) -> Option<usize> {
    let found = rows.iter().find(|row| row.exact_match < 0.5);
    found.map(|row| row.length)
}

/// The start of the lengths, up to the longest, at which no output is an exact match.
fn none_from(rows: &[&LengthRecord]) -> Option<usize> {
    let nothing = rows.iter().rev().take_while(|row| row.n_exact == 0);
    nothing.last().map(|row| row.length)
}

/// The smallest and the largest of the lengths that were found, and in how many runs if not in all;
/// `None` if nothing was found.
fn span(found: &[Option<usize>]) -> Option<String> {
    let lengths = || found.iter().flatten();
    let (min, max) = (lengths().min()?, lengths().max()?);
    let mut span = match min == max {
        true => min.to_string(),
        false => format!("{min} to {max}"),
    };
    if lengths().count() < found.len() {
        span += &format!(" (in {} of {} runs)", lengths().count(), found.len());
    }
    Some(span)
}

/// How outputs are wrong.
fn kinds<'a>(rows: impl Iterator<Item = &'a LengthRecord>) -> String {
    let (mut early, mut over, mut wrong) = (0, 0, 0);
    for row in rows {
        early += row.n_stopped_early;
        over += row.n_ran_over;
        wrong += row.n_wrong_token;
    }
    let n = early + over + wrong;
    let percent = |part: u64| percentage(part as f64 / n as f64, 1);
    format!(
        "Of {n} wrong outputs, {} % are too short, {} % are too long, and {} % have the correct \
         length and a wrong token.",
        percent(early),
        percent(over),
        percent(wrong)
    )
}

fn correct_tokens<'a>(
    rows: impl Iterator<Item = &'a LengthRecord>,
    longest: usize,
) -> Option<String> {
    let rows = rows.filter(|row| row.length == longest);
    let tokens: Vec<f64> = rows
        .map(|row| row.fine_accuracy * row.n_tokens as f64 / row.n_sequences.max(1) as f64)
        .collect();
    Some(format!(
        "At length {longest}, {:.0} tokens on average are correct before the first error.",
        mean(&tokens)?
    ))
}

/// The mean attention weight at the position that the task says is the correct one.
fn attention<'a>(
    rows: impl Iterator<Item = &'a LengthRecord> + Clone,
    shortest: usize,
    longest: usize,
) -> Option<String> {
    let weight = |length| {
        let rows = rows.clone().filter(|row| row.length == length);
        mean(
            &rows
                .filter_map(|row| row.alignment_mass)
                .collect::<Vec<_>>(),
        )
    };
    Some(format!(
        "The mean attention weight on the correct position is {:.3} at length {shortest} and {:.3} \
         at {longest}.",
        weight(shortest)?,
        weight(longest)?
    ))
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use s2s_runlog::LengthSums;

    use super::*;
    use crate::report::fixtures::report_with_lengths;

    fn rows(exact: &[(usize, u64)]) -> Vec<LengthRecord> {
        let row = |&(length, n_exact): &(usize, u64)| {
            let sums = LengthSums {
                n_sequences: 10,
                n_tokens: 10 * length as u64,
                n_exact,
                ..LengthSums::default()
            };
            sums.record(DecodingMode::Eos, length, length)
        };
        exact.iter().map(row).collect()
    }

    #[test]
    fn the_lengths_at_which_a_model_fails_are_found() {
        let rows = rows(&[(4, 10), (5, 9), (6, 4), (7, 6), (8, 0), (9, 0)]);
        let rows: Run<'_> = rows.iter().collect();
        assert_eq!(first_error(&rows), Some(5));
        assert_eq!(below_half(&rows), Some(6));
        assert_eq!(none_from(&rows), Some(8));
        let right = [rows[0]];
        assert_eq!(first_error(&right), None);
        assert_eq!(below_half(&right), None);
        assert_eq!(none_from(&right), None);
    }

    #[test]
    fn lengths_of_several_runs_are_a_range() {
        assert_eq!(span(&[Some(5), Some(5)]).unwrap(), "5");
        assert_eq!(
            span(&[Some(7), None, Some(5)]).unwrap(),
            "5 to 7 (in 2 of 3 runs)"
        );
        assert_eq!(span(&[None]), None);
    }

    #[test]
    fn each_cell_has_its_findings() {
        let mut report = report_with_lengths();
        let failing = findings(&report);
        assert_eq!(
            failing.len(),
            2,
            "cells with the same findings share a line"
        );
        assert_eq!(
            failing[0],
            "**additive**, **none**, `eos`, 2 lengths from 4 to 8: the first error is at length 4 (in 1 of 2 \
             runs); exact match is below 50 % from length 8 (in 1 of 2 runs). Of 12 wrong outputs, \
             0.0 % are too short, 0.0 % are too long, and 100.0 % have the correct length and a \
             wrong token. At length 8, 0 tokens on average are correct before the first error."
        );
        report.outcomes.retain(|outcome| outcome.job.seed == 0);
        assert_eq!(
            findings(&report)[0],
            "**additive**, **none**, `eos`, 2 lengths from 4 to 8: all 20 outputs of 1 run are exact matches."
        );
    }
}
