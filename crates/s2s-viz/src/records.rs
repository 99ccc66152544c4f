//! Plots of a run's records.

use s2s_runlog::{AttentionRecord, MetricsRecord};

use crate::Error;
use crate::axis::YAxis;
use crate::color::Hue;
use crate::curve::LinePlot;
use crate::figure::Png;
use crate::heatmap::{Heatmap, HeatmapGrid, HeatmapRow};
use crate::series::Series;
use crate::terminal::Ink;
use crate::ticks;

/// A metric over training, one point per evaluation. x is the epoch if every record has one, otherwise
/// the step.
pub fn points(records: &[MetricsRecord], y: impl Fn(&MetricsRecord) -> f64) -> Vec<(f64, f64)> {
    let has_epochs = has_epochs(records);
    let x = |record: &MetricsRecord| match record.epoch {
        Some(epoch) if has_epochs => epoch,
        _ => record.step as f64,
    };
    records
        .iter()
        .map(|record| (x(record), y(record)))
        .collect()
}

/// What x is in [`points`] of these records, as an axis label: `epoch` or `step`.
pub fn x_label(records: &[MetricsRecord]) -> &'static str {
    if has_epochs(records) { "epoch" } else { "step" }
}

/// Training loss and validation loss (free-running and teacher-forced), in nats per token, on a
/// logarithmic axis.
pub fn loss_plot(records: &[MetricsRecord]) -> LinePlot {
    let forced = points(records, |record| record.val_forced_loss);
    let mut plot = train_and_validation(
        records,
        "Loss",
        |record| record.train_loss,
        |record| record.val_loss,
    );
    plot.subtitle =
        "validation is free-running; teacher-forced: validation with reference tokens as input"
            .into();
    plot.y_label = "nats per token".into();
    plot.y_axis = YAxis::Loss;
    plot.series
        .insert(1, Series::new("teacher-forced", Hue::Gray, forced));
    plot
}

/// Token accuracy of training and validation.
pub fn accuracy_plot(records: &[MetricsRecord]) -> LinePlot {
    let train = |record: &MetricsRecord| record.train_token_accuracy;
    let val = |record: &MetricsRecord| record.val_token_accuracy;
    LinePlot {
        subtitle: "share of tokens predicted correctly, EOS included".into(),
        y_label: "share of tokens".into(),
        y_axis: YAxis::Share,
        ..train_and_validation(records, "Token accuracy", train, val)
    }
}

/// Exact match of training and validation.
pub fn exact_match_plot(records: &[MetricsRecord]) -> LinePlot {
    let train = |record: &MetricsRecord| record.train_exact_match;
    let val = |record: &MetricsRecord| record.val_exact_match;
    LinePlot {
        subtitle: "share of sequences with every token correct".into(),
        y_label: "share of sequences".into(),
        y_axis: YAxis::Share,
        ..train_and_validation(records, "Exact match", train, val)
    }
}

/// The attention of one sequence as a small PNG, for a list of many pictures such as TensorBoard's. The rows
/// are those of [`Heatmap::of_target`], so that all pictures of a sequence have the same size.
///
/// # Errors
/// As [`Heatmap::from_record`] and [`Heatmap::draw`].
pub fn heatmap_png(record: &AttentionRecord) -> Result<Png, Error> {
    Ok(Heatmap::of_target(record)?.draw_small()?.list_png())
}

/// The attention of one sequence as text of at most `width` terminal columns; see [`Heatmap::terminal`].
///
/// # Errors
/// As [`Heatmap::from_record`] and [`Heatmap::terminal`].
pub fn terminal_heatmap(record: &AttentionRecord, width: usize, ink: Ink) -> Result<String, Error> {
    Heatmap::from_record(record)?.terminal(width, ink)
}

impl Heatmap {
    /// The attention of one sequence. Tokens that differ from the reference are marked as wrong; the
    /// subtitle contains the step and the number of wrong tokens.
    ///
    /// # Errors
    /// [`Error::RowCount`] if the number of rows of weights differs from the number of predicted tokens.
    pub fn from_record(record: &AttentionRecord) -> Result<Heatmap, Error> {
        let mut reference = record.reference();
        let row = |(token, weights): (&String, &Vec<f32>)| HeatmapRow {
            token: token.clone(),
            is_wrong: reference.next() != Some(token.as_str()),
            weights: weights.iter().copied().map(Some).collect(),
        };
        Ok(with_result(record, steps(record)?.map(row).collect()))
    }

