//! Samples of one length, for evaluation length by length.

use std::collections::HashSet;

use crate::permutation::Permutation;
use crate::splits::{inhabited, space};
use crate::{Example, MAX_LEN, Split, SymbolsConfig, Token, keyed};

use super::Synthetic;

/// Where all sequences are alike, lengths with no more of them than this are gone through without
/// repetition, so that all can be had; elsewhere, repeated draws are passed over.
const MAX_LISTED: u128 = 1 << 20;

/// Draws in a row that bring nothing new, after which a length is given up.
const MAX_STALE: usize = 1000;

impl Synthetic {
    /// `n` different samples of exactly `len` symbols, which may lie outside the configured
    /// lengths. All are of the split, by the hash that decides every sequence's split: what is
    /// asked of [`Split::Val`] or [`Split::Test`] is in no training set, of no seed.
    ///
    /// They depend on (seed, split, length) alone, and the first few of many are the few. There
    /// are fewer than `n` where the split has fewer of that length, and then they are all (but for
    /// rare ones that were not drawn, where symbols are not uniform); none for a length of 0 or
    /// above [`MAX_LEN`].
    pub fn of_length(&self, split: Split, len: usize, n: usize) -> Vec<Example> {
        let n_symbols = self.vocabulary.n_symbols();
        let is_drawn = |len| !inhabited(n_symbols, len..=len)[split as usize].is_empty();
        if !(1..=MAX_LEN).contains(&len) || !is_drawn(len) {
            return Vec::new();
        }
        let is_uniform = self.config.symbols == SymbolsConfig::Uniform;
        let sources = match space(n_symbols, &(len..=len)) {
            space if is_uniform && space <= MAX_LISTED => self.listed(split, len, n, space as u64),
            _ => self.drawn(split, len, n),
        };
        let answer = |source| self.answer(source);
        sources.into_iter().map(answer).collect()
    }

    /// All sequences of the length in a keyed order, and of these the split's.
    fn listed(&self, split: Split, len: usize, n: usize, space: u64) -> Vec<Vec<Token>> {
        let mut rng = keyed::rng(self.order.seed, keyed::LENGTH_ORDER, key(split, len), 0);
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
        let (mut index, mut n_stale) = (0, 0);
        while sources.len() < n && n_stale < MAX_STALE {
            let mut rng = keyed::rng(
                self.order.seed,
                keyed::SAMPLE_OF_LEN,
                key(split, len),
                index,
            );
            let source = self.draw(split, len, &mut rng);
            if seen.insert(source.clone()) {
                n_stale = 0;
                sources.push(source);
            } else {
                n_stale += 1;
            }
            index += 1;
        }
        sources
    }
}

fn key(split: Split, len: usize) -> (u64, u64) {
    (split as u64, len as u64)
}

/// A number as `len` symbols from 1 to `base`, the least significant first.
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
    fn numbers_are_sequences() {
        assert_eq!(digits(0, 2, 3), [1, 1, 1]);
        assert_eq!(digits(6, 2, 3), [1, 2, 2]);
        assert_eq!(digits(53, 10, 2), [4, 6]);
        assert_eq!(digits(0, 1, 2), [1, 1]);
    }
}
