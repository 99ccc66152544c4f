//! The encoder: an embedding and a stack of bidirectional recurrent layers over ragged rows.

use candle_core::{Result, Tensor};

use crate::draws::dropped;
use crate::{Embedding, LayerState, Mode, ModelConfig, Probability, Recurrent, Scope, Source};

/// What the decoder may look at.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// A value for each source position, `[B, S, 2H]`; 0 where padded.
    pub values: Tensor,
    /// For each layer the last state of both directions, `[B, 2H]` each.
    pub last: Vec<LayerState>,
}

/// The encoder: an embedding and a stack of bidirectional recurrent layers over ragged rows.
///
/// A padded position changes nothing, and the backward direction starts at each row's own end:
/// what PyTorch calls a packed sequence.
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
            rnn: Recurrent::bidirectional(
                &mut scope.pp("rnn"),
                config.cell,
                width,
                config.hidden.get(),
                config.layers.get(),
                config.dropout,
                config.kernels,
            )?,
            embedding_dropout: config.embedding_dropout,
        })
    }

    /// Reads the sources, `[B, S]`.
    ///
    /// # Errors
    /// If a token lies outside the vocabulary.
    pub fn forward(&self, source: &Source, mode: Mode<'_>) -> Result<Encoded> {
        let embedded = self.embedding.forward(&source.tokens)?; // [B, S, E]
        let mask = mode.dropout_mask(
            "encoder.embedding",
            embedded.shape().clone(),
            self.embedding_dropout,
            embedded.dtype(),
            embedded.device(),
        )?;
        let embedded = dropped(embedded, mask.as_ref())?;
        let (values, last) = self.rnn.forward(embedded, &source.rows, mode)?;
        Ok(Encoded { values, last })
    }
}
