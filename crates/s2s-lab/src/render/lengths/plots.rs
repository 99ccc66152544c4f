//! Plots of the evaluations by length.

use s2s_runlog::{DecodingMode, LengthsRecord};
use s2s_viz::{
    Heatmap, HeatmapGrid, HeatmapRow, LinePlot, Look, Series, Shade, Spread, XAxis, YAxis,
    lengths_axis,
};

use super::costs;
use crate::render::picture::{MAX_LINES, Picture, place};
use crate::report::Report;

const MODES: [DecodingMode; 2] = [DecodingMode::Eos, DecodingMode::Oracle];

/// Maps of one picture.
const MAX_MAPS: usize = 6;

/// The pictures, with their file names: exact match in each decoding mode, time and memory.
pub(in crate::render) fn plots(report: &Report) -> Vec<(String, Picture)> {
    let exact = MODES.into_iter().filter_map(|mode| {
        let plot = lines(report, mode);
        let picture = match plot.series.len() {
            0 => return None,
            1..=MAX_LINES => Picture::Lines(plot),
            _ => maps(report, mode, &plot)
                .map_or_else(|| Picture::of_cells(report, plot), Picture::Maps),
        };
        Some((format!("lengths-{mode}"), picture))
    });
    exact.chain(costs::plots(report)).collect()
}

/// Exact match by length; a cell is a line.
fn lines(report: &Report, mode: DecodingMode) -> LinePlot {
    let cells = report.plan.experiment.cells.iter().enumerate();
    let series = cells.map(|(index, cell)| {
        let runs: Vec<Vec<(f64, f64)>> = report
            .outcomes_of(cell)
            .map(|outcome| points(outcome.lengths.iter().map(|found| &found.record), mode))
            .filter(|points| !points.is_empty())
            .collect();
        Series::over_runs(&cell.name, Look::nth(index), &runs, Spread::Range)
    });
    let series: Vec<Series> = series.filter(|series| !series.points.is_empty()).collect();
    let lengths: Vec<usize> = series
        .iter()
        .flat_map(|series| series.points.iter().map(|(x, _)| *x as usize))
        .collect();
    let trained = trained(report);
    LinePlot {
        title: "Exact match by length".to_owned(),
        subtitle: format!(
            "{}; line: mean over seeds; band: minimum to maximum",
            described(mode)
        ),
        x_label: "symbols in the source".to_owned(),
        x_axis: axis(&lengths, trained.as_ref()),
        shade: trained,
        y_label: "share of sequences".to_owned(),
        y_axis: YAxis::Share,
        series,
    }
}

fn described(mode: DecodingMode) -> &'static str {
    match mode {
        DecodingMode::Eos => "decoding until EOS",
        DecodingMode::Oracle => "decoding up to the reference length, without EOS",
    }
}

/// The lines as maps, one for each length: a row for the values of a cell on all axes of the matrix but the
/// last, and a column for the last. `None` unless all cells are of a matrix with two axes.
fn maps(report: &Report, mode: DecodingMode, lines: &LinePlot) -> Option<HeatmapGrid> {
    let cells = &report.plan.experiment.cells;
    let named = lines.series.iter().map(|series| {
        let cell = cells.iter().find(|cell| cell.name == series.label)?;
        Some((place(cell)?, series))
    });
    let named: Vec<((String, &str), &Series)> = named.collect::<Option<_>>()?;
    let rows = distinct(named.iter().map(|((row, _), _)| row.clone()));
    let columns = distinct(named.iter().map(|((_, column), _)| (*column).to_owned()));
    let mut lengths: Vec<f64> = named
        .iter()
        .flat_map(|(_, series)| series.points.iter().map(|(length, _)| *length))
        .collect();
    lengths.sort_by(f64::total_cmp);
    lengths.dedup();
    let share = |row: &String, column: &String, length: f64| {
        let is_here = |((r, c), _): &&((String, &str), &Series)| r == row && c == column;
        let (_, series) = named.iter().find(is_here)?;
        let point = series.points.iter().find(|(at, _)| *at == length)?;
        Some(point.1 as f32)
    };
    let map = |length: f64| Heatmap {
        title: format!("length {length}"),
        value_label: lines.y_label.clone(),
        columns: columns.clone(),
        rows: rows
            .iter()
            .map(|row| HeatmapRow {
                token: row.clone(),
                is_wrong: false,
                weights: columns
                    .iter()
                    .map(|column| share(row, column, length))
                    .collect(),
            })
            .collect(),
        ..Heatmap::default()
    };
    Some(HeatmapGrid {
        title: lines.title.clone(),
        subtitle: format!("{}; mean over seeds", described(mode)),
        panels: spread(&lengths).map(map).collect(),
        panels_per_row: 2,
    })
}

