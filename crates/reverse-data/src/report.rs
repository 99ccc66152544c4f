//! Duplicates within splits, and leaks between splits.

use std::collections::HashSet;
use std::fmt;

use foldhash::fast::FixedState;

use crate::{Split, Tokenization};

/// Duplicates and leaks among the samples of the three splits.
///
/// Sequences are compared by a 64-bit hash; the probability that a count is wrong is below 10⁻⁶.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitReport {
    /// The training samples.
    pub train: SplitCount,
    /// The validation samples.
    pub val: SplitCount,
    /// The test samples.
    pub test: SplitCount,
    /// Sequences that occur in two splits.
    pub leaks: Leaks,
}

/// The counts of one split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitCount {
    /// Number of samples counted.
    pub counted: u64,
    /// Number of distinct sources among them.
    pub distinct: u64,
    /// Number of samples of the split, more than `counted` if only the first ones were counted; `None`
    /// if it is unlimited.
    pub n_samples: Option<u64>,
    /// The tokens of text; `None` for synthetic data.
    pub text: Option<TokenReport>,
}

/// The tokens of a split of text, sources and targets together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenReport {
    /// What a token is.
    pub tokenization: Tokenization,
    /// Where the vocabulary comes from.
    pub origin: VocabularyOrigin,
    /// Number of tokens.
    pub n_tokens: u64,
    /// Number of tokens that are not in the vocabulary.
    pub n_unknown: u64,
    /// Number of distinct tokens.
    pub n_distinct: u64,
    /// Number of distinct tokens that occur at most once in sources and once in targets.
    pub n_single: u64,
    /// Number of pairs that were dropped because they are too long.
    pub n_dropped: u64,
    /// Number of tokens of the longest source.
    pub longest_source: usize,
    /// Number of sources that are longer than any in training.
    pub n_longer: u64,
    /// Number of columns of a table, if its first two are taken because no others are configured; else 0.
    pub n_columns: usize,
}

/// Where the vocabulary of text comes from, which decides how to make it larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocabularyOrigin {
    /// All tokens of the training pairs.
    Training,
    /// Those of the training pairs that `min_count` and `max_tokens` leave.
    Limited,
    /// A vocabulary file.
    File,
}

impl TokenReport {
    /// Share of the tokens that are not in the vocabulary.
    pub fn unknown_share(&self) -> f64 {
        self.n_unknown as f64 / self.n_tokens.max(1) as f64
    }
}

impl SplitCount {
    /// Number of samples that repeat an earlier one.
    pub fn duplicates(&self) -> u64 {
        self.counted - self.distinct
    }

    /// Whether the split has more samples than were counted.
    fn is_partial(&self) -> bool {
        self.n_samples != Some(self.counted)
    }
}

/// Number of distinct sources that occur in both splits of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaks {
    /// In training and validation.
    pub train_val: u64,
    /// In training and test.
    pub train_test: u64,
    /// In validation and test.
    pub val_test: u64,
}

/// The samples of one split to count.
pub(crate) struct Samples<I> {
    /// The hash of each source.
    pub(crate) hashes: I,
    /// Number of samples of the split; `None` if it is unlimited.
    pub(crate) n_samples: Option<u64>,
    /// The tokens of text.
    pub(crate) text: Option<TokenReport>,
}

/// A set of hashes.
type Hashes = HashSet<u64, FixedState>;

/// Shares above which [`SplitReport::warnings`] speaks.
const MAX_UNKNOWN: f64 = 0.01;
const MAX_SINGLE: f64 = 0.9;

/// Number of distinct words below which their counts say nothing about the text.
const MIN_DISTINCT: u64 = 50;

