//! The fast path: the model on CPU kernels, without autograd. The same equations as the definition,
//! forward and backward, on slices.
//!
//! ```text
//! pack      every weight once per step; dropout masks are drawn
//! forward   encoder -> bridge, keys -> decoder -> loss
//! backward  decoder -> keys, bridge -> encoder; each gradient is written once
//! ```
//!
//! The definition is [`Seq2Seq::forward`](crate::Seq2Seq::forward) under autograd; tests hold the two
//! together. It exists in f32 on the CPU; on CUDA, `cuda` is its counterpart.

mod attention;
mod bridge;
mod encoder;
mod model;
mod rows;
mod slices;
mod transducer;

pub(crate) use model::{FusedDecoder, FusedModel, fused};

use std::fmt;
use std::num::NonZeroUsize;

use candle_core::{Device, Result, Tensor};
use s2s_kernels::slices::{
    Cell, Decoder, DecoderDropout, DecoderInputs, Decoding, Memory, MemoryGrads, Save, Targets,
    Team, swap_axes, token_loss,
};

use self::attention::FusedAttention;
use self::bridge::FusedBridge;
use self::encoder::FusedEncoder;
use self::slices::{GradBuffer, GradSlices, ParamSlices, draw_mask};
use crate::decode::argmax;
use crate::{AttentionKernel, Batch, BatchLoss, Forcing, ModelConfig, Noise, Source};

/// The kernels of a model with their workspace, which is reused from step to step. A clone shares the
/// packed weights.
#[derive(Clone)]
struct Fused<C: Cell> {
    team: Team<f32>,
    encoder: FusedEncoder<C>,
    bridge: FusedBridge,
    attention: FusedAttention,
    decoder: Decoder<f32, C>,
    decoding: Decoding<f32, C>,
    values: Vec<f32>,   // [B, S, 2H]
    d_values: Vec<f32>, // [B, S, 2H]
    masks: Masks,
    gradients: GradBuffer,
    config: ModelConfig,
}

impl<C: Cell> fmt::Debug for Fused<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fused")
            .field("threads", &self.team.threads())
            .finish_non_exhaustive()
    }
}

impl<C: Cell> Fused<C> {
    fn new(config: &ModelConfig, kernel: AttentionKernel) -> Self {
        let (attention, scorer) = FusedAttention::new(config, kernel);
        Self {
            team: Team::new(NonZeroUsize::MIN),
            encoder: FusedEncoder::new(config),
            bridge: FusedBridge::new(config),
            attention,
            decoder: Decoder::new(scorer),
            decoding: Decoding::new(),
            values: Vec::new(),
            d_values: Vec::new(),
            masks: Masks::default(),
            gradients: GradBuffer::default(),
            config: config.clone(),
        }
    }

    /// The same kernels, without packed weights and buffers.
    fn without_buffers(&self) -> Self {
        Self {
            team: self.team.clone(),
            encoder: FusedEncoder::new(&self.config),
            bridge: FusedBridge::new(&self.config),
            attention: self.attention.without_buffers(),
            decoder: Decoder::new(self.decoder.scorer.clone()),
            decoding: Decoding::new(),
            values: Vec::new(),
            d_values: Vec::new(),
            masks: Masks::default(),
            gradients: GradBuffer::default(),
            config: self.config.clone(),
        }
    }

    fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.team.threads()).unwrap_or(NonZeroUsize::MIN)
    }

    fn encoder_width(&self) -> usize {
        2 * self.config.hidden.get()
    }

    /// Packs every weight, for decoding.
    fn pack(&mut self, params: &ParamSlices<'_>) -> Result<()> {
        self.prepare(params, 0, 0, None)
    }

    /// Packs every weight and draws the dropout masks of a batch with so many source and target
    /// positions.
    fn prepare(
        &mut self,
        params: &ParamSlices<'_>,
        n_sources: usize,
        n_targets: usize,
        noise: Option<&Noise>,
    ) -> Result<()> {
        let (encoder, bridge, attention) =
            (&mut self.encoder, &mut self.bridge, &mut self.attention);
        let (decoder, masks, config) = (&mut self.decoder, &mut self.masks, &self.config);
        let scorer_params = attention.scorer_params(params)?;
        // The decoder has about as many weights as everything else together.
        let (rest, decoder) = self.team.join(
            || {
                encoder.draw(n_sources, noise);
                masks.draw(noise, config, n_targets);
                encoder.pack(params)?;
                bridge.pack(params)?;
                attention.pack(params)
            },
            || {
                decoder.scorer.pack(&scorer_params);
                decoder.pack(&params.decoder(config)?);
                Ok(())
            },
        );
        rest.and(decoder)
    }

    /// Runs the model on a batch; dropout is on if there is noise. Returns which target positions are
    /// forced, `[B, T]`.
    fn forward(
        &mut self,
        params: &ParamSlices<'_>,
        batch: &Batch,
        forcing: &Forcing,
        noise: Option<&Noise>,
    ) -> Result<Vec<bool>> {
        let forced = forcing.to_coins(batch.n_rows(), batch.target_len())?;
        let (n_sources, n_targets) = (batch.source().ids().len(), batch.target_in().len());
        self.prepare(params, n_sources, n_targets, noise)?;
        self.encode(params, batch.source(), Save::Gates)?;
        let (team, masks) = (&mut self.team, &self.masks);
        let between = masks.between();
        let initial = bridge::slices(&self.bridge.states);
        let keys = self.attention.keys(&self.values);
        let inputs = DecoderInputs {
            memory: memory(batch.source(), &self.values, keys),
            initial: &initial,
            targets: targets(batch, &forced),
            dropout: masks.dropout(&between),
        };
        self.decoder.forward(inputs, team);
        Ok(forced)
    }

    /// The encoder, the decoder's initial states and the keys.
    fn encode(&mut self, params: &ParamSlices<'_>, source: &Source, save: Save) -> Result<()> {
        let encoder_width = self.encoder_width();
        let team = &mut self.team;
        self.encoder.forward(params, source, save, team)?;
        self.bridge.forward(params, self.encoder.last(), team)?;
        let (len, rows) = (source.max_len(), source.n_rows());
        if rows == 1 && save == Save::Nothing {
            // Both orders of a single row are the same, and a copy of a long one is large.
            std::mem::swap(&mut self.values, self.encoder.values_mut());
        } else {
            self.values.resize(source.ids().len() * encoder_width, 0.0);
            swap_axes(&mut self.values, self.encoder.values(), len, rows, team);
        }
        self.attention.forward(&self.values, team);
        Ok(())
    }

    fn backward(
        &mut self,
        params: &ParamSlices<'_>,
        batch: &Batch,
        forced: &[bool],
        grads: &mut GradSlices<'_>,
    ) -> Result<()> {
        let (encoder_width, source) = (self.encoder_width(), batch.source());
        let (team, masks) = (&mut self.team, &self.masks);

        self.d_values
            .resize(source.ids().len() * encoder_width, 0.0);
        let initial = bridge::slices(&self.bridge.states);
        let mut scorer = self.attention.take_gradients(grads)?;
        let (keys, d_keys) = self.attention.keys_and_gradient(&self.values);
        let d_memory = MemoryGrads {
            values: &mut self.d_values,
            keys: d_keys,
            initial: self
                .bridge
                .d_states
                .iter_mut()
                .map(|state| state.each_mut().map(Vec::as_mut_slice))
                .collect(),
        };
        let between = masks.between();
        let inputs = DecoderInputs {
            memory: memory(source, &self.values, keys),
            initial: &initial,
            targets: targets(batch, forced),
            dropout: masks.dropout(&between),
        };
        let d_params = grads.decoder(&self.config)?;
        self.decoder
            .backward(inputs, d_memory, d_params, &mut scorer, team);
        self.attention
            .backward(&self.values, &mut self.d_values, grads, team)?;
        swap_axes(
            self.encoder.d_values_mut(),
            &self.d_values,
            source.n_rows(),
            source.max_len(),
            team,
        );

        self.bridge.backward(self.encoder.last(), grads, team)?;
        self.encoder.backward(
            params,
            source,
            &bridge::slices(&self.bridge.d_last),
            grads,
            team,
        )
    }
}

