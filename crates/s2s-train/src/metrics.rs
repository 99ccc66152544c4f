//! Metrics as sums and counts; the division happens once, at the end.

use std::ops::AddAssign;

use s2s_model::{Batch, BatchLoss};
use serde::{Deserialize, Serialize};

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
    /// Sequences that are correct as a whole.
    pub n_exact: u64,
}

impl Tally {
    /// Metrics of teacher-forced predictions: each position counts independently.
    pub fn forced(loss: &BatchLoss, batch: &Batch) -> Self {
        Self::count(loss, batch, |_| false)
    }

    /// Metrics of free-running predictions: the output ends at the first EOS, so every position
    /// after an early EOS is wrong. If the output does not end where the reference does, the
    /// missing EOS is wrong.
    pub fn free(loss: &BatchLoss, batch: &Batch, eos: u32) -> Self {
        Self::count(loss, batch, |token| token == eos)
    }

    fn count(loss: &BatchLoss, batch: &Batch, ends: impl Fn(u32) -> bool) -> Self {
        let mut tally = Self {
            loss_sum: loss.loss_sum,
            ..Self::default()
        };
        let width = batch.target_len();
        let predictions = loss.predictions.chunks_exact(width);
        let rows = predictions.zip(batch.target_out().chunks_exact(width));
        for ((predicted, target), &len) in rows.zip(batch.target_lengths()) {
            let end = predicted.iter().take(len).position(|token| ends(*token));
            let output_len = end.map_or(len, |end| end + 1);
            let right = (0..output_len)
                .filter(|&t| predicted[t] == target[t])
                .count();
            tally.n_tokens += len as u64;
            tally.n_right += right as u64;
            tally.n_sequences += 1;
            tally.n_exact += u64::from(right == len);
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
            Tally::forced(&loss, &batch),
            Tally::free(&loss, &batch, EOS),
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
