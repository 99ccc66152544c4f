//! Work shared among threads, with results that do not depend on the number of threads.
//!
//! Work is split over the rows of a batch or of an output, never over an axis that is summed: each
//! number is computed by one thread, in the same order as on a single thread. The threads belong to
//! rayon's pool and wait between two pieces of work, because starting a thread takes longer than many
//! operators.

use std::num::NonZeroUsize;
use std::ops::Range;

use candle_core::utils::get_num_threads;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::real::Real;

/// A number of threads that share work, with working memory for the matrix products of each.
#[derive(Clone, Debug)]
pub struct Team<T: Real> {
    scratch: Vec<T::Scratch>,
    /// A packed right side that all threads read.
    pub(crate) packed: T::Packed,
}

impl<T: Real> Team<T> {
    /// A team of `threads` threads. If rayon's pool has fewer, some of the work waits.
    pub fn new(threads: NonZeroUsize) -> Self {
        Self {
            scratch: vec![T::Scratch::default(); threads.get()],
            packed: T::Packed::default(),
        }
    }

    /// The calling thread alone.
    pub fn single() -> Self {
        Self::new(NonZeroUsize::MIN)
    }

    /// As many threads as candle's own operators use: one per core, or `RAYON_NUM_THREADS`.
    pub fn of_candle() -> Self {
        Self::new(NonZeroUsize::new(get_num_threads()).unwrap_or(NonZeroUsize::MIN))
    }

    /// The number of threads, at least 1.
    pub fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// Splits `0..n` into one range per thread, whose lengths differ by at most one; fewer ranges if
    /// `n` is small.
    pub(crate) fn ranges(&self, n: usize) -> Vec<Range<usize>> {
        let parts = self.threads().min(n).max(1);
        (0..parts)
            .map(|part| n * part / parts..n * (part + 1) / parts)
            .collect()
    }

    /// Runs two independent closures, in parallel if the team has several threads.
    pub fn join<A: Send, B: Send>(
        &self,
        one: impl FnOnce() -> A + Send,
        other: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        if self.threads() == 1 {
            return (one(), other());
        }
        rayon::join(one, other)
    }

    /// Splits a buffer `[n, width]` into ranges of rows and runs `task` on each.
    pub(crate) fn on_rows<B: Send>(
        &mut self,
        buffer: &mut [B],
        n: usize,
        width: usize,
        task: impl Fn(Range<usize>, &mut [B]) + Sync,
    ) {
        let ranges = self.ranges(n);
        let parts = split_rows(buffer, width, &ranges);
        let work = ranges.into_iter().zip(parts).collect();
        self.run(work, |(range, part), _| task(range, part));
    }

    /// Runs `task` on every work item, in parallel if there are several.
    ///
    /// # Panics
    /// If there are more items than threads.
    pub(crate) fn run<W: Send>(&mut self, work: Vec<W>, task: impl Fn(W, &mut T::Scratch) + Sync) {
        let (items, threads) = (work.len(), self.threads());
        assert!(items <= threads, "{items} work items for {threads} threads");
        let task = &task;
        let mut pairs = work.into_iter().zip(&mut self.scratch);
        let Some((work, scratch)) = pairs.next() else {
            return;
        };
        if pairs.len() == 0 {
            return task(work, scratch);
        }
        let others = pairs.map(|(work, scratch)| -> Box<dyn FnOnce() + Send + '_> {
            Box::new(move || task(work, scratch))
        });
        let mut own = Some((work, scratch));
        in_parallel(others.collect(), &mut || {
            if let Some((work, scratch)) = own.take() {
                task(work, scratch);
            }
        });
    }
}

/// Runs `own` on the calling thread while other threads run the others. It is not generic, so that
/// rayon's code is compiled once and not for each kernel.
fn in_parallel(others: Vec<Box<dyn FnOnce() + Send + '_>>, own: &mut (dyn FnMut() + Send)) {
    rayon::scope(|scope| {
        for other in others {
            scope.spawn(move |_| other());
        }
        own();
    });
}

/// Runs `work` on a thread of rayon's pool if there are several threads. From a pool thread, a [`Team`]
/// hands out work within microseconds; from any other thread, each handover would put the caller to
/// sleep and wake it again.
pub fn in_pool<R: Send>(threads: NonZeroUsize, work: impl FnOnce() -> R + Send) -> R {
    match threads {
        NonZeroUsize::MIN => work(),
        _ => {
            let (mut work, mut result) = (Some(work), None);
            in_parallel(Vec::new(), &mut || result = work.take().map(|work| work()));
            result.expect("in_parallel runs the work")
        }
    }
}

