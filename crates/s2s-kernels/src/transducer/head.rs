//! The head: its moves, and the sharpening of its position.

use std::ops::Range;

use super::TransducerSizes;
use crate::attention::shift::{FLOOR, prior, softplus};
use crate::lanes::{dot, sum, sum_of};
use crate::real::Real;

/// A move of the positions `from` by one distance. Positions that would leave the row stop at its end.
struct Move {
    /// Positions that move by the whole distance.
    inner: Range<usize>,
    /// Positions from which the head would leave the row.
    outer: Range<usize>,
    /// The position where it stops instead.
    end: usize,
}

impl Move {
    /// `distance` is counted from `-reach`; `len` is at least 1.
    #[inline(always)]
    fn new(distance: usize, reach: usize, from: &Range<usize>, len: usize) -> Self {
        let within = |position: usize| position.clamp(from.start, from.end);
        if distance < reach {
            let first = within(reach - distance);
            Self {
                inner: first..from.end,
                outer: from.start..first,
                end: 0,
            }
        } else {
            let first = within(len.saturating_sub(distance - reach));
            Self {
                inner: from.start..first,
                outer: first..from.end,
                end: len - 1,
            }
        }
    }

    /// The targets of the inner positions.
    #[inline(always)]
    fn to(&self, distance: usize, reach: usize) -> Range<usize> {
        match self.inner.is_empty() {
            true => 0..0,
            false => self.inner.start + distance - reach..self.inner.end + distance - reach,
        }
    }
}

/// The position where a move from `place` ends in a row of `len` positions; `distance` is counted from `-reach`.
#[inline(always)]
fn arrival(place: usize, distance: usize, reach: usize, len: usize) -> usize {
    (place + distance).saturating_sub(reach).min(len - 1)
}

/// The positions from which jumps are counted, in the order of the moves.
#[inline(always)]
fn ends(len: usize) -> [usize; 2] {
    [0, len - 1]
}

/// Adds the head after its move to `moved [len]`. The head is 0 outside of the ranges `support`.
#[inline(always)]
pub(super) fn shift<T: Real>(
    sizes: TransducerSizes,
    kernel: &[T],
    head: &[T],
    support: &[Range<usize>],
    moved: &mut [T],
) {
    let (reach, len) = (sizes.reach, head.len());
    if len == 0 {
        return;
    }
    let mut moves = kernel.chunks_exact(sizes.distances());
    for (distance, &factor) in moves.next().into_iter().flatten().enumerate() {
        for from in support {
            let way = Move::new(distance, reach, from, len);
            let to = way.to(distance, reach);
            for (to, &from) in moved[to].iter_mut().zip(&head[way.inner]) {
                *to += factor * from;
            }
            for &from in &head[way.outer] {
                moved[way.end] += factor * from;
            }
        }
    }
    for (place, moves) in ends(len).into_iter().zip(moves) {
        for (distance, &factor) in moves.iter().enumerate() {
            moved[arrival(place, distance, reach, len)] += factor;
        }
    }
}

/// Adds what [`shift`] would move to the positions `to` if the head had this probability at every position, its
/// jumps excepted. Returns the same for a position further from both ends than the reach.
#[inline(always)]
pub(super) fn shift_uniform<T: Real>(
    sizes: TransducerSizes,
    kernel: &[T],
    probability: T,
    to: &[Range<usize>],
    moved: &mut [T],
) -> T {
    if probability == T::ZERO {
        return T::ZERO;
    }
    let (reach, len) = (sizes.reach, moved.len());
    let walk = &kernel[..sizes.distances()];
    let far = probability * sum(walk);
    for to in to.iter().flat_map(Range::clone) {
        if (reach..len.saturating_sub(reach)).contains(&to) {
            moved[to] += far;
            continue;
        }
        for from in to.saturating_sub(reach)..(to + reach + 1).min(len) {
            for (distance, &factor) in walk.iter().enumerate() {
                if arrival(from, distance, reach, len) == to {
                    moved[to] += factor * probability;
                }
            }
        }
    }
    far
}

