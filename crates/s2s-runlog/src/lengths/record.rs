//! What came of an evaluation by length: figures of each length, and their means.

use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::{DecodingMode, LengthsRequest};
use crate::wilson;

/// What `lengths.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthsRecord {
    /// What was asked for.
    pub request: LengthsRequest,
    /// Steps that the evaluated parameters were trained for.
    pub step: u64,
    /// The shortest sequence of training.
    pub min_trained: usize,
    /// The longest.
    pub max_trained: usize,
    /// In what the training differs from that of the protocol; empty if in nothing.
    pub deviations: Vec<String>,
    /// Whether all lengths are evaluated; if not, the same request goes on.
    pub is_complete: bool,
    /// Means over lengths, once it is complete.
    pub means: Vec<LengthsMean>,
    /// Lengths of which the split has no sequence: nothing can be said about them.
    pub without_samples: Vec<usize>,
    /// By length, and then by way of decoding.
    pub rows: Vec<LengthRecord>,
}

/// Figures of one length, decoded in one way: a line of `lengths.csv`.
///
/// In `eos` mode the reference's tokens are its symbols and EOS, in `oracle` mode its symbols. The
/// output ends at the first EOS: what the model would have said after an early one is wrong. Low and
/// high are 95 % intervals, by [`wilson`] over the sequences: tokens of one sequence are not
/// independent.
///
/// A sequence that is not exact is in one class, by the length of the output: it stopped early if EOS
/// was said before the reference's, it ran over if EOS was not said by then, and otherwise it is as
/// long as it should be and has a wrong token, as it always is in `oracle` mode.
///
/// Attention is looked at in every step taken towards a symbol of the reference, where the task says
/// which source position that symbol stands at; without such a map, or without attention, its
/// figures are absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthRecord {
    /// Way of decoding.
    pub mode: DecodingMode,
    /// Symbols of each source.
    pub length: usize,
    /// Sequences.
    pub n_sequences: u64,
    /// Tokens of the references.
    pub n_tokens: u64,
    /// Share of the sequences right as a whole: coarse accuracy.
    pub exact_match: f64,
    /// Its lower bound.
    pub exact_match_low: f64,
    /// Its upper bound.
    pub exact_match_high: f64,
    /// Share of the references' tokens predicted right, each at its place.
    pub token_accuracy: f64,
    /// Its lower bound.
    pub token_accuracy_low: f64,
    /// Its upper bound.
    pub token_accuracy_high: f64,
    /// Share of the references' tokens before the first error.
    pub fine_accuracy: f64,
    /// Its lower bound.
    pub fine_accuracy_low: f64,
    /// Its upper bound.
    pub fine_accuracy_high: f64,
    /// Sequences right as a whole.
    pub n_exact: u64,
    /// Sequences whose output is too short.
    pub n_stopped_early: u64,
    /// Sequences whose output is too long.
    pub n_ran_over: u64,
    /// Sequences whose output has the right length and a wrong token.
    pub n_wrong_token: u64,
    /// Steps at which attention was looked at.
    pub n_steps: u64,
    /// Mean weight on the right source position; for reversal, the mass on the anti-diagonal.
    pub alignment_mass: Option<f64>,
    /// Share of the steps with the greatest weight on the right source position.
    pub alignment_accuracy: Option<f64>,
    /// Mean entropy of the weights, in nats.
    pub attention_entropy: Option<f64>,
    /// The same as a share of the greatest there is, the logarithm of the positions; absent if there
    /// is one position only.
    pub normalized_entropy: Option<f64>,
}

/// What a [`LengthRecord`] took: a line of `lengths.timing.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthTiming {
    /// Way of decoding.
    pub mode: DecodingMode,
    /// Symbols of each source.
    pub length: usize,
    /// Wall time, of all its sequences.
    pub secs: f64,
    /// Threads that decoded.
    pub threads: usize,
    /// The most memory that the process had held by then, in MiB, where the system tells.
    pub peak_mib: Option<f64>,
}

impl LengthTiming {
    /// Whether it is that of a row.
    pub fn is_of(&self, row: &LengthRecord) -> bool {
        (self.mode, self.length) == (row.mode, row.length)
    }
}

/// Means over lengths, each length counting the same whatever its tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthsMean {
    /// Way of decoding.
    pub mode: DecodingMode,
    /// Which lengths.
    pub range: LengthRange,
    /// How many they are.
    pub n_lengths: u64,
    /// Mean exact match.
    pub exact_match: f64,
    /// Mean token accuracy.
    pub token_accuracy: f64,
    /// Mean fine accuracy.
    pub fine_accuracy: f64,
}

