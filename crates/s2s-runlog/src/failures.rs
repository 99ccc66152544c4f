//! Where a model fails: `failures.json`.

use serde::{Deserialize, Serialize};

/// Accuracy by position and by length, confusions and wrong outputs on the test split, free-running.
/// Written to `failures.json` at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailuresRecord {
    /// Optimizer steps of the evaluated parameters.
    pub step: u64,
    /// One entry per source length that occurs, shortest first.
    pub by_length: Vec<LengthCounts>,
    /// One entry per position of the target, EOS included, from the first.
    pub by_position: Vec<PositionCounts>,
    /// Pairs of an expected and a wrong token, most frequent first; the rarest are left out. Positions after
    /// an early EOS have no predicted token and do not count.
    pub confusions: Vec<Confusion>,
    /// The first sequences that were not correct, in the order of the split; very long ones are left out.
    pub wrong: Vec<WrongOutput>,
}

/// The sequences of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthCounts {
    /// Number of source tokens, without BOS and EOS.
    pub length: u64,
    /// Number of sequences.
    pub n_sequences: u64,
    /// Number of these with every token correct.
    pub n_exact: u64,
}

/// One position of the targets. Tokens after an early EOS count as wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionCounts {
    /// Number of targets that have this position.
    pub n_tokens: u64,
    /// Number of these with the correct token there.
    pub n_right: u64,
}

/// A wrong token in the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// The reference's token.
    pub expected: String,
    /// The model's token.
    pub predicted: String,
    /// Number of occurrences.
    pub count: u64,
}

/// A line of `wrong.jsonl`, written before the first step and at each evaluation: the first validation
/// sequences that were not correct, free-running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrongRecord {
    /// Optimizer steps so far.
    pub step: u64,
    /// The sequences, in the order of the split; very long ones are left out.
    pub outputs: Vec<WrongOutput>,
}

/// A sequence that was not correct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrongOutput {
    /// Source tokens, without BOS and EOS.
    pub source: Vec<String>,
    /// Reference tokens, without EOS.
    pub target: Vec<String>,
    /// Predicted tokens, at most as many as the reference has with its EOS; the last one is `</s>`
    /// if the model predicted EOS.
    pub prediction: Vec<String>,
}
