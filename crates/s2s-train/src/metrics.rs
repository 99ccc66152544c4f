//! Metrics as sums and counts; the division happens once, at the end.

use std::ops::AddAssign;

use s2s_model::{Batch, BatchLoss, OutputLimit};
use serde::{Deserialize, Serialize};

use crate::Codec;

/// Loss and correct predictions of a number of sequences, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Negative log-likelihood of the reference's tokens, in nats, summed.
    pub loss_sum: f64,
    /// Tokens of the references, EOS included.
    pub n_tokens: u64,
    /// Correctly predicted tokens.
    pub n_right: u64,
    /// Sequences.
    pub n_sequences: u64,
    /// Sequences whose every token is correct.
    pub n_exact: u64,
}

/// What decides whether a prediction is correct.
#[derive(Clone, Copy, Debug)]
pub struct Scoring {
    /// The end of an output.
    pub eos: u32,
    /// The token that is never correct, since it stands for any text outside the vocabulary.
    pub unknown: Option<u32>,
    /// The maximum length of a decoded output. A longer reference cannot be decoded, so its row is never
    /// exact.
    pub limit: OutputLimit,
}

impl Scoring {
    /// The rules for outputs of this codec.
    pub fn new(codec: &Codec) -> Self {
        Self {
            eos: codec.vocabulary.eos(),
            unknown: codec.vocabulary.unknown(),
            limit: codec.limit,
        }
    }

    /// Whether a token is correct.
    pub(crate) fn is_right(&self, predicted: u32, target: u32) -> bool {
        predicted == target && self.unknown != Some(target)
    }

    /// Whether each row is decoded exactly, free-running.
    pub fn exact_rows<'a>(
        &'a self,
        loss: &'a BatchLoss,
        batch: &'a Batch,
    ) -> impl Iterator<Item = bool> + 'a {
        let sources = batch.source().lengths();
        let rows = rows(loss, batch).zip(sources);
        rows.map(|((predicted, target), source_len)| {
            let fits = target.len() <= self.limit.tokens(*source_len);
            let mut pairs = predicted.iter().zip(target);
            fits && pairs.all(|(predicted, target)| self.is_right(*predicted, *target))
        })
    }
}

/// Predictions and reference of each row, both as long as the reference.
fn rows<'a>(loss: &'a BatchLoss, batch: &'a Batch) -> impl Iterator<Item = (&'a [u32], &'a [u32])> {
    let width = batch.target_len();
    let predictions = loss.predictions.chunks_exact(width);
    let rows = predictions.zip(batch.target_out().chunks_exact(width));
    let rows = rows.zip(batch.target_lengths());
    rows.map(|((predicted, target), len)| (&predicted[..*len], &target[..*len]))
}

impl Tally {
    /// Metrics of teacher-forced predictions: each position counts independently.
    pub fn forced(loss: &BatchLoss, batch: &Batch, scoring: &Scoring) -> Self {
        let is_exact = rows(loss, batch).map(|(predicted, target)| {
            let mut pairs = predicted.iter().zip(target);
            pairs.all(|(predicted, target)| scoring.is_right(*predicted, *target))
        });
        Self::count(loss, batch, scoring, is_exact, |_| false)
    }

    /// Metrics of free-running predictions: the output ends at the first EOS, so every position
    /// after an early EOS is wrong. If the output does not end where the reference does, the
    /// missing EOS is wrong.
    pub fn free(loss: &BatchLoss, batch: &Batch, scoring: &Scoring) -> Self {
        let is_exact = scoring.exact_rows(loss, batch);
        Self::count(loss, batch, scoring, is_exact, |token| token == scoring.eos)
    }

    fn count(
        loss: &BatchLoss,
        batch: &Batch,
        scoring: &Scoring,
        is_exact: impl Iterator<Item = bool>,
        ends: impl Fn(u32) -> bool,
    ) -> Self {
        let mut tally = Self {
            loss_sum: loss.loss_sum,
            ..Self::default()
        };
        for ((predicted, target), is_exact) in rows(loss, batch).zip(is_exact) {
            let end = predicted.iter().position(|token| ends(*token));
            let output_len = end.map_or(target.len(), |end| end + 1);
            let right = (0..output_len).filter(|&t| scoring.is_right(predicted[t], target[t]));
            tally.n_tokens += target.len() as u64;
            tally.n_right += right.count() as u64;
            tally.n_sequences += 1;
            tally.n_exact += u64::from(is_exact);
        }
        tally
    }

