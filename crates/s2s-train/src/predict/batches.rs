//! Batches of sources of similar length.

use std::num::NonZeroUsize;

use rayon::prelude::*;

/// Maximum number of tokens in a batch, padding included; larger batches are not faster.
const MAX_BATCH_TOKENS: usize = 1 << 14;

/// Runs `work` on batches of sources with these lengths, in parallel. It gets the indices of the sources of a
/// batch and returns a result for each. The results are in the order of the sources.
pub(super) fn in_batches<R: Send, E: Send>(
    lengths: &[usize],
    max_rows: NonZeroUsize,
    work: impl Fn(&[usize]) -> Result<Vec<R>, E> + Sync,
) -> Result<Vec<R>, E> {
    let batches = batches(lengths, max_rows.get());
    let of_batch = |batch: &Vec<usize>| work(batch);
    let done: Vec<Vec<R>> = batches.par_iter().map(of_batch).collect::<Result<_, E>>()?;
    let mut results: Vec<Option<R>> = lengths.iter().map(|_| None).collect();
    for (index, result) in batches.concat().into_iter().zip(done.into_iter().flatten()) {
        results[index] = Some(result);
    }
    Ok(results.into_iter().flatten().collect())
}

/// Groups sources into batches by length, shortest first; returns their indices. A batch has at
/// most `max_rows` sources and [`MAX_BATCH_TOKENS`], and is at most half padding, unless it is a single
/// source.
fn batches(lengths: &[usize], max_rows: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| lengths[index]);
    let (mut batches, mut n_real) = (Vec::<Vec<usize>>::new(), 0);
    for index in order {
        let len = lengths[index];
        n_real += len;
        match batches.last_mut() {
            Some(batch)
                if batch.len() < max_rows
                    && (batch.len() + 1) * len <= MAX_BATCH_TOKENS.min(2 * n_real) =>
            {
                batch.push(index);
            }
            _ => {
                batches.push(vec![index]);
                n_real = len;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use reverse_data::MAX_LEN;

    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_sources() {
        let lengths = [3, 1, 2, 900, 5, 1];
        for max_rows in [1, 2, 9] {
            let work = |batch: &[usize]| -> Result<Vec<usize>, ()> { Ok(batch.to_vec()) };
            let results = in_batches(&lengths, NonZeroUsize::new(max_rows).unwrap(), work);
            assert_eq!(results, Ok(vec![0, 1, 2, 3, 4, 5]));
        }
        assert_eq!(
            in_batches(&[1, 2], NonZeroUsize::MIN, |_| Err::<Vec<()>, _>(7)),
            Err(7)
        );
    }

    #[test]
    fn sources_of_similar_length_share_a_batch() {
        assert_eq!(batches(&[], 9), Vec::<Vec<usize>>::new());
        assert_eq!(batches(&[5, 3, 4, 5], 9), [vec![1, 2, 0, 3]]);
        assert_eq!(batches(&[5, 3, 4, 5], 3), [vec![1, 2, 0], vec![3]]);
        assert_eq!(
            batches(&[1, 900, 1, 2, 1000], 9),
            [vec![0, 2, 3], vec![1, 4]]
        );
    }

    #[test]
    fn the_tokens_of_a_batch_are_limited() {
        let third = MAX_BATCH_TOKENS / 3;
        assert_eq!(batches(&[third; 5], 9), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(batches(&[MAX_LEN, MAX_LEN], 9), [[0], [1]]);
    }
}
