//! Where a model fails: by position, by length, and which tokens it confuses.

use std::collections::BTreeMap;

use reverse_data::{BatchSource, Split};
use s2s_model::{Batch, BatchLoss};
use s2s_runlog::{Confusion, FailuresRecord, LengthCounts, PositionCounts, WrongOutput};

use crate::{Evaluation, Scoring};

/// Wrong outputs that are kept.
const N_WRONG: usize = 100;

/// Confusions that are recorded.
const N_CONFUSIONS: usize = 500;

/// Longest wrong output that is kept, in tokens of its target.
const MAX_WRONG_LEN: usize = 128;

/// The errors of free-running predictions, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failures {
    lengths: BTreeMap<usize, [u64; 2]>, // sequences and exact ones, by source length
    positions: Vec<PositionCounts>,
    confusions: BTreeMap<(u32, u32), u64>, // by expected and predicted token
    wrong: Vec<(u64, Vec<u32>)>,           // index in the split, and prediction
}

impl Failures {
    /// Adds a batch whose first sequence is number `first` of the split.
    ///
    /// As in [`Tally::free`](crate::Tally::free), every position after an early EOS is wrong. It is
    /// not a confusion: the model predicted no token there.
    pub(crate) fn add(&mut self, loss: &BatchLoss, batch: &Batch, scoring: &Scoring, first: u64) {
        let width = batch.target_len();
        let predictions = loss.predictions.chunks_exact(width);
        let rows = predictions.zip(batch.target_out().chunks_exact(width));
        let lengths = batch.target_lengths().iter().zip(batch.source().lengths());
        let rows = (first..).zip(rows).zip(scoring.exact_rows(loss, batch));
        for (((index, (predicted, target)), is_exact), (&len, &source_len)) in rows.zip(lengths) {
            let end = predicted[..len]
                .iter()
                .position(|token| *token == scoring.eos);
            let output = &predicted[..end.map_or(len, |end| end + 1)];
            if self.positions.len() < len {
                self.positions.resize(len, PositionCounts::default());
            }
            for (t, (counts, expected)) in self.positions.iter_mut().zip(&target[..len]).enumerate()
            {
                let predicted = output.get(t);
                counts.n_tokens += 1;
                let is_right = |token: &u32| scoring.is_right(*token, *expected);
                counts.n_right += u64::from(predicted.is_some_and(is_right));
                if let Some(predicted) = predicted.filter(|predicted| *predicted != expected) {
                    *self.confusions.entry((*expected, *predicted)).or_default() += 1;
                }
            }
            let [n_sequences, n_exact] = self.lengths.entry(source_len).or_default();
            *n_sequences += 1;
            *n_exact += u64::from(is_exact);
            if !is_exact && len <= MAX_WRONG_LEN && self.wrong.len() < N_WRONG {
                self.wrong.push((index, output.to_vec()));
            }
        }
    }

    /// The record of these errors on the test split of `data`, whose sources have `n_markers` markers.
    pub fn record(&self, data: &dyn BatchSource, n_markers: usize, step: u64) -> FailuresRecord {
        let vocabulary = data.vocabulary();
        let mut confusions: Vec<_> = self.confusions.iter().collect();
        confusions.sort_by_key(|&(tokens, count)| (std::cmp::Reverse(*count), *tokens));
        FailuresRecord {
            step,
            by_length: self
                .lengths
                .iter()
                .map(|(length, [n_sequences, n_exact])| LengthCounts {
                    length: length.saturating_sub(n_markers) as u64,
                    n_sequences: *n_sequences,
                    n_exact: *n_exact,
                })
                .collect(),
            by_position: self.positions.clone(),
            confusions: confusions
                .into_iter()
                .take(N_CONFUSIONS)
                .map(|((expected, predicted), count)| Confusion {
                    expected: vocabulary.text(*expected),
                    predicted: vocabulary.text(*predicted),
                    count: *count,
                })
                .collect(),
            wrong: self
                .wrong
                .iter()
                .map(|(index, prediction)| wrong_output(data, Split::Test, *index, prediction))
                .collect(),
        }
    }
}

/// The first wrong outputs of an evaluation as records, without very long ones.
pub(crate) fn wrong_outputs(
    evaluation: &Evaluation,
    data: &dyn BatchSource,
    split: Split,
) -> Vec<WrongOutput> {
    let wrong = evaluation.wrong.iter();
    wrong
        .filter(|(_, prediction)| prediction.len() <= MAX_WRONG_LEN)
        .map(|(index, prediction)| wrong_output(data, split, *index, prediction))
        .filter(|wrong| wrong.target.len() <= MAX_WRONG_LEN)
        .collect()
}

fn wrong_output(
    data: &dyn BatchSource,
    split: Split,
    index: u64,
    prediction: &[u32],
) -> WrongOutput {
    let [source, target] = data.sequences(split, index).map(|sequence| sequence.texts);
    WrongOutput {
        source,
        target,
        prediction: data.vocabulary().texts(prediction),
    }
}

#[cfg(test)]
mod tests {
    use s2s_model::{OutputLimit, Tokens};

    use super::*;

    #[test]
    fn tokens_after_an_early_eos_are_wrong_but_no_confusion() {
        let eos = 11;
        let tokens = Tokens {
            size: 12,
            bos: 10,
            eos,
        };
        let targets = [vec![1, 2], vec![3], vec![4, 5]];
        let batch = Batch::new(&targets, &targets, tokens).unwrap();
        let loss = BatchLoss {
            loss_sum: 0.0,
            predictions: vec![1, 2, eos, 3, eos, 7, 9, eos, 5],
        };
        let mut failures = Failures::default();
        let scoring = Scoring {
            eos,
            unknown: None,
            limit: OutputLimit::default(),
        };
        failures.add(&loss, &batch, &scoring, 40);
        let counts = |n_tokens, n_right| PositionCounts { n_tokens, n_right };
        assert_eq!(
            failures.positions,
            [counts(3, 2), counts(3, 2), counts(2, 1)]
        );
        assert_eq!(failures.confusions, [((4, 9), 1), ((5, eos), 1)].into());
        assert_eq!(failures.lengths, [(1, [1, 1]), (2, [2, 1])].into());
        assert_eq!(failures.wrong, [(42, vec![9, eos])]);
    }
}