/// The different names, in their order.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// At most [`MAX_MAPS`] of the lengths: the first, the last, and others at equal distances between them.
fn spread(lengths: &[f64]) -> impl Iterator<Item = f64> {
    let n = lengths.len().min(MAX_MAPS);
    (0..n).map(move |index| lengths[index * (lengths.len() - 1) / (n - 1).max(1)])
}

/// Logarithmic if the lengths go far beyond those of training, so that both are visible.
fn axis(lengths: &[usize], trained: Option<&Shade>) -> XAxis {
    const FAR: f64 = 10.0;
    let longest = lengths.iter().max().map_or(0.0, |longest| *longest as f64);
    match trained {
        Some(trained) if longest > FAR * trained.to => XAxis::Log,
        _ => lengths_axis(lengths),
    }
}

/// Exact match at each length of all groups. A length in two groups counts once: the first group's.
fn points<'a>(
    records: impl Iterator<Item = &'a LengthsRecord>,
    mode: DecodingMode,
) -> Vec<(f64, f64)> {
    let rows = records
        .flat_map(|record| &record.rows)
        .filter(|row| row.mode == mode);
    let mut points: Vec<(usize, f64)> = rows.map(|row| (row.length, row.exact_match)).collect();
    points.sort_by_key(|(length, _)| *length); // stable: keeps the order of the groups
    points.dedup_by_key(|(length, _)| *length);
    points
        .into_iter()
        .map(|(length, share)| (length as f64, share))
        .collect()
}

/// The lengths of the training data, if they are the same for all runs.
fn trained(report: &Report) -> Option<Shade> {
    let mut all = report.outcomes.iter().flat_map(|outcome| &outcome.lengths);
    let range = |record: &LengthsRecord| (record.min_trained, record.max_trained);
    let first = range(&all.next()?.record);
    all.all(|found| range(&found.record) == first)
        .then(|| Shade {
            label: "trained".to_owned(),
            from: first.0 as f64,
            to: first.1 as f64,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::report_with_lengths;

    #[test]
    fn an_axis_that_goes_far_beyond_training_is_logarithmic() {
        let trained = Shade {
            label: String::new(),
            from: 1.0,
            to: 40.0,
        };
        assert_eq!(axis(&[40, 300, 400], Some(&trained)), XAxis::Linear);
        assert_eq!(axis(&[40, 300, 401], Some(&trained)), XAxis::Log);
        assert_eq!(axis(&[40, 300, 401], None), XAxis::Linear);
    }

    #[test]
    fn each_cell_is_a_line_in_the_band_of_its_runs() {
        let plots = plots(&report_with_lengths());
        assert_eq!(plots.len(), 2);
        let (name, Picture::Lines(plot)) = &plots[0] else {
            panic!("two lines are in one plot");
        };
        assert_eq!(name, "lengths-eos");
        assert_eq!(plot.series.len(), 2);
        assert_eq!(plot.series[0].points, [(4.0, 0.8), (8.0, 0.6)]);
        assert_eq!(plot.series[0].band[1], (8.0, 0.2, 1.0));
        assert_eq!(plot.shade.as_ref().unwrap().to, 4.0);
        plot.draw().unwrap();
    }

    #[test]
    fn maps_have_a_row_and_a_column_for_the_axes_of_the_matrix() {
        let mut report = report_with_lengths();
        let plot = lines(&report, DecodingMode::Eos);
        assert!(maps(&report, DecodingMode::Eos, &plot).is_none());
        let places = [["lstm", "copy"], ["gru", "sort"]];
        for (cell, values) in report.plan.experiment.cells.iter_mut().zip(places) {
            cell.values = values.map(str::to_owned).to_vec();
        }
        let grid = maps(&report, DecodingMode::Eos, &plot).unwrap();
        let titles: Vec<&str> = grid.panels.iter().map(|map| map.title.as_str()).collect();
        assert_eq!(titles, ["length 4", "length 8"]);
        let map = &grid.panels[1];
        assert_eq!(map.columns, ["copy", "sort"]);
        assert_eq!(
            (map.rows[0].token.as_str(), map.rows[1].token.as_str()),
            ("lstm", "gru")
        );
        assert_eq!(map.rows[0].weights, [Some(0.6), None]);
        grid.draw().unwrap();
    }

    #[test]
    fn few_lengths_are_spread_over_all() {
        let all: Vec<f64> = (41..=500).map(f64::from).collect();
        let found: Vec<f64> = spread(&all).collect();
        assert_eq!((found.len(), found[0], found[5]), (6, 41.0, 500.0));
        assert_eq!(spread(&[40.0]).collect::<Vec<_>>(), [40.0]);
        assert_eq!(spread(&[]).count(), 0);
    }
}
