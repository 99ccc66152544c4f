//! Samples of a given length, for evaluation by length.

use std::collections::HashSet;

use crate::permutation::Permutation;
use crate::random::{Purpose, generator};
use crate::splits::{nonempty_lens, space};
use crate::{Example, MAX_LEN, Split, SymbolsConfig, Token};

use super::Synthetic;

/// Lengths with at most this many equally likely sequences are enumerated in random order, so that all of
/// them can be returned; otherwise sequences are drawn and duplicates are skipped.
const MAX_ENUMERATED: u128 = 1 << 20;

/// Number of duplicates in a row after which drawing stops.
const MAX_DUPLICATES: usize = 1000;

impl Synthetic {
    /// Up to `n` distinct samples of exactly `len` symbols, which may be outside the configured lengths.
    /// All belong to the split, so samples of [`Split::Val`] and [`Split::Test`] are not in the
    /// training set of any seed.
    ///
    /// The samples depend on (seed, split, length) only; a smaller `n` returns the first of them. There
    /// are fewer than `n` if the split has fewer sequences of that length. With non-uniform symbols,
    /// rare sequences may be missing. Empty if `len` is 0 or above [`MAX_LEN`].
    pub fn of_length(&self, split: Split, len: usize, n: usize) -> Vec<Example> {
        let n_symbols = self.vocabulary.n_symbols();
        let has_some = |len| !nonempty_lens(n_symbols, len..=len)[split as usize].is_empty();
        if !(1..=MAX_LEN).contains(&len) || !has_some(len) {
            return Vec::new();
        }
        let is_uniform = self.config.symbols == SymbolsConfig::Uniform;
        let sources = match space(n_symbols, &(len..=len)) {
            space if is_uniform && space <= MAX_ENUMERATED => {
                self.enumerated(split, len, n, space as u64)
            }
            _ => self.drawn(split, len, n),
        };
        let example = |source| self.example_of(source);
        sources.into_iter().map(example).collect()
    }

    /// The first `n` sequences of the split among all `space` sequences of the length, in random order.
    fn enumerated(&self, split: Split, len: usize, n: usize, space: u64) -> Vec<Vec<Token>> {
        let mut rng = generator(self.order.seed, Purpose::LengthOrder { split, len }, 0);
        let order = Permutation::generate(space, &mut rng);
        let n_symbols = self.vocabulary.n_symbols();
        (0..space)
            .map(|index| digits(order.at(index), n_symbols, len))
            .filter(|source| Split::of(source) == split)
            .take(n)
            .collect()
    }

    fn drawn(&self, split: Split, len: usize, n: usize) -> Vec<Vec<Token>> {
        let mut seen = HashSet::new();
        let mut sources = Vec::new();
        let (mut index, mut n_duplicates) = (0, 0);
        while sources.len() < n && n_duplicates < MAX_DUPLICATES {
            let purpose = Purpose::SampleOfLen { split, len };
            let mut rng = generator(self.order.seed, purpose, index);
            let source = self.draw(split, len, &mut rng);
            if seen.insert(source.clone()) {
                n_duplicates = 0;
                sources.push(source);
            } else {
                n_duplicates += 1;
            }
            index += 1;
        }
        sources
    }
}

/// A number as `len` digits in a base, plus 1 each, least significant first.
fn digits(mut number: u64, base: u32, len: usize) -> Vec<Token> {
    let base = u64::from(base);
    let mut digit = || {
        let digit = number % base;
        number /= base;
        digit as Token + 1
    };
    (0..len).map(|_| digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_sequences() {
        assert_eq!(digits(0, 2, 3), [1, 1, 1]);
        assert_eq!(digits(6, 2, 3), [1, 2, 2]);
        assert_eq!(digits(53, 10, 2), [4, 6]);
        assert_eq!(digits(0, 1, 2), [1, 1]);
    }
}
