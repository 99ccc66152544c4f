//! Rows of tables from the records of runs.

mod by_length;
mod cells;
mod single;
mod transducer;

use anyhow::{Result, ensure};
use s2s_lab::statistics::{mean, percentage};
use s2s_lab::{Outcome, Report};
use s2s_runlog::{DecodingMode, LengthRecord, RunDir, TimingRecord, read_lines};

pub(super) use by_length::{
    deepmind, grefenstette, joeynmt, million_by_length, transducer_by_length,
};
pub(super) use cells::{long, mechanisms, tasks, teacher_forcing};
pub(super) use single::{G2P_HEADER, g2p, notebook, seed, text_scores};
pub(super) use transducer::{ablations, further, symbols, transducer};

type Row = Vec<String>;

pub(super) fn train_secs(run: &RunDir) -> Result<f64> {
    let timing: Vec<TimingRecord> = read_lines(run.timing())?;
    Ok(timing.iter().map(|t| t.train_secs + t.eval_secs).sum())
}

/// The runs of a cell.
fn runs<'a>(report: &'a Report, cell: &str) -> Result<Vec<&'a Outcome>> {
    let runs = report.outcomes.iter().filter(|run| run.job.cell == cell);
    let runs: Vec<&Outcome> = runs.collect();
    ensure!(!runs.is_empty(), "the experiment has no run of {cell}");
    Ok(runs)
}

/// The free-running rows of a group of lengths of a run.
fn evaluated<'a>(run: &'a Outcome, group: &str) -> Vec<&'a LengthRecord> {
    let found = run.lengths.iter().filter(|lengths| lengths.group == group);
    let rows = found.flat_map(|lengths| &lengths.record.rows);
    rows.filter(|row| row.mode == DecodingMode::Eos).collect()
}

/// The mean over the lengths of a group, each with the same weight, of each run.
fn of_group(runs: &[&Outcome], group: &str, value: fn(&LengthRecord) -> f64) -> Vec<f64> {
    let of_run = |run: &&Outcome| {
        let values: Vec<f64> = evaluated(run, group).into_iter().map(value).collect();
        mean(&values)
    };
    runs.iter().filter_map(of_run).collect()
}

/// Exact match in % at each length, and how many runs have every sequence right.
fn at_lengths(report: &Report, cell: &str, group: &str) -> Result<Vec<(usize, String)>> {
    let runs = runs(report, cell)?;
    let lengths: Vec<usize> = evaluated(runs[0], group)
        .iter()
        .map(|row| row.length)
        .collect();
    let at = |length: usize| {
        let rows = runs.iter().flat_map(|run| evaluated(run, group));
        let rows = rows.filter(|row| row.length == length);
        let values: Vec<f64> = rows.map(|row| row.exact_match).collect();
        let n_exact = values.iter().filter(|value| **value == 1.0).count();
        let text = match mean(&values) {
            Some(0.0) | None => "0".to_owned(),
            Some(mean) => format!("{} ({n_exact})", percentage(mean, 1)),
        };
        (length, text)
    };
    Ok(lengths.into_iter().map(at).collect())
}

fn exact(row: &LengthRecord) -> f64 {
    row.exact_match
}

fn share(values: &[f64]) -> String {
    mean(values).map_or(String::new(), |share| format!("{} %", percentage(share, 1)))
}

/// How many runs have everything right.
fn exact_runs(values: &[f64]) -> String {
    let n_exact = values.iter().filter(|value| **value == 1.0).count();
    format!("{n_exact} of {}", values.len())
}

fn secs(runs: &[&Outcome]) -> String {
    let secs: Vec<f64> = runs.iter().map(|run| run.train_secs).collect();
    format!("{:.1}", mean(&secs).unwrap_or(0.0))
}

/// How many runs needed another attempt than the first.
fn restarted(runs: &[&Outcome]) -> String {
    let is_later = |run: &&&Outcome| {
        let last = run.metrics.last().and_then(|last| last.attempt.as_ref());
        last.is_some_and(|attempt| attempt.index > 0)
    };
    runs.iter().filter(is_later).count().to_string()
}

/// A number with commas between its thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (n, text) in [
            (7, "7"),
            (640, "640"),
            (6330, "6,330"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(n), text);
        }
    }
}
