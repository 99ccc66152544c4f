//! Masked cross-entropy on slices; the logits become their gradient, in place.
//!
//! ```text
//! p[v]       = exp(logit[v] - max) / Σ_v exp(logit[v] - max)
//! loss       = log Σ_v exp(logit[v] - max) - (logit[target] - max)
//! d_logit[v] = scale · (p[v] - [v = target])
//! ```

use crate::lanes::{argmax, max, sum};
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::{Team, split_rows};

/// What the tokens of a batch sum to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenSums {
    /// Negative log-likelihood of the real tokens, in nats.
    pub loss: f64,
    /// Real tokens.
    pub n_tokens: usize,
    /// Real tokens whose logit is the greatest, the first of equals.
    pub n_correct: usize,
    /// Rows of which every real token is correct.
    pub n_exact_rows: usize,
}

/// The loss of `logits [T, B, V]`, which become `scale` times their gradient; 0 where padded.
///
/// `targets` is `[B, T]`, batch first; `lengths [B]` are the real tokens of each row.
pub fn token_loss<T: Real>(
    logits: &mut [T],
    targets: &[u32],
    lengths: &[usize],
    scale: T,
    team: &mut Team<T>,
) -> TokenSums {
    let batch = lengths.len();
    let len = targets.len().checked_div(batch).unwrap_or(0);
    let vocab = logits.len().checked_div(targets.len()).unwrap_or(0);
    let mut tokens = vec![Token::default(); targets.len()]; // position first
    let ranges = team.ranges(tokens.len());
    let work = split_rows(logits, vocab, &ranges)
        .into_iter()
        .zip(split_rows(&mut tokens, 1, &ranges))
        .zip(ranges)
        .collect();
    team.run(work, |((logits, tokens), range), _| {
        let rows = logits.chunks_exact_mut(vocab).zip(tokens).zip(range);
        for ((logits, token), index) in rows {
            let (position, row) = (index / batch, index % batch);
            if position < lengths[row] {
                *token = token_gradient(logits, targets[row * len + position] as usize, scale);
            } else {
                logits.fill(T::ZERO);
            }
        }
    });
    sums(&tokens, lengths)
}

fn sums(tokens: &[Token], lengths: &[usize]) -> TokenSums {
    let batch = lengths.len();
    let is_exact = |row: usize| (0..lengths[row]).all(|t| tokens[t * batch + row].is_correct);
    TokenSums {
        loss: tokens.iter().map(|token| token.loss).sum(),
        n_tokens: lengths.iter().sum(),
        n_correct: tokens.iter().filter(|token| token.is_correct).count(),
        n_exact_rows: (0..batch).filter(|&row| is_exact(row)).count(),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Token {
    loss: f64,
    is_correct: bool,
}

multiversion! {
    fn token_gradient<T>(logits: &mut [T], target: usize, scale: T) -> Token {
        let is_correct = argmax(logits) == target;
        let max = max(logits);
        let wanted = logits[target] - max;
        for logit in logits.iter_mut() {
            *logit = (*logit - max).exp();
        }
        let sum = sum(logits);
        let factor = scale * T::from_f64(1.0 / sum.to_f64());
        for p in logits.iter_mut() {
            *p *= factor;
        }
        logits[target] = logits[target] - scale;
        Token { loss: sum.to_f64().ln() - wanted.to_f64(), is_correct }
    }
}
#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::gradcheck::{assert_gradient, numbers};

    const LENGTHS: [usize; 3] = [2, 0, 1];
    const TARGETS: [u32; 6] = [4, 0, 9, 9, 2, 9];

    fn run(logits: &mut [f64], scale: f64, threads: usize) -> TokenSums {
        let mut team = Team::new(NonZeroUsize::new(threads).unwrap());
        token_loss(logits, &TARGETS, &LENGTHS, scale, &mut team)
    }

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let logits = numbers(1, 2 * 3 * 5);
        let mut gradient = logits.clone();
        run(&mut gradient, 0.5, 2);
        assert_gradient("logits", &logits, &gradient, |logits| {
            0.5 * run(&mut logits.to_vec(), 1.0, 1).loss
        });
    }

    #[test]
    fn extreme_logits_lose_nothing() {
        let mut logits = vec![0.0; 30];
        logits[4] = 1e4;
        logits[16] = -1e4;
        let sums = run(&mut logits, 1.0, 1);
        // The first token is certain; the others are even among four and among five. A row
        // without a token has none that is wrong.
        let expected = 4_f64.ln() + 5_f64.ln();
        assert!((sums.loss - expected).abs() < 1e-12, "{sums:?}");
        assert_eq!(
            (sums.n_tokens, sums.n_correct, sums.n_exact_rows),
            (3, 2, 2)
        );
        assert!(logits.iter().all(|d| d.is_finite()));
    }
}