/// Lengths, as they stand to those of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LengthRange {
    /// Shorter than any trained on.
    Shorter,
    /// Trained on.
    Trained,
    /// Longer than any trained on.
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
    /// The lengths and ways of decoding that are still to be evaluated, in the order of the rows.
    pub fn missing(&self) -> Vec<(usize, DecodingMode)> {
        let modes = &self.request.modes;
        let wanted = self.request.lengths.iter();
        wanted
            .filter(|length| !self.without_samples.contains(length))
            .flat_map(|length| modes.iter().map(move |mode| (length, *mode)))
            .skip(self.rows.len())
            .collect()
    }

    /// Takes note that nothing is missing, and of the means.
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

/// What is counted and summed up over the sequences of a length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LengthSums {
    /// Sequences.
    pub n_sequences: u64,
    /// Tokens of the references.
    pub n_tokens: u64,
    /// Of these, predicted right.
    pub n_right: u64,
    /// Of these, before the first error.
    pub n_before_error: u64,
    /// Sequences right as a whole.
    pub n_exact: u64,
    /// Sequences whose output is too short.
    pub n_stopped_early: u64,
    /// Sequences whose output is too long.
    pub n_ran_over: u64,
    /// Sequences whose output has the right length and a wrong token.
    pub n_wrong_token: u64,
    /// Steps at which attention was looked at.
    pub n_steps: u64,
    /// Weight on the right position, summed over them.
    pub mass: f64,
    /// Steps with the greatest weight on the right position.
    pub n_aligned: u64,
    /// Entropy of the weights in nats, summed over the steps.
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
    /// The figures, divided: of sources of `length` symbols, read as `n_positions` positions.
    pub fn record(&self, mode: DecodingMode, length: usize, n_positions: usize) -> LengthRecord {
        let of_tokens = |n: u64| n as f64 / self.n_tokens.max(1) as f64;
        let of_steps = |sum: f64| (self.n_steps > 0).then(|| sum / self.n_steps as f64);
        let exact_match = self.n_exact as f64 / self.n_sequences.max(1) as f64;
        let token_accuracy = of_tokens(self.n_right);
        let fine_accuracy = of_tokens(self.n_before_error);
        let interval = |share| wilson(share, self.n_sequences);
        let (exact_match_low, exact_match_high) = interval(exact_match);
        let (token_accuracy_low, token_accuracy_high) = interval(token_accuracy);
        let (fine_accuracy_low, fine_accuracy_high) = interval(fine_accuracy);
        let attention_entropy = of_steps(self.entropy);
        let greatest = (n_positions > 1).then(|| (n_positions as f64).ln());
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
            alignment_mass: of_steps(self.mass),
            alignment_accuracy: of_steps(self.n_aligned as f64),
            attention_entropy,
            normalized_entropy: attention_entropy
                .zip(greatest)
                .map(|(entropy, greatest)| entropy / greatest),
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
    fn every_length_counts_the_same_in_a_mean() {
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
    fn what_is_missing_begins_after_what_is_there() {
        let mut record = record("1..4", &[(1, 0.5), (3, 1.0)]);
        record.without_samples = vec![2];
        assert_eq!(record.missing(), [(4, DecodingMode::Oracle)]);
        record.request.modes.insert(0, DecodingMode::Eos);
        let missing = record.missing();
        assert_eq!(missing[0], (3, DecodingMode::Eos));
        assert_eq!(missing.len(), 4);
    }

    #[test]
    fn figures_without_anything_to_look_at_are_absent() {
        let sums = LengthSums {
            n_sequences: 1,
            n_tokens: 2,
            ..LengthSums::default()
        };
        let blind = sums.record(DecodingMode::Eos, 1, 1);
        assert_eq!(
            (blind.alignment_mass, blind.attention_entropy),
            (None, None)
        );
        let seeing = LengthSums {
            n_steps: 4,
            mass: 3.0,
            entropy: 2.0 * 8_f64.ln(),
            n_aligned: 1,
            ..sums
        };
        let row = seeing.record(DecodingMode::Eos, 8, 8);
        assert_eq!(
            (row.alignment_mass, row.alignment_accuracy),
            (Some(0.75), Some(0.25))
        );
        assert_eq!(row.normalized_entropy, Some(0.5));
        assert_eq!(
            seeing.record(DecodingMode::Eos, 1, 1).normalized_entropy,
            None
        );
    }
}
