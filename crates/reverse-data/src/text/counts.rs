//! How often each token occurs.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::span::Span;
use super::{TextFile, Tokenization};
use crate::report::{TokenReport, VocabularyOrigin};
use crate::vocab::{UNKNOWN, is_special};
use crate::{Error, LineProblem, Vocabulary};

/// Characters below this one are counted by their number.
const N_SMALL: usize = 0x800;

/// The distinct tokens of some pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenCounts {
    /// Tokens of one character below [`N_SMALL`], or bytes; empty if there are none.
    small: Vec<Count>,
    /// Other tokens of at most 16 bytes, by these bytes; no table's order matters.
    short: HashTable<Short>,
    /// All others.
    long: HashTable<Long>,
    text: Vec<u8>, // of the long tokens
}

/// A token in the bytes of a little-endian number, the rest of which are zero.
#[derive(Clone, Copy, Debug)]
struct Short {
    halves: [u64; 2],
    count: Count,
}

impl Short {
    fn word(&self) -> u128 {
        let [low, high] = self.halves.map(u128::from);
        low | high << 64
    }
}

/// A token, which is a part of [`TokenCounts::text`].
#[derive(Clone, Copy, Debug)]
struct Long {
    start: u32,
    len: u32,
    count: Count,
}

impl Long {
    fn text(self, all: &[u8]) -> &[u8] {
        &all[self.start as usize..][..self.len as usize]
    }
}

/// How often a token occurs in sources and in targets. A file has less than 4 GiB.
#[derive(Clone, Copy, Debug, Default)]
struct Count([u32; 2]);

impl Count {
    fn total(self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// Whether it occurs at most once on each side, so that little can be learned about it.
    fn is_single(self) -> bool {
        self.0.iter().all(|count| *count <= 1)
    }
}

/// Short tokens that wait to be counted, on each side.
const MAX_PENDING: usize = 1024;

/// Counts the tokens of pairs. Short tokens are collected and counted together: lookups in a large table
/// wait for memory, and a loop of nothing else waits for many of them at a time.
#[derive(Default)]
pub(super) struct TokenCounter {
    counts: TokenCounts,
    pending: [Vec<u128>; 2],
}

impl TokenCounter {
    /// Counts tokens of a buffer, on a side: 0 for sources, 1 for targets.
    pub(super) fn add(&mut self, side: usize, buffer: &[u8], tokens: &[Span]) {
        let counts = &mut self.counts;
        for token in tokens {
            let count = match token.word(buffer) {
                Some(byte) if token.len() == 1 => &mut counts.small()[byte as usize],
                // One character of two bytes: 110xxxxx 10xxxxxx.
                Some(bytes) if token.len() == 2 && bytes & 0x80 > 0 => {
                    &mut counts.small()[((bytes & 0x1f) << 6 | bytes >> 8 & 0x3f) as usize]
                }
                Some(word) if token.last(buffer) > 0 => {
                    self.pending[side].push(word);
                    continue;
                }
                _ => counts.long(token.bytes(buffer)), // also those that end with a zero
            };
            count.0[side] += 1;
        }
        if self.pending[side].len() >= MAX_PENDING {
            self.count_pending(side);
        }
    }

    /// Counts every byte as a token of a side.
    pub(super) fn add_bytes(&mut self, side: usize, bytes: &[u8]) {
        let small = self.counts.small();
        for byte in bytes {
            small[usize::from(*byte)].0[side] += 1;
        }
    }

    /// The number of occurrences of all tokens that were added.
    pub(super) fn finish(mut self) -> TokenCounts {
        for side in 0..self.pending.len() {
            self.count_pending(side);
        }
        self.counts
    }

    fn count_pending(&mut self, side: usize) {
        for word in self.pending[side].drain(..) {
            self.counts.short(word).0[side] += 1;
        }
    }
}

impl TokenCounts {
    fn short(&mut self, word: u128) -> &mut Count {
        let hash = |word: u128| FixedState::default().hash_one(word);
        let found = self.short.entry(
            hash(word),
            |entry| entry.word() == word,
            |entry| hash(entry.word()),
        );
        let halves = [word as u64, (word >> 64) as u64];
        let count = Count::default();
        &mut found.or_insert(Short { halves, count }).into_mut().count
    }

    fn long(&mut self, token: &[u8]) -> &mut Count {
        let hash = |token: &[u8]| FixedState::default().hash_one(token);
        let text = &self.text;
        let found = self.long.entry(
            hash(token),
            |entry| entry.text(text) == token,
            |entry| hash(entry.text(text)),
        );
        let position = |len| u32::try_from(len).expect("a file has less than 4 GiB");
        let (start, len) = (position(text.len()), position(token.len()));
        let count = Count::default();
        let entry = found.or_insert(Long { start, len, count }).into_mut();
        if entry.start == start {
            self.text.extend(token); // it is new
        }
        &mut entry.count
    }

    fn small(&mut self) -> &mut [Count; N_SMALL] {
        if self.small.is_empty() {
            self.small.resize(N_SMALL, Count::default());
        }
        self.small.first_chunk_mut().expect("it has this length")
    }

