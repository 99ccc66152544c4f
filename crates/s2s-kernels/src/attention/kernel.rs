//! What every attention mechanism shares, on slices, for one step of a decoder.
//!
//! ```text
//! weight[b,:] = softmax(score[b,:]) over the real positions, 0 elsewhere
//! context[b]  = Σ_s weight[b,s] value[b,s]
//! ```
//!
//! How the scores come about is the [`Scorer`]'s.

use std::fmt::Debug;
use std::ops::Range;

use dyn_clone::DynClone;

use super::start::Start;
use crate::lanes::{dot, long_sum_within, max};
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

/// What a decoder looks at. Batch first, unlike other activations: a step reads all positions of
/// one row, then of the next.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a, T> {
    /// `[B, S, C]`.
    pub values: &'a [T],
    /// What the scorer compares with, projected once: `[B, S, K]`.
    pub keys: &'a [T],
    /// Real positions of each row, `[B]`.
    pub lengths: &'a [usize],
    /// Padded length, `S`.
    pub len: usize,
}

impl<'a, T> Memory<'a, T> {
    /// Rows, `B`.
    pub fn batch(&self) -> usize {
        self.lengths.len()
    }

    #[inline(always)]
    pub(crate) fn value(&self, position: usize, row: usize) -> &'a [T] {
        at(
            self.values,
            row * self.len + position,
            self.len * self.batch(),
        )
    }

    /// The keys of a row, `[S, K]`.
    #[inline(always)]
    pub(super) fn keys_of(&self, row: usize) -> &'a [T] {
        at(self.keys, row, self.batch())
    }

    /// The key of a row's position.
    #[inline(always)]
    pub fn key(&self, position: usize, row: usize) -> &'a [T] {
        at(
            self.keys,
            row * self.len + position,
            self.len * self.batch(),
        )
    }
}

#[inline(always)]
fn at<T>(all: &[T], index: usize, rows: usize) -> &[T] {
    let width = all.len() / rows;
    &all[index * width..][..width]
}

/// What a scorer sees of one step: some rows, each with its row of the memory.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a, T> {
    /// The decoder's state before the step, `[rows, D]`.
    pub state: Matrix<'a, T>,
    /// The weights of the step before, `[rows, S]`; at the first step those of [`Start`].
    pub previous: &'a [T],
    /// All rows of the batch.
    pub memory: Memory<'a, T>,
    /// The memory's row of each row, `[rows]`.
    pub rows: &'a [usize],
}

/// Where the backward pass of a scorer's step adds its gradients.
#[derive(Debug)]
pub struct StepGrads<'a, T> {
    /// Of the state, `[rows, D]`.
    pub state: &'a mut [T],
    /// Of the weights of the step before, `[rows, S]`.
    pub previous: &'a mut [T],
    /// Of the keys of these rows, `[rows, S, K]`.
    pub keys: &'a mut [T],
    /// What must be summed over rows and steps, row by row, `[rows, R]`.
    pub sums: &'a mut [T],
}

/// An attention mechanism inside a decoder: scores from the state, the memory and the weights of
/// the step before, and the derivatives of that.
///
/// Steps run over ranges of a batch's rows, perhaps on several threads: a row must not depend on
/// another. What sums over rows is left to [`gradients`](Self::gradients).
pub trait Scorer<T: Real>: Debug + DynClone + Send + Sync {
    /// Packs the mechanism's parameters, each row by row, in the order of its parameter struct; to be
    /// called after each change of them.
    fn pack(&mut self, params: &[&[T]]);

    /// Where it looked before the first step, if that matters to it.
    fn start(&self) -> Start {
        Start::Zeros
    }

    /// The same scores on a CUDA device, if there are kernels for them.
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> Option<crate::cuda::Scores> {
        None
    }

    /// Numbers that a step keeps of each row for the backward pass, of sources padded to
    /// `source_len`.
    fn kept(&self, source_len: usize) -> usize;

    /// Numbers of each row that the backward pass sums over the steps.
    fn sums(&self) -> usize;

