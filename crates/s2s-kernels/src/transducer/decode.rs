//! Decoding with a transducer, one step at a time.

use std::ops::Range;

use super::choose::{kernel, next_mode, normalize};
use super::head::{power, scores, shift};
use super::kernel::{Transducer, Weights, read};
use crate::attention::location_relative::nothing;
use crate::attention::shift::prior;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

/// The rows that are being decoded, with their states. Several decodings can share one [`Transducer`].
///
/// A step reads only the positions that the head can reach from those where it has a probability. Probabilities
/// whose sum is less than half the rounding error of the greatest count as 0. As long as the head
/// is concentrated on few positions, the time of a step does not depend on the length of the source. The
/// logits of a row do not depend on other rows, to the last bit.
#[derive(Clone, Debug, Default)]
pub struct TransducerDecoding<T> {
    source_len: usize,
    lengths: Vec<usize>,
    projected: Vec<T>, // [sources, S, K·K + K·N + V]
    rows: Vec<Row<T>>,
    /// `[rows, S]`.
    heads: Vec<T>,
    /// `[rows, V]`.
    logits: Vec<T>,
}

/// One row, without its head.
#[derive(Clone, Debug, Default)]
struct Row<T> {
    source: usize,
    /// Ascending ranges; the head is 0 outside of them.
    support: Vec<Range<usize>>,
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
            let length = self.lengths[row.source];
            step_row(&transducer.weights, projected, length, &mut *row, head);
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

    /// The positions of the heads, `[rows, S]`.
    pub fn heads(&self) -> &[T] {
        &self.heads
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
        for row in &mut self.rows {
            let all = 0..self.lengths[row.source];
            row.support = vec![all];
        }
    }

    /// Ascending ranges of positions outside of which a row's head is 0.
    pub fn reach(&self, row: usize) -> &[Range<usize>] {
        &self.rows[row].support
    }
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
        projected: &[T],
        length: usize,
        row: &mut Row<T>,
        head: &mut [T],
    ) {
        let (sizes, one) = (weights.sizes, T::ONE);
        let Row { support, mode, read: seen, moves, moved, .. } = row;
        normalize(sizes, seen);
        let (before, mut mixed) = (mode.clone(), vec![T::ZERO; sizes.modes]);
        next_mode(sizes, seen, one, &before, &mut mixed, mode);
        kernel(sizes, seen, mode, moves);

        let mut near = reachable(support, sizes.reach, length);
        let (head, moved) = (&mut head[..length], &mut moved[..length]);
        shift(sizes, moves, head, support, moved);
        for range in &*support {
            head[range.clone()].fill(T::ZERO);
        }
        let power = power(mode, &weights.sharpness, one);
        let mut max = T::NEG_INFINITY;
        for range in &near {
            scores(power, &moved[range.clone()], &mut head[range.clone()]);
            for &score in &head[range.clone()] {
                max = if score > max { score } else { max };
            }
        }
        let least = max + nothing::<T>(length);
        if prior(power, T::ZERO) >= least {
            // Positions without incoming probability have a weight, too.
            let all = 0..length;
            near = vec![all];
            scores(power, moved, head);
        }
        let mut sum = 0.0;
        for score in near.iter().flat_map(|range| range.clone()) {
            let score = &mut head[score];
            *score = match *score < least {
                true => T::ZERO,
                false => (*score - max).exp(),
            };
            sum += score.to_f64();
        }
        let scale = T::from_f64(1.0 / sum);
        for range in &near {
            moved[range.clone()].fill(T::ZERO);
            for weight in &mut head[range.clone()] {
                *weight *= scale;
            }
        }
        support.clear();
        for position in near.into_iter().flatten() {
            if head[position] == T::ZERO {
                continue;
            }
            match support.last_mut() {
                Some(before) if before.end == position => before.end += 1,
                _ => support.push(position..position + 1),
            }
        }
        let positions = support.iter().flat_map(|range| range.clone());
        let head = positions.map(|position| (position, head[position]));
        read(weights, projected, head, Some(mode), seen);
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
