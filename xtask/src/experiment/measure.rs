//! What can be plotted and tabulated, under the names that the records use.

use s2s_runlog::MetricsRecord;
use s2s_viz::YAxis;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

/// Something that changes over training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Curve {
    /// Training loss, in training mode.
    TrainLoss,
    /// Validation loss, running free.
    ValLoss,
    /// Validation loss with the true tokens fed.
    ValForcedLoss,
    /// Share of validation tokens right.
    ValTokenAccuracy,
    /// Share of validation sequences right.
    ValExactMatch,
}

impl Curve {
    /// Its name in records, files and experiment files.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::TrainLoss => "train_loss",
            Self::ValLoss => "val_loss",
            Self::ValForcedLoss => "val_forced_loss",
            Self::ValTokenAccuracy => "val_token_accuracy",
            Self::ValExactMatch => "val_exact_match",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::TrainLoss => "Training loss",
            Self::ValLoss => "Validation loss",
            Self::ValForcedLoss => "Validation loss, true tokens fed",
            Self::ValTokenAccuracy => "Validation token accuracy",
            Self::ValExactMatch => "Validation exact match",
        }
    }

    pub(crate) fn y_label(self) -> &'static str {
        match self {
            Self::TrainLoss | Self::ValLoss | Self::ValForcedLoss => "nats a token",
            Self::ValTokenAccuracy => "share of tokens",
            Self::ValExactMatch => "share of sequences",
        }
    }

    pub(crate) fn y_axis(self) -> YAxis {
        match self {
            Self::TrainLoss | Self::ValLoss | Self::ValForcedLoss => YAxis::FromZero,
            Self::ValTokenAccuracy | Self::ValExactMatch => YAxis::Share,
        }
    }

    pub(crate) fn value(self, record: &MetricsRecord) -> f64 {
        match self {
            Self::TrainLoss => record.train_loss,
            Self::ValLoss => record.val_loss,
            Self::ValForcedLoss => record.val_forced_loss,
            Self::ValTokenAccuracy => record.val_token_accuracy,
            Self::ValExactMatch => record.val_exact_match,
        }
    }
}

/// A number that a finished run ends with: of the test split, or its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Share of sequences right as a whole.
    ExactMatch,
    /// Share of tokens right.
    TokenAccuracy,
    /// Loss, running free.
    Loss,
    /// Loss with the true tokens fed.
    ForcedLoss,
    /// Seconds of training and validation.
    TrainSecs,
}

impl Figure {
    /// Its name in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact match",
            Self::TokenAccuracy => "token accuracy",
            Self::Loss => "loss",
            Self::ForcedLoss => "forced loss",
            Self::TrainSecs => "time, s",
        }
    }

    /// The number, unless the run diverged.
    pub(crate) fn value(self, outcome: &Outcome) -> Option<f64> {
        let test = outcome.record.test.as_ref()?;
        Some(match self {
            Self::ExactMatch => test.exact_match,
            Self::TokenAccuracy => test.token_accuracy,
            Self::Loss => test.loss,
            Self::ForcedLoss => test.forced_loss,
            Self::TrainSecs => outcome.train_secs,
        })
    }

    /// Decimals that show what there is to see in numbers of about this size.
    pub(crate) fn decimals(self, size: f64) -> usize {
        match self {
            // One of 10,000 tokens is seen.
            Self::ExactMatch | Self::TokenAccuracy => 5,
            Self::TrainSecs => 1,
            Self::Loss | Self::ForcedLoss => four_digits(size),
        }
    }
}

/// Decimals with which a number has four significant digits, within reason.
fn four_digits(size: f64) -> usize {
    let magnitude = size.abs().max(1e-6).log10().floor();
    (3.0 - magnitude).max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_keep_four_digits_whatever_their_size() {
        let written = |x: f64| format!("{:.*}", Figure::Loss.decimals(x), x);
        let numbers = [3.912_023, 0.012_345_6, 12_345.6, 0.0];
        assert_eq!(
            numbers.map(written),
            ["3.912", "0.01235", "12346", "0.000000000"]
        );
    }

    #[test]
    fn experiment_files_and_records_share_their_names() {
        let record = serde_json::json!({
            "step": 1, "epoch": null, "train_loss": 0.0, "train_token_accuracy": 0.0,
            "train_exact_match": 0.0, "val_loss": 1.0, "val_forced_loss": 2.0, "exposure_gap": 0.0,
            "val_token_accuracy": 3.0, "val_exact_match": 4.0, "learning_rate": 0.0,
            "grad_norm": 0.0, "teacher_forcing_ratio": 0.0, "is_best": false,
        });
        let typed: MetricsRecord = serde_json::from_value(record.clone()).unwrap();
        for curve in [
            Curve::TrainLoss,
            Curve::ValLoss,
            Curve::ValForcedLoss,
            Curve::ValTokenAccuracy,
            Curve::ValExactMatch,
        ] {
            assert_eq!(serde_json::to_value(curve).unwrap(), curve.key());
            assert_eq!(record[curve.key()], curve.value(&typed));
        }
    }
}
