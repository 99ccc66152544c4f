//! The results of an evaluation by length: metrics per length, and their means.

use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::{DecodingMode, LengthsRequest};
use crate::wilson;

/// The content of `lengths.json`: an evaluation at each of several source lengths, complete or interrupted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthsRecord {
    /// The request.
    pub request: LengthsRequest,
    /// Optimizer steps of the evaluated parameters.
    pub step: u64,
    /// Minimum training length, in symbols.
    pub min_trained: usize,
    /// Maximum training length, in symbols.
    pub max_trained: usize,
    /// Differences between the training data and the protocol's, as text; empty if there are none or no
    /// protocol was named.
    pub deviations: Vec<String>,
    /// Whether all lengths are evaluated; if not, the same request continues the evaluation.
    pub is_complete: bool,
    /// Means over lengths; empty until the evaluation is complete.
    pub means: Vec<LengthsMean>,
    /// Lengths without any sequence in the split.
    pub without_samples: Vec<usize>,
    /// The metrics so far, ordered by length and then by mode.
    pub rows: Vec<LengthRecord>,
}

/// Metrics of one length in one decoding mode: a line of `lengths.csv`.
///
/// The reference tokens include EOS in `eos` mode, but not in `oracle` mode. The output ends at the
/// first EOS; reference tokens after an early EOS count as wrong. Fields that end in `_low` and `_high` are
/// the bounds of the 95 % confidence interval by [`wilson`], with the number of sequences as sample size,
/// because the tokens of a sequence are not independent.
///
/// A sequence that is not exact belongs to one of three classes: EOS came too early
/// (`n_stopped_early`), EOS did not come in time (`n_ran_over`), or the length is right but a token is
/// wrong (`n_wrong_token`). In `oracle` mode only the last class occurs.
///
/// The attention metrics cover all steps that predict a symbol of the reference whose source position
/// the task defines, which is the aligned position. They are `None` if the task does not define positions or
/// the model has no attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthRecord {
    /// Decoding mode.
    pub mode: DecodingMode,
    /// Source length in symbols.
    pub length: usize,
    /// Number of sequences.
    pub n_sequences: u64,
    /// Number of reference tokens.
    pub n_tokens: u64,
    /// Share of sequences with every token correct (coarse accuracy).
    pub exact_match: f64,
    /// Lower bound of `exact_match`.
    pub exact_match_low: f64,
    /// Upper bound of `exact_match`.
    pub exact_match_high: f64,
    /// Share of reference tokens predicted correctly at their position.
    pub token_accuracy: f64,
    /// Lower bound of `token_accuracy`.
    pub token_accuracy_low: f64,
    /// Upper bound of `token_accuracy`.
    pub token_accuracy_high: f64,
    /// Share of reference tokens before the first error of their sequence.
    pub fine_accuracy: f64,
    /// Lower bound of `fine_accuracy`.
    pub fine_accuracy_low: f64,
    /// Upper bound of `fine_accuracy`.
    pub fine_accuracy_high: f64,
    /// Number of sequences with every token correct.
    pub n_exact: u64,
    /// Number of sequences whose output is too short.
    pub n_stopped_early: u64,
    /// Number of sequences whose output is too long.
    pub n_ran_over: u64,
    /// Number of sequences whose output has the right length and a wrong token.
    pub n_wrong_token: u64,
    /// Number of decoding steps in the attention metrics.
    pub n_steps: u64,
    /// Mean weight on the aligned source position; for reversal, the mass on the anti-diagonal.
    pub alignment_mass: Option<f64>,
    /// Share of steps with the maximum weight on the aligned source position.
    pub alignment_accuracy: Option<f64>,
    /// Mean entropy of the weights, in nats.
    pub attention_entropy: Option<f64>,
    /// Mean entropy divided by its maximum, the logarithm of the number of positions; `None` also for a
    /// single position.
    pub normalized_entropy: Option<f64>,
}

/// The wall time of a [`LengthRecord`]: a line of `lengths.timing.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthTiming {
    /// Decoding mode.
    pub mode: DecodingMode,
    /// Source length in symbols.
    pub length: usize,
    /// Wall time of all sequences, in seconds.
    pub secs: f64,
    /// Number of threads of the process.
    pub threads: usize,
    /// Peak memory of the process so far, in MiB, if the system reports it.
    pub peak_mib: Option<f64>,
}

impl LengthTiming {
    /// Whether it belongs to this row.
    pub fn is_of(&self, row: &LengthRecord) -> bool {
        (self.mode, self.length) == (row.mode, row.length)
    }
}

