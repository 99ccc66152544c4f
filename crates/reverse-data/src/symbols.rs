//! The distribution of source symbols.
//!
//! ```text
//! uniform   p(k) = 1 / (V-1)
//! zipf      p(k) = k^-s / Σ_j j^-s,  k from 1 to V-1, exponent s
//! ```
//!
//! Sampling uses integers only: k^-s is rounded down to a multiple of 2^-43, and a uniform integer
//! below the total is looked up in the cumulative sums. The `libm` crate computes the power in plain
//! IEEE arithmetic, independent of the system's library, so every machine draws the same symbols.
//!
//! Zipf (1949), "Human behavior and the principle of least effort".

use std::sync::Arc;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::Token;

/// The distribution of symbols, as written in a configuration: `symbols = "uniform"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymbolsConfig {
    /// All symbols are equally likely.
    Uniform,
    /// The probability of symbol k is proportional to k^-`zipf_exponent`.
    Zipf,
}

/// Maximum exponent. Rejection sampling of a split still ends soon with few symbols, and with a million
/// symbols all weights are above 0.
pub(crate) const MAX_EXPONENT: f64 = 2.0;

/// 1 in fixed point; the sum of a million weights fits 64 bits.
const ONE: f64 = (1_u64 << 43) as f64;

#[derive(Clone, Debug)]
pub(crate) enum Symbols {
    Uniform { n_symbols: u32 },
    Weighted { cumulative: Arc<[u64]> },
}

impl Symbols {
    pub(crate) fn new(config: SymbolsConfig, exponent: f64, n_symbols: u32) -> Self {
        match config {
            SymbolsConfig::Uniform => Self::Uniform { n_symbols },
            SymbolsConfig::Zipf => {
                let weight = |k| (ONE * libm::pow(f64::from(k), -exponent)) as u64;
                let cumulative = (1..=n_symbols).scan(0, |sum, k| {
                    *sum += weight(k);
                    Some(*sum)
                });
                Self::Weighted {
                    cumulative: cumulative.collect(),
                }
            }
        }
    }

    pub(crate) fn draw(&self, rng: &mut impl Rng) -> Token {
        match self {
            Self::Uniform { n_symbols } => rng.random_range(1..=*n_symbols),
            Self::Weighted { cumulative } => {
                let total = cumulative.last().copied().unwrap_or(1);
                let drawn = rng.random_range(0..total);
                cumulative.partition_point(|sum| *sum <= drawn) as Token + 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};
    use crate::{MAX_VOCAB, Split, Vocabulary};

    const N_DRAWS: usize = 100_000;

    const PURPOSE: Purpose = Purpose::Sample {
        split: Split::Train,
    };

    fn counts(symbols: &Symbols, n_symbols: u32) -> Vec<usize> {
        let mut rng = generator(0, PURPOSE, 0);
        let mut counts = vec![0; n_symbols as usize];
        for _ in 0..N_DRAWS {
            counts[symbols.draw(&mut rng) as usize - 1] += 1;
        }
        counts
    }

    #[track_caller]
    fn check(config: SymbolsConfig, exponent: f64, weight: impl Fn(f64) -> f64) {
        let n_symbols = 50;
        let symbols = Symbols::new(config, exponent, n_symbols);
        let total: f64 = (1..=n_symbols).map(|k| weight(f64::from(k))).sum();
        let counts = counts(&symbols, n_symbols);
        for (k, count) in (1..=n_symbols).zip(counts) {
            let probability = weight(f64::from(k)) / total;
            let expected = N_DRAWS as f64 * probability;
            let deviation = (expected * (1.0 - probability)).sqrt();
            let off = (count as f64 - expected).abs();
            assert!(off < 5.0 * deviation, "{k}: {count}, expected {expected}");
        }
    }

    #[test]
    fn frequencies_match_the_distribution() {
        check(SymbolsConfig::Uniform, 1.0, |_| 1.0);
        check(SymbolsConfig::Zipf, 0.0, |_| 1.0);
        check(SymbolsConfig::Zipf, 0.5, |k| 1.0 / k.sqrt());
        check(SymbolsConfig::Zipf, 1.0, |k| 1.0 / k);
        check(SymbolsConfig::Zipf, 2.0, |k| 1.0 / (k * k));
    }

    #[test]
    fn every_symbol_of_the_largest_vocabulary_has_a_weight() {
        let n_symbols = Vocabulary::new(MAX_VOCAB).unwrap().n_symbols();
        for exponent in [0.0, MAX_EXPONENT] {
            let Symbols::Weighted { cumulative } =
                Symbols::new(SymbolsConfig::Zipf, exponent, n_symbols)
            else {
                panic!("zipf is weighted")
            };
            assert!(cumulative.is_sorted_by(|a, b| a < b), "{exponent}");
        }
    }

    #[test]
    fn drawn_symbols_never_change() {
        // Golden: a change changes the data of every run.
        let symbols = Symbols::new(SymbolsConfig::Zipf, 1.0, 50);
        let mut rng = generator(0, PURPOSE, 0);
        let drawn: Vec<Token> = (0..12).map(|_| symbols.draw(&mut rng)).collect();
        assert_eq!(drawn, [3, 1, 23, 13, 5, 2, 44, 3, 3, 10, 25, 1]);
    }
}
