//! Up to which length models hold, and how they break beyond, in sentences.

use s2s_runlog::{DecodingMode, LengthRecord};

use super::is_exact;
use crate::experiment::outcome::Outcome;
use crate::experiment::plan::Cell;
use crate::experiment::report::Report;
use crate::experiment::summary::Summary;

/// A sentence or a few for each cell and way of decoding, over all groups of lengths.
pub(crate) fn findings(report: &Report) -> Vec<String> {
    let cells = report.plan.experiment.cells.iter();
    cells
        .flat_map(|cell| {
            [DecodingMode::Eos, DecodingMode::Oracle]
                .into_iter()
                .filter_map(|mode| finding(report, cell, mode))
        })
        .collect()
}

fn finding(report: &Report, cell: &Cell, mode: DecodingMode) -> Option<String> {
    let runs: Vec<Vec<&LengthRecord>> = report
        .outcomes_of(cell)
        .map(|outcome| rows(outcome, mode))
        .filter(|rows| !rows.is_empty())
        .collect();
    let (first, last) = (runs.first()?.first()?, runs.first()?.last()?);
    let all = || runs.iter().flatten().copied();
    let how = match mode {
        DecodingMode::Eos => "until EOS",
        DecodingMode::Oracle => "the length told",
    };
    let subject = format!("**{}**, {how}:", cell.name);
    if all().all(is_exact) {
        let n_sequences: u64 = all().map(|row| row.n_sequences).sum();
        return Some(format!(
            "{subject} every sequence right at each of {} lengths from {} to {}, in {} of {} runs; \
             {n_sequences} sequences.",
            runs[0].len(),
            first.length,
            last.length,
            runs.len(),
            runs.len()
        ));
    }
    let of_runs = |find: fn(&[&LengthRecord]) -> Option<usize>| -> Vec<Option<usize>> {
        runs.iter().map(|rows| find(rows)).collect()
    };
    let mut facts = vec![format!(
        "of {} lengths from {} to {}, the first with an error is {}",
        runs[0].len(),
        first.length,
        last.length,
        span(&of_runs(first_error))
    )];
    for (what, find) in [
        (
            "less than half right from",
            less_than_half as fn(&[&LengthRecord]) -> _,
        ),
        ("none from", none_from),
    ] {
        let found = of_runs(find);
        if found.iter().any(Option::is_some) {
            facts.push(format!("{what} {} on", span(&found)));
        }
    }
    let mut sentences = vec![format!("{subject} {}.", facts.join(", "))];
    if mode == DecodingMode::Eos {
        sentences.push(kinds(all()));
    }
    sentences.extend(reach(all(), last.length));
    sentences.extend(looking(all(), first.length, last.length));
    Some(sentences.join(" "))
}

/// A run's figures of every length of all groups; where two have the same, the first one's.
fn rows(outcome: &Outcome, mode: DecodingMode) -> Vec<&LengthRecord> {
    let records = outcome.lengths.iter().flat_map(|(_, record)| &record.rows);
    let mut rows: Vec<&LengthRecord> = records.filter(|row| row.mode == mode).collect();
    rows.sort_by_key(|row| row.length); // keeps the order of the groups
    rows.dedup_by_key(|row| row.length);
    rows
}

fn first_error(rows: &[&LengthRecord]) -> Option<usize> {
    let found = rows.iter().find(|row| !is_exact(row));
    found.map(|row| row.length)
}

fn less_than_half(rows: &[&LengthRecord]) -> Option<usize> {
    let found = rows.iter().find(|row| row.exact_match < 0.5);
    found.map(|row| row.length)
}

/// The first of the lengths, up to the greatest, at which nothing is right.
fn none_from(rows: &[&LengthRecord]) -> Option<usize> {
    let nothing = rows.iter().rev().take_while(|row| row.n_exact == 0);
    nothing.last().map(|row| row.length)
}

/// From the least to the greatest, and of how many runs that is if not of all.
fn span(found: &[Option<usize>]) -> String {
    let lengths = || found.iter().flatten();
    let (Some(least), Some(most)) = (lengths().min(), lengths().max()) else {
        return "none".to_owned();
    };
    let mut span = match least == most {
        true => least.to_string(),
        false => format!("{least} to {most}"),
    };
    if lengths().count() < found.len() {
        span += &format!(" (in {} of {} runs)", lengths().count(), found.len());
    }
    span
}

