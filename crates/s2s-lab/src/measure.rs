//! What an experiment can plot and tabulate, under the names of the records.

use s2s_runlog::{EvalRecord, MetricsRecord};
use serde::{Deserialize, Serialize};

/// A value that is recorded at each evaluation during training. Losses are in nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// Training loss, in training mode (with dropout, for example).
    TrainLoss,
    /// Validation loss, free-running.
    ValLoss,
    /// Validation loss, teacher-forced.
    ValForcedLoss,
    /// Share of validation tokens predicted correctly, free-running.
    ValTokenAccuracy,
    /// Share of validation sequences predicted correctly, free-running.
    ValExactMatch,
}

impl Curve {
    /// Its name in records, files and experiment files.
    pub fn key(self) -> &'static str {
        match self {
            Self::TrainLoss => "train_loss",
            Self::ValLoss => "val_loss",
            Self::ValForcedLoss => "val_forced_loss",
            Self::ValTokenAccuracy => "val_token_accuracy",
            Self::ValExactMatch => "val_exact_match",
        }
    }

    /// The title of its plot.
    pub fn title(self) -> &'static str {
        match self {
            Self::TrainLoss => "Training loss",
            Self::ValLoss => "Validation loss",
            Self::ValForcedLoss => "Validation loss, teacher-forced",
            Self::ValTokenAccuracy => "Validation token accuracy",
            Self::ValExactMatch => "Validation exact match",
        }
    }

    /// The unit on its axis.
    pub fn y_label(self) -> &'static str {
        match self {
            Self::TrainLoss | Self::ValLoss | Self::ValForcedLoss => "nats per token",
            Self::ValTokenAccuracy => "share of tokens",
            Self::ValExactMatch => "share of sequences",
        }
    }

    /// Whether it is a share in `[0, 1]`, not a loss.
    pub fn is_share(self) -> bool {
        matches!(self, Self::ValTokenAccuracy | Self::ValExactMatch)
    }

    /// Its value in a record.
    pub fn value(self, record: &MetricsRecord) -> f64 {
        match self {
            Self::TrainLoss => record.train_loss,
            Self::ValLoss => record.val_loss,
            Self::ValForcedLoss => record.val_forced_loss,
            Self::ValTokenAccuracy => record.val_token_accuracy,
            Self::ValExactMatch => record.val_exact_match,
        }
    }
}

/// A number that describes a finished run: a metric of the test split, or the training time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of sequences predicted correctly, free-running.
    ExactMatch,
    /// Share of tokens predicted correctly, free-running.
    TokenAccuracy,
    /// Loss, free-running, in nats per token.
    Loss,
    /// Loss, teacher-forced, in nats per token.
    ForcedLoss,
    /// Free-running loss minus teacher-forced loss, in nats per token.
    ExposureGap,
    /// Wall time of training and validation, in seconds.
    TrainSecs,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 6] = [
        Self::ExactMatch,
        Self::TokenAccuracy,
        Self::Loss,
        Self::ForcedLoss,
        Self::ExposureGap,
        Self::TrainSecs,
    ];

    /// Its name in records, files and experiment files.
    pub fn key(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::TokenAccuracy => "token_accuracy",
            Self::Loss => "loss",
            Self::ForcedLoss => "forced_loss",
            Self::ExposureGap => "exposure_gap",
            Self::TrainSecs => "train_secs",
        }
    }

    /// Whether it is a share in `[0, 1]`.
    pub fn is_share(self) -> bool {
        matches!(self, Self::ExactMatch | Self::TokenAccuracy)
    }

    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact match",
            Self::TokenAccuracy => "token accuracy",
            Self::Loss => "loss",
            Self::ForcedLoss => "teacher-forced loss",
            Self::ExposureGap => "exposure gap",
            Self::TrainSecs => "time, s",
        }
    }

    /// The unit on its axis.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ExactMatch => "share of sequences",
            Self::TokenAccuracy => "share of tokens",
            Self::Loss | Self::ForcedLoss | Self::ExposureGap => "nats per token",
            Self::TrainSecs => "seconds",
        }
    }

    /// Its value for a run with this evaluation on the test split and this training time in seconds.
    pub fn value(self, test: &EvalRecord, train_secs: f64) -> f64 {
        match self {
            Self::ExactMatch => test.exact_match,
            Self::TokenAccuracy => test.token_accuracy,
            Self::Loss => test.loss,
            Self::ForcedLoss => test.forced_loss,
            Self::ExposureGap => test.loss - test.forced_loss,
            Self::TrainSecs => train_secs,
        }
    }

    /// The number of decimals to show in a table, for values of about this size.
    pub fn decimals(self, size: f64) -> usize {
        match self {
            // Shows one wrong token in 10,000.
            Self::ExactMatch | Self::TokenAccuracy => 5,
            Self::TrainSecs => 1,
            Self::Loss | Self::ForcedLoss => four_digits(size),
            Self::ExposureGap => four_digits(size).min(5), // it may be zero
        }
    }
}

/// Decimals for four significant digits, at most nine.
fn four_digits(size: f64) -> usize {
    let magnitude = size.abs().max(1e-6).log10().floor();
    (3.0 - magnitude).max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_have_four_significant_digits() {
        let written = |x: f64| format!("{:.*}", Metric::Loss.decimals(x), x);
        let numbers = [3.912_023, 0.012_345_6, 12_345.6, 0.0];
        assert_eq!(
            numbers.map(written),
            ["3.912", "0.01235", "12346", "0.000000000"]
        );
    }

    #[test]
    fn experiment_files_and_records_use_the_same_names() {
        let record = serde_json::json!({
            "step": 1, "epoch": null, "train_loss": 0.0, "train_token_accuracy": 0.0,
            "train_exact_match": 0.0, "val_loss": 1.0, "val_forced_loss": 2.0, "exposure_gap": 0.0,
            "val_token_accuracy": 3.0, "val_exact_match": 4.0, "learning_rate": 0.0,
            "grad_norm": 0.0, "teacher_forcing_ratio": 0.0, "is_best": false,
        });
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.key());
        }
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