/// Runs `task` on every work item and returns the results in order: on the calling thread if
/// `threads` is 1, otherwise on rayon's pool.
pub(crate) fn each<W: Send, R: Send>(
    threads: NonZeroUsize,
    work: Vec<W>,
    task: impl Fn(W) -> R + Sync + Send,
) -> Vec<R> {
    match threads {
        NonZeroUsize::MIN => work.into_iter().map(task).collect(),
        _ => work.into_par_iter().map(task).collect(),
    }
}

/// A time-major buffer `[T, rows, W]`, or a range of its rows at every step.
#[derive(Debug)]
pub(crate) struct TimeMajor<'a, T> {
    steps: Vec<&'a mut [T]>,
}

impl<'a, T> TimeMajor<'a, T> {
    /// Splits `[len, B, width]` into the given ranges of rows, which cover `0..B`.
    pub(crate) fn split(
        buffer: &'a mut [T],
        len: usize,
        width: usize,
        ranges: &[Range<usize>],
    ) -> Vec<Self> {
        let batch = ranges.last().map_or(0, |range| range.end);
        assert_eq!(
            buffer.len(),
            len * batch * width,
            "[{len}, {batch}, {width}]"
        );
        let mut parts: Vec<Self> = ranges
            .iter()
            .map(|_| Self {
                steps: Vec::with_capacity(len),
            })
            .collect();
        let mut rest = buffer;
        for _ in 0..len {
            for (part, range) in parts.iter_mut().zip(ranges) {
                let (rows, after) = rest.split_at_mut(range.len() * width);
                part.steps.push(rows);
                rest = after;
            }
        }
        parts
    }

    /// The rows of a step.
    pub(crate) fn at(&self, step: usize) -> &[T] {
        self.steps[step]
    }

    /// The rows of a step, mutable.
    pub(crate) fn at_mut(&mut self, step: usize) -> &mut [T] {
        self.steps[step]
    }

    /// The rows of one step to read and those of another to write.
    pub(crate) fn read_write(&mut self, read: usize, write: usize) -> (&[T], &mut [T]) {
        assert_ne!(read, write, "a step cannot be read while it is written");
        if read < write {
            let (before, from) = self.steps.split_at_mut(write);
            (before[read], from[0])
        } else {
            let (before, from) = self.steps.split_at_mut(read);
            (from[0], before[write])
        }
    }
}

/// Splits `[B, width]` into the given ranges of rows.
pub(crate) fn split_rows<'a, T>(
    buffer: &'a mut [T],
    width: usize,
    ranges: &[Range<usize>],
) -> Vec<&'a mut [T]> {
    let mut rest = buffer;
    ranges
        .iter()
        .map(|range| {
            let (rows, after) = std::mem::take(&mut rest).split_at_mut(range.len() * width);
            rest = after;
            rows
        })
        .collect()
}

/// The first `len` numbers of a buffer that grows as needed; their values are unspecified.
pub(crate) fn sized<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(threads: usize) -> Team<f32> {
        Team::new(NonZeroUsize::new(threads).unwrap())
    }

    #[test]
    fn ranges_cover_everything_once() {
        for threads in 1..5 {
            for n in 0..9 {
                let ranges = team(threads).ranges(n);
                assert!(ranges.len() <= threads);
                let all: Vec<usize> = ranges.into_iter().flatten().collect();
                assert_eq!(all, (0..n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    #[should_panic(expected = "3 work items for 2 threads")]
    fn more_work_items_than_threads_are_refused() {
        team(2).run(vec![(); 3], |(), _| {});
    }

    #[test]
    fn a_split_buffer_has_each_row_once() {
        let mut buffer: Vec<usize> = (0..2 * 3 * 2).collect();
        let mut parts = TimeMajor::split(&mut buffer, 2, 2, &[0..1, 1..3]);
        assert_eq!(parts[0].at(1), [6, 7]);
        let (read, write) = parts[1].read_write(1, 0);
        assert_eq!(read, [8, 9, 10, 11]);
        assert_eq!(write, [2, 3, 4, 5]);
    }
}
