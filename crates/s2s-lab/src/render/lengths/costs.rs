//! Time and memory of the evaluations by length.

use s2s_runlog::{DecodingMode, LengthTiming};
use s2s_viz::{LinePlot, Look, Series, Spread, Table, XAxis, YAxis};

use super::part::{Part, parts};
use crate::cell::Cell;
use crate::outcome::{LengthOutcome, Outcome};
use crate::render::picture::Picture;
use crate::render::{ABSENT, rows};
use crate::report::Report;
use crate::statistics::{exponent, mean};

/// How many times the shortest length the longest must be, to say how time and memory grow.
const SPAN: f64 = 100.0;

/// Time per sequence and memory at the longest length of each group; `None` if no times were
/// recorded.
pub(super) fn table(report: &Report) -> Option<Table> {
    let rows: Vec<[String; 8]> = parts(report).filter_map(|part| row(&part)).collect();
    let names = [
        "group",
        "length",
        "cell",
        "decoding",
        "seconds per sequence",
        "exponent of time over length",
        "threads",
        "peak MiB of the process",
    ];
    (!rows.is_empty()).then(|| rows::table(names, rows))
}

fn row(part: &Part<'_>) -> Option<[String; 8]> {
    let costs: Vec<Vec<Cost<'_>>> = part
        .evaluations()
        .map(|evaluation| costs(evaluation, part.mode))
        .filter(|costs| !costs.is_empty())
        .collect();
    let longest: Vec<&Cost<'_>> = costs.iter().filter_map(|costs| costs.last()).collect();
    let timing = || longest.iter().map(|cost| cost.timing);
    let secs: Vec<f64> = longest.iter().map(|cost| cost.secs).collect();
    let exponents: Vec<f64> = costs.iter().filter_map(|costs| growth(costs)).collect();
    let peak = timing().filter_map(|timing| timing.peak_mib);
    Some([
        part.group.name.clone(),
        timing().map(|timing| timing.length).max()?.to_string(),
        part.cell.name.clone(),
        part.mode.to_string(),
        format!("{:.3}", mean(&secs)?),
        mean(&exponents).map_or(ABSENT.to_owned(), |mean| format!("{mean:.2}")),
        timing().map(|timing| timing.threads).max()?.to_string(),
        peak.reduce(f64::max)
            .map_or(ABSENT.to_owned(), |mib| format!("{mib:.0}")),
    ])
}

/// What one length of one evaluation took.
struct Cost<'a> {
    timing: &'a LengthTiming,
    /// Seconds per sequence.
    secs: f64,
}

/// By length, from the shortest.
fn costs(evaluation: &LengthOutcome, mode: DecodingMode) -> Vec<Cost<'_>> {
    let timing = evaluation
        .timing
        .iter()
        .filter(|timing| timing.mode == mode);
    let cost = |timing: &'_ LengthTiming| {
        let mut rows = evaluation.record.rows.iter();
        let n_sequences = rows.find(|row| timing.is_of(row))?.n_sequences.max(1);
        Some(timing.secs / n_sequences as f64)
    };
    let mut costs: Vec<Cost<'_>> = timing
        .filter_map(|timing| cost(timing).map(|secs| Cost { timing, secs }))
        .collect();
    costs.sort_by_key(|cost| cost.timing.length);
    costs
}

