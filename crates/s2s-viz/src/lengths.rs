//! Plots of an evaluation by length.

use s2s_runlog::{DecodingMode, LengthRecord, LengthsRecord};

use crate::axis::{XAxis, YAxis};
use crate::color::Hue;
use crate::curve::{LinePlot, Shade};
use crate::series::Series;

/// The axis is linear if the longest length is at most this many times the median length.
const MAX_LINEAR_RATIO: f64 = 10.0;

/// A metric with the bounds of its confidence interval.
type Bounded = fn(&LengthRecord) -> (f64, f64, f64);
/// A metric that may be absent.
type Optional = fn(&LengthRecord) -> Option<f64>;

/// The plots of an evaluation by length: exact match, token accuracy and, if the record has them, the
/// attention metrics. Each comes with a name to append to that of a file: the empty name, `tokens` and
/// `attention`. A record without rows has no plots.
pub fn lengths_plots(record: &LengthsRecord) -> Vec<(&'static str, LinePlot)> {
    let exact: Bounded = |row| (row.exact_match, row.exact_match_low, row.exact_match_high);
    let tokens: Bounded = |row| {
        (
            row.token_accuracy,
            row.token_accuracy_low,
            row.token_accuracy_high,
        )
    };
    let bands = "bands: 95 % confidence intervals";
    let plots = [
        (
            "",
            LinePlot {
                title: "Exact match by length".into(),
                y_label: "share of sequences".into(),
                series: by_mode(record, exact),
                ..frame(record, bands)
            },
        ),
        (
            "tokens",
            LinePlot {
                title: "Token accuracy by length".into(),
                y_label: "share of tokens".into(),
                series: by_mode(record, tokens),
                ..frame(record, bands)
            },
        ),
        (
            "attention",
            LinePlot {
                title: "Attention by length".into(),
                y_label: "share".into(),
                series: attention(record),
                ..frame(
                    record,
                    "over the steps that predict symbols of the reference",
                )
            },
        ),
    ];
    let is_drawable = |(_, plot): &(&str, LinePlot)| !plot.series.is_empty();
    plots.into_iter().filter(is_drawable).collect()
}

/// The horizontal axis for these source lengths: logarithmic if most of them would be too close together on a
/// linear one.
pub fn lengths_axis(lengths: &[usize]) -> XAxis {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    match (sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(median), Some(longest)) if *longest as f64 > MAX_LINEAR_RATIO * *median as f64 => {
            XAxis::Log
        }
        _ => XAxis::Linear,
    }
}

fn frame(record: &LengthsRecord, remark: &str) -> LinePlot {
    let counts = record.rows.iter().map(|row| row.n_sequences);
    let sequences = match (counts.clone().min(), counts.max()) {
        (Some(1), Some(1)) => "one sequence per length".to_owned(),
        (Some(min), Some(max)) if min == max => format!("{max} sequences per length"),
        (Some(min), Some(max)) => format!("{min} to {max} sequences per length"),
        _ => String::new(),
    };
    let lengths: Vec<usize> = record.rows.iter().map(|row| row.length).collect();
    LinePlot {
        subtitle: format!("{sequences}; {remark}"),
        x_label: "source length".into(),
        x_axis: lengths_axis(&lengths),
        y_axis: YAxis::Share,
        shade: Some(Shade {
            label: "trained".into(),
            from: record.min_trained as f64,
            to: record.max_trained as f64,
        }),
        ..LinePlot::default()
    }
}

fn rows(record: &LengthsRecord, mode: DecodingMode) -> impl Iterator<Item = &LengthRecord> {
    record.rows.iter().filter(move |row| row.mode == mode)
}

