//! Decoding with a transducer, one step at a time.

use std::ops::Range;

use super::choose::{move_probabilities, next_mode, normalize};
use super::head::{head_exponent, scores, shift, shift_uniform};
use super::kernel::{Transducer, Weights, read};
use crate::attention::kernel::add_scaled;
use crate::attention::location_relative::nothing;
use crate::attention::shift::prior;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

/// The rows that are being decoded, with their states. Several decodings can share one [`Transducer`].
///
/// A step reads only the positions that the head can reach from those where it is concentrated. All others
/// have one probability in common, the [background](Self::background), which is 0 if their sum is
/// less than half the rounding error of the greatest. So the time of a step does not depend on the length of the
/// source. The logits of a row do not depend on other rows, to the last bit.
#[derive(Clone, Debug, Default)]
pub struct TransducerDecoding<T> {
    source_len: usize,
    lengths: Vec<usize>,
    projected: Vec<T>, // [sources, S, K·K + K·N + V]
    /// The sums of `projected` over the positions, `[sources, K·K + K·N + V]`.
    totals: Vec<T>,
    rows: Vec<Row<T>>,
    /// `[rows, S]`, 0 outside of the supports.
    heads: Vec<T>,
    /// `[rows, V]`.
    logits: Vec<T>,
}

/// One row, without its head.
#[derive(Clone, Debug, Default)]
struct Row<T> {
    source: usize,
    /// Ascending ranges; the head is `background` outside of them.
    support: Vec<Range<usize>>,
    background: T,
    mode: Vec<T>, // [K]
    read: Vec<T>, // [K·K + K·N + V]
    moves: Vec<T>,
    /// `[S]`, 0 between two steps.
    moved: Vec<T>,
}

impl<T: Real> TransducerDecoding<T> {
    /// A decoding without rows; call [`start`](Self::start) before use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with one row for each source, of values `[B, S, C]`.
    pub fn start(
        &mut self,
        transducer: &Transducer<T>,
        values: &[T],
        lengths: &[usize],
        team: &mut Team<T>,
    ) {
        let sizes = transducer.weights.sizes;
        self.source_len = values.len() / sizes.values / lengths.len().max(1);
        self.lengths = lengths.to_vec();
        transducer.project(values, &mut self.projected, team);
        self.totals.clear();
        for (source, &length) in lengths.iter().enumerate() {
            let projected = projections(&self.projected, source, self.source_len, sizes.read());
            self.totals
                .extend(total(&projected[..length * sizes.read()], sizes.read()));
        }
        self.heads.clear();
        self.heads.resize(lengths.len() * self.source_len, T::ZERO);
        self.rows.clear();
        for (source, &length) in lengths.iter().enumerate() {
            let mut mode = vec![T::ZERO; sizes.modes];
            mode[0] = T::ONE;
            let start = 0..length.min(1);
            let first = start.clone().map(|position| (position, T::ONE));
            let projected = projections(&self.projected, source, self.source_len, sizes.read());
            let mut row = Row {
                source,
                support: vec![start.clone()],
                background: T::ZERO,
                mode,
                read: vec![T::ZERO; sizes.read()],
                moves: vec![T::ZERO; sizes.moves()],
                moved: vec![T::ZERO; self.source_len],
            };
            read(&transducer.weights, projected, first, None, &mut row.read);
            self.heads[source * self.source_len..][start].fill(T::ONE);
            self.rows.push(row);
        }
        self.logits.resize(lengths.len() * sizes.vocab, T::ZERO);
    }