    /// As [`Heatmap::from_record`], but with the tokens of the reference as rows, so that outputs of any
    /// length have the same rows. A token is marked as wrong if the output has another one in its place.
    /// Rows after the end of the output have no weights; steps after the end of the reference are not
    /// shown.
    ///
    /// # Errors
    /// As [`Heatmap::from_record`].
    pub fn of_target(record: &AttentionRecord) -> Result<Heatmap, Error> {
        let mut steps = steps(record)?;
        if record.weights.is_empty() {
            return Heatmap::from_record(record); // drawing it is an error that names the reason
        }
        let row = |token: &str| {
            let step = steps.next();
            HeatmapRow {
                token: token.to_owned(),
                is_wrong: step.is_none_or(|(predicted, _)| predicted != token),
                weights: match step {
                    Some((_, weights)) => weights.iter().copied().map(Some).collect(),
                    None => vec![None; record.source.len()],
                },
            }
        };
        Ok(with_result(record, record.reference().map(row).collect()))
    }
}

impl HeatmapGrid {
    /// One sequence over training. `records` are those of the sequence, in ascending order of their steps. At
    /// most `count` of them are shown, including the first and the last, with about equal ratios between
    /// their steps. The panels are as [`Heatmap::of_target`], each titled by its step.
    ///
    /// # Errors
    /// As [`Heatmap::from_record`].
    pub fn over_training(records: &[AttentionRecord], count: usize) -> Result<HeatmapGrid, Error> {
        let steps: Vec<u64> = records.iter().map(|record| record.step).collect();
        let panel = |i: usize| {
            let map = Heatmap::of_target(&records[i])?;
            let (step, result) = map.subtitle.split_once(", ").unwrap_or((&map.subtitle, ""));
            Ok(Heatmap {
                title: step.to_owned(),
                subtitle: result.to_owned(),
                ..map
            })
        };
        Ok(HeatmapGrid {
            title: "Attention over training".into(),
            subtitle: "source tokens from left to right, reference tokens from top to bottom"
                .into(),
            panels: spread(&steps, count)
                .into_iter()
                .map(panel)
                .collect::<Result<_, Error>>()?,
            panels_per_row: 3,
        })
    }
}

/// The heatmap with these rows. The subtitle contains the step and the number of wrong rows.
fn with_result(record: &AttentionRecord, rows: Vec<HeatmapRow>) -> Heatmap {
    let wrong = rows.iter().filter(|row| row.is_wrong).count();
    let result = match (record.is_exact, wrong) {
        (true, _) => "exact".to_owned(),
        (false, 0) => "wrong: EOS is missing".to_owned(),
        (false, wrong) => format!("{wrong} of {} tokens wrong", rows.len()),
    };
    Heatmap {
        title: "Attention".into(),
        subtitle: format!("step {}, {result}", ticks::number(record.step as f64, 0)),
        columns: record.source.clone(),
        rows,
        ..Heatmap::default()
    }
}

/// The predicted tokens with their weights.
fn steps(record: &AttentionRecord) -> Result<impl Iterator<Item = (&String, &Vec<f32>)>, Error> {
    let (weights, tokens) = (record.weights.len(), record.prediction.len());
    match weights == tokens {
        true => Ok(record.prediction.iter().zip(&record.weights)),
        false => Err(Error::RowCount { weights, tokens }),
    }
}

/// Indices of at most `count` of the ascending steps: the first, the last, and those between with about
/// equal ratios. Step 0 is not part of a ratio.
fn spread(steps: &[u64], count: usize) -> Vec<usize> {
    if count == 0 || count >= steps.len() {
        return (0..steps.len().min(count)).collect();
    }
    let last = steps.len() - 1;
    let n_zero = steps.iter().filter(|step| **step == 0).count().min(1);
    let mut chosen: Vec<usize> = (0..n_zero.min(count.saturating_sub(1))).collect();
    let log = |index: usize| (steps[index].max(1) as f64).ln();
    let (low, high) = (log(n_zero), log(last));
    let n = count - chosen.len();
    for i in 0..n {
        let share = if n > 1 {
            i as f64 / (n - 1) as f64
        } else {
            1.0
        };
        let wanted = low + (high - low) * share;
        // After the one before; enough remain for those that follow.
        let from = chosen.last().map_or(n_zero, |before| before + 1);
        let to = last + 1 - (n - 1 - i);
        let distance = |index: &usize| (log(*index) - wanted).abs();
        chosen.extend((from..to).min_by(|a, b| distance(a).total_cmp(&distance(b))));
    }
    chosen
}

