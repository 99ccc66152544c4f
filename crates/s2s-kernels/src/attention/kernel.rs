//! What every attention mechanism shares, on slices, for one step of a decoder.
//!
//! ```text
//! weight[b,:] = softmax(score[b,:]) over the real positions, 0 elsewhere
//! context[b]  = Σ_s weight[b,s] value[b,s]
//! ```
//!
//! A [`Scorer`] computes the scores.

use std::fmt::Debug;
use std::ops::Range;

use dyn_clone::DynClone;

use super::start::Start;
use crate::lanes::{dot, long_sum_within, max};
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::multiversion;
use crate::team::Team;

/// What a decoder attends to: the encoder's states. Batch first, unlike other activations, because a step reads
/// all positions of one row, then those of the next.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a, T> {
    /// The encoder's states, `[B, S, C]`.
    pub values: &'a [T],
    /// The states, projected once for the scores: `[B, S, K]`.
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

/// The inputs of a scorer in one step: some rows, each with its row of the memory.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a, T> {
    /// The decoder's state before the step, `[rows, D]`.
    pub state: Matrix<'a, T>,
    /// The attention weights of the step before, `[rows, S]`; at the first step those of [`Start`].
    pub previous: &'a [T],
    /// The memory of all rows of the batch.
    pub memory: Memory<'a, T>,
    /// For each row of the step, its row in the memory, `[rows]`.
    pub rows: &'a [usize],
}

/// The gradients to which the backward pass of a scorer's step adds.
#[derive(Debug)]
pub struct StepGrads<'a, T> {
    /// Of the state, `[rows, D]`.
    pub state: &'a mut [T],
    /// Of the weights of the step before, `[rows, S]`.
    pub previous: &'a mut [T],
    /// Of the keys of these rows, `[rows, S, K]`.
    pub keys: &'a mut [T],
    /// Parts of parameter gradients, summed over the steps of each row, `[rows, R]`.
    pub summed: &'a mut [T],
}

/// An attention mechanism inside a decoder: computes scores from the state, the memory and the weights of
/// the step before, and their derivatives.
///
/// A call gets a range of a batch's rows; other threads may have the other rows. A row must not depend on
/// another. [`gradients`](Self::gradients) takes the sums over rows.
///
/// ```
/// use s2s_kernels::slices::{Matrix, Scorer, Step, StepGrads, Team};
///
/// /// score[b,s] = state[b] · key[b,s], without parameters.
/// #[derive(Clone, Debug)]
/// struct Product;
///
/// impl Scorer<f32> for Product {
///     fn pack(&mut self, _params: &[&[f32]]) {}
///
///     fn saved_len(&self, _source_len: usize) -> usize {
///         0
///     }
///
///     fn summed_len(&self) -> usize {
///         0
///     }
///
///     fn scores(&self, step: Step<'_, f32>, _saved: &mut [f32], scores: &mut [f32]) {
///         let (state, memory) = (step.state, step.memory);
///         for (index, &row) in step.rows.iter().enumerate() {
///             let query = &state.data[index * state.stride..][..state.cols];
///             for s in 0..memory.lengths[row] {
///                 let products = query.iter().zip(memory.key(s, row)).map(|(q, k)| q * k);
///                 scores[index * memory.len + s] = products.sum();
///             }
///         }
///     }
///
///     fn backward(
///         &self,
///         step: Step<'_, f32>,
///         _saved: &mut [f32],
///         d_scores: &mut [f32],
///         grads: StepGrads<'_, f32>,
///     ) {
///         let (state, memory) = (step.state, step.memory);
///         for (index, &row) in step.rows.iter().enumerate() {
///             for s in 0..memory.lengths[row] {
///                 let at = index * memory.len + s;
///                 for (k, &key) in memory.key(s, row).iter().enumerate() {
///                     grads.state[index * state.cols + k] += d_scores[at] * key;
///                     let query = state.data[index * state.stride + k];
///                     grads.keys[at * state.cols + k] += d_scores[at] * query;
///                 }
///             }
///         }
///     }
///
///     fn gradients(
///         &self,
///         _saved: Matrix<'_, f32>,
///         _states: Matrix<'_, f32>,
///         _summed: Matrix<'_, f32>,
///         _grads: &mut [&mut [f32]],
///         _team: &mut Team<f32>,
///     ) {
///     }
/// }
/// ```
///
/// `s2s_model::AttentionKernel` takes a scorer into a model.
pub trait Scorer<T: Real>: Debug + DynClone + Send + Sync {
    /// Packs the mechanism's parameters, each row by row, in the order of its parameter struct. Call it
    /// again after the parameters change.
    fn pack(&mut self, params: &[&[T]]);

