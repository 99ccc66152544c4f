//! A recurrent decoder with attention, as one operator over all steps of a batch.
//!
//! ```text
//! a[t]      = attention(h_top[t-1], memory)                       weights and context c[t]
//! h_0[t]    = cell([embedding(token[t]); c[t]], h_0[t-1])
//! h_k[t]    = cell(dropout(h_(k-1)[t]), h_k[t-1])
//! logits[t] = W [h_top[t]; c[t]] + b
//! token[t]  = target_in[t] where forced, argmax logits[t-1] elsewhere; target_in[0] at t = 0
//! ```
//!
//! The parts: [`step`] is one step of some rows, forward; [`kernel`] the loop over the steps of a
//! batch; [`backward`] the loop back; [`gradients`] the weights' products over all steps;
//! [`decode`] steps without a batch of targets, with what [`projected`] computes once a sequence. The
//! cell is any [`Cell`](crate::recurrent::Cell),
//! the attention any [`Scorer`](crate::attention::kernel::Scorer).

mod backward;
mod decode;
mod gradients;
pub(crate) mod kernel;
mod projected;
mod step;
#[cfg(test)]
mod tests;
mod trace;

pub use decode::Decoding;
pub use kernel::Decoder;

use crate::attention::kernel::Memory;
use crate::real::Matrix;
use crate::recurrent::{RecurrentGrads, RecurrentParams, State};

/// The parameters of a decoder, except its attention's.
///
/// `C` is the width of the memory's values; layer 0 reads `[embedding; context]`, the others the
/// layer below.
#[derive(Clone, Debug)]
pub struct DecoderParams<'a, T> {
    /// `[V, E]`.
    pub embedding: &'a [T],
    /// One a layer, at least one; all with `D` units.
    pub layers: Vec<RecurrentParams<'a, T>>,
    /// `[V, D + C]`.
    pub output_weight: &'a [T],
    /// `[V]`.
    pub output_bias: &'a [T],
}

/// The sizes of a decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderSizes {
    /// `V`.
    pub vocab: usize,
    /// `E`.
    pub embedding: usize,
    /// `D`.
    pub units: usize,
    /// `C`.
    pub values: usize,
    /// Layers.
    pub layers: usize,
}

impl<T> DecoderParams<'_, T> {
    /// The sizes that the parameters' lengths amount to.
    ///
    /// # Panics
    /// If they contradict each other.
    pub fn sizes(&self) -> DecoderSizes {
        let first = self.layers.first().expect("a decoder has a layer");
        let (vocab, units) = (self.output_bias.len(), first.units());
        assert!(vocab > 0 && units > 0, "a decoder has words and units");
        let embedding = self.embedding.len() / vocab;
        let values = self.output_weight.len() / vocab - units;
        assert_eq!(
            first.inputs(),
            embedding + values,
            "layer 0 reads [embedding; context]"
        );
        for layer in &self.layers[1..] {
            assert_eq!(
                [layer.inputs(), layer.units()],
                [units; 2],
                "layers have one width"
            );
        }
        DecoderSizes {
            vocab,
            embedding,
            units,
            values,
            layers: self.layers.len(),
        }
    }
}

impl<'a, T: Copy> DecoderParams<'a, T> {
    /// The columns of layer 0's `weight_ih` that read the embedding, and those of the context.
    fn input_columns(&self) -> (Matrix<'a, T>, Matrix<'a, T>) {
        let DecoderSizes {
            embedding, values, ..
        } = self.sizes();
        let first = &self.layers[0];
        let weight = Matrix::dense(first.weight_ih, first.bias_ih.len(), embedding + values);
        (
            weight.columns(0, embedding),
            weight.columns(embedding, values),
        )
    }
}

/// Where the gradients of [`DecoderParams`] are written.
#[derive(Debug)]
pub struct DecoderGrads<'a, T> {
    /// `[V, E]`.
    pub embedding: &'a mut [T],
    /// One a layer.
    pub layers: Vec<RecurrentGrads<'a, T>>,
    /// `[V, D + C]`.
    pub output_weight: &'a mut [T],
    /// `[V]`.
    pub output_bias: &'a mut [T],
}

/// Where the gradients of what a decoder reads are written.
#[derive(Debug)]
pub struct MemoryGrads<'a, T> {
    /// `[B, S, C]`.
    pub values: &'a mut [T],
    /// `[B, S, K]`.
    pub keys: &'a mut [T],
    /// Of the first states, `[B, D]` each, one a layer.
    pub initial: Vec<State<&'a mut [T]>>,
}

/// What a decoder reads.
#[derive(Clone, Copy, Debug)]
pub struct DecoderInputs<'a, T> {
    /// What it looks at.
    pub memory: Memory<'a, T>,
    /// The first states, `[B, D]` each, one a layer.
    pub initial: &'a [State<&'a [T]>],
    /// The tokens.
    pub targets: Targets<'a>,
    /// What is dropped.
    pub dropout: DecoderDropout<'a, T>,
}

/// What a decoder is told about a batch's targets; batch first.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `[B, T]`, the first of each row the start token.
    pub words: &'a [u32],
    /// `[B, T]`: whether a step reads the true token rather than the decoder's own. The first of
    /// each row does not matter.
    pub forced: &'a [bool],
}

/// Dropout masks of 0 and 1/(1-p), batch first; `None` where nothing is dropped.
#[derive(Clone, Copy, Debug)]
pub struct DecoderDropout<'a, T> {
    /// On the embedding of each token read, `[B, T, E]`.
    pub embedding: Option<&'a [T]>,
    /// On the input of each layer above the first, `[B, T, D]` each.
    pub between: Option<&'a [&'a [T]]>,
}

impl<T> Default for DecoderDropout<'_, T> {
    fn default() -> Self {
        Self {
            embedding: None,
            between: None,
        }
    }
}
