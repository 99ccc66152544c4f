//! How often each token occurs.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::hash::word;
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
    /// Other tokens of at most eight bytes, by these bytes; no table's order matters.
    short: HashTable<Short>,
    /// All others.
    long: HashTable<Long>,
    text: String, // of the long tokens
}

/// A token in the bytes of a little-endian number, the rest of which are zero.
#[derive(Clone, Copy, Debug)]
struct Short {
    word: u64,
    count: Count,
}

/// A token, which is a part of [`TokenCounts::text`].
#[derive(Clone, Copy, Debug)]
struct Long {
    start: u32,
    len: u32,
    count: Count,
}

impl Long {
    fn text(self, all: &str) -> &str {
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

impl TokenCounts {
    /// Counts a token of a side: 0 for sources, 1 for targets.
    pub(super) fn add(&mut self, side: usize, token: &str) {
        let mut chars = token.chars();
        if let (Some(char @ '\0'..'\u{800}'), None) = (chars.next(), chars.next()) {
            self.small()[char as usize].0[side] += 1;
            return;
        }
        let bytes = token.as_bytes();
        let count = match bytes {
            [.., last] if bytes.len() <= 8 && *last > 0 => self.short(word(bytes)),
            _ => self.long(token), // also those that end with a zero
        };
        count.0[side] += 1;
    }

    fn short(&mut self, word: u64) -> &mut Count {
        let hash = |word: u64| FixedState::default().hash_one(word);
        let found = self.short.entry(
            hash(word),
            |entry| entry.word == word,
            |entry| hash(entry.word),
        );
        let count = Count::default();
        &mut found.or_insert(Short { word, count }).into_mut().count
    }

    fn long(&mut self, token: &str) -> &mut Count {
        let hash = |token: &str| FixedState::default().hash_one(token.as_bytes());
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
            self.text.push_str(token); // it is new
        }
        &mut entry.count
    }

    /// Counts every byte as a token of a side.
    pub(super) fn add_bytes(&mut self, side: usize, bytes: &[u8]) {
        let small = self.small();
        for byte in bytes {
            small[usize::from(*byte)].0[side] += 1;
        }
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

    /// Checks that the vocabulary has a symbol for every token.
    pub(super) fn check(
        &self,
        tokenization: Tokenization,
        vocabulary: &Vocabulary,
    ) -> Result<(), Error> {
        let rejected = self
            .iter(tokenization)
            .filter_map(|(text, _)| vocabulary.parse(&text).err());
        // The least one, so that the message does not depend on the order of the table.
        match rejected.min_by_key(ToString::to_string) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The tokens as a report, with respect to a vocabulary.
    pub(super) fn report(
        &self,
        tokenization: Tokenization,
        vocabulary: &Vocabulary,
        origin: VocabularyOrigin,
        n_dropped: u64,
    ) -> TokenReport {
        let mut report = TokenReport {
            tokenization,
            origin,
            n_tokens: 0,
            n_unknown: 0,
            n_distinct: 0,
            n_single: 0,
            n_dropped,
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
            let bytes = entry.word.to_le_bytes();
            let len = 8 - entry.word.leading_zeros() as usize / 8;
            let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
            (text.into(), entry.count)
        });
        let long = self.long.iter();
        let long = long.map(|entry| (entry.text(&self.text).into(), entry.count));
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
            let (number, line) = line?;
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
            "another of them",
        ];
        let mut counts = TokenCounts::default();
        for (index, token) in tokens.iter().enumerate() {
            (0..=index).for_each(|_| counts.add(0, token));
            counts.add(1, token);
        }
        let mut found: Vec<(String, [u32; 2])> = counts
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
