//! The recurrent decoder: attention, a stack of recurrent cells and the output layer, one step at a time.

use candle_core::{D, Device, Result, Tensor};
use s2s_kernels::{Ragged, RecurrentWeights};

use crate::connections::Connections;
use crate::draws::dropped;
use crate::{
    Attention, Batch, Bridge, CellKind, DecoderState, Embedding, Encoded, Forcing, ForwardOutput,
    LayerState, Linear, Memory, Mode, ModelConfig, Probability, Scope, recurrent_weights,
};

/// The recurrent decoder: attention, a stack of recurrent cells and the output layer, one step at a time.
///
/// ```text
/// state   = bridge(last states of the encoder), before the first step
/// context = attention(state of the top layer before the step)
/// state   = cell([embedding(token); context], state)
/// logits  = W [output of the top layer; context] + b
/// ```
///
/// The output of a layer is its state, unless `model.residual` or `model.layer_norm` is on: then it is
/// `norm(state + output of the layer below)`, with the sum above the first layer and the norm below the top.
///
/// This order is that of Bahdanau, Cho, Bengio (2015), arXiv:1409.0473: the context of a step is part of its
/// input. With `model.input_feeding`, the order is that of Luong, Pham, Manning (2015), arXiv:1508.04025,
/// sections 3.1 and 3.3: the state of a step chooses its context, and the two together, the attentional
/// vector, are part of the next step's input:
///
/// ```text
/// vector  = 0, before the first step
/// state   = cell([embedding(token); vector], state)
/// context = attention(state of the top layer)
/// vector  = tanh(A [output of the top layer; context] + a)
/// logits  = W vector + b
/// ```
#[derive(Debug)]
pub struct RecurrentDecoder {
    bridge: Bridge,
    attention: Box<dyn Attention>,
    embedding: Embedding,
    cell: CellKind,
    layers: Vec<RecurrentWeights>,
    connections: Connections,
    /// `D + 2H -> D`, with input feeding.
    attentional: Option<Linear>,
    output: Linear,
    width: usize, // of an embedding
    units: usize,
    dropout: Probability,
    embedding_dropout: Probability,
}

/// The dropout masks of all steps, drawn before the first.
#[derive(Debug)]
struct DecoderDropout {
    embedding: Option<Tensor>,   // [B, T, E]
    layers: Vec<Option<Tensor>>, // [B, T, D], for the input of each layer but the lowest
}