/// The exponent of time over length, if the lengths lie far enough apart.
fn growth(costs: &[Cost<'_>]) -> Option<f64> {
    let points: Vec<(f64, f64)> = costs
        .iter()
        .map(|cost| (cost.timing.length as f64, cost.secs))
        .collect();
    is_wide(&points).then(|| exponent(&points)).flatten()
}

fn is_wide(points: &[(f64, f64)]) -> bool {
    let xs = || points.iter().map(|(x, _)| *x);
    let (low, high) = (xs().reduce(f64::min), xs().reduce(f64::max));
    low.zip(high).is_some_and(|(low, high)| high >= SPAN * low)
}

/// Time and memory over length on logarithmic axes, with their file names, for the cells whose lengths
/// lie far enough apart.
pub(super) fn plots(report: &Report) -> Vec<(String, Picture)> {
    let time = LinePlot {
        title: "Time by length".to_owned(),
        y_label: "seconds per sequence".to_owned(),
        ..plot(report, |cost| Some(cost.secs))
    };
    let memory = LinePlot {
        title: "Memory by length".to_owned(),
        y_label: "peak of the process so far, MiB".to_owned(),
        ..plot(report, |cost| cost.timing.peak_mib)
    };
    let named = [("time-by-length", time), ("memory-by-length", memory)];
    let drawable = named
        .into_iter()
        .filter(|(_, plot)| !plot.series.is_empty());
    drawable
        .map(|(name, plot)| (name.to_owned(), Picture::of_cells(report, plot)))
        .collect()
}

/// A line for each cell: the mean of its runs, decoding until EOS.
fn plot(report: &Report, value: fn(&Cost<'_>) -> Option<f64>) -> LinePlot {
    let points = |run: &Outcome| {
        let costs = run
            .lengths
            .iter()
            .flat_map(|evaluation| costs(evaluation, DecodingMode::Eos));
        let mut points: Vec<(f64, f64)> = costs
            .filter_map(|cost| Some((cost.timing.length as f64, value(&cost)?)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by_key(|(length, _)| *length);
        points
    };
    let series = |(index, cell): (usize, &Cell)| {
        let runs: Vec<Vec<(f64, f64)>> = report
            .outcomes_of(cell)
            .map(points)
            .filter(|points| is_wide(points))
            .collect();
        Series::over_runs(&cell.name, Look::nth(index), &runs, Spread::Range)
    };
    let cells = report.plan.experiment.cells.iter().enumerate();
    let series = cells.map(series).filter(|series| !series.points.is_empty());
    LinePlot {
        subtitle: "decoding until EOS; line: mean over seeds; band: minimum to maximum".to_owned(),
        x_label: "symbols in the source".to_owned(),
        x_axis: XAxis::Log,
        y_axis: YAxis::Loss, // logarithmic, unless a time rounds to zero
        series: series.collect(),
        ..LinePlot::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    /// The report by length, with lengths that lie far apart and times that grow with them.
    fn report(exponent: f64) -> Report {
        let mut report = fixtures::report_with_lengths();
        for run in &mut report.outcomes {
            for evaluation in &mut run.lengths {
                for row in &mut evaluation.record.rows {
                    row.length = if row.length == 4 { 1_000 } else { 1_000_000 };
                }
                let timing = |row: &s2s_runlog::LengthRecord| LengthTiming {
                    mode: row.mode,
                    length: row.length,
                    secs: 1e-6 * (row.length as f64).powf(exponent) * row.n_sequences as f64,
                    threads: 1,
                    peak_mib: Some(20.0 + row.length as f64 / 1_000.0),
                };
                evaluation.timing = evaluation.record.rows.iter().map(timing).collect();
            }
        }
        report
    }

    #[test]
    fn the_exponent_says_how_time_grows_with_length() {
        for expected in [1.0, 2.0] {
            let table = table(&report(expected)).unwrap().text();
            assert!(table.contains(&format!(" {expected:.2} ")), "{table}");
        }
    }

    #[test]
    fn time_and_memory_are_drawn_where_lengths_lie_far_apart() {
        let plots = plots(&report(1.0));
        let names: Vec<&str> = plots.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["time-by-length", "memory-by-length"]);
        let Picture::Lines(memory) = &plots[1].1 else {
            panic!("a single line is in one plot");
        };
        let memory = &memory.series[0].points;
        assert_eq!(memory[..], [(1e3, 21.0), (1e6, 1_020.0)]);
        for (_, plot) in &plots {
            plot.draw().unwrap();
        }
        assert!(super::plots(&fixtures::report_with_lengths()).is_empty());
    }
}