/// Means over the lengths of one range, in one decoding mode; every length has equal weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthsMean {
    /// Decoding mode.
    pub mode: DecodingMode,
    /// The range of lengths.
    pub range: LengthRange,
    /// Number of lengths in the range that were evaluated.
    pub n_lengths: u64,
    /// Mean exact match.
    pub exact_match: f64,
    /// Mean token accuracy.
    pub token_accuracy: f64,
    /// Mean fine accuracy.
    pub fine_accuracy: f64,
}

/// A range of lengths relative to the training lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LengthRange {
    /// Shorter than all training lengths.
    Shorter,
    /// Within the training lengths.
    Trained,
    /// Longer than all training lengths.
    Longer,
}

impl LengthRange {
    const ALL: [Self; 3] = [Self::Shorter, Self::Trained, Self::Longer];
}

impl fmt::Display for LengthRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Shorter => "shorter",
            Self::Trained => "trained",
            Self::Longer => "longer",
        })
    }
}

impl LengthsRecord {
    /// The lengths and modes that are not evaluated yet, in the order of the rows. Lengths without samples
    /// are left out.
    pub fn missing(&self) -> Vec<(usize, DecodingMode)> {
        let modes = &self.request.modes;
        let wanted = self.request.lengths.iter();
        wanted
            .filter(|length| !self.without_samples.contains(length))
            .flat_map(|length| modes.iter().map(move |mode| (length, *mode)))
            .skip(self.rows.len())
            .collect()
    }

    /// Marks the record as complete and computes the means. Ranges without a length have no mean.
    pub fn complete(&mut self) {
        self.is_complete = true;
        let modes = self.request.modes.iter();
        self.means = modes
            .flat_map(|mode| LengthRange::ALL.map(|range| (*mode, range)))
            .filter_map(|(mode, range)| self.mean(mode, range))
            .collect();
    }

    fn mean(&self, mode: DecodingMode, range: LengthRange) -> Option<LengthsMean> {
        let rows = || {
            let of_mode = self.rows.iter().filter(move |row| row.mode == mode);
            of_mode.filter(move |row| self.range(row.length) == range)
        };
        let n_lengths = rows().count() as u64;
        let mean =
            |value: fn(&LengthRecord) -> f64| rows().map(value).sum::<f64>() / n_lengths as f64;
        (n_lengths > 0).then(|| LengthsMean {
            mode,
            range,
            n_lengths,
            exact_match: mean(|row| row.exact_match),
            token_accuracy: mean(|row| row.token_accuracy),
            fine_accuracy: mean(|row| row.fine_accuracy),
        })
    }

    fn range(&self, length: usize) -> LengthRange {
        if length < self.min_trained {
            LengthRange::Shorter
        } else if length > self.max_trained {
            LengthRange::Longer
        } else {
            LengthRange::Trained
        }
    }
}

/// Counts and sums over the sequences of one length, from which [`LengthSums::record`] makes the metrics.
/// `+=` adds the sums of other sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LengthSums {
    /// Number of sequences.
    pub n_sequences: u64,
    /// Number of reference tokens.
    pub n_tokens: u64,
    /// Reference tokens predicted correctly.
    pub n_right: u64,
    /// Reference tokens before the first error.
    pub n_before_error: u64,
    /// Number of sequences with every token correct.
    pub n_exact: u64,
    /// Number of sequences whose output is too short.
    pub n_stopped_early: u64,
    /// Number of sequences whose output is too long.
    pub n_ran_over: u64,
    /// Number of sequences whose output has the right length and a wrong token.
    pub n_wrong_token: u64,
    /// Number of decoding steps in the attention metrics.
    pub n_steps: u64,
    /// Weight on the aligned position, summed over the steps.
    pub mass: f64,
    /// Number of steps with the maximum weight on the aligned position.
    pub n_aligned: u64,
    /// Entropy of the weights, in nats, summed over the steps.
    pub entropy: f64,
}

impl AddAssign for LengthSums {
    fn add_assign(&mut self, other: Self) {
        self.n_sequences += other.n_sequences;
        self.n_tokens += other.n_tokens;
        self.n_right += other.n_right;
        self.n_before_error += other.n_before_error;
        self.n_exact += other.n_exact;
        self.n_stopped_early += other.n_stopped_early;
        self.n_ran_over += other.n_ran_over;
        self.n_wrong_token += other.n_wrong_token;
        self.n_steps += other.n_steps;
        self.mass += other.mass;
        self.n_aligned += other.n_aligned;
        self.entropy += other.entropy;
    }
}