fn has_epochs(records: &[MetricsRecord]) -> bool {
    records.iter().all(|record| record.epoch.is_some())
}

fn train_and_validation(
    records: &[MetricsRecord],
    title: &str,
    train: impl Fn(&MetricsRecord) -> f64,
    validation: impl Fn(&MetricsRecord) -> f64,
) -> LinePlot {
    LinePlot {
        title: title.into(),
        x_label: x_label(records).into(),
        series: vec![
            Series::new("train", Hue::Blue, points(records, train)),
            Series::new("validation", Hue::Vermilion, points(records, validation)),
        ],
        ..LinePlot::default()
    }
}

#[cfg(test)]
mod tests {
    use s2s_runlog::EOS;

    use super::*;

    fn metrics(step: u64, epoch: Option<f64>) -> MetricsRecord {
        MetricsRecord {
            step,
            epoch,
            train_loss: 1.0,
            train_token_accuracy: 0.1,
            train_exact_match: 0.01,
            val_loss: 2.0,
            val_forced_loss: 1.5,
            exposure_gap: 0.5,
            val_token_accuracy: 0.2,
            val_exact_match: 0.02,
            learning_rate: 1e-3,
            grad_norm: 1.0,
            teacher_forcing_ratio: 0.5,
            is_best: false,
            attempt: None,
        }
    }

    fn attention(prediction: &[&str], is_exact: bool) -> AttentionRecord {
        let tokens = |tokens: &[&str]| tokens.iter().map(|token| (*token).to_owned()).collect();
        AttentionRecord {
            step: 1200,
            source: tokens(&["3", "1", "4", EOS]),
            target: tokens(&["4", "1", "3"]),
            prediction: tokens(prediction),
            weights: vec![vec![0.25; 4]; prediction.len()],
            is_exact,
        }
    }

    #[test]
    fn x_is_the_epoch_if_all_records_have_one() {
        let records = [metrics(100, Some(0.5)), metrics(200, Some(1.0))];
        assert_eq!(points(&records, |r| r.val_loss), [(0.5, 2.0), (1.0, 2.0)]);
        assert_eq!(x_label(&records), "epoch");
        let records = [metrics(100, Some(0.5)), metrics(200, None)];
        assert_eq!(
            points(&records, |r| r.val_loss),
            [(100.0, 2.0), (200.0, 2.0)]
        );
        assert_eq!(x_label(&records), "step");
    }

    #[test]
    fn plots_show_training_and_validation() {
        #[track_caller]
        fn check(plot: &LinePlot, expected: &[(&str, f64)]) {
            let ends = plot
                .series
                .iter()
                .map(|series| (series.label.as_str(), series.points[0].1));
            assert_eq!(ends.collect::<Vec<_>>(), expected);
        }
        let records = [metrics(100, None)];
        let forced = ("teacher-forced", 1.5);
        check(
            &loss_plot(&records),
            &[("train", 1.0), forced, ("validation", 2.0)],
        );
        check(
            &accuracy_plot(&records),
            &[("train", 0.1), ("validation", 0.2)],
        );
        check(
            &exact_match_plot(&records),
            &[("train", 0.01), ("validation", 0.02)],
        );
        assert!(loss_plot(&[]).draw().is_err());
    }

    #[test]
    fn tokens_that_differ_from_the_reference_are_wrong() {
        #[track_caller]
        fn check(prediction: &[&str], is_exact: bool, wrong: &[bool], subtitle: &str) {
            let map = Heatmap::from_record(&attention(prediction, is_exact)).unwrap();
            let marked: Vec<bool> = map.rows.iter().map(|row| row.is_wrong).collect();
            assert_eq!(marked, wrong);
            assert_eq!(map.subtitle, format!("step 1,200, {subtitle}"));
        }
        check(&["4", "1", "3", EOS], true, &[false; 4], "exact");
        check(
            &["4", "9", "3", EOS],
            false,
            &[false, true, false, false],
            "1 of 4 tokens wrong",
        );
        check(&["4", EOS], false, &[false, true], "1 of 2 tokens wrong");
        check(
            &["4", "1", "3"],
            false,
            &[false; 3],
            "wrong: EOS is missing",
        );
        let long = [false, false, false, true, true];
        check(
            &["4", "1", "3", "3", EOS],
            false,
            &long,
            "2 of 5 tokens wrong",
        );
    }

