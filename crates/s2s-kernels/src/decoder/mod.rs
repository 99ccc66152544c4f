//! A recurrent decoder with attention, as one operator over all steps of a batch.
//!
//! ```text
//! a[t]      = attention(h_top[t-1], memory)                       weights and context c[t]
//! h_0[t]    = cell([embedding(token[t]); c[t]], h_0[t-1])
//! h_k[t]    = cell(dropout(y_(k-1)[t]), h_k[t-1])
//! y_k[t]    = h_k[t]                                              see Connections for others
//! logits[t] = W [y_top[t]; c[t]] + b
//! token[t]  = target_in[t] if forced, else argmax logits[t-1]; target_in[0] at t = 0
//! ```
//!
//! With input feeding, the attention comes after the cells, and layer 0 reads the attentional vector of the
//! step before, which is 0 before the first:
//!
//! ```text
//! h_0[t]    = cell([embedding(token[t]); v[t-1]], h_0[t-1])
//! a[t]      = attention(h_top[t], memory)
//! v[t]      = tanh(A [y_top[t]; c[t]] + a)
//! logits[t] = W v[t] + b
//! ```
//!
//! [`step`] is one forward step of some rows; [`kernel`] is the loop over the steps of a batch;
//! [`backward`] is the backward loop; [`gradients`] computes the weight gradients, each with one
//! product over all steps; [`decode`] decodes without targets, using the products that [`projected`]
//! computes once per sequence. The cell is any [`Cell`](crate::recurrent::Cell), the attention any
//! [`Scorer`](crate::attention::kernel::Scorer). The reference in plain tensor operations is in
//! `tests/parity/decoder.rs`.

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
use crate::matrix::Matrix;
use crate::norm::{LayerNorm, NormGrads};
use crate::recurrent::{RecurrentGrads, RecurrentParams, State};

/// The parameters of a decoder, without those of its attention.
///
/// `C` is the width of the memory's values. Layer 0 reads `[embedding; context]`, and with input feeding
/// `[embedding; vector]`; every other layer reads the layer below.
#[derive(Clone, Debug)]
pub struct DecoderParams<'a, T> {
    /// `[V, E]`.
    pub embedding: &'a [T],
    /// One per layer, at least one; all with `D` units.
    pub layers: Vec<RecurrentParams<'a, T>>,
    /// How they are connected.
    pub connections: Connections<T>,
    /// The map to the attentional vector, with input feeding.
    pub attentional: Option<AttentionalParams<'a, T>>,
    /// `[V, D + C]`; with input feeding `[V, D]`.
    pub output_weight: &'a [T],
    /// `[V]`.
    pub output_bias: &'a [T],
}

/// The parameters of the map to the attentional vector.
#[derive(Clone, Copy, Debug)]
pub struct AttentionalParams<'a, T> {
    /// `[D, D + C]`.
    pub weight: &'a [T],
    /// `[D]`.
    pub bias: &'a [T],
}

/// How the layers of a stack are connected: what each passes on.
///
/// ```text
/// y_k = norm_k(h_k + y_(k-1))
/// ```
///
/// without the sum in layer 0, and without the norm in the top layer. By default, `y_k = h_k`.
#[derive(Clone, Debug, Default)]
pub struct Connections<T> {
    /// Whether each layer above the first adds what it reads, before dropout.
    pub residual: bool,
    /// One per layer below the top; empty without normalization.
    pub norms: Vec<LayerNorm<T>>,
}

impl<T> Connections<T> {
    fn are_plain(&self) -> bool {
        !self.residual && self.norms.is_empty()
    }
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
    /// Whether layer 0 reads the attentional vector instead of the context.
    pub input_feeding: bool,
}

impl DecoderSizes {
    /// Width of what layer 0 reads beside the embedding.
    fn fed(self) -> usize {
        match self.input_feeding {
            true => self.units,
            false => self.values,
        }
    }

    /// Width of what the output layer reads.
    fn read(self) -> usize {
        match self.input_feeding {
            true => self.units,
            false => self.units + self.values,
        }
    }
}