impl LengthSums {
    /// The metrics, for sources of `length` symbols that the model sees as `n_positions` positions. Without
    /// sequences, shares are 0; without steps, the attention metrics are `None`.
    pub fn record(&self, mode: DecodingMode, length: usize, n_positions: usize) -> LengthRecord {
        let per_token = |n: u64| n as f64 / self.n_tokens.max(1) as f64;
        let per_step = |sum: f64| (self.n_steps > 0).then(|| sum / self.n_steps as f64);
        let exact_match = self.n_exact as f64 / self.n_sequences.max(1) as f64;
        let token_accuracy = per_token(self.n_right);
        let fine_accuracy = per_token(self.n_before_error);
        let interval = |share| wilson(share, self.n_sequences);
        let (exact_match_low, exact_match_high) = interval(exact_match);
        let (token_accuracy_low, token_accuracy_high) = interval(token_accuracy);
        let (fine_accuracy_low, fine_accuracy_high) = interval(fine_accuracy);
        let attention_entropy = per_step(self.entropy);
        let max_entropy = (n_positions > 1).then(|| (n_positions as f64).ln());
        LengthRecord {
            mode,
            length,
            n_sequences: self.n_sequences,
            n_tokens: self.n_tokens,
            exact_match,
            exact_match_low,
            exact_match_high,
            token_accuracy,
            token_accuracy_low,
            token_accuracy_high,
            fine_accuracy,
            fine_accuracy_low,
            fine_accuracy_high,
            n_exact: self.n_exact,
            n_stopped_early: self.n_stopped_early,
            n_ran_over: self.n_ran_over,
            n_wrong_token: self.n_wrong_token,
            n_steps: self.n_steps,
            alignment_mass: per_step(self.mass),
            alignment_accuracy: per_step(self.n_aligned as f64),
            attention_entropy,
            normalized_entropy: attention_entropy
                .zip(max_entropy)
                .map(|(entropy, max)| entropy / max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(lengths: &str, rows: &[(usize, f64)]) -> LengthsRecord {
        let row = |&(length, share): &(usize, f64)| {
            let sums = LengthSums {
                n_sequences: 10,
                n_tokens: 10 * length as u64,
                n_right: (10.0 * share) as u64 * length as u64,
                ..LengthSums::default()
            };
            sums.record(DecodingMode::Oracle, length, length)
        };
        LengthsRecord {
            request: LengthsRequest {
                protocol: None,
                lengths: lengths.parse().unwrap(),
                samples: 10,
                modes: vec![DecodingMode::Oracle],
                split: "test".to_owned(),
                checkpoint: "best".to_owned(),
            },
            step: 1,
            min_trained: 2,
            max_trained: 4,
            deviations: Vec::new(),
            is_complete: false,
            means: Vec::new(),
            without_samples: Vec::new(),
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn every_length_has_equal_weight_in_a_mean() {
        let mut record = record(
            "1..5,50",
            &[(1, 0.5), (2, 1.0), (3, 0.8), (5, 0.2), (50, 0.4)],
        );
        record.complete();
        let means: Vec<(LengthRange, u64, f64)> = record
            .means
            .iter()
            .map(|mean| (mean.range, mean.n_lengths, mean.token_accuracy))
            .collect();
        assert_eq!(means[0], (LengthRange::Shorter, 1, 0.5));
        assert_eq!(means[1], (LengthRange::Trained, 2, 0.9));
        assert_eq!((means[2].0, means[2].1), (LengthRange::Longer, 2));
        assert!((means[2].2 - 0.3).abs() < 1e-15);
    }

    #[test]
    fn missing_lengths_follow_the_last_row() {
        let mut record = record("1..4", &[(1, 0.5), (3, 1.0)]);
        record.without_samples = vec![2];
        assert_eq!(record.missing(), [(4, DecodingMode::Oracle)]);
        record.request.modes.insert(0, DecodingMode::Eos);
        let missing = record.missing();
        assert_eq!(missing[0], (3, DecodingMode::Eos));
        assert_eq!(missing.len(), 4);
    }

    #[test]
    fn attention_metrics_without_steps_are_absent() {
        let sums = LengthSums {
            n_sequences: 1,
            n_tokens: 2,
            ..LengthSums::default()
        };
        let without = sums.record(DecodingMode::Eos, 1, 1);
        assert_eq!(
            (without.alignment_mass, without.attention_entropy),
            (None, None)
        );
        let with_attention = LengthSums {
            n_steps: 4,
            mass: 3.0,
            entropy: 2.0 * 8_f64.ln(),
            n_aligned: 1,
            ..sums
        };
        let row = with_attention.record(DecodingMode::Eos, 8, 8);
        assert_eq!(
            (row.alignment_mass, row.alignment_accuracy),
            (Some(0.75), Some(0.25))
        );
        assert_eq!(row.normalized_entropy, Some(0.5));
        assert_eq!(
            with_attention
                .record(DecodingMode::Eos, 1, 1)
                .normalized_entropy,
            None
        );
    }
}