impl SplitReport {
    /// Counts the samples of train, val and test.
    pub(crate) fn count<I: Iterator<Item = u64>>(splits: [Samples<I>; 3]) -> Self {
        let [train, val, test] = splits.map(|samples| {
            let n_expected = samples.hashes.size_hint().0;
            let mut hashes = Hashes::with_capacity_and_hasher(n_expected, FixedState::default());
            let mut counted = 0;
            for hash in samples.hashes {
                counted += 1;
                hashes.insert(hash);
            }
            (
                SplitCount {
                    counted,
                    distinct: hashes.len() as u64,
                    n_samples: samples.n_samples,
                    text: samples.text,
                },
                hashes,
            )
        });
        let leaks = |a: &Hashes, b: &Hashes| a.intersection(b).count() as u64;
        Self {
            leaks: Leaks {
                train_val: leaks(&train.1, &val.1),
                train_test: leaks(&train.1, &test.1),
                val_test: leaks(&val.1, &test.1),
            },
            train: train.0,
            val: val.0,
            test: test.0,
        }
    }

    /// What would make metrics misleading, each with its numbers and a remedy. Only text can have such
    /// problems.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let splits = [
            (Split::Train, self.train),
            (Split::Val, self.val),
            (Split::Test, self.test),
        ];
        let Leaks {
            train_val,
            train_test,
            ..
        } = self.leaks;
        for ((split, count), n_shared) in splits[1..].iter().zip([train_val, train_test]) {
            if n_shared > 0 {
                warnings.push(format!(
                    "{n_shared} of the {} distinct sources in {split} also occur in train, so its \
                     metrics overstate generalization; remove them, or let data.file split the pairs",
                    count.distinct
                ));
            }
        }
        for (split, count) in splits {
            let Some(text) = count.text.filter(|text| text.unknown_share() > MAX_UNKNOWN) else {
                continue;
            };
            let remedy = match text.origin {
                VocabularyOrigin::Training => "add training pairs",
                VocabularyOrigin::Limited => "lower data.min_count or remove data.max_tokens",
                VocabularyOrigin::File => "add them to data.vocab_file, or remove it",
            };
            let smaller = match (text.origin, text.tokenization) {
                (VocabularyOrigin::File, _) | (_, Tokenization::Bytes) => "",
                (_, Tokenization::Words) => ", or set data.tokens = \"chars\"",
                (_, Tokenization::Chars) => ", or set data.tokens = \"bytes\"",
            };
            warnings.push(format!(
                "{:.1} % of the tokens in {split} ({} of {}) are not in the vocabulary and never count \
                 as correct; {remedy}{smaller}",
                100.0 * text.unknown_share(),
                text.n_unknown,
                text.n_tokens
            ));
        }
        for (split, count) in &splits[1..] {
            let longest = self.train.text.map_or(0, |text| text.longest_source);
            if let Some(text) = count.text.filter(|text| longest > 0 && text.n_longer > 0) {
                warnings.push(format!(
                    "{} of the {} sources in {split} are longer than any in train ({} tokens; the \
                     longest in train has {longest}), and few models generalize in length",
                    text.n_longer, count.counted, text.longest_source
                ));
            }
        }
        if let Some(text) = self.train.text.filter(|text| text.n_columns > 2) {
            warnings.push(format!(
                "the table has {} columns; the first is read as the source and the second as the \
                 target; data.source_column and data.target_column name others",
                text.n_columns
            ));
        }
        let rare = self.train.text.filter(|text| {
            text.tokenization == Tokenization::Words
                && text.n_distinct >= MIN_DISTINCT
                && text.n_single as f64 > MAX_SINGLE * text.n_distinct as f64
        });
        if let Some(TokenReport {
            n_single,
            n_distinct,
            ..
        }) = rare
        {
            warnings.push(format!(
                "{n_single} of the {n_distinct} distinct words in train occur only once, so little can \
                 be learned about them; set data.tokens = \"chars\""
            ));
        }
        warnings
    }
}

