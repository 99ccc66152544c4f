//! The sizes of a decoder, and the device memory that it reads and writes.

use super::super::attention::ScoreKernel;
use super::super::cell::{RecurrentCell, RecurrentViews};
use super::super::queue::View;

/// The sizes and kinds of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct DecoderSizes {
    /// The kind of recurrent cell.
    pub cell: RecurrentCell,
    /// The kind of attention.
    pub scores: ScoreKernel,
    /// `V`.
    pub vocab: usize,
    /// `E`.
    pub embedding: usize,
    /// `D`.
    pub units: usize,
    /// `C`, the width of the values.
    pub values: usize,
    /// `A`, the width of the keys.
    pub attention: usize,
    /// Recurrent layers.
    pub layers: usize,
}

impl DecoderSizes {
    pub(super) fn gates(self) -> usize {
        self.cell.gates() * self.units
    }

    /// Numbers that the top layer's state makes for attention.
    pub(super) fn queries(self) -> usize {
        self.attention + self.scores.controls()
    }

    /// Columns of the recurrent weights of a layer; the top layer's include the queries.
    pub(super) fn recurrent(self, layer: usize) -> usize {
        let is_top = layer + 1 == self.layers;
        self.gates() + if is_top { self.queries() } else { 0 }
    }

    /// State and context side by side.
    pub(super) fn features(self) -> usize {
        self.units + self.values
    }
}

/// The parameters of a decoder and its attention, or where their gradients go.
#[derive(Clone, Debug)]
pub struct DecoderViews<'a> {
    /// `[V, E]`.
    pub embedding: View<'a, f32>,
    /// One per layer.
    pub layers: Vec<RecurrentViews<'a>>,
    /// `[V, D + C]`.
    pub output_weight: View<'a, f32>,
    /// `[V]`.
    pub output_bias: View<'a, f32>,
    /// Weight `[n, D]` and bias `[n]` of each map from the state to the queries: `n` is `A` for the first,
    /// and 3 and 1 for the shift and the sharpness of location-relative attention.
    pub queries: Vec<[View<'a, f32>; 2]>,
    /// `[A]`.
    pub energy: View<'a, f32>,
}

/// What the decoder attends to.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// `[S, B, C]`.
    pub values: View<'a, f32>,
    /// `[S, B, A]`.
    pub keys: View<'a, f32>,
    /// Real positions of each row, `[B]`.
    pub lengths: View<'a, u32>,
}

/// Where the gradients of the memory are written.
#[derive(Clone, Copy, Debug)]
pub struct MemoryGrads<'a> {
    /// `[S, B, C]`.
    pub values: View<'a, f32>,
    /// `[S, B, A]`.
    pub keys: View<'a, f32>,
}

/// What the decoder reads at each step.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `[B, T]`: the tokens of the targets; those that are not forced are replaced by predictions.
    pub tokens: View<'a, u32>,
    /// `[B, T]`: 1 where the token is forced.
    pub forced: View<'a, u32>,
    /// For each step, whether all its tokens are forced. Only others need the output of the step before.
    pub all_forced: &'a [bool],
}

/// The inputs of a decoder for a batch.
#[derive(Clone, Copy, Debug)]
pub struct DecoderInputs<'a> {
    /// What the decoder attends to.
    pub memory: Memory<'a>,
    /// What it reads at each step.
    pub targets: Targets<'a>,
    /// The dropout masks.
    pub dropout: &'a Dropout<'a>,
}

/// Dropout masks, batch-major; none without dropout.
#[derive(Clone, Debug, Default)]
pub struct Dropout<'a> {
    /// Of the embeddings, `[B, T, E]`.
    pub embedding: Option<View<'a, f32>>,
    /// Of the input of each layer above the first, `[B, T, D]` each.
    pub between: Vec<Option<View<'a, f32>>>,
}

impl<'a> Dropout<'a> {
    /// The mask of what a layer passes on.
    pub(super) fn above(&self, layer: usize) -> Option<View<'a, f32>> {
        self.between.get(layer).copied().flatten()
    }
}