/// In what way outputs are wrong.
fn kinds<'a>(rows: impl Iterator<Item = &'a LengthRecord>) -> String {
    let (mut early, mut over, mut wrong) = (0, 0, 0);
    for row in rows {
        early += row.n_stopped_early;
        over += row.n_ran_over;
        wrong += row.n_wrong_token;
    }
    let n = early + over + wrong;
    let percent = |part: u64| 100.0 * part as f64 / n as f64;
    format!(
        "Of {n} wrong outputs, {:.1} % are too short, {:.1} % too long, and {:.1} % have the right \
         length and a wrong token.",
        percent(early),
        percent(over),
        percent(wrong)
    )
}

/// How far an output of the greatest length is right.
fn reach<'a>(rows: impl Iterator<Item = &'a LengthRecord>, longest: usize) -> Option<String> {
    let longest_rows = rows.filter(|row| row.length == longest);
    let tokens: Vec<f64> = longest_rows
        .map(|row| row.fine_accuracy * row.n_tokens as f64 / row.n_sequences.max(1) as f64)
        .collect();
    let mean = Summary::new(&tokens)?.mean;
    Some(format!(
        "At length {longest}, {mean:.0} tokens are right before the first error, in the mean."
    ))
}

/// What becomes of attention.
fn looking<'a>(
    rows: impl Iterator<Item = &'a LengthRecord> + Clone,
    shortest: usize,
    longest: usize,
) -> Option<String> {
    let mass = |length| {
        let rows = rows.clone().filter(|row| row.length == length);
        let masses: Vec<f64> = rows.filter_map(|row| row.alignment_mass).collect();
        Summary::new(&masses).map(|summary| summary.mean)
    };
    Some(format!(
        "Of attention's weight, {:.3} is at the right position at length {shortest}, and {:.3} at \
         {longest}.",
        mass(shortest)?,
        mass(longest)?
    ))
}

#[cfg(test)]
mod tests {
    use s2s_runlog::LengthSums;

    use super::super::tests::report;
    use super::*;

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
    fn a_model_breaks_at_its_first_error_and_reaches_no_further_than_its_last_success() {
        let rows = rows(&[(4, 10), (5, 9), (6, 4), (7, 6), (8, 0), (9, 0)]);
        let rows: Vec<&LengthRecord> = rows.iter().collect();
        assert_eq!(first_error(&rows), Some(5));
        assert_eq!(less_than_half(&rows), Some(6));
        assert_eq!(none_from(&rows), Some(8));
        let right = [rows[0]];
        assert_eq!(
            (
                first_error(&right),
                less_than_half(&right),
                none_from(&right)
            ),
            (None, None, None)
        );
    }

    #[test]
    fn runs_are_named_by_the_least_and_the_greatest() {
        assert_eq!(span(&[Some(5), Some(5)]), "5");
        assert_eq!(span(&[Some(7), None, Some(5)]), "5 to 7 (in 2 of 3 runs)");
        assert_eq!(span(&[None]), "none");
    }

    #[test]
    fn what_holds_and_what_breaks_is_said_of_each_cell() {
        let mut report = report();
        let breaking = findings(&report);
        assert_eq!(breaking.len(), 4); // cells, modes
        assert_eq!(
            breaking[0],
            "**additive**, until EOS: of 2 lengths from 4 to 8, the first with an error is 4 (in 1 of \
             2 runs), less than half right from 8 (in 1 of 2 runs) on. Of 12 wrong outputs, 0.0 % are too short, 0.0 % too \
             long, and 100.0 % have the right length and a wrong token. At length 8, 0 tokens are \
             right before the first error, in the mean."
        );
        report.outcomes.retain(|outcome| outcome.job.seed == 0);
        assert_eq!(
            findings(&report)[0],
            "**additive**, until EOS: every sequence right at each of 2 lengths from 4 to 8, in 1 of \
             1 runs; 20 sequences."
        );
    }
}