impl fmt::Display for SplitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (split, count) in Split::ALL
            .into_iter()
            .zip([self.train, self.val, self.test])
        {
            write!(f, "{split:<5} {} samples", count.counted)?;
            match count.n_samples {
                Some(all) if count.is_partial() => write!(f, " (the first of {all})")?,
                Some(_) => {}
                None => write!(f, " (the first of an unlimited number)")?,
            }
            let (distinct, duplicates) = (count.distinct, count.duplicates());
            write!(f, ", {distinct} distinct, {duplicates} duplicates")?;
            if let Some(text) = count.text {
                if text.n_unknown > 0 {
                    write!(f, ", {} unknown tokens", text.n_unknown)?;
                }
                if text.n_dropped > 0 {
                    write!(f, ", {} longer pairs dropped", text.n_dropped)?;
                }
            }
            writeln!(f)?;
        }
        let Leaks {
            train_val,
            train_test,
            val_test,
        } = self.leaks;
        write!(
            f,
            "leaks train-val {train_val}, train-test {train_test}, val-test {val_test}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n_tokens: u64, n_unknown: u64) -> TokenReport {
        TokenReport {
            tokenization: Tokenization::Words,
            origin: VocabularyOrigin::Training,
            n_tokens,
            n_unknown,
            n_distinct: 60,
            n_single: 54,
            n_dropped: 0,
            longest_source: 7,
            n_longer: 0,
            n_columns: 2,
        }
    }

    #[test]
    fn warnings_name_their_numbers_and_a_remedy() {
        let report = |hashes: [&[u64]; 3], text: [TokenReport; 3]| {
            let mut splits = hashes.into_iter().zip(text);
            SplitReport::count([(); 3].map(|()| {
                let (hashes, text) = splits.next().unwrap();
                Samples {
                    hashes: hashes.iter().copied(),
                    n_samples: Some(hashes.len() as u64),
                    text: Some(text),
                }
            }))
        };
        let fine = report([&[1, 2], &[3], &[4, 3]], [text(100, 1); 3]);
        assert_eq!(fine.warnings(), Vec::<String>::new());
        let single = TokenReport {
            n_single: 55,
            ..text(100, 0)
        };
        let wide = TokenReport {
            n_columns: 3,
            ..single
        };
        let long = TokenReport {
            longest_source: 9,
            n_longer: 1,
            ..text(200, 3)
        };
        let bad = report([&[1, 2], &[1, 2, 2], &[9]], [wide, text(100, 0), long]);
        assert_eq!(
            bad.warnings(),
            [
                "2 of the 2 distinct sources in val also occur in train, so its metrics overstate \
                 generalization; remove them, or let data.file split the pairs",
                "1.5 % of the tokens in test (3 of 200) are not in the vocabulary and never count as \
                 correct; add training pairs, or set data.tokens = \"chars\"",
                "1 of the 1 sources in test are longer than any in train (9 tokens; the longest in \
                 train has 7), and few models generalize in length",
                "the table has 3 columns; the first is read as the source and the second as the \
                 target; data.source_column and data.target_column name others",
                "55 of the 60 distinct words in train occur only once, so little can be learned about \
                 them; set data.tokens = \"chars\"",
            ]
        );
        for (origin, remedy) in [
            (
                VocabularyOrigin::Limited,
                "lower data.min_count or remove data.max_tokens, or set data.tokens = \"chars\"",
            ),
            (
                VocabularyOrigin::File,
                "add them to data.vocab_file, or remove it",
            ),
        ] {
            let unknown = TokenReport {
                origin,
                ..text(200, 3)
            };
            let warnings =
                report([&[1], &[2], &[3]], [text(100, 0), text(100, 0), unknown]).warnings();
            assert!(warnings[0].ends_with(remedy), "{warnings:?}");
        }
    }

    #[test]
    fn duplicates_and_leaks_are_counted() {
        let samples = |hashes: &'static [u64], n_samples, n_unknown| Samples {
            hashes: hashes.iter().copied(),
            n_samples,
            text: Some(text(100, n_unknown)),
        };
        let report = SplitReport::count([
            samples(&[1, 11, 2, 1], None, 0),
            samples(&[1, 3, 3, 3], Some(9), 0),
            samples(&[2, 11, 3, 4], Some(4), 5),
        ]);
        assert_eq!(
            report.leaks,
            Leaks {
                train_val: 1,
                train_test: 2,
                val_test: 1
            }
        );
        assert_eq!(
            report.to_string(),
            "train 4 samples (the first of an unlimited number), 3 distinct, 1 duplicates\n\
             val   4 samples (the first of 9), 2 distinct, 2 duplicates\n\
             test  4 samples, 4 distinct, 0 duplicates, 5 unknown tokens\n\
             leaks train-val 1, train-test 2, val-test 1"
        );
    }
}
