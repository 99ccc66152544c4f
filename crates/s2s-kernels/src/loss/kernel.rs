//! Masked cross-entropy on slices. The logits are replaced by their gradient.
//!
//! ```text
//! p[v]       = exp(logit[v] - max) / Σ_v exp(logit[v] - max)
//! loss       = log Σ_v exp(logit[v] - max) - (logit[target] - max)
//! q[v]       = (1 - ε) [v = target] + ε / V          ε is the label smoothing
//! d_logit[v] = scale · (p[v] - q[v])
//! ```

use crate::lanes::{max, sum};
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::{Team, split_rows};

/// The negative log-likelihood of the real tokens, summed, in nats.
///
/// `logits [T, B, V]` are replaced by `scale` times the gradient of the loss with label smoothing, which is
/// 0 for padded positions. The loss that is returned is always that without smoothing. `targets` is batch-major, `[B, T]`; `lengths [B]` counts the real tokens of each row.
pub fn token_loss<T: Real>(
    logits: &mut [T],
    targets: &[u32],
    lengths: &[usize],
    scale: T,
    smoothing: T,
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
                let target = targets[row * len + position] as usize;
                *loss = token_gradient(logits, target, scale, smoothing);
            } else {
                logits.fill(T::ZERO);
            }
        }
    });
    losses.iter().sum()
}

multiversion! {
    fn token_gradient<T>(logits: &mut [T], target: usize, scale: T, smoothing: T) -> f64 {
        let max = max(logits);
        let target_logit = logits[target] - max;
        for logit in logits.iter_mut() {
            *logit = (*logit - max).exp();
        }
        let sum = sum(logits);
        let factor = scale * T::from_f64(1.0 / sum.to_f64());
        let other = scale * smoothing * T::from_f64(1.0 / logits.len() as f64);
        for p in logits.iter_mut() {
            *p = *p * factor - other;
        }
        logits[target] = logits[target] - scale * (T::ONE - smoothing);
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
        run_smoothed(logits, scale, 0.0, threads)
    }

    fn run_smoothed(logits: &mut [f64], scale: f64, smoothing: f64, threads: usize) -> f64 {
        let mut team = Team::new(NonZeroUsize::new(threads).unwrap());
        token_loss(logits, &TARGETS, &LENGTHS, scale, smoothing, &mut team)
    }

    /// (1 - ε) loss + ε mean_v(-log p[v]), summed over the real positions.
    fn smoothed_loss(logits: &[f64], smoothing: f64) -> f64 {
        let mut uniform = 0.0;
        for (index, logits) in logits.chunks_exact(5).enumerate() {
            if index / LENGTHS.len() < LENGTHS[index % LENGTHS.len()] {
                let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
                uniform += sum.ln() - logits.iter().sum::<f64>() / 5.0;
            }
        }
        (1.0 - smoothing) * run(&mut logits.to_vec(), 1.0, 1) + smoothing * uniform
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
    fn smoothing_changes_the_gradients_but_not_the_loss() {
        let logits = numbers(1, 2 * 3 * 5);
        let plain = run(&mut logits.clone(), 0.5, 1);
        for smoothing in [0.1, 0.9] {
            let mut gradient = logits.clone();
            assert_eq!(run_smoothed(&mut gradient, 0.5, smoothing, 2), plain);
            assert_gradient("logits", &logits, &gradient, |logits| {
                0.5 * smoothed_loss(logits, smoothing)
            });
        }
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