    /// Moves the head of each row and computes its logits.
    pub fn step(&mut self, transducer: &Transducer<T>) {
        let sizes = transducer.weights.sizes;
        let heads = self.heads.chunks_exact_mut(self.source_len.max(1));
        let logits = self.logits.chunks_exact_mut(sizes.vocab);
        for ((row, head), logits) in self.rows.iter_mut().zip(heads).zip(logits) {
            let projected = projections(&self.projected, row.source, self.source_len, sizes.read());
            let source = RowSource {
                length: self.lengths[row.source],
                projected,
                total: &self.totals[row.source * sizes.read()..][..sizes.read()],
            };
            step_row(&transducer.weights, source, &mut *row, head);
            logits.copy_from_slice(&row.read[sizes.choices()..]);
        }
    }

    /// Continues with rows `from[0]`, `from[1]`, ... of the current rows; a row may occur several times
    /// or not at all.
    pub fn keep(&mut self, from: &[usize]) {
        let len = self.source_len;
        let vocab = self.logits.len().checked_div(self.rows.len()).unwrap_or(0);
        self.logits.resize(from.len() * vocab, T::ZERO);
        self.rows = from.iter().map(|&row| self.rows[row].clone()).collect();
        self.heads = from
            .iter()
            .flat_map(|&row| &self.heads[row * len..][..len])
            .copied()
            .collect();
    }

    /// The logits of the last step, `[rows, V]`.
    pub fn logits(&self) -> &[T] {
        &self.logits
    }

    /// The positions of the heads, `[rows, S]`, without their [background](Self::background): 0 outside of the
    /// [support](Self::support).
    pub fn heads(&self) -> &[T] {
        &self.heads
    }

    /// The sum of a row's probabilities outside of its [support](Self::support), where they are equal.
    pub fn background(&self, row: usize) -> T {
        let row = &self.rows[row];
        let n_near: usize = row.support.iter().map(Range::len).sum();
        row.background * T::from_f64((self.lengths[row.source] - n_near) as f64)
    }

    /// Writes the probabilities of a row's [background](Self::background) to `heads [rows, S]`.
    pub fn fill_background(&self, row: usize, heads: &mut [T]) {
        let head = &mut heads[row * self.source_len..][..self.source_len];
        let row = &self.rows[row];
        let length = self.lengths[row.source];
        let mut start = 0;
        for near in row.support.iter().chain([&(length..length)]) {
            head[start..near.start].fill(row.background);
            start = near.end;
        }
    }

    /// Rows that are being decoded.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// The modes of a row, `[K]`.
    pub fn mode(&self, row: usize) -> &[T] {
        &self.rows[row].mode
    }

    /// The probabilities of the moves of a row's last step, `[3(2R + 1)]`.
    pub fn moves(&self, row: usize) -> &[T] {
        &self.rows[row].moves
    }

    /// Makes the next step read all positions.
    #[cfg(test)]
    pub(super) fn look_everywhere(&mut self) {
        let mut heads = std::mem::take(&mut self.heads);
        for row in 0..self.rows.len() {
            self.fill_background(row, &mut heads);
            let row = &mut self.rows[row];
            let all = 0..self.lengths[row.source];
            (row.support, row.background) = (vec![all], T::ZERO);
        }
        self.heads = heads;
    }

    /// Ascending ranges of positions outside of which all probabilities of a row are equal.
    pub fn support(&self, row: usize) -> &[Range<usize>] {
        &self.rows[row].support
    }
}

/// What a step reads of its source.
#[derive(Clone, Copy)]
struct RowSource<'a, T> {
    length: usize,
    /// `[S, K·K + K·N + V]`.
    projected: &'a [T],
    /// The sum of `projected` over the positions of the source.
    total: &'a [T],
}

/// The sum of rows of this width.
fn total<T: Real>(rows: &[T], width: usize) -> impl Iterator<Item = T> {
    let mut sums = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x.to_f64();
        }
    }
    sums.into_iter().map(T::from_f64)
}

fn projections<T>(all: &[T], source: usize, len: usize, width: usize) -> &[T] {
    &all[source * len * width..][..len * width]
}

