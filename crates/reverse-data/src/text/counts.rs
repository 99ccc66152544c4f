//! How often each token occurs.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::pairs::Lines;
use super::{Pairs, TextFile, Tokenization};
use crate::report::TokenReport;
use crate::vocab::{UNKNOWN, is_special};
use crate::{Error, LineProblem, Vocabulary};

/// The distinct tokens of some pairs.
#[derive(Debug)]
pub struct TokenCounts<'a> {
    counts: HashMap<&'a str, Count, FixedState>, // never iterated in an order that matters
    tokenization: Tokenization,
}

/// How often a token occurs in sources and in targets.
#[derive(Clone, Copy, Debug, Default)]
struct Count([u64; 2]);

impl Count {
    fn total(self) -> u64 {
        self.0.iter().sum()
    }

    /// Whether it occurs at most once on each side, so that little can be learned about it.
    fn is_single(self) -> bool {
        self.0.iter().all(|count| *count <= 1)
    }
}

impl<'a> TokenCounts<'a> {
    /// Counts all tokens of the pairs.
    pub fn of(pairs: &'a Pairs, tokenization: Tokenization) -> Self {
        let mut counts: HashMap<&str, Count, _> = HashMap::with_hasher(FixedState::default());
        for (side, lines) in [&pairs.sources, &pairs.targets].into_iter().enumerate() {
            for line in Lines::iter(lines) {
                for token in tokenization.tokens(line) {
                    counts.entry(token).or_default().0[side] += 1;
                }
            }
        }
        Self {
            counts,
            tokenization,
        }
    }

    /// The vocabulary of the tokens that occur at least `min_count` times, by descending frequency and
    /// then by bytes; at most the first `max_tokens` of them (0 for all). The vocabulary of bytes is
    /// always complete.
    ///
    /// # Errors
    /// If there are too many tokens.
    pub fn vocabulary(&self, min_count: u64, max_tokens: usize) -> Result<Vocabulary, Error> {
        if let Some(all) = self.tokenization.closed_vocabulary() {
            return Ok(Vocabulary::from_words(all)?.with_tokenization(self.tokenization));
        }
        let mut counts: Vec<(&str, u64)> = self.iter().collect();
        counts.retain(|(text, count)| *text != UNKNOWN && *count >= min_count);
        counts.sort_unstable_by_key(|(text, count)| (Reverse(*count), *text));
        if max_tokens > 0 {
            counts.truncate(max_tokens);
        }
        let words = counts.into_iter().map(|(text, _)| text.to_owned());
        Ok(Vocabulary::from_words(words)?.with_tokenization(self.tokenization))
    }

    /// Checks that the vocabulary has a symbol for every token.
    pub(crate) fn check(&self, vocabulary: &Vocabulary) -> Result<(), Error> {
        let rejected = self
            .iter()
            .filter_map(|(text, _)| vocabulary.parse(text).err());
        // The least one, so that the message does not depend on the order of the map.
        match rejected.min_by_key(ToString::to_string) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The tokens as a report, with respect to a vocabulary.
    pub(crate) fn report(&self, vocabulary: &Vocabulary, n_dropped: u64) -> TokenReport {
        let mut report = TokenReport {
            tokenization: self.tokenization,
            n_tokens: 0,
            n_unknown: 0,
            n_distinct: self.counts.len() as u64,
            n_single: 0,
            n_dropped,
        };
        for (text, count) in &self.counts {
            report.n_tokens += count.total();
            report.n_single += u64::from(count.is_single());
            if vocabulary.parse(text).ok() == vocabulary.unknown() {
                report.n_unknown += count.total();
            }
        }
        report
    }

    /// For each symbol of the vocabulary, whether it occurs at most once on each side; element 0 is
    /// unused.
    pub(crate) fn singletons(&self, vocabulary: &Vocabulary) -> Vec<bool> {
        let mut is_single = vec![false; vocabulary.n_symbols() as usize + 1];
        for (text, count) in &self.counts {
            match vocabulary.parse(text) {
                Ok(token) if vocabulary.unknown() != Some(token) => {
                    is_single[token as usize] = count.is_single();
                }
                _ => {}
            }
        }
        is_single
    }

    /// Every token with its number of occurrences.
    fn iter(&self) -> impl Iterator<Item = (&'a str, u64)> {
        self.counts
            .iter()
            .map(|(text, count)| (*text, count.total()))
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