    /// The attention weights before the first step, for a mechanism that reads previous weights.
    fn start(&self) -> Start {
        Start::Zeros
    }

    /// The same scores on a CUDA device, if there are kernels for them.
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> Option<crate::cuda::ScoreKernel> {
        None
    }

    /// How many numbers a step saves of each row for the backward pass, for sources padded to
    /// `source_len`.
    fn saved_len(&self, source_len: usize) -> usize;

    /// How many numbers of each row the backward pass sums over the steps: the width of
    /// [`StepGrads::summed`].
    fn summed_len(&self) -> usize;

    /// Computes the scores `[rows, S]` of the real positions, and `saved [rows, saved_len(S)]`. A score of
    /// -∞ gives a weight of 0, even if all scores of a row are -∞.
    fn scores(&self, step: Step<'_, T>, saved: &mut [T], scores: &mut [T]);

    /// [`scores`](Self::scores) for decoding, restricted to positions that can have a weight; the weights that
    /// follow are the same.
    ///
    /// On entry, `reach` holds for each row a range outside of which the weights of the step before are 0.
    /// On return, it is the range whose scores were written; all other positions have a score of -∞. `found`
    /// holds a vector for each row of the memory, empty at first, in which a mechanism caches what it computes
    /// from the row's keys for later steps. The content of `saved` is unspecified.
    ///
    /// By default, all positions are scored. A mechanism overrides this if it knows, without reading
    /// them, that the weights of far positions are 0.
    fn scores_within(
        &self,
        step: Step<'_, T>,
        reach: &mut [Range<usize>],
        _found: &mut [Vec<T>],
        saved: &mut [T],
        scores: &mut [T],
    ) {
        self.scores(step, saved, scores);
        for (reach, &row) in reach.iter_mut().zip(step.rows) {
            *reach = 0..step.memory.lengths[row];
        }
    }

    /// Adds the gradients of `d_scores [rows, S]`, which it may overwrite, to `grads`. It replaces `saved` by
    /// what [`gradients`](Self::gradients) needs of this step.
    fn backward(
        &self,
        step: Step<'_, T>,
        saved: &mut [T],
        d_scores: &mut [T],
        grads: StepGrads<'_, T>,
    );

    /// Computes the gradients of the parameters, in the order of [`pack`](Self::pack), from all rows of all
    /// steps: `saved [M, saved_len(S)]`, the states before each step `[M, D]`, and
    /// `summed [B, summed_len()]`.
    fn gradients(
        &self,
        saved: Matrix<'_, T>,
        states: Matrix<'_, T>,
        summed: Matrix<'_, T>,
        grads: &mut [&mut [T]],
        team: &mut Team<T>,
    );
}

dyn_clone::clone_trait_object!(<T: Real> Scorer<T>);

/// Declares the parameters of a mechanism as a struct with one field each. The struct is generic: a field
/// holds a parameter's name, its values or its gradient. Callers and scorers use the fields; only
/// this macro knows their order.
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
        // A weight of 0 would add 0.
        if weight != T::ZERO {
            add_scaled(context, weight, memory.value(position, row));
        }
    }
}

/// Scores to weights, in place; all 0 if all scores are -∞.
///
/// A weight below `exp(-75)` times the greatest is set to 0: even 10,000 of them together are less than the
/// rounding error of the sum, and no weight becomes subnormal, which would slow the processor down.
#[inline(always)]
pub(crate) fn softmax<T: Real>(scores: &mut [T]) {
    softmax_within(scores, 0..scores.len());
}

/// [`softmax`] if all scores are in `reach` and all other numbers are weights of 0 already. It gives the same
/// bits without reading them.
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
