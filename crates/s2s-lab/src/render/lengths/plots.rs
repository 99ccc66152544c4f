//! Plots of the evaluations by length.

use s2s_runlog::{DecodingMode, LengthsRecord};
use s2s_viz::{LinePlot, Look, Series, Shade, Spread, XAxis, YAxis, lengths_axis};

use super::costs;
use crate::report::Report;

const MODES: [DecodingMode; 2] = [DecodingMode::Eos, DecodingMode::Oracle];

/// The plots, with their file names: exact match in each decoding mode, time and memory. A cell is a line.
pub(in crate::render) fn plots(report: &Report) -> Vec<(String, LinePlot)> {
    let plot = |mode: DecodingMode| {
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
        let mode_text = match mode {
            DecodingMode::Eos => "decoding until EOS",
            DecodingMode::Oracle => "decoding up to the reference length, without EOS",
        };
        let trained = trained(report);
        let plot = LinePlot {
            title: "Exact match by length".to_owned(),
            subtitle: format!("{mode_text}; line: mean over seeds; band: minimum to maximum"),
            x_label: "symbols in the source".to_owned(),
            x_axis: axis(&lengths, trained.as_ref()),
            shade: trained,
            y_label: "share of sequences".to_owned(),
            y_axis: YAxis::Share,
            series,
        };
        (format!("lengths-{mode}"), plot)
    };
    let is_drawable = |(_, plot): &(String, LinePlot)| !plot.series.is_empty();
    let exact = MODES.map(plot).into_iter().filter(is_drawable);
    exact.chain(costs::plots(report)).collect()
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
        let (name, plot) = &plots[0];
        assert_eq!(name, "lengths-eos");
        assert_eq!(plot.series.len(), 2);
        assert_eq!(plot.series[0].points, [(4.0, 0.8), (8.0, 0.6)]);
        assert_eq!(plot.series[0].band[1], (8.0, 0.2, 1.0));
        assert_eq!(plot.shade.as_ref().unwrap().to, 4.0);
        plot.draw().unwrap();
    }
}
