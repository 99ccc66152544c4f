//! Work shared among threads, so that no result depends on their number.
//!
//! Work is cut into ranges of a batch's rows, or of an output's rows, never of an axis that is
//! summed over: each number is computed by one thread, in the order in which one thread would. The
//! threads are those of rayon's pool, which wait between two pieces of work: to start one takes
//! longer than many an operator.

use std::num::NonZeroUsize;
use std::ops::Range;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::real::Real;

/// How many threads of rayon's pool share work, each with memory of its own for products.
#[derive(Clone, Debug)]
pub struct Team<T: Real> {
    scratch: Vec<T::Scratch>,
    /// What all of them read.
    pub(crate) packed: T::Packed,
}

impl<T: Real> Team<T> {
    /// A team of `threads`; a pool that has fewer lets some of the work wait.
    pub fn new(threads: NonZeroUsize) -> Self {
        Self {
            scratch: vec![T::Scratch::default(); threads.get()],
            packed: T::Packed::default(),
        }
    }

    /// The caller's thread alone.
    pub fn single() -> Self {
        Self::new(NonZeroUsize::MIN)
    }

    /// Threads, at least 1.
    pub fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// `0..n` in one range a thread, the lengths differing by one at most; fewer when `n` is small.
    pub(crate) fn ranges(&self, n: usize) -> Vec<Range<usize>> {
        let parts = self.threads().min(n).max(1);
        (0..parts)
            .map(|part| n * part / parts..n * (part + 1) / parts)
            .collect()
    }

    /// Does two things that have nothing to do with each other, at the same time if there are threads.
    pub fn both<A: Send, B: Send>(
        &self,
        one: impl FnOnce() -> A + Send,
        other: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        if self.threads() == 1 {
            return (one(), other());
        }
        rayon::join(one, other)
    }

    /// Does a task with ranges of the `n` rows of a buffer `[n, width]`.
    pub(crate) fn on_rows<B: Send>(
        &mut self,
        buffer: &mut [B],
        (n, width): (usize, usize),
        task: impl Fn(Range<usize>, &mut [B]) + Sync,
    ) {
        let ranges = self.ranges(n);
        let parts = split_rows(buffer, width, &ranges);
        let work = ranges.into_iter().zip(parts).collect();
        self.run(work, |(range, part), _| task(range, part));
    }

    /// Does every piece of work, at the same time if there are threads.
    pub(crate) fn run<W: Send>(&mut self, work: Vec<W>, task: impl Fn(W, &mut T::Scratch) + Sync) {
        let task = &task;
        let mut pairs = work.into_iter().zip(&mut self.scratch);
        let Some((work, scratch)) = pairs.next() else {
            return;
        };
        if pairs.len() == 0 {
            return task(work, scratch);
        }
        rayon::scope(|scope| {
            for (work, scratch) in pairs {
                scope.spawn(move |_| task(work, scratch));
            }
            task(work, scratch);
        });
    }
}

/// Does `work` on a thread of rayon's pool, if there are several: from there, a [`Team`] shares what
/// comes within microseconds, where another thread would be put to sleep and woken each time.
pub fn in_pool<R: Send>(threads: NonZeroUsize, work: impl FnOnce() -> R + Send) -> R {
    match threads {
        NonZeroUsize::MIN => work(),
        _ => rayon::scope(|_| work()),
    }
}

/// Does every piece of work, at the same time where rayon's pool has threads to spare, unless there is
/// to be one thread; what came of each.
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

/// A position-first buffer `[T, rows, W]`, or a range of the rows of each position.
#[derive(Debug)]
pub(crate) struct Steps<'a, T> {
    slabs: Vec<&'a mut [T]>,
}

impl<'a, T> Steps<'a, T> {
    /// Cuts `[steps, B, width]` into ranges of rows that cover `0..B`.
    pub(crate) fn split(
        buffer: &'a mut [T],
        steps: usize,
        width: usize,
        ranges: &[Range<usize>],
    ) -> Vec<Self> {
        let batch = ranges.last().map_or(0, |range| range.end);
        assert_eq!(
            buffer.len(),
            steps * batch * width,
            "[{steps}, {batch}, {width}]"
        );
        let mut parts: Vec<Self> = ranges
            .iter()
            .map(|_| Self {
                slabs: Vec::with_capacity(steps),
            })
            .collect();
        let mut rest = buffer;
        for _ in 0..steps {
            for (part, range) in parts.iter_mut().zip(ranges) {
                let (slab, after) = rest.split_at_mut(range.len() * width);
                part.slabs.push(slab);
                rest = after;
            }
        }
        parts
    }

    /// The rows at a position.
    pub(crate) fn at(&self, step: usize) -> &[T] {
        self.slabs[step]
    }

    /// The rows at a position, to write.
    pub(crate) fn at_mut(&mut self, step: usize) -> &mut [T] {
        self.slabs[step]
    }

    /// The rows at one position to read and at another to write.
    pub(crate) fn read_write(&mut self, read: usize, write: usize) -> (&[T], &mut [T]) {
        assert_ne!(read, write, "a position cannot be read while it is written");
        if read < write {
            let (before, from) = self.slabs.split_at_mut(write);
            (before[read], from[0])
        } else {
            let (before, from) = self.slabs.split_at_mut(read);
            (from[0], before[write])
        }
    }
}

/// Cuts `[B, width]` into the given ranges of rows.
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

/// A buffer of `len` numbers whose contents do not matter; allocates only to grow.
pub(crate) fn sized<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_everything_once() {
        for threads in 1..5 {
            let team = Team::<f32>::new(NonZeroUsize::new(threads).unwrap());
            for n in 0..9 {
                let ranges = team.ranges(n);
                assert!(ranges.len() <= threads);
                let all: Vec<usize> = ranges.into_iter().flatten().collect();
                assert_eq!(all, (0..n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn steps_hand_out_each_row_once() {
        let mut buffer: Vec<usize> = (0..2 * 3 * 2).collect();
        let mut parts = Steps::split(&mut buffer, 2, 2, &[0..1, 1..3]);
        assert_eq!(parts[0].at(1), [6, 7]);
        let (read, write) = parts[1].read_write(1, 0);
        assert_eq!(read, [8, 9, 10, 11]);
        assert_eq!(write, [2, 3, 4, 5]);
    }
}