    /// The vocabulary of the tokens that occur at least `min_count` times, by descending frequency and
    /// then by bytes; at most the first `max_tokens` of them (0 for all). The vocabulary of bytes is
    /// always complete.
    ///
    /// # Errors
    /// If there are too many tokens.
    pub(super) fn vocabulary(
        &self,
        tokenization: Tokenization,
        min_count: u64,
        max_tokens: usize,
    ) -> Result<Vocabulary, Error> {
        if let Some(all) = tokenization.closed_vocabulary() {
            return Ok(Vocabulary::from_words(all)?.with_tokenization(tokenization));
        }
        let mut counts: Vec<(Cow<'_, str>, u64)> = self
            .iter(tokenization)
            .map(|(text, count)| (text, count.total()))
            .filter(|(text, count)| text != UNKNOWN && *count >= min_count)
            .collect();
        counts.sort_unstable_by(|(a, n_a), (b, n_b)| (Reverse(n_a), a).cmp(&(Reverse(n_b), b)));
        if max_tokens > 0 {
            counts.truncate(max_tokens);
        }
        let words = counts.into_iter().map(|(text, _)| text.into_owned());
        Ok(Vocabulary::from_words(words)?.with_tokenization(tokenization))
    }

    /// Whether the vocabulary has a symbol for every token.
    pub(super) fn are_in(&self, tokenization: Tokenization, vocabulary: &Vocabulary) -> bool {
        self.iter(tokenization)
            .all(|(text, _)| vocabulary.parse(&text).is_ok())
    }

    /// The tokens as a report, with respect to a vocabulary; nothing about pairs.
    pub(super) fn report(
        &self,
        tokenization: Tokenization,
        vocabulary: &Vocabulary,
        origin: VocabularyOrigin,
    ) -> TokenReport {
        let mut report = TokenReport {
            tokenization,
            origin,
            n_tokens: 0,
            n_unknown: 0,
            n_distinct: 0,
            n_single: 0,
            n_dropped: 0,
            longest_source: 0,
            n_longer: 0,
            n_columns: 0,
        };
        for (text, count) in self.iter(tokenization) {
            report.n_tokens += count.total();
            report.n_distinct += 1;
            report.n_single += u64::from(count.is_single());
            if vocabulary.parse(&text).ok() == vocabulary.unknown() {
                report.n_unknown += count.total();
            }
        }
        report
    }

    /// For each symbol of the vocabulary, whether it occurs at most once on each side; element 0 is
    /// unused.
    pub(super) fn singletons(
        &self,
        tokenization: Tokenization,
        vocabulary: &Vocabulary,
    ) -> Vec<bool> {
        let mut is_single = vec![false; vocabulary.n_symbols() as usize + 1];
        for (text, count) in self.iter(tokenization) {
            match vocabulary.parse(&text) {
                Ok(token) if vocabulary.unknown() != Some(token) => {
                    is_single[token as usize] = count.is_single();
                }
                _ => {}
            }
        }
        is_single
    }

    /// Every token with its number of occurrences.
    fn iter(&self, tokenization: Tokenization) -> impl Iterator<Item = (Cow<'_, str>, Count)> {
        let small = (0..)
            .zip(&self.small)
            .filter(|(_, count)| count.total() > 0);
        let small = small.map(move |(number, count)| (tokenization.small_token(number), *count));
        let short = self.short.iter().map(|entry| {
            let word = entry.word();
            let len = 16 - word.leading_zeros() as usize / 8;
            let text = String::from_utf8_lossy(&word.to_le_bytes()[..len]).into_owned();
            (text.into(), entry.count)
        });
        let long = self.long.iter();
        let long = long.map(|entry| {
            let text = String::from_utf8_lossy(entry.text(&self.text));
            (text, entry.count)
        });
        small.chain(short).chain(long)
    }
}

impl Vocabulary {
    /// The vocabulary in a file with one token per line, in its order. Special tokens are skipped.
    ///
    /// # Errors
    /// If a line is not one token, or occurs twice; or if there are too many.
    pub fn from_file(file: &TextFile, tokenization: Tokenization) -> Result<Self, Error> {
        let mut line_of: HashMap<&str, u64> = HashMap::new();
        let mut words = Vec::new();
        for line in file.lines()? {
            let (number, _, line) = line?;
            let text = match tokenization {
                Tokenization::Words => line.trim(),
                Tokenization::Chars | Tokenization::Bytes => line, // a space is a token
            };
            if is_special(text) || text == UNKNOWN {
                continue;
            }
            let reject = |problem| Err(file.error(number, problem));
            match tokenization.tokens(text).count() {
                0 => return reject(LineProblem::Empty),
                1 => {}
                _ => return reject(LineProblem::NotOneToken),
            }
            if let Some(first) = line_of.insert(text, number) {
                return reject(LineProblem::Repeated { first });
            }
            words.push(text.to_owned());
        }
        Ok(Self::from_words(words)?.with_tokenization(tokenization))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_counted_whatever_its_length_and_bytes() {
        let tokens = [
            "a",
            "\0",
            "a\0",
            "é",
            "漢",
            "ab",
            "ab\0",
            "漢字",
            "e\u{301}",
            "12345678",
            "1234567\0",
            "123456789",
            "a longer one",
            "sixteen bytes of",
            "fifteen bytes \0",
            "seventeen bytes, ",
            "another of them",
        ];
        let mut counter = TokenCounter::default();
        for (index, token) in tokens.iter().enumerate() {
            let buffer = format!("a text before {token}");
            let span = Span::new(buffer.len() - token.len(), buffer.len());
            counter.add(0, buffer.as_bytes(), &vec![span; index + 1]);
            counter.add(1, token.as_bytes(), &[Span::new(0, token.len())]);
        }
        let mut found: Vec<(String, [u32; 2])> = counter
            .finish()
            .iter(Tokenization::Chars)
            .map(|(text, count)| (text.into_owned(), count.0))
            .collect();
        found.sort_by_key(|(_, count)| count[0]);
        let expected = (1..)
            .zip(tokens)
            .map(|(n, token)| (token.to_owned(), [n, 1]));
        assert_eq!(found, Vec::from_iter(expected));
    }
}
