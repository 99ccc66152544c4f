//! What was drawn, counted: duplicates within a split and leaks between splits.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use crate::splits::hash;
use crate::{Split, Token};

/// Duplicates and leaks among the samples of the three splits.
///
/// Sequences are told apart by 64 bits, so a count may be off by one with a chance below one in a
/// million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// The training samples.
    pub train: SplitCount,
    /// The validation samples.
    pub val: SplitCount,
    /// The test samples.
    pub test: SplitCount,
    /// Sequences that are in two splits.
    pub leaks: Leaks,
}

/// What was counted of one split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SplitCount {
    /// Samples that were looked at.
    pub counted: u64,
    /// Different sequences among them.
    pub distinct: u64,
    /// Samples that the split has, more than `counted` if only a prefix was looked at; `None` if
    /// it never ends.
    pub of: Option<u64>,
    /// Tokens of sources and targets that the vocabulary does not have; none in drawn samples.
    pub unknown: u64,
}

impl SplitCount {
    /// Samples that repeat an earlier one.
    pub fn duplicates(&self) -> u64 {
        self.counted - self.distinct
    }

    /// Whether the split has more samples than were looked at.
    pub fn is_prefix(&self) -> bool {
        self.of != Some(self.counted)
    }
}

/// Distinct sequences that are in both splits of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Leaks {
    /// Validated on what was trained on.
    pub train_val: u64,
    /// Tested on what was trained on.
    pub train_test: u64,
    /// Tested on what was chosen by.
    pub val_test: u64,
}

/// The samples of one split that are to be counted.
pub(crate) struct Samples<I> {
    pub(crate) sources: I,
    /// How many the split has in all.
    pub(crate) of: Option<u64>,
    /// Tokens that the vocabulary does not have.
    pub(crate) unknown: u64,
}

impl SplitReport {
    /// Counts train, val and test, whatever they hold.
    pub(crate) fn count<I: Iterator<Item = Vec<Token>>>(splits: [Samples<I>; 3]) -> Self {
        let [train, val, test] = splits.map(|samples| {
            let (mut counted, mut seen) = (0, HashSet::new());
            for source in samples.sources {
                counted += 1;
                seen.insert(hash(&source));
            }
            (
                SplitCount {
                    counted,
                    distinct: seen.len() as u64,
                    of: samples.of,
                    unknown: samples.unknown,
                },
                seen,
            )
        });
        let leaks = |a: &HashSet<u64>, b: &HashSet<u64>| a.intersection(b).count() as u64;
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
}

impl fmt::Display for SplitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (split, count) in Split::ALL
            .into_iter()
            .zip([self.train, self.val, self.test])
        {
            write!(f, "{split:<5} {} samples", count.counted)?;
            match count.of {
                Some(all) if count.is_prefix() => write!(f, " (the first of {all})")?,
                Some(_) => {}
                None => write!(f, " (the first of an endless stream)")?,
            }
            let (distinct, duplicates) = (count.distinct, count.duplicates());
            write!(f, ", {distinct} distinct, {duplicates} duplicates")?;
            match count.unknown {
                0 => writeln!(f)?,
                unknown => writeln!(f, ", {unknown} unknown tokens")?,
            }
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

    #[test]
    fn duplicates_and_leaks_are_counted_for_real() {
        let samples = |sources: &[&[Token]], of, unknown| Samples {
            sources: sources
                .iter()
                .map(|source| source.to_vec())
                .collect::<Vec<_>>()
                .into_iter(),
            of,
            unknown,
        };
        let report = SplitReport::count([
            samples(&[&[1], &[1, 1], &[2], &[1]], None, 0),
            samples(&[&[1], &[3], &[3], &[3]], Some(9), 0),
            samples(&[&[2], &[1, 1], &[3], &[4]], Some(4), 5),
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
            "train 4 samples (the first of an endless stream), 3 distinct, 1 duplicates\n\
             val   4 samples (the first of 9), 2 distinct, 2 duplicates\n\
             test  4 samples, 4 distinct, 0 duplicates, 5 unknown tokens\n\
             leaks train-val 1, train-test 2, val-test 1"
        );
    }
}
