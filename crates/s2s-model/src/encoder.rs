//! The encoder: an embedding and a stack of bidirectional recurrent layers over ragged rows.

use candle_core::{Result, Tensor};
use s2s_kernels::Ragged;

use crate::draws::dropped;
use crate::{Embedding, LayerState, Mode, ModelConfig, Probability, Recurrent, Scope};

/// The output of the encoder.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// One value per source position, `[B, S, 2H]`; 0 where padded.
    pub values: Tensor,
    /// The last state of each layer, both directions concatenated, `[B, 2H]`.
    pub last: Vec<LayerState>,
}

/// The encoder: an embedding and a stack of bidirectional recurrent layers over ragged rows.
///
/// A padded position changes nothing, and the backward direction starts at each row's own end, as with
/// a packed sequence in PyTorch.
#[derive(Debug)]
pub struct Encoder {
    embedding: Embedding,
    rnn: Recurrent,
    embedding_dropout: Probability,
}

impl Encoder {
    /// An encoder of the configured sizes.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(scope: &mut Scope<'_>, config: &ModelConfig, vocab_size: usize) -> Result<Self> {
        let width = config.embedding.get();
        Ok(Self {
            embedding: Embedding::new(&mut scope.pp("embedding"), vocab_size, width)?,
            rnn: Recurrent::bidirectional(scope, config)?,
            embedding_dropout: config.embedding_dropout,
        })
    }

    /// Encodes token ids `[B, S]` (u32) with the lengths of their rows.
    ///
    /// # Errors
    /// If a token lies outside the vocabulary.
    pub fn forward(&self, ids: &Tensor, rows: &Ragged, mode: Mode<'_>) -> Result<Encoded> {
        let embedded = self.embedding.forward(ids)?; // [B, S, E]
        let mask = mode.dropout_mask(
            "encoder.embedding",
            embedded.shape().clone(),
            self.embedding_dropout,
            embedded.dtype(),
            embedded.device(),
        )?;
        let embedded = dropped(embedded, mask.as_ref())?;
        let (values, last) = self.rnn.forward(embedded, rows, mode)?;
        Ok(Encoded { values, last })
    }
}