impl RecurrentDecoder {
    /// A decoder of the configured sizes with the given bridge and attention.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &ModelConfig,
        vocab_size: usize,
        bridge: Bridge,
        attention: Box<dyn Attention>,
    ) -> Result<Self> {
        let (width, values) = (config.embedding.get(), 2 * config.hidden.get());
        let units = config.decoder.width().get();
        let embedding = Embedding::new(&mut scope.pp("embedding"), vocab_size, width)?;
        let (fed, read) = match config.input_feeding {
            true => (units, units),
            false => (values, units + values),
        };
        let layers = (0..config.layers.get())
            .map(|k| {
                let input = if k == 0 { width + fed } else { units };
                let suffix = format!("_l{k}");
                recurrent_weights(&mut scope.pp("rnn"), config.cell, &suffix, input, units)
            })
            .collect::<Result<_>>()?;
        let connections = Connections::new(scope, config, units)?;
        let attentional = match config.input_feeding {
            true => {
                let scope = &mut scope.pp("attentional");
                Some(Linear::new(scope, units + values, units)?)
            }
            false => None,
        };
        Ok(Self {
            bridge,
            attention,
            embedding,
            cell: config.cell,
            layers,
            connections,
            attentional,
            output: Linear::new(&mut scope.pp("output"), read, vocab_size)?,
            width,
            units,
            dropout: config.dropout,
            embedding_dropout: config.embedding_dropout,
        })
    }

    pub(super) fn start(&self, encoded: &Encoded, rows: &Ragged) -> Result<(DecoderState, Memory)> {
        let state = DecoderState {
            layers: self.bridge.forward(encoded)?,
            attended: None,
            vector: None,
        };
        let memory = self.attention.prepare(&encoded.values, rows.mask())?;
        Ok((state, memory))
    }

    pub(super) fn forward(
        &self,
        batch: &Batch,
        forcing: &Forcing,
        mode: Mode<'_>,
        (mut state, memory): (DecoderState, Memory),
    ) -> Result<ForwardOutput> {
        let device = memory.mask().device();
        let steps = batch.target_len();
        let coins = Coins::new(forcing, batch, device)?;
        let target_in = batch.target_in_tensor(device)?;
        let dropout = self.dropout(mode, &memory, steps)?;

        let mut all_logits = Vec::with_capacity(steps);
        let mut predictions = Vec::with_capacity(steps);
        for step in 0..steps {
            let truth = target_in.narrow(1, step, 1)?.squeeze(1)?; // [B]
            let token = match predictions.last() {
                Some(predicted) => coins.choose(step, truth, predicted)?,
                None => truth,
            };
            let (logits, next) = self.step_with(&token, &state, &memory, &dropout, step)?; // [B, V]
            predictions.push(logits.detach().argmax(D::Minus1)?); // [B]
            all_logits.push(logits);
            state = next;
        }
        Ok(ForwardOutput {
            logits: Tensor::stack(&all_logits, 1)?,
            predictions: Tensor::stack(&predictions, 1)?,
            penalty: None,
        })
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

    fn step_with(
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
        let masks: Vec<_> = dropout.layers.iter().map(at_step).collect::<Result<_>>()?;
        let embedded = self.embedding.forward(tokens)?; // [B, E]
        let embedded = dropped(embedded, at_step(&dropout.embedding)?.as_ref())?;
        let run = |fed: &Tensor| {
            let input = Tensor::cat(&[&embedded, fed], 1)?; // [B, E + 2H], with input feeding [B, E + D]
            self.run(input, &state.layers, &masks)
        };
        let previous = match &state.attended {
            Some(attended) => attended.weights.clone(),
            None => memory.first_weights(self.attention.start())?,
        };
        let attend = |layers: &[LayerState]| {
            let query = &layers[layers.len() - 1].hidden; // [B, D]
            self.attention.attend(query, memory, &previous)
        };
        let (read, layers, attended, vector);
        match &self.attentional {
            None => {
                attended = attend(&state.layers)?;
                let output;
                (output, layers) = run(&attended.context)?;
                read = Tensor::cat(&[&output, &attended.context], 1)?; // [B, D + 2H]
                vector = None;
            }
            Some(attentional) => {
                let output;
                (output, layers) = match &state.vector {
                    Some(vector) => run(vector)?,
                    None => run(&state.layers[0].hidden.zeros_like()?)?,
                };
                attended = attend(&layers)?;
                let both = Tensor::cat(&[&output, &attended.context], 1)?; // [B, D + 2H]
                read = attentional.forward(&both)?.tanh()?; // [B, D]
                vector = Some(read.clone());
            }
        }
        let logits = self.output.forward(&read)?; // [B, V]
        let state = DecoderState {
            layers,
            attended: Some(attended),
            vector,
        };
        Ok((logits, state))
    }

    /// One step of the layers, from the input of the lowest: the output of the top layer `[B, D]`, and the
    /// states.
    fn run(
        &self,
        input: Tensor,
        before: &[LayerState],
        masks: &[Option<Tensor>],
    ) -> Result<(Tensor, Vec<LayerState>)> {
        let mut layers = Vec::with_capacity(self.layers.len());
        let mut x = input; // what a layer reads, before dropout
        for (k, (weights, before)) in self.layers.iter().zip(before).enumerate() {
            let read = dropped(x.clone(), masks[k].as_ref())?;
            let after = self.cell.step(&read, before, weights)?;
            let below = (k > 0).then_some(&x);
            x = self.connections.output(k, &after.hidden, below)?; // [B, D]
            layers.push(after);
        }
        Ok((x, layers))
    }

    fn dropout(&self, mode: Mode<'_>, memory: &Memory, steps: usize) -> Result<DecoderDropout> {
        let real = memory.mask();
        let batch = real.dim(0)?;
        let mask = |place: &str, width: usize, drop| {
            mode.dropout_mask(
                place,
                (batch, steps, width),
                drop,
                real.dtype(),
                real.device(),
            )
        };
        let layers = (0..self.layers.len())
            .map(|k| match k {
                0 => Ok(None),
                _ => mask(&format!("decoder.rnn.{k}"), self.units, self.dropout),
            })
            .collect::<Result<_>>()?;
        Ok(DecoderDropout {
            embedding: mask("decoder.embedding", self.width, self.embedding_dropout)?,
            layers,
        })
    }
}

/// The coins of teacher forcing on the model's device, copied once per batch.
enum Coins {
    Always,
    Never,
    PerStep(Tensor), // [B, T], 1 where the true token is read
}

impl Coins {
    fn new(forcing: &Forcing, batch: &Batch, device: &Device) -> Result<Self> {
        let (rows, steps) = (batch.n_rows(), batch.target_len());
        forcing.check(rows, steps)?;
        Ok(match forcing {
            Forcing::Always => Self::Always,
            Forcing::Never => Self::Never,
            Forcing::Coins { coins, .. } => {
                let coins = coins.iter().copied().map(u8::from).collect();
                Self::PerStep(Tensor::from_vec(coins, (rows, steps), device)?)
            }
        })
    }

    /// The tokens `[B]` that the decoder reads at a step after the first.
    fn choose(&self, step: usize, truth: Tensor, predicted: &Tensor) -> Result<Tensor> {
        match self {
            Self::Always => Ok(truth),
            Self::Never => Ok(predicted.clone()),
            Self::PerStep(coins) => coins
                .narrow(1, step, 1)?
                .squeeze(1)?
                .where_cond(&truth, predicted),
        }
    }
}