/// The positions that the head can reach in a step: from each range, and from both ends.
fn reachable(support: &[Range<usize>], reach: usize, length: usize) -> Vec<Range<usize>> {
    let window =
        |from: &Range<usize>| from.start.saturating_sub(reach)..(from.end + reach).min(length);
    let (first, last) = (0..length.min(1), length.saturating_sub(1)..length);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(support.len() + 2);
    let windows = [&first]
        .into_iter()
        .chain(support)
        .chain([&last])
        .map(window);
    for next in windows.filter(|range| !range.is_empty()) {
        match merged.last_mut() {
            Some(before) if next.start <= before.end => before.end = before.end.max(next.end),
            _ => merged.push(next),
        }
    }
    merged
}

multiversion! {
    /// One step of a row.
    fn step_row<T>(
        weights: &Weights<T>,
        source: RowSource<'_, T>,
        row: &mut Row<T>,
        head: &mut [T],
    ) {
        let (sizes, one) = (weights.sizes, T::ONE);
        let RowSource { length, projected, total } = source;
        let Row { support, background, mode, read: seen, moves, moved, .. } = row;
        normalize(sizes, seen);
        let (before, mut mixed) = (mode.clone(), vec![T::ZERO; sizes.modes]);
        next_mode(sizes, seen, one, &before, &mut mixed, mode);
        move_probabilities(sizes, seen, mode, moves);

        let near = reachable(support, sizes.reach, length);
        let n_far = length - near.iter().map(Range::len).sum::<usize>();
        let (head, moved) = (&mut head[..length], &mut moved[..length]);
        // The sum of the background, at all positions, and of the rest, on the support.
        for position in support.iter().flat_map(Range::clone) {
            head[position] = head[position] - *background;
        }
        shift(sizes, moves, head, support, moved);
        let moved_far = shift_uniform(sizes, moves, *background, &near, moved);
        for range in &*support {
            head[range.clone()].fill(T::ZERO);
        }
        let exponent = head_exponent(mode, &weights.sharpness, one);
        let far = prior(exponent, moved_far);
        let mut max = if n_far > 0 { far } else { T::NEG_INFINITY };
        for range in &near {
            scores(exponent, &moved[range.clone()], &mut head[range.clone()]);
            moved[range.clone()].fill(T::ZERO);
            for &score in &head[range.clone()] {
                max = if score > max { score } else { max };
            }
        }
        let nothing = nothing::<T>(length);
        let weight = |score: T| match score < max + nothing {
            true => T::ZERO,
            false => (score - max).exp(),
        };
        let far = if n_far > 0 { weight(far) } else { T::ZERO };
        let mut sum = n_far as f64 * far.to_f64();
        for position in near.iter().flat_map(Range::clone) {
            head[position] = weight(head[position]);
            sum += head[position].to_f64();
        }
        let scale = T::from_f64(1.0 / sum);
        let least = nothing.exp();
        let is_far = |weight: T| {
            weight == far || far > T::ZERO && weight - far < least && far - weight < least
        };
        support.clear();
        for position in near.into_iter().flatten() {
            if is_far(head[position]) {
                head[position] = T::ZERO;
                continue;
            }
            head[position] *= scale;
            match support.last_mut() {
                Some(before) if before.end == position => before.end += 1,
                _ => support.push(position..position + 1),
            }
        }
        *background = far * scale;
        let positions = support.iter().flat_map(Range::clone);
        let head = positions.map(|position| (position, head[position] - *background));
        read(weights, projected, head, Some(mode), seen);
        if *background > T::ZERO {
            add_scaled(seen, *background, total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "a list of one range is meant"
    )]
    fn reachable_positions_are_near_the_head_and_both_ends() {
        assert_eq!(reachable(&[5..6], 2, 12), [0..8, 9..12]);
        assert_eq!(reachable(&[20..22], 1, 100), [0..2, 19..23, 98..100]);
        assert_eq!(reachable(&[0..1], 2, 3), [0..3]);
        assert!(reachable(&[], 2, 0).is_empty());
    }
}