impl<T> DecoderParams<'_, T> {
    /// The sizes, derived from the lengths of the parameters.
    ///
    /// # Panics
    /// If the lengths are inconsistent.
    pub fn sizes(&self) -> DecoderSizes {
        let first = self.layers.first().expect("a decoder needs a layer");
        let (vocab, units) = (self.output_bias.len(), first.units());
        assert!(vocab > 0 && units > 0, "a decoder needs tokens and units");
        let features = match &self.attentional {
            Some(AttentionalParams { weight, .. }) => weight.len() / units,
            None => self.output_weight.len() / vocab,
        };
        let sizes = DecoderSizes {
            vocab,
            embedding: self.embedding.len() / vocab,
            units,
            values: features - units,
            layers: self.layers.len(),
            input_feeding: self.attentional.is_some(),
        };
        assert_eq!(
            [first.inputs(), self.output_weight.len() / vocab],
            [sizes.embedding + sizes.fed(), sizes.read()],
            "layer 0 reads [embedding; context] or [embedding; vector], the output [state; context] or the vector"
        );
        for layer in &self.layers[1..] {
            assert_eq!(
                [layer.inputs(), layer.units()],
                [units; 2],
                "all layers have the same width"
            );
        }
        sizes
    }
}

impl<'a, T: Copy> DecoderParams<'a, T> {
    /// The columns of layer 0's `weight_ih` for the embedding, and those for what is fed beside it.
    fn input_columns(&self) -> (Matrix<'a, T>, Matrix<'a, T>) {
        let sizes = self.sizes();
        let (embedding, fed) = (sizes.embedding, sizes.fed());
        let first = &self.layers[0];
        let weight = Matrix::dense(first.weight_ih, first.bias_ih.len(), embedding + fed);
        (weight.columns(0, embedding), weight.columns(embedding, fed))
    }
}

/// Where the gradients of [`DecoderParams`] are written.
#[derive(Debug)]
pub struct DecoderGrads<'a, T> {
    /// `[V, E]`.
    pub embedding: &'a mut [T],
    /// One per layer.
    pub layers: Vec<RecurrentGrads<'a, T>>,
    /// One per layer below the top, if they are normalized.
    pub norms: Vec<NormGrads<'a, T>>,
    /// With input feeding.
    pub attentional: Option<AttentionalGrads<'a, T>>,
    /// `[V, D + C]`; with input feeding `[V, D]`.
    pub output_weight: &'a mut [T],
    /// `[V]`.
    pub output_bias: &'a mut [T],
}

/// Where the gradients of [`AttentionalParams`] are written.
#[derive(Debug)]
pub struct AttentionalGrads<'a, T> {
    /// `[D, D + C]`.
    pub weight: &'a mut [T],
    /// `[D]`.
    pub bias: &'a mut [T],
}

/// Where the gradients of the memory and of the initial states are written.
#[derive(Debug)]
pub struct MemoryGrads<'a, T> {
    /// `[B, S, C]`.
    pub values: &'a mut [T],
    /// `[B, S, K]`.
    pub keys: &'a mut [T],
    /// Of the initial states, `[B, D]` each, one per layer.
    pub initial: Vec<State<&'a mut [T]>>,
}

/// The inputs of a decoder for a batch.
#[derive(Clone, Copy, Debug)]
pub struct DecoderInputs<'a, T> {
    /// The memory that the decoder attends to.
    pub memory: Memory<'a, T>,
    /// The initial states, `[B, D]` each, one per layer.
    pub initial: &'a [State<&'a [T]>],
    /// The target tokens.
    pub targets: Targets<'a>,
    /// The dropout masks.
    pub dropout: DecoderDropout<'a, T>,
}

/// The targets of a batch, batch-major.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The decoder's input tokens, `[B, T]`; each row starts with the start token.
    pub tokens: &'a [u32],
    /// `[B, T]`: whether a step reads the target token (teacher forcing) or the decoder's own
    /// prediction. The first value of each row is ignored.
    pub forced: &'a [bool],
}

/// Dropout masks of 0 and 1/(1-p), batch-major; `None` without dropout.
#[derive(Clone, Copy, Debug)]
pub struct DecoderDropout<'a, T> {
    /// For the embedding of each input token, `[B, T, E]`.
    pub embedding: Option<&'a [T]>,
    /// For the input of each layer above the first, `[B, T, D]` each.
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
