//! One step of attention on the device.

#![expect(unsafe_code, reason = "passes a struct to kernels")]

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

use super::queue::{Argument, Queue, View, blocks, each, launch};
use crate::Start;

/// Threads of a row's block.
const THREADS: usize = 256;

/// Scores that have kernels. Both compare a query with keys by an energy; see
/// [`additive_scores`](crate::additive_scores()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreKernel {
    /// Additive attention.
    Additive,
    /// Location-relative attention: additive, with the shifted weights before as a prior.
    LocationRelative(Start),
}

impl ScoreKernel {
    /// Numbers that the state makes beside the query: three controls of the shift, and the sharpness.
    pub(super) fn controls(self) -> usize {
        match self {
            Self::Additive => 0,
            Self::LocationRelative(_) => 4,
        }
    }

    /// Writes the weights `[B, S]` before the first step.
    pub(super) fn start(
        self,
        queue: &Queue,
        weights: View<'_, f32>,
        lengths: View<'_, u32>,
    ) -> Result<()> {
        let start: usize = match self {
            Self::Additive | Self::LocationRelative(Start::Zeros) => 0,
            Self::LocationRelative(Start::First) => 1,
            Self::LocationRelative(Start::Last) => 2,
        };
        let (batch, len) = (lengths.len, weights.len / lengths.len);
        launch!(
            queue,
            StartWeights,
            each(weights.len),
            weights,
            lengths,
            batch,
            len,
            start
        )
    }
}

/// What attention reads, the same at every step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention<'a> {
    pub(super) size: Size,
    pub(super) lengths: View<'a, u32>, // [B]
    pub(super) bias: View<'a, f32>,    // of the queries, [A + controls]
    pub(super) energy: View<'a, f32>,  // [A]
    pub(super) keys: View<'a, f32>,    // [S, B, A]
    pub(super) values: View<'a, f32>,  // [S, B, C]
}

/// Sizes, as `kernels/attention.cu` defines them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Size {
    pub(super) batch: i32,
    pub(super) len: i32,
    pub(super) units: i32,
    pub(super) values: i32,
    pub(super) query_stride: i32,
    pub(super) context_stride: i32,
    pub(super) has_prior: i32,
}

// SAFETY: seven integers, as in the kernel's struct.
unsafe impl DeviceRepr for Size {}

impl Argument for Size {
    type Passed = Self;
    fn to_kernel(self) -> Self {
        self
    }
}

/// The result of attention at a step.
#[derive(Clone, Copy, Debug)]
pub struct Attended<'a> {
    /// The weights of the step before, `[B, S]`.
    pub(super) previous: View<'a, f32>,
    /// `[B, S]`.
    pub(super) weights: View<'a, f32>,
    /// `[B, C]`, rows `context_stride` apart.
    pub(super) contexts: View<'a, f32>,
}

/// Where the backward pass of a step reads and writes gradients; see `kernels/attention.cu`.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttendedGrads<'a> {
    pub(super) contexts: View<'a, f32>,
    pub(super) queries: View<'a, f32>,
    pub(super) keys: View<'a, f32>,
    pub(super) energy: View<'a, f32>,
    pub(super) weights: View<'a, f32>,
    pub(super) scores: View<'a, f32>,
}

impl Attention<'_> {
    fn blocks(&self) -> usize {
        self.lengths.len
    }

    /// Weights and contexts of a step, from its queries, rows of which are `query_stride` apart.
    pub(super) fn attend(
        &self,
        queue: &Queue,
        queries: View<'_, f32>,
        step: Attended<'_>,
    ) -> Result<()> {
        launch!(
            queue,
            Attend,
            blocks(self.blocks(), 1, THREADS),
            self.size,
            self.lengths,
            queries,
            self.bias,
            self.energy,
            self.keys,
            self.values,
            step.previous,
            step.weights,
            step.contexts,
        )
    }

    /// The gradients of a step; `is_first` in the order of the backward pass.
    pub(super) fn backward(
        &self,
        queue: &Queue,
        is_first: bool,
        queries: View<'_, f32>,
        step: Attended<'_>,
        grads: AttendedGrads<'_>,
    ) -> Result<()> {
        launch!(
            queue,
            AttendBackward,
            blocks(self.blocks(), 1, THREADS),
            self.size,
            self.lengths,
            is_first,
            queries,
            self.bias,
            self.energy,
            self.keys,
            self.values,
            step.previous,
            step.weights,
            grads.contexts,
            grads.queries,
            grads.keys,
            grads.energy,
            grads.weights,
            grads.scores,
        )
    }

    /// The gradients of the values, `[S, B, C]`, after all steps.
    pub(super) fn values_backward(
        &self,
        queue: &Queue,
        steps: usize,
        weights: View<'_, f32>,
        d_contexts: View<'_, f32>,
        d_values: View<'_, f32>,
    ) -> Result<()> {
        let grid = blocks((self.size.batch * self.size.len) as usize, 1, THREADS);
        launch!(
            queue,
            ValuesBackward,
            grid,
            self.size,
            steps,
            weights,
            d_contexts,
            d_values
        )
    }
}
