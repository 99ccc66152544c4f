//! Figures as sums with their counts: they are divided once, at the end.

use std::ops::AddAssign;

use reverse_data::PaddedBatch;
use s2s_model::Score;
use serde::{Deserialize, Serialize};

/// What was right and wrong in a number of sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Negative log-likelihood of the reference's tokens, in nats, summed.
    pub loss_sum: f64,
    /// Tokens of the references, EOS included.
    pub n_tokens: u64,
    /// Of these, predicted right.
    pub n_right: u64,
    /// Sequences.
    pub n_sequences: u64,
    /// Of these, right as a whole.
    pub n_exact: u64,
}

impl Tally {
    /// Of predictions made with true tokens fed: each position counts by itself.
    pub fn forced(score: &Score, batch: &PaddedBatch) -> Self {
        Self::count(score, batch, |_| false)
    }

    /// Of predictions made running free: the output ends at the first EOS, so that what the model
    /// would have said after an early one is wrong, whatever it is. Where the reference ends and
    /// the model goes on, its EOS is missed: that is wrong too.
    pub fn free(score: &Score, batch: &PaddedBatch, eos: u32) -> Self {
        Self::count(score, batch, |token| token == eos)
    }

    fn count(score: &Score, batch: &PaddedBatch, ends: impl Fn(u32) -> bool) -> Self {
        let mut tally = Self {
            loss_sum: score.loss_sum,
            ..Self::default()
        };
        let width = batch.target_len().max(1);
        let rows = score
            .predictions
            .chunks_exact(width)
            .zip(batch.target.chunks_exact(width));
        for ((predicted, target), &len) in rows.zip(&batch.target_lengths) {
            let end = predicted.iter().take(len).position(|token| ends(*token));
            let said = end.map_or(len, |end| end + 1);
            let right = (0..said).filter(|&t| predicted[t] == target[t]).count();
            tally.n_tokens += len as u64;
            tally.n_right += right as u64;
            tally.n_sequences += 1;
            tally.n_exact += u64::from(right == len);
        }
        tally
    }

    /// Nats a token.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.n_tokens as f64
    }

    /// Share of the references' tokens predicted right.
    pub fn token_accuracy(&self) -> f64 {
        self.n_right as f64 / self.n_tokens as f64
    }

    /// Share of the sequences right as a whole.
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
    use reverse_data::{Example, Vocabulary};

    use super::*;

    const EOS: u32 = 10;

    /// Of one reference `1 2 3 EOS` in a batch that is two positions wider.
    fn tally(predicted: [u32; 4]) -> (Tally, Tally) {
        let vocabulary = &Vocabulary::new(9).unwrap();
        let example = |target: Vec<u32>| Example {
            source: target.iter().rev().copied().collect(),
            target,
        };
        let examples = [example(vec![1, 2, 3]), example(vec![1, 2, 3, 4, 5])];
        let batch = PaddedBatch::from_examples(&examples, vocabulary, false);
        assert_eq!(vocabulary.eos(), EOS);
        let right = [1, 2, 3, 4, 5, EOS];
        let predictions = [&predicted[..], &[7, 7], &right].concat();
        let score = Score {
            loss_sum: 2.0,
            predictions,
        };
        (
            Tally::forced(&score, &batch),
            Tally::free(&score, &batch, EOS),
        )
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
    fn output_that_runs_over_is_wrong_at_the_end() {
        let (_, free) = tally([1, 2, 3, 4]);
        assert_eq!(free.n_right, 3 + 6);
        assert_eq!(free.exact_match(), 0.5);
        assert_eq!(free.token_accuracy(), 0.9);
    }

    #[test]
    fn right_output_is_exact() {
        let (forced, free) = tally([1, 2, 3, EOS]);
        assert_eq!(forced, free);
        assert_eq!(free.exact_match(), 1.0);
    }
}