/// One line per decoding mode, with confidence intervals.
fn by_mode(record: &LengthsRecord, metric: Bounded) -> Vec<Series> {
    let line = |(mode, label, hue): (DecodingMode, &str, Hue)| {
        let points = rows(record, mode).map(|row| (row.length as f64, metric(row).0));
        let band = rows(record, mode).map(|row| {
            let (_, low, high) = metric(row);
            (row.length as f64, low, high)
        });
        Series {
            band: band.collect(),
            ..Series::new(label, hue, points.collect())
        }
    };
    let modes = [
        (DecodingMode::Oracle, "length given", Hue::Vermilion),
        (DecodingMode::Eos, "until EOS", Hue::Blue),
    ];
    let lines = modes.map(line).into_iter();
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// The attention metrics, in oracle mode if the record has it, otherwise in EOS mode.
fn attention(record: &LengthsRecord) -> Vec<Series> {
    let has_oracle = rows(record, DecodingMode::Oracle).next().is_some();
    let mode = match has_oracle {
        true => DecodingMode::Oracle,
        false => DecodingMode::Eos,
    };
    let metrics: [(&str, Hue, Optional); 3] = [
        ("normalized entropy", Hue::Gray, |row| {
            row.normalized_entropy
        }),
        ("alignment accuracy", Hue::Green, |row| {
            row.alignment_accuracy
        }),
        ("alignment mass", Hue::Purple, |row| row.alignment_mass),
    ];
    let line = |(label, hue, metric): (&str, Hue, Optional)| {
        let points = rows(record, mode)
            .filter_map(|row| metric(row).map(|value| (row.length as f64, value)));
        Series::new(label, hue, points.collect())
    };
    let lines = metrics.map(line).into_iter();
    lines.filter(|line| !line.points.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use s2s_runlog::{LengthSums, LengthsRequest};

    use super::*;

    fn record(modes: &[DecodingMode], lengths: &[usize], n_steps: u64) -> LengthsRecord {
        let sums = LengthSums {
            n_sequences: 4,
            n_tokens: 4,
            n_exact: 3,
            n_steps,
            mass: 1.0,
            ..LengthSums::default()
        };
        let of_length = |length: &usize| {
            let length = *length;
            modes
                .iter()
                .map(move |mode| sums.record(*mode, length, length))
        };
        LengthsRecord {
            request: LengthsRequest {
                protocol: None,
                lengths: "1".parse().unwrap(),
                samples: 4,
                modes: modes.to_vec(),
                split: "test".into(),
                checkpoint: "best".into(),
            },
            step: 1,
            min_trained: 1,
            max_trained: 12,
            deviations: Vec::new(),
            is_complete: true,
            means: Vec::new(),
            without_samples: Vec::new(),
            rows: lengths.iter().flat_map(of_length).collect(),
        }
    }

    const BOTH: [DecodingMode; 2] = [DecodingMode::Eos, DecodingMode::Oracle];

    #[test]
    fn each_decoding_mode_is_a_line_with_its_interval() {
        let plots = lengths_plots(&record(&BOTH, &[1, 5, 40], 2));
        let names: Vec<&str> = plots.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["", "tokens", "attention"]);
        let exact = &plots[0].1;
        assert_eq!(exact.series.len(), 2);
        let (x, low, high) = exact.series[0].band[1];
        assert!(x == 5.0 && low < 0.75 && high > 0.75);
        assert!(exact.subtitle.starts_with("4 sequences per length"));
        for (_, plot) in plots {
            plot.draw().unwrap();
        }
    }

    #[test]
    fn absent_metrics_are_not_drawn() {
        let plots = lengths_plots(&record(&BOTH[..1], &[7], 0));
        assert_eq!(plots.len(), 2);
        assert_eq!(plots[0].1.series.len(), 1);
        assert!(lengths_plots(&record(&BOTH, &[], 0)).is_empty());
    }

    #[test]
    fn lengths_far_apart_have_a_logarithmic_axis() {
        assert_eq!(lengths_axis(&[40, 80, 200, 500, 1000]), XAxis::Linear);
        assert_eq!(lengths_axis(&[40, 41, 42, 40_000]), XAxis::Log);
        assert_eq!(lengths_axis(&[]), XAxis::Linear);
    }
}
