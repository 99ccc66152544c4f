//! Time and memory of the evaluations by length.

use s2s_runlog::LengthTiming;
use s2s_viz::Table;

use super::part::{Part, parts};
use crate::render::{ABSENT, rows};
use crate::report::Report;
use crate::statistics::mean;

/// Time per sequence and memory at the longest length of each group; `None` if no times were
/// recorded.
pub(super) fn table(report: &Report) -> Option<Table> {
    let rows: Vec<[String; 7]> = parts(report).filter_map(|part| row(&part)).collect();
    let names = [
        "group",
        "length",
        "cell",
        "decoding",
        "seconds per sequence",
        "threads",
        "peak MiB of the process",
    ];
    (!rows.is_empty()).then(|| rows::table(names, rows))
}

fn row(part: &Part<'_>) -> Option<[String; 7]> {
    let longest_of_run = |timing: &'_ [LengthTiming]| {
        let timing = timing.iter().filter(|timing| timing.mode == part.mode);
        timing.max_by_key(|timing| timing.length).cloned()
    };
    let evaluations = part.evaluations();
    let timing: Vec<LengthTiming> = evaluations
        .filter_map(|evaluation| longest_of_run(&evaluation.timing))
        .collect();
    let longest = timing.iter().map(|timing| timing.length).max()?;
    let n_sequences = part.at(longest).first()?.n_sequences.max(1);
    let secs: Vec<f64> = timing
        .iter()
        .map(|timing| timing.secs / n_sequences as f64)
        .collect();
    let threads = timing.iter().map(|timing| timing.threads).max()?;
    let peak = timing.iter().filter_map(|timing| timing.peak_mib);
    let peak = peak.reduce(f64::max);
    Some([
        part.group.name.clone(),
        longest.to_string(),
        part.cell.name.clone(),
        part.mode.to_string(),
        format!("{:.3}", mean(&secs)?),
        threads.to_string(),
        peak.map_or(ABSENT.to_owned(), |mib| format!("{mib:.0}")),
    ])
}
