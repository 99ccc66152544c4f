//! Sampling.

use std::num::NonZeroUsize;

use candle_core::{Result, bail};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::logits::{Normalizer, largest};
use super::{Constraints, Decoded, Rows};
use crate::{Source, Tokens, keyed_rng};

/// Random outputs: each token is drawn from the model's distribution, which these settings narrow in this
/// order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Outputs per source.
    pub draws: NonZeroUsize,
    /// Keys the random numbers, together with a number for the source and the draw.
    pub seed: u64,
    /// Divides the logits: above 1, unlikely tokens are drawn more often.
    pub temperature: f64,
    /// Only the `k` most probable tokens are drawn; all if `None`.
    pub top_k: Option<NonZeroUsize>,
    /// Only the most probable tokens whose probabilities sum to at least this are drawn; 1 for all. Holtzman
    /// et al. (2020), arXiv:1904.09751.
    pub top_p: f64,
    /// Only tokens with at least this share of the greatest probability are drawn; 0 for all. Nguyen et al.
    /// (2024), arXiv:2407.01082.
    pub min_p: f64,
    /// What an output may contain.
    pub constraints: Constraints,
}

impl Default for Sampling {
    /// One draw from the model's own distribution.
    fn default() -> Self {
        Self {
            draws: NonZeroUsize::MIN,
            seed: 0,
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            constraints: Constraints::default(),
        }
    }
}

impl Sampling {
    pub(super) fn check(&self) -> Result<()> {
        let temperature = self.temperature;
        if !(temperature > 0.0 && temperature.is_finite()) {
            bail!("a temperature must be a positive number, got {temperature}");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            bail!("top_p must be above 0 and at most 1, got {}", self.top_p);
        }
        if !(self.min_p >= 0.0 && self.min_p <= 1.0) {
            bail!("min_p must be from 0 to 1, got {}", self.min_p);
        }
        Ok(())
    }

    /// Draws a token by a number from 0 to 1, which excludes 1; `None` if all are excluded.
    fn pick(&self, logits: &[f32], draw: f64) -> Option<u32> {
        let k = self.top_k.map_or(logits.len(), NonZeroUsize::get);
        let ranked = match self.top_k {
            Some(_) => largest(logits, k),
            None => sorted(logits),
        };
        let greatest = f64::from(logits[*ranked.first()? as usize]);
        let relative = |token: &u32| {
            let below = f64::from(logits[*token as usize]) - greatest;
            (below / self.temperature).exp()
        };
        let mut weights: Vec<f64> = ranked.iter().map(relative).collect();
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let is_enough = |weight: &f64| {
            sum += weight;
            sum >= self.top_p * total
        };
        let n_top_p = weights
            .iter()
            .position(is_enough)
            .map_or(weights.len(), |at| at + 1);
        weights.truncate(n_top_p);
        let n_min_p = weights.partition_point(|weight| *weight >= self.min_p); // the greatest is 1
        weights.truncate(n_min_p);
        let mut left = draw * weights.iter().sum::<f64>();
        let index = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        Some(ranked[index.unwrap_or(weights.len() - 1)])
    }
}

/// The indices of all numbers but -∞, by number, largest first.
fn sorted(numbers: &[f32]) -> Vec<u32> {
    let is_possible = |index: &u32| numbers[*index as usize] > f32::NEG_INFINITY;
    let mut indices: Vec<u32> = (0..numbers.len() as u32).filter(is_possible).collect();
    indices.sort_by(|a, b| numbers[*b as usize].total_cmp(&numbers[*a as usize]));
    indices
}

/// An output in progress.
#[derive(Debug)]
struct PartialOutput {
    source: usize,
    rng: ChaCha8Rng,
    output: Decoded,
}

