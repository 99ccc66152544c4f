//! Masked cross-entropy on slices. The logits are replaced by their gradient.
//!
//! ```text
//! p[v]       = exp(logit[v] - max) / Σ_v exp(logit[v] - max)
//! loss       = log Σ_v exp(logit[v] - max) - (logit[target] - max)
//! d_logit[v] = scale · (p[v] - [v = target])
//! ```

use crate::lanes::{max, sum};
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::{Team, split_rows};

/// The negative log-likelihood of the real tokens, summed, in nats.
///
/// `logits [T, B, V]` are replaced by `scale` times their gradient, which is 0 for padded positions.
/// `targets` is batch-major, `[B, T]`; `lengths [B]` counts the real tokens of each row.
pub fn token_loss<T: Real>(
    logits: &mut [T],
    targets: &[u32],
    lengths: &[usize],
    scale: T,
    team: &mut Team<T>,
) -> f64 {
    let batch = lengths.len();
    let len = targets.len().checked_div(batch).unwrap_or(0);
    let vocab = logits.len().checked_div(targets.len()).unwrap_or(0);
    let mut losses = vec![0.0; targets.len()]; // [T, B]
    let ranges = team.ranges(losses.len());
    let work = split_rows(logits, vocab, &ranges)
        .into_iter()
        .zip(split_rows(&mut losses, 1, &ranges))
        .zip(ranges)
        .collect();
    team.run(work, |((logits, losses), range), _| {
        let rows = logits.chunks_exact_mut(vocab).zip(losses).zip(range);
        for ((logits, loss), index) in rows {
            let (position, row) = (index / batch, index % batch);
            if position < lengths[row] {
                *loss = token_gradient(logits, targets[row * len + position] as usize, scale);
            } else {
                logits.fill(T::ZERO);
            }
        }
    });
    losses.iter().sum()
}

multiversion! {
    fn token_gradient<T>(logits: &mut [T], target: usize, scale: T) -> f64 {
        let max = max(logits);
        let target_logit = logits[target] - max;
        for logit in logits.iter_mut() {
            *logit = (*logit - max).exp();
        }
        let sum = sum(logits);
        let factor = scale * T::from_f64(1.0 / sum.to_f64());
        for p in logits.iter_mut() {
            *p *= factor;
        }
        logits[target] = logits[target] - scale;
        sum.to_f64().ln() - target_logit.to_f64()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::gradcheck::{assert_gradient, numbers};

    const LENGTHS: [usize; 3] = [2, 0, 1];
    const TARGETS: [u32; 6] = [4, 0, 9, 9, 2, 9];

    fn run(logits: &mut [f64], scale: f64, threads: usize) -> f64 {
        let mut team = Team::new(NonZeroUsize::new(threads).unwrap());
        token_loss(logits, &TARGETS, &LENGTHS, scale, &mut team)
    }

    #[test]
    fn gradients_match_finite_differences() {
        let logits = numbers(1, 2 * 3 * 5);
        let mut gradient = logits.clone();
        run(&mut gradient, 0.5, 2);
        assert_gradient("logits", &logits, &gradient, |logits| {
            0.5 * run(&mut logits.to_vec(), 1.0, 1)
        });
    }

    #[test]
    fn extreme_logits_give_an_exact_loss() {
        let mut logits = vec![0.0; 30];
        logits[4] = 1e4;
        logits[16] = -1e4;
        // The first token has probability 1; the others are uniform over four and over five tokens.
        let expected = 4_f64.ln() + 5_f64.ln();
        let loss = run(&mut logits, 1.0, 1);
        assert!((loss - expected).abs() < 1e-12, "{loss}");
        assert!(logits.iter().all(|d| d.is_finite()));
    }
}