    /// Mean loss in nats per token.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.n_tokens as f64
    }

    /// Share of the reference tokens that are predicted correctly.
    pub fn token_accuracy(&self) -> f64 {
        self.n_right as f64 / self.n_tokens as f64
    }

    /// Share of the sequences that are correct as a whole.
    pub fn exact_match(&self) -> f64 {
        self.n_exact as f64 / self.n_sequences as f64
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.loss_sum += other.loss_sum;
        self.n_tokens += other.n_tokens;
        self.n_right += other.n_right;
        self.n_sequences += other.n_sequences;
        self.n_exact += other.n_exact;
    }
}

#[cfg(test)]
mod tests {
    use s2s_model::Tokens;

    use super::*;

    const EOS: u32 = 10;

    /// The rules for numbers, with outputs of any length.
    const SCORING: Scoring = Scoring {
        eos: EOS,
        unknown: None,
        limit: OutputLimit::fixed(std::num::NonZeroUsize::MAX),
    };

    /// Teacher-forced and free-running tallies for the reference `1 2 3 EOS` in a batch that is two
    /// positions wider.
    fn tally(predicted: [u32; 4]) -> (Tally, Tally) {
        let tokens = Tokens {
            size: 11,
            bos: 9,
            eos: EOS,
        };
        let targets = [vec![1, 2, 3], vec![1, 2, 3, 4, 5]];
        let batch = Batch::new(&targets, &targets, tokens).unwrap();
        let right = [1, 2, 3, 4, 5, EOS];
        let predictions = [&predicted[..], &[7, 7], &right].concat();
        let loss = BatchLoss {
            loss_sum: 2.0,
            predictions,
        };
        (
            Tally::forced(&loss, &batch, &SCORING),
            Tally::free(&loss, &batch, &SCORING),
        )
    }

    #[test]
    fn an_unknown_reference_token_is_never_correct() {
        let tokens = Tokens {
            size: 11,
            bos: 9,
            eos: EOS,
        };
        let targets = [vec![1, 2], vec![3]];
        let batch = Batch::new(&targets, &targets, tokens).unwrap();
        let loss = BatchLoss {
            loss_sum: 0.0,
            predictions: vec![1, 2, EOS, 3, EOS, 7],
        };
        let text = Scoring {
            unknown: Some(1),
            ..SCORING
        };
        for tally in [Tally::forced, Tally::free] {
            let (numbers, text) = (tally(&loss, &batch, &SCORING), tally(&loss, &batch, &text));
            assert_eq!((numbers.n_right, numbers.n_exact), (5, 2));
            assert_eq!((text.n_right, text.n_exact), (4, 1));
        }
    }

    #[test]
    fn a_reference_beyond_the_output_limit_is_not_exact() {
        let tokens = Tokens {
            size: 11,
            bos: 9,
            eos: EOS,
        };
        let batch = Batch::new(&[vec![1], vec![1]], &[vec![1, 2], vec![1]], tokens).unwrap();
        let loss = BatchLoss {
            loss_sum: 0.0,
            predictions: vec![1, 2, EOS, 1, EOS, 7],
        };
        let exact = |n| -> Vec<bool> {
            let limit = OutputLimit::fixed(n);
            Scoring { limit, ..SCORING }
                .exact_rows(&loss, &batch)
                .collect()
        };
        let [two, three] = [2, 3].map(|n| exact(std::num::NonZeroUsize::new(n).unwrap()));
        assert_eq!((two, three), (vec![false, true], vec![true, true]));
    }

    #[test]
    fn tokens_after_an_early_eos_are_wrong_and_padding_does_not_count() {
        let (forced, free) = tally([1, EOS, 3, EOS]);
        assert_eq!((forced.n_right, free.n_right), (3 + 6, 1 + 6));
        assert_eq!(free.n_tokens, 4 + 6);
        assert_eq!(free.n_exact, 1);
        assert_eq!(free.loss(), 0.2);
    }

    #[test]
    fn output_without_eos_is_wrong_at_the_last_position() {
        let (_, free) = tally([1, 2, 3, 4]);
        assert_eq!(free.n_right, 3 + 6);
        assert_eq!(free.exact_match(), 0.5);
        assert_eq!(free.token_accuracy(), 0.9);
    }

    #[test]
    fn correct_output_is_an_exact_match() {
        let (forced, free) = tally([1, 2, 3, EOS]);
        assert_eq!(forced, free);
        assert_eq!(free.exact_match(), 1.0);
    }
}