/// Computes the gradients of the moves `[N]` and of the head before the move, given that of the head after it.
#[inline(always)]
pub(super) fn shift_backward<T: Real>(
    sizes: TransducerSizes,
    kernel: &[T],
    head: &[T],
    d_moved: &[T],
    d_kernel: &mut [T],
    d_head: &mut [T],
) {
    let (reach, len) = (sizes.reach, head.len());
    d_head.fill(T::ZERO);
    d_kernel.fill(T::ZERO);
    if len == 0 {
        return;
    }
    let mut moves = kernel.chunks_exact(sizes.distances());
    let mut d_moves = d_kernel.chunks_exact_mut(sizes.distances());
    let from_here = moves.next().into_iter().flatten();
    let d_from_here = d_moves.next().into_iter().flatten();
    for (distance, (&factor, d_factor)) in from_here.zip(d_from_here).enumerate() {
        let way = Move::new(distance, reach, &(0..len), len);
        let to = way.to(distance, reach);
        *d_factor = dot(&d_moved[to.clone()], &head[way.inner.clone()]);
        for (d_head, &d) in d_head[way.inner].iter_mut().zip(&d_moved[to]) {
            *d_head += factor * d;
        }
        let d = d_moved[way.end];
        for position in way.outer {
            *d_factor += head[position] * d;
            d_head[position] += factor * d;
        }
    }
    for (place, d_moves) in ends(len).into_iter().zip(d_moves) {
        for (distance, d_move) in d_moves.iter_mut().enumerate() {
            *d_move = d_moved[arrival(place, distance, reach, len)];
        }
    }
}

/// `1 + progress · softplus(m·γ)`.
#[inline(always)]
pub(super) fn head_exponent<T: Real>(mode: &[T], sharpness: &[T], progress: T) -> T {
    T::ONE + progress * softplus(dot(mode, sharpness))
}

/// Computes the scores of the positions `[len]`; their softmax is the sharpened head.
#[inline(always)]
pub(super) fn scores<T: Real>(exponent: T, moved: &[T], scores: &mut [T]) {
    for (score, &moved) in scores.iter_mut().zip(moved) {
        *score = prior(exponent, moved);
    }
}

/// Replaces the gradients of the scores by those of the moved head, and adds to those of the mode and
/// of the sharpness.
#[inline(always)]
pub(super) fn scores_backward<T: Real>(
    (mode, sharpness): (&[T], &[T]),
    progress: T,
    moved: &[T],
    d_scores: &mut [T],
    d_mode: &mut [T],
    d_sharpness: &mut [T],
) {
    // forward: score = exponent · ln(moved + floor), exponent = 1 + progress · softplus(mode·sharpness)
    let floor = T::from_f64(FLOOR);
    let logit = dot(mode, sharpness);
    let exponent = T::ONE + progress * softplus(logit);
    let d_power = sum_of(d_scores, moved, |d, moved| d * (moved + floor).ln());
    let d_logit = d_power * progress * logit.sigmoid();
    for (d, &mode) in d_sharpness.iter_mut().zip(mode) {
        *d += d_logit * mode;
    }
    for (d, &sharpness) in d_mode.iter_mut().zip(sharpness) {
        *d += d_logit * sharpness;
    }
    for (d, &moved) in d_scores.iter_mut().zip(moved) {
        *d = *d * exponent / (moved + floor);
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
    fn every_move_ends_within_the_row_and_keeps_the_mass() {
        for len in 1..7 {
            for reach in 1..4 {
                let sizes = TransducerSizes {
                    modes: 1,
                    reach,
                    vocab: 1,
                    values: 1,
                };
                for tap in 0..sizes.moves() {
                    for at in 0..len {
                        let mut kernel = vec![0.0; sizes.moves()];
                        kernel[tap] = 1.0;
                        let mut head = vec![0.0; len];
                        head[at] = 1.0;
                        let mut moved = vec![0.0; len];
                        shift(sizes, &kernel, &head, &[0..len], &mut moved);
                        let place = [at, 0, len - 1][tap / sizes.distances()];
                        let distance = (tap % sizes.distances()) as isize - reach as isize;
                        let expected = (place as isize + distance).clamp(0, len as isize - 1);
                        let mut right = vec![0.0; len];
                        right[expected as usize] = 1.0;
                        assert_eq!(moved, right, "{len} {reach} {tap} {at}");
                        let mut within = vec![0.0; len];
                        shift(sizes, &kernel, &head, &[at..at + 1], &mut within);
                        assert_eq!(within, right, "{len} {reach} {tap} {at}");
                    }
                    if tap < sizes.distances() {
                        let mut kernel = vec![0.0; sizes.moves()];
                        kernel[tap] = 1.0;
                        let [mut moved, mut uniform] = [vec![0.0; len], vec![0.0; len]];
                        shift(sizes, &kernel, &vec![0.5; len], &[0..len], &mut moved);
                        let far = shift_uniform(sizes, &kernel, 0.5, &[0..len], &mut uniform);
                        assert_eq!((uniform, far), (moved, 0.5), "{len} {reach} {tap}");
                    }
                }
            }
        }
    }
}
