//! Samples in memory.

use std::sync::Arc;

use crate::{BatchSource, Error, Example, MAX_LEN, Order, Split, Vocabulary};

/// A [`BatchSource`] of samples in memory: your own pairs of source and target.
///
/// ```
/// use reverse_data::{BatchSource, Examples, Order, Split, Vocabulary};
///
/// let vocabulary = Vocabulary::new(10)?; // symbols 1 to 9
/// let train = vec![(vec![1, 2], vec![3]), (vec![4, 5], vec![9])];
/// let data = Examples::new(vocabulary, [train.clone(), train.clone(), train], Order::default())?;
/// assert_eq!(data.example(Split::Train, 1).target, [9]);
/// # Ok::<(), reverse_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Examples {
    vocabulary: Vocabulary,
    splits: Arc<[Vec<Example>; 3]>,
    order: Order,
}

impl Examples {
    /// The samples of each split, in the order of [`Split::ALL`]: train, val, test.
    ///
    /// # Errors
    /// [`Error::NoSamples`] for a split without samples; [`Error::Sample`] for an empty source, a sequence of
    /// more than [`MAX_LEN`] tokens, and a token that is not a symbol of the vocabulary.
    pub fn new<E: Into<Example>>(
        vocabulary: Vocabulary,
        splits: [Vec<E>; 3],
        order: Order,
    ) -> Result<Self, Error> {
        let splits = splits.map(|samples| samples.into_iter().map(E::into).collect());
        for (split, samples) in Split::ALL.into_iter().zip(&splits) {
            let samples: &Vec<Example> = samples;
            if samples.is_empty() {
                return Err(Error::NoSamples { split });
            }
            for (index, sample) in samples.iter().enumerate() {
                if let Some(problem) = problem(sample, &vocabulary).or_else(|| too_long(sample)) {
                    return Err(Error::Sample {
                        split,
                        index,
                        problem,
                    });
                }
            }
        }
        Ok(Self {
            vocabulary,
            splits: Arc::new(splits),
            order,
        })
    }

    /// Number of tokens of the longest source and of the longest target of a split.
    pub fn longest(&self, split: Split) -> [usize; 2] {
        let lengths = self.splits[split as usize]
            .iter()
            .map(|sample| [sample.source.len(), sample.target.len()]);
        lengths.fold([0, 0], |[a, b], [source, target]| {
            [a.max(source), b.max(target)]
        })
    }
}

/// Checks that the first hundred samples of each split have a source, and symbols of the vocabulary only: what a
/// [`Task`](crate::Task) or a [`BatchSource`] of your own may get wrong.
///
/// # Errors
/// [`Error::Sample`].
pub fn check_samples(source: &dyn BatchSource) -> Result<(), Error> {
    const N_CHECKED: u64 = 100;
    for split in Split::ALL {
        let n_samples = source.n_samples(split);
        for index in 0..n_samples.unwrap_or(N_CHECKED).min(N_CHECKED) {
            if let Some(problem) = problem(&source.example(split, index), source.vocabulary()) {
                return Err(Error::Sample {
                    split,
                    index: index as usize,
                    problem,
                });
            }
        }
    }
    Ok(())
}

/// The side of a sample that is longer than the limit.
fn too_long(sample: &Example) -> Option<String> {
    let sides = [("source", &sample.source), ("target", &sample.target)];
    let (side, tokens) = sides
        .into_iter()
        .find(|(_, tokens)| tokens.len() > MAX_LEN)?;
    let len = tokens.len();
    Some(format!(
        "its {side} has {len} tokens; the limit is {MAX_LEN}"
    ))
}

/// What is wrong with a sample.
fn problem(sample: &Example, vocabulary: &Vocabulary) -> Option<String> {
    if sample.source.is_empty() {
        return Some("its source is empty".to_owned());
    }
    for (side, tokens) in [("source", &sample.source), ("target", &sample.target)] {
        if let Some(token) = tokens.iter().find(|token| !vocabulary.is_symbol(**token)) {
            let max = vocabulary.n_symbols();
            return Some(format!("its {side} has token {token}, expected 1 to {max}"));
        }
    }
    None
}

impl BatchSource for Examples {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        Some(self.splits[split as usize].len() as u64)
    }

    fn example(&self, split: Split, index: u64) -> Example {
        self.splits[split as usize][index as usize].clone()
    }

    /// The largest ratio of the training split.
    fn growth(&self) -> usize {
        let samples = self.splits[Split::Train as usize].iter();
        let ratios = samples.map(|sample| sample.target.len().div_ceil(sample.source.len()));
        ratios.max().unwrap_or(1)
    }

    fn order(&self) -> Order {
        self.order
    }

    fn with_order(&self, order: Order) -> Arc<dyn BatchSource> {
        Arc::new(Self {
            order,
            ..self.clone()
        })
    }

    fn source_len(&self, split: Split, index: u64) -> usize {
        self.splits[split as usize][index as usize].source.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: [Vec<(Vec<u32>, Vec<u32>)>; 3]) -> Result<Examples, Error> {
        let vocabulary = Vocabulary::new(10).unwrap();
        Examples::new(vocabulary, samples, Order::default())
    }

    #[test]
    fn batches_have_the_samples_in_order() {
        let sample = |n| (vec![n; n as usize], vec![n]);
        let one = vec![sample(1)];
        let data = of([one.clone(), vec![sample(3), sample(2), sample(9)], one]).unwrap();
        let data = data.with_batch_size(std::num::NonZeroUsize::new(2).unwrap());
        assert_eq!(data.n_batches(Split::Val), Some(2));
        assert_eq!(data.batch(Split::Val, 0).source, [3, 3, 3, 2, 2, 0]);
        assert_eq!(data.batch(Split::Val, 1).target, [9, 11]); // EOS
        assert_eq!(data.batch(Split::Val, 2).n_rows(), 0);
        assert_eq!(data.batch(Split::Train, 7), data.batch(Split::Train, 0));
        assert_eq!(data.probe(5)[0].tokens.len(), 3);
        assert_eq!(data.probe(1)[0].tokens.len(), 2);
        let report = data.report();
        assert_eq!((report.leaks.train_test, report.leaks.train_val), (1, 0));
    }

    #[test]
    fn samples_that_no_model_could_read_are_named() {
        let good = || vec![(vec![1], vec![])];
        assert!(of([good(), good(), good()]).is_ok());
        let samples = |bad| [good(), vec![(vec![1], vec![2]), bad], good()];
        for (bad, message) in [
            ((vec![], vec![1]), "val sample 1: its source is empty"),
            (
                (vec![10], vec![1]),
                "val sample 1: its source has token 10, expected 1 to 9",
            ),
            (
                (vec![1], vec![3, 0]),
                "val sample 1: its target has token 0, expected 1 to 9",
            ),
        ] {
            assert_eq!(of(samples(bad)).unwrap_err().to_string(), message);
        }
        let error = of([good(), good(), vec![]]).unwrap_err();
        assert_eq!(error.to_string(), "the test split has no samples");
    }
}
