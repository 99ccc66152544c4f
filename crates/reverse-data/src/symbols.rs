//! Which symbols sources are made of.
//!
//! ```text
//! uniform   chance of symbol k = 1 / (V-1)
//! zipf      chance of symbol k = k^-s / Σ_j j^-s,  k from 1 to V-1, s the exponent
//! ```
//!
//! A draw is decided by whole numbers alone: k^-s is rounded down to a multiple of 2^-43, and one
//! uniform number below the sum of all is looked up among the running sums. The power is that of
//! the `libm` crate, computed in plain IEEE arithmetic and not by the system's library, so that the
//! same symbols are drawn on every machine.
//!
//! Zipf (1949), "Human behavior and the principle of least effort".

use std::sync::Arc;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::Token;

/// How often each symbol comes, as written in a configuration: `symbols = "uniform"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymbolsConfig {
    /// All alike.
    Uniform,
    /// Symbol k in proportion to k to the power of minus `zipf_exponent`.
    Zipf,
}

/// The greatest exponent. With it the rarest of a few symbols still come often enough that drawing
/// until a sequence falls in its split ends soon; and of a million symbols all have a chance.
pub(crate) const MAX_EXPONENT: f64 = 2.0;

/// One in the fixed-point numbers that chances are made of: a million of them fit 64 bits.
const ONE: f64 = (1_u64 << 43) as f64;

#[derive(Clone, Debug)]
pub(crate) enum Symbols {
    Uniform { n_symbols: u32 },
    Weighted { running_sums: Arc<[u64]> },
}

impl Symbols {
    pub(crate) fn new(config: SymbolsConfig, exponent: f64, n_symbols: u32) -> Self {
        match config {
            SymbolsConfig::Uniform => Self::Uniform { n_symbols },
            SymbolsConfig::Zipf => {
                let weight = |k| (ONE * libm::pow(f64::from(k), -exponent)) as u64;
                let running_sums = (1..=n_symbols).scan(0, |sum, k| {
                    *sum += weight(k);
                    Some(*sum)
                });
                Self::Weighted {
                    running_sums: running_sums.collect(),
                }
            }
        }
    }

    pub(crate) fn draw(&self, rng: &mut impl Rng) -> Token {
        match self {
            Self::Uniform { n_symbols } => rng.random_range(1..=*n_symbols),
            Self::Weighted { running_sums } => {
                let total = running_sums.last().copied().unwrap_or(1);
                let at = rng.random_range(0..total);
                running_sums.partition_point(|sum| *sum <= at) as Token + 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::{SAMPLE, rng};
    use crate::{MAX_VOCAB, Vocabulary};

    const N_DRAWS: usize = 100_000;

    fn counts(symbols: &Symbols, n_symbols: u32) -> Vec<usize> {
        let mut rng = rng(0, SAMPLE, (0, 0), 0);
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
            let chance = weight(f64::from(k)) / total;
            let expected = N_DRAWS as f64 * chance;
            let deviation = (expected * (1.0 - chance)).sqrt();
            let off = (count as f64 - expected).abs();
            assert!(off < 5.0 * deviation, "{k}: {count}, expected {expected}");
        }
    }

    #[test]
    fn frequencies_are_the_expected_ones() {
        check(SymbolsConfig::Uniform, 1.0, |_| 1.0);
        check(SymbolsConfig::Zipf, 0.0, |_| 1.0);
        check(SymbolsConfig::Zipf, 0.5, |k| 1.0 / k.sqrt());
        check(SymbolsConfig::Zipf, 1.0, |k| 1.0 / k);
        check(SymbolsConfig::Zipf, 2.0, |k| 1.0 / (k * k));
    }

    #[test]
    fn the_largest_vocabulary_fits_and_leaves_every_symbol_a_chance() {
        let n_symbols = Vocabulary::new(MAX_VOCAB).unwrap().n_symbols();
        for exponent in [0.0, MAX_EXPONENT] {
            let Symbols::Weighted { running_sums } =
                Symbols::new(SymbolsConfig::Zipf, exponent, n_symbols)
            else {
                panic!("zipf is weighted")
            };
            assert!(running_sums.is_sorted_by(|a, b| a < b), "{exponent}");
        }
    }

    #[test]
    fn draws_stay_as_they_are() {
        // Golden, as those of samples are: a change here changes every run's data.
        let symbols = Symbols::new(SymbolsConfig::Zipf, 1.0, 50);
        let mut rng = rng(0, SAMPLE, (0, 0), 0);
        let drawn: Vec<Token> = (0..12).map(|_| symbols.draw(&mut rng)).collect();
        assert_eq!(drawn, [3, 1, 23, 13, 5, 2, 44, 3, 3, 10, 25, 1]);
    }
}
