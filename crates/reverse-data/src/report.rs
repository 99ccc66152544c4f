//! Duplicates within splits, and leaks between splits.

use std::collections::HashSet;
use std::fmt;

use crate::splits::hash;
use crate::{Split, Token};

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
    /// Number of source and target tokens that are not in the vocabulary; 0 for synthetic data.
    pub n_unknown: u64,
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
    pub(crate) sources: I,
    /// Number of samples of the split; `None` if it is unlimited.
    pub(crate) n_samples: Option<u64>,
    /// Number of tokens that are not in the vocabulary.
    pub(crate) n_unknown: u64,
}

impl SplitReport {
    /// Counts the samples of train, val and test.
    pub(crate) fn count<I: Iterator<Item = Vec<Token>>>(splits: [Samples<I>; 3]) -> Self {
        let [train, val, test] = splits.map(|samples| {
            let (mut counted, mut hashes) = (0, HashSet::new());
            for source in samples.sources {
                counted += 1;
                hashes.insert(hash(&source));
            }
            (
                SplitCount {
                    counted,
                    distinct: hashes.len() as u64,
                    n_samples: samples.n_samples,
                    n_unknown: samples.n_unknown,
                },
                hashes,
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
            match count.n_samples {
                Some(all) if count.is_partial() => write!(f, " (the first of {all})")?,
                Some(_) => {}
                None => write!(f, " (the first of an unlimited number)")?,
            }
            let (distinct, duplicates) = (count.distinct, count.duplicates());
            write!(f, ", {distinct} distinct, {duplicates} duplicates")?;
            match count.n_unknown {
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
    fn duplicates_and_leaks_are_counted() {
        let samples = |sources: &[&[Token]], n_samples, n_unknown| Samples {
            sources: sources
                .iter()
                .map(|source| source.to_vec())
                .collect::<Vec<_>>()
                .into_iter(),
            n_samples,
            n_unknown,
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
            "train 4 samples (the first of an unlimited number), 3 distinct, 1 duplicates\n\
             val   4 samples (the first of 9), 2 distinct, 2 duplicates\n\
             test  4 samples, 4 distinct, 0 duplicates, 5 unknown tokens\n\
             leaks train-val 1, train-test 2, val-test 1"
        );
    }
}
