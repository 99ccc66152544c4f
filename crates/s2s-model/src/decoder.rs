//! The decoder: attention, a stack of recurrent cells and the output layer, one step at a time.

use candle_core::{Result, Tensor};
use s2s_kernels::{Ragged, RecurrentWeights};

use crate::draws::dropped;
use crate::{
    Attended, Attention, CellKind, Embedding, Encoded, LayerState, Linear, Memory, Mode,
    ModelConfig, Probability, Scope, recurrent_weights,
};

/// The decoder: attention, a stack of recurrent cells and the output layer, one step at a time.
///
/// ```text
/// context = attention(state of the top layer before the step)
/// state   = cell([embedding(token); context], state)
/// logits  = W [state of the top layer; context] + b
/// ```
#[derive(Debug)]
pub struct Decoder {
    attention: Box<dyn Attention>,
    embedding: Embedding,
    cell: CellKind,
    layers: Vec<RecurrentWeights>,
    output: Linear,
    dropout: Probability,
    embedding_dropout: Probability,
}

/// The state of a decoder between two steps.
#[derive(Clone, Debug)]
pub struct DecoderState {
    /// The state of each layer, `[B, D]` each.
    pub layers: Vec<LayerState>,
    /// The attention of the last step; none before the first.
    pub attended: Option<Attended>,
}

impl DecoderState {
    /// Before the first step, from the bridge's states.
    pub fn new(layers: Vec<LayerState>) -> Self {
        Self {
            layers,
            attended: None,
        }
    }
}

impl DecoderState {
    /// The states of the rows with these indices `[n]` (u32).
    pub(crate) fn rows(&self, indices: &Tensor) -> Result<Self> {
        let layers = self.layers.iter().map(|layer| layer.rows(indices));
        let attended = self.attended.as_ref().map(|last| last.rows(indices));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            attended: attended.transpose()?,
        })
    }

    /// A copy that is detached from the graph.
    pub fn detached(&self) -> Self {
        Self {
            layers: self.layers.iter().map(LayerState::detached).collect(),
            attended: self.attended.as_ref().map(Attended::detached),
        }
    }
}

/// The dropout masks of all steps, drawn before the first.
#[derive(Debug)]
pub(crate) struct DecoderDropout {
    embedding: Option<Tensor>,   // [B, T, E]
    layers: Vec<Option<Tensor>>, // [B, T, D], for the input of each layer but the lowest
}

impl Decoder {
    /// A decoder of the configured sizes with the given attention.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &ModelConfig,
        vocab_size: usize,
        attention: Box<dyn Attention>,
    ) -> Result<Self> {
        let (width, values) = (config.embedding.get(), 2 * config.hidden.get());
        let units = config.decoder.get();
        let embedding = Embedding::new(&mut scope.pp("embedding"), vocab_size, width)?;
        let layers = (0..config.layers.get())
            .map(|k| {
                let input = if k == 0 { width + values } else { units };
                let suffix = format!("_l{k}");
                recurrent_weights(&mut scope.pp("rnn"), config.cell, &suffix, input, units)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            attention,
            embedding,
            cell: config.cell,
            layers,
            output: Linear::new(&mut scope.pp("output"), units + values, vocab_size)?,
            dropout: config.dropout,
            embedding_dropout: config.embedding_dropout,
        })
    }

    /// What attention computes once per sequence.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn prepare(&self, encoded: &Encoded, rows: &Ragged) -> Result<Memory> {
        self.attention.prepare(&encoded.values, rows.mask())
    }

    /// The attention mechanism.
    pub fn attention(&self) -> &dyn Attention {
        &*self.attention
    }

    /// One step without dropout: the logits `[B, V]` after reading the tokens `[B]` (u32).
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn step(
        &self,
        tokens: &Tensor,
        state: &DecoderState,
        memory: &Memory,
    ) -> Result<(Tensor, DecoderState)> {
        let none = DecoderDropout {
            embedding: None,
            layers: vec![None; self.layers.len()],
        };
        self.step_with(tokens, state, memory, &none, 0)
    }

    pub(crate) fn step_with(
        &self,
        tokens: &Tensor,
        state: &DecoderState,
        memory: &Memory,
        dropout: &DecoderDropout,
        step: usize,
    ) -> Result<(Tensor, DecoderState)> {
        let at_step = |mask: &Option<Tensor>| -> Result<Option<Tensor>> {
            mask.as_ref()
                .map(|mask| mask.narrow(1, step, 1)?.squeeze(1))
                .transpose()
        };
        let query = &state.layers[state.layers.len() - 1].hidden;
        let previous = match &state.attended {
            Some(attended) => attended.weights.clone(),
            None => memory.first_weights(self.attention.start())?,
        };
        let attended = self.attention.attend(query, memory, &previous)?;

        let embedded = self.embedding.forward(tokens)?; // [B, E]
        let embedded = dropped(embedded, at_step(&dropout.embedding)?.as_ref())?;
        let mut x = Tensor::cat(&[&embedded, &attended.context], 1)?; // [B, E + 2H]
        let mut layers = Vec::with_capacity(self.layers.len());
        for (k, (weights, before)) in self.layers.iter().zip(&state.layers).enumerate() {
            if k > 0 {
                x = dropped(x, at_step(&dropout.layers[k])?.as_ref())?;
            }
            let after = self.cell.step(&x, before, weights)?;
            x = after.hidden.clone(); // [B, D]
            layers.push(after);
        }
        let logits = self
            .output
            .forward(&Tensor::cat(&[&x, &attended.context], 1)?)?; // [B, V]
        let state = DecoderState {
            layers,
            attended: Some(attended),
        };
        Ok((logits, state))
    }

    pub(crate) fn dropout(
        &self,
        mode: Mode<'_>,
        state: &DecoderState,
        steps: usize,
        width: usize,
    ) -> Result<DecoderDropout> {
        let hidden = &state.layers[0].hidden;
        let (batch, units) = hidden.dims2()?;
        let mask = |place: &str, width: usize, drop| {
            let shape = (batch, steps, width);
            mode.dropout_mask(place, shape, drop, hidden.dtype(), hidden.device())
        };
        let layers = (0..self.layers.len())
            .map(|k| match k {
                0 => Ok(None),
                _ => mask(&format!("decoder.rnn.{k}"), units, self.dropout),
            })
            .collect::<Result<_>>()?;
        Ok(DecoderDropout {
            embedding: mask("decoder.embedding", width, self.embedding_dropout)?,
            layers,
        })
    }
}
