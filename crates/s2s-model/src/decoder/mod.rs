//! Decoders: the output, one token at a time, from the encoder's states.

mod config;
mod recurrent;
mod transducer;

use candle_core::{Result, Tensor};
use s2s_kernels::Ragged;

use crate::{Attended, Batch, Encoded, Forcing, ForwardOutput, LayerState, Memory, Mode};

pub use config::DecoderConfig;
pub use recurrent::RecurrentDecoder;
pub use transducer::{Readout, Transducer, TransducerConfig};

/// A decoder of one of the configurable kinds.
#[derive(Debug)]
pub enum Decoder {
    /// Attention and recurrent cells.
    Recurrent(RecurrentDecoder),
    /// A head that walks over the encoder's states.
    Transducer(Transducer),
}

/// The state of a decoder between two steps.
#[derive(Clone, Debug)]
pub struct DecoderState {
    /// The state of each layer, `[B, D]` each. A transducer has one, its modes `[B, K]`.
    pub layers: Vec<LayerState>,
    /// The attention of the last step; none before the first. Of a transducer, the position of the head
    /// and what it reads there, also before the first step.
    pub attended: Option<Attended>,
    /// The attentional vector of the last step, `[B, D]`, with input feeding; none before the first.
    pub vector: Option<Tensor>,
}

impl DecoderState {
    /// The states of the rows with these indices `[n]` (u32).
    pub(crate) fn rows(&self, indices: &Tensor) -> Result<Self> {
        let layers = self.layers.iter().map(|layer| layer.rows(indices));
        let attended = self.attended.as_ref().map(|last| last.rows(indices));
        let vector = self
            .vector
            .as_ref()
            .map(|last| last.index_select(indices, 0));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            attended: attended.transpose()?,
            vector: vector.transpose()?,
        })
    }

    /// A copy that is detached from the graph.
    pub fn detached(&self) -> Self {
        Self {
            layers: self.layers.iter().map(LayerState::detached).collect(),
            attended: self.attended.as_ref().map(Attended::detached),
            vector: self.vector.as_ref().map(Tensor::detach),
        }
    }
}

impl Decoder {
    /// The state before the first step, and what the decoder computes once per sequence.
    pub(crate) fn start(
        &self,
        encoded: &Encoded,
        rows: &Ragged,
        mode: Mode<'_>,
    ) -> Result<(DecoderState, Memory)> {
        match self {
            Self::Recurrent(decoder) => decoder.start(encoded, rows),
            Self::Transducer(decoder) => decoder.start(&encoded.values, rows, mode),
        }
    }

    /// One step of decoding: the logits `[B, V]` after reading the tokens `[B]` (u32), which a transducer
    /// ignores.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn step(
        &self,
        tokens: &Tensor,
        state: &DecoderState,
        memory: &Memory,
    ) -> Result<(Tensor, DecoderState)> {
        match self {
            Self::Recurrent(decoder) => decoder.step(tokens, state, memory),
            Self::Transducer(decoder) => decoder.step(state, memory),
        }
    }

    /// All steps of a batch with known targets.
    pub(crate) fn forward(
        &self,
        batch: &Batch,
        forcing: &Forcing,
        mode: Mode<'_>,
        start: (DecoderState, Memory),
    ) -> Result<ForwardOutput> {
        match self {
            Self::Recurrent(decoder) => decoder.forward(batch, forcing, mode, start),
            Self::Transducer(decoder) => decoder.forward(batch, mode, start),
        }
    }
}