/// Draws the outputs for every source.
pub(super) fn draw(
    rows: &mut dyn Rows,
    tokens: Tokens,
    source: &Source,
    lines: &[u64],
    sampling: &Sampling,
    returns_attention: bool,
) -> Result<Vec<Vec<Decoded>>> {
    let (lengths, len) = (source.lengths(), source.max_len());
    let constraints = &sampling.constraints;
    let limit = |source: usize| constraints.stop.limit(lengths[source]);
    let mut draws: Vec<PartialOutput> = Vec::new();
    for (source, &line) in lines.iter().enumerate() {
        draws.extend((0..sampling.draws.get()).map(|draw| PartialOutput {
            source,
            rng: keyed_rng(sampling.seed, &format!("sample/{draw}"), line),
            output: Decoded::default(),
        }));
    }
    rows.start(source)?;
    let mut active: Vec<usize> = (0..draws.len())
        .filter(|index| limit(draws[*index].source) > 0)
        .collect();
    let sources: Vec<usize> = active.iter().map(|index| draws[*index].source).collect();
    rows.keep(&sources)?;
    let mut fed = vec![tokens.bos; active.len()];
    while !fed.is_empty() {
        rows.step(source, &fed)?;
        let attention = returns_attention.then(|| rows.attention()).transpose()?;
        let mut kept = Vec::with_capacity(fed.len());
        fed.clear();
        for (row, &index) in active.iter().enumerate() {
            let PartialOutput {
                source,
                rng,
                output,
            } = &mut draws[index];
            let logits = &rows.logits()[row * tokens.size..][..tokens.size];
            let logits = constraints.stop.possible(logits, tokens.eos);
            let step = output.log_probs.len();
            let choice = constraints.choice(&logits, step, tokens, || output.tokens.clone());
            let Some(token) = sampling.pick(&choice.logits, rng.random()) else {
                continue; // the constraints exclude every token
            };
            let log_prob = Normalizer::of(&logits).log_prob(logits[token as usize]);
            output.push(token, log_prob as f32, tokens.eos);
            if let Some(attention) = &attention {
                let weights = &attention[row * len..][..lengths[*source]];
                output.weights.push(weights.to_vec());
            }
            if !output.stopped && output.log_probs.len() < limit(*source) {
                kept.push(row);
                fed.push(token);
            }
        }
        drop(attention);
        if kept.len() < active.len() {
            rows.keep(&kept)?;
            active = kept.into_iter().map(|row| active[row]).collect();
        }
    }
    let mut outputs = draws.into_iter().map(|draw| draw.output);
    let of_source = |_| outputs.by_ref().take(sampling.draws.get()).collect();
    Ok(lines.iter().map(of_source).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: f32 = f32::NEG_INFINITY;

    /// The tokens that evenly spaced numbers draw, with their counts of a thousand.
    fn counts(sampling: &Sampling, probabilities: &[f64]) -> Vec<(u32, usize)> {
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln() as f32).collect();
        let mut counts = std::collections::BTreeMap::new();
        for draw in 0..1000 {
            let token = sampling.pick(&logits, f64::from(draw) / 1000.0).unwrap();
            *counts.entry(token).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }

    #[test]
    fn settings_narrow_the_distribution() {
        let free = Sampling::default;
        let p = [0.1, 0.5, 0.0, 0.4];
        #[track_caller]
        fn check(sampling: &Sampling, p: &[f64], expected: &[(u32, usize)]) {
            let counts = counts(sampling, p);
            assert_eq!(counts.len(), expected.len(), "{counts:?}");
            for ((token, n), (expected_token, expected)) in counts.iter().zip(expected) {
                assert_eq!(token, expected_token);
                assert!(n.abs_diff(*expected) <= 1, "{counts:?}"); // rounding of the logits
            }
        }
        check(&free(), &p, &[(0, 100), (1, 500), (3, 400)]);
        let top_k = Sampling {
            top_k: NonZeroUsize::new(2),
            ..free()
        };
        check(&top_k, &p, &[(1, 556), (3, 444)]);
        let top_p = Sampling {
            top_p: 0.8,
            ..free()
        };
        check(&top_p, &p, &[(1, 556), (3, 444)]);
        let min_p = Sampling {
            min_p: 0.21,
            ..free()
        };
        check(&min_p, &p, &[(1, 556), (3, 444)]);
        // Squares: 0.01, 0.25 and 0.16 of 0.42.
        let cold = Sampling {
            temperature: 0.5,
            ..free()
        };
        check(&cold, &p, &[(0, 24), (1, 595), (3, 381)]);
        let coldest = Sampling {
            temperature: 1e-300,
            ..free()
        };
        check(&coldest, &p, &[(1, 1000)]);
        // top_p counts what top_k has left.
        let both = Sampling {
            top_p: 0.55,
            ..top_k
        };
        check(&both, &p, &[(1, 1000)]);
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        assert_eq!(Sampling::default().pick(&[NO, NO], 0.5), None);
        assert_eq!(Sampling::default().pick(&[NO, 0.0, NO], 0.999), Some(1));
    }

    #[test]
    fn invalid_settings_are_refused() {
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                Sampling {
                    temperature,
                    ..Sampling::default()
                }
                .check()
                .is_err()
            );
        }
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(
                Sampling {
                    top_p: share,
                    ..Sampling::default()
                }
                .check()
                .is_err()
            );
            assert!(
                Sampling {
                    min_p: share,
                    ..Sampling::default()
                }
                .check()
                .is_err()
            );
        }
        assert!(
            Sampling {
                top_p: 0.0,
                ..Sampling::default()
            }
            .check()
            .is_err()
        );
        assert!(Sampling::default().check().is_ok());
    }
}