    /// The scores `[rows, S]` of the real positions; `kept` is `[rows, kept(S)]`. A score of -∞ is a
    /// weight of 0, even where a row has no other.
    fn scores(&self, step: Step<'_, T>, kept: &mut [T], scores: &mut [T]);

    /// The same for decoding, with the same weights as a result: `reach` holds a range of each row
    /// outside of which the weights of the step before are 0. It becomes the range whose scores are
    /// written; all positions outside of it have a score of -∞. `found` holds a vector for each row of
    /// the memory: empty at first, for what a mechanism finds out about the row's keys and needs in
    /// later steps. `kept` has no meaning.
    ///
    /// By default, all positions are scored. A mechanism overrides this if it can tell, without
    /// reading them, that far positions weigh nothing.
    fn scores_within(
        &self,
        step: Step<'_, T>,
        reach: &mut [Range<usize>],
        _found: &mut [Vec<T>],
        kept: &mut [T],
        scores: &mut [T],
    ) {
        self.scores(step, kept, scores);
        for (reach, &row) in reach.iter_mut().zip(step.rows) {
            *reach = 0..step.memory.lengths[row];
        }
    }

    /// Adds to `grads` what comes from `d_scores [rows, S]`, which it may overwrite; what was kept
    /// becomes what [`gradients`](Self::gradients) needs of this step.
    fn backward(
        &self,
        step: Step<'_, T>,
        kept: &mut [T],
        d_scores: &mut [T],
        grads: StepGrads<'_, T>,
    );

    /// The gradients of the parameters, in the order in which they are packed, from all rows of all
    /// steps: `kept [M, kept(S)]`, the states before each step `[M, D]`, and `sums [B, sums()]`.
    fn gradients(
        &self,
        kept: Matrix<'_, T>,
        states: Matrix<'_, T>,
        sums: Matrix<'_, T>,
        grads: &mut [&mut [T]],
        team: &mut Team<T>,
    );
}

dyn_clone::clone_trait_object!(<T: Real> Scorer<T>);

/// Declares the parameters of a mechanism as a struct with one field each. It is generic over what
/// stands for a parameter: its name, its values or its gradient. A caller lists them by field, and a
/// scorer reads them by field; only this macro knows their order.
macro_rules! parameters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<P> {
            $($(#[$field_doc])* pub $field: P,)*
        }

        impl<P> $name<P> {
            #[track_caller]
            fn of(all: &[P]) -> Self
            where
                P: Copy,
            {
                let &[$($field),*] = all else { panic!("{} parameters", all.len()) };
                $name { $($field),* }
            }

            #[track_caller]
            fn of_mut(all: &mut [P]) -> $name<&mut P> {
                let [$($field),*] = all else { panic!("{} parameters", all.len()) };
                $name { $($field),* }
            }
        }

        impl<P> From<$name<P>> for Vec<P> {
            fn from(params: $name<P>) -> Self {
                vec![$(params.$field),*]
            }
        }
    };
}

pub(super) use parameters;

multiversion! {
    /// Turns the scores `[rows, S]` into weights, and sums the values by them into
    /// `context [rows, C]`, whose rows are `stride` apart.
    pub(crate) fn weigh<T>(
        memory: Memory<'_, T>,
        rows: &[usize],
        scores: &mut [T],
        context: &mut [T],
        stride: usize,
        width: usize,
    ) {
        for (index, &row) in rows.iter().enumerate() {
            let scores = &mut scores[index * memory.len..][..memory.len];
            let context = &mut context[index * stride..][..width];
            weigh_row(memory, row, 0..memory.lengths[row], scores, context);
        }
    }

    /// [`weigh`] for rows that have scores in their `reach` only, and weights of 0 elsewhere. `reach`
    /// becomes the range from the first weight above 0 to the last.
    pub(crate) fn weigh_within<T>(
        memory: Memory<'_, T>,
        rows: &[usize],
        reach: &mut [Range<usize>],
        scores: &mut [T],
        context: &mut [T],
        stride: usize,
        width: usize,
    ) {
        for ((index, &row), reach) in rows.iter().enumerate().zip(reach) {
            let scores = &mut scores[index * memory.len..][..memory.len];
            let context = &mut context[index * stride..][..width];
            weigh_row(memory, row, reach.clone(), scores, context);
            let weights = &scores[reach.clone()];
            let is_weight = |weight: &T| *weight != T::ZERO;
            let first = weights.iter().position(is_weight).unwrap_or(0);
            let end = weights.iter().rposition(is_weight).map_or(first, |last| last + 1);
            *reach = reach.start + first..reach.start + end;
        }
    }

    /// From the gradient of the context and of the weights `[rows, S]`, in place, to that of the
    /// scores.
    pub(crate) fn weigh_backward<T>(
        memory: Memory<'_, T>,
        rows: &[usize],
        weights: &[T],
        d_context: Matrix<'_, T>,
        d_weights: &mut [T],
    ) {
        for (index, &row) in rows.iter().enumerate() {
            let d_context = &d_context.data[index * d_context.stride..][..d_context.cols];
            let weights = &weights[index * memory.len..][..memory.lengths[row]];
            let d_weights = &mut d_weights[index * memory.len..][..memory.len];
            let (real, padded) = d_weights.split_at_mut(weights.len());
            padded.fill(T::ZERO);
            // forward: context = Σ_s weight[s] * value[s]
            for (position, d_weight) in real.iter_mut().enumerate() {
                *d_weight += dot(d_context, memory.value(position, row));
            }
            // forward: weight = softmax(score)
            softmax_backward(weights, real);
        }
    }

    /// One row's part in `d_value[s] = Σ_t weight[t,s] d_context[t]`.
    pub(crate) fn add_scaled_row<T>(sums: &mut [T], factor: T, values: &[T]) {
        add_scaled(sums, factor, values);
    }
}

/// Turns the scores of a row into weights, and sums the values by them. All scores are in `reach`.
#[inline(always)]
fn weigh_row<T: Real>(
    memory: Memory<'_, T>,
    row: usize,
    reach: Range<usize>,
    scores: &mut [T],
    context: &mut [T],
) {
    let (real, padded) = scores.split_at_mut(memory.lengths[row]);
    if reach.len() == real.len() {
        padded.fill(T::ZERO);
    }
    softmax_within(real, reach.clone());
    context.fill(T::ZERO);
    for (position, &weight) in reach.clone().zip(&real[reach]) {
        // What is left out would add 0.
        if weight != T::ZERO {
            add_scaled(context, weight, memory.value(position, row));
        }
    }
}

/// Scores to weights, in place; all 0 where all scores are -∞.
///
/// A weight less than `exp(-75)` times the greatest is 0: ten thousands of them together are nothing
/// beside the sum's last place, and no number is so small that the processor takes long over it.
#[inline(always)]
pub(crate) fn softmax<T: Real>(scores: &mut [T]) {
    softmax_within(scores, 0..scores.len());
}

/// [`softmax`] where all scores are in `reach`, and the other numbers are weights of 0 already: the
/// same bits, without reading them.
#[inline(always)]
fn softmax_within<T: Real>(scores: &mut [T], reach: Range<usize>) {
    let least = T::from_f64(-75.0);
    let near = &mut scores[reach.clone()];
    let max = max(near);
    if max == T::NEG_INFINITY && near.iter().all(|&score| score == max) {
        near.fill(T::ZERO);
        return;
    }
    for score in near.iter_mut() {
        let below = *score - max;
        *score = if below < least { T::ZERO } else { below.exp() };
    }
    let scale = T::from_f64(1.0 / long_sum_within(scores, reach.clone()));
    for score in &mut scores[reach] {
        *score *= scale;
    }
}

/// The gradients of weights to those of their scores, in place.
#[inline(always)]
pub(crate) fn softmax_backward<T: Real>(weights: &[T], d_weights: &mut [T]) {
    let mean = dot(weights, d_weights);
    for (d, &weight) in d_weights.iter_mut().zip(weights) {
        *d = weight * (*d - mean);
    }
}

/// `sums += factor · values`
#[inline(always)]
pub(crate) fn add_scaled<T: Real>(sums: &mut [T], factor: T, values: &[T]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}