    #[test]
    fn records_without_attention_are_rejected() {
        let mut record = attention(&["4", "1"], false);
        record.weights.pop();
        let error = Err(Error::RowCount {
            weights: 1,
            tokens: 2,
        });
        assert_eq!(Heatmap::from_record(&record), error);
        record.weights.clear();
        record.prediction.clear();
        assert_eq!(
            heatmap_png(&record),
            Err(Error::NoWeights {
                rows: 0,
                columns: 4
            })
        );
        assert!(terminal_heatmap(&record, 80, Ink::Plain).is_err());
    }

    #[test]
    fn frames_have_the_rows_of_the_reference_whatever_the_output() {
        let rows = |prediction: &[&str]| -> Vec<(String, bool, bool)> {
            let map = Heatmap::of_target(&attention(prediction, false)).unwrap();
            let row = |row: HeatmapRow| (row.token, row.is_wrong, row.weights[0].is_some());
            map.rows.into_iter().map(row).collect()
        };
        let expected = |flags: [(bool, bool); 4]| -> Vec<(String, bool, bool)> {
            let tokens = ["4", "1", "3", EOS].map(str::to_owned);
            let rows = tokens.into_iter().zip(flags);
            rows.map(|(token, (wrong, has))| (token, wrong, has))
                .collect()
        };
        let (right, wrong, none) = ((false, true), (true, true), (true, false));
        assert_eq!(rows(&["4", "1", "3", EOS]), expected([right; 4]));
        assert_eq!(rows(&["4", EOS]), expected([right, wrong, none, none]));
        assert_eq!(
            rows(&["4", "1", "3", "3", "3", "3"]),
            expected([right, right, right, wrong])
        );
        let long = attention(&["4", "9", "9", "9", "9", "9"], false);
        let subtitle = Heatmap::of_target(&long).unwrap().subtitle;
        assert_eq!(subtitle, "step 1,200, 3 of 4 tokens wrong");
        let sizes = [vec!["4"], vec!["9"; 9]].map(|output| {
            let png = heatmap_png(&attention(&output, false)).unwrap();
            (png.width, png.height)
        });
        assert_eq!(sizes[0], sizes[1]);
    }

    #[test]
    fn frames_are_spaced_by_ratio() {
        let every: Vec<u64> = (1..=15).map(|i| 125 * i).collect();
        let chosen = |steps: &[u64], count| -> Vec<u64> {
            spread(steps, count).into_iter().map(|i| steps[i]).collect()
        };
        assert_eq!(chosen(&every, 5), [125, 250, 500, 1000, 1875]);
        let from_zero: Vec<u64> = (0..=15).map(|i| 125 * i).collect();
        assert_eq!(chosen(&from_zero, 6), [0, 125, 250, 500, 1000, 1875]);
        assert_eq!(chosen(&from_zero, 1), [1875]);
        assert_eq!(chosen(&from_zero, 2), [0, 1875]);
        assert_eq!(chosen(&[900, 1000, 1100, 1200], 3), [900, 1000, 1200]);
        assert_eq!(chosen(&from_zero, 0), [] as [u64; 0]);
        for count in 1..16 {
            let chosen = spread(&from_zero, count);
            assert_eq!(chosen.len(), count);
            assert!(chosen.windows(2).all(|two| two[0] < two[1]), "{chosen:?}");
        }
    }

    #[test]
    fn panels_range_from_the_first_record_to_the_last() {
        let records: Vec<AttentionRecord> = (1..=10)
            .map(|step| AttentionRecord {
                step,
                ..attention(&["4"], false)
            })
            .collect();
        let steps = |count| -> Vec<String> {
            let grid = HeatmapGrid::over_training(&records, count).unwrap();
            grid.panels.into_iter().map(|panel| panel.title).collect()
        };
        assert_eq!(steps(4), ["step 1", "step 2", "step 5", "step 10"]);
        assert_eq!(steps(1), ["step 10"]);
        assert_eq!(steps(50).len(), 10);
        let none = HeatmapGrid::over_training(&[], 4).unwrap();
        assert_eq!(none.draw(), Err(Error::NoPanels));
    }
}