/// The logits `[T, B, V]` as a tensor `[B, T, V]`.
fn logits_tensor(time_major: &[f32], batch: &Batch, team: &mut Team<f32>) -> Result<Tensor> {
    let (rows, steps) = (batch.n_rows(), batch.target_len());
    let vocab = time_major.len() / (rows * steps);
    let mut logits = vec![0.0; time_major.len()];
    swap_axes(&mut logits, time_major, steps, rows, team);
    Tensor::from_vec(logits, (rows, steps, vocab), &Device::Cpu)
}

/// The loss. The logits `[T, B, V]` become their gradients of the mean loss.
fn batch_loss(logits: &mut [f32], batch: &Batch, team: &mut Team<f32>) -> BatchLoss {
    let (rows, steps) = (batch.n_rows(), batch.target_len());
    let vocab = logits.len() / (rows * steps);
    let mut predictions = vec![0; rows * steps];
    for (index, logits) in logits.chunks_exact(vocab).enumerate() {
        let (step, row) = (index / rows, index % rows);
        predictions[row * steps + step] = argmax(logits);
    }
    let loss_sum = token_loss(
        logits,
        batch.target_out(),
        batch.target_lengths(),
        1.0 / batch.n_tokens() as f32,
        batch.label_smoothing().get() as f32,
        team,
    );
    BatchLoss {
        loss_sum,
        predictions,
    }
}

/// What the decoder attends to.
fn memory<'a>(source: &'a Source, values: &'a [f32], keys: &'a [f32]) -> Memory<'a, f32> {
    Memory {
        values,
        keys,
        lengths: source.lengths(),
        len: source.max_len(),
    }
}

fn targets<'a>(batch: &'a Batch, forced: &'a [bool]) -> Targets<'a> {
    Targets {
        tokens: batch.target_in(),
        forced,
    }
}

/// The decoder's dropout masks, batch first, empty where nothing is dropped; the same draws as on the
/// reference path.
#[derive(Clone, Default)]
struct Masks {
    embedding: Vec<f32>,    // [B, T, E]
    between: Vec<Vec<f32>>, // [B, T, D] each, one between two layers
}

impl Masks {
    fn draw(&mut self, noise: Option<&Noise>, config: &ModelConfig, n_targets: usize) {
        let (embedding, decoder) = (config.embedding.get(), config.decoder.width().get());
        let (place, n) = ("decoder.embedding", n_targets * embedding);
        let drop = config.embedding_dropout;
        draw_mask(&mut self.embedding, noise, place, n, drop);
        self.between.resize_with(config.layers.get() - 1, Vec::new);
        for (below, mask) in self.between.iter_mut().enumerate() {
            let (place, n) = (format!("decoder.rnn.{}", below + 1), n_targets * decoder);
            draw_mask(mask, noise, &place, n, config.dropout);
        }
    }

    fn between(&self) -> Vec<&[f32]> {
        self.between.iter().map(Vec::as_slice).collect()
    }

    /// `between` is [`Masks::between`].
    fn dropout<'m>(&'m self, between: &'m [&'m [f32]]) -> DecoderDropout<'m, f32> {
        let is_dropping = |mask: &[f32]| !mask.is_empty();
        DecoderDropout {
            embedding: Some(&*self.embedding).filter(|mask| is_dropping(mask)),
            between: Some(between).filter(|masks| masks.iter().any(|mask| is_dropping(mask))),
        }
    }
}
