//! The model on the CPU kernels, without autograd: the same equations, forward and backward, on
//! slices.
//!
//! ```text
//! prepare   every weight packed once, every mask drawn
//! forward   encoder -> bridge, keys -> decoder -> loss
//! backward  decoder -> keys, bridge -> encoder, each gradient written once
//! ```
//!
//! The reference is [`Seq2Seq::forward`](crate::Seq2Seq::forward) under autograd; a test holds the
//! two together. It exists where the kernels do: in f32 on the CPU.

mod attention;
mod bridge;
mod encoder;
mod greedy;
mod model;
mod slices;

pub(crate) use model::{FusedModel, fused};

use std::fmt;
use std::num::NonZeroUsize;

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};
use s2s_kernels::State;
use s2s_kernels::slices::{
    Cell, Decoder, DecoderDropout, DecoderInputs, Decoding, Memory, MemoryGrads, Targets, Team,
    swap_axes, token_loss,
};

use self::attention::FusedAttention;
use self::bridge::FusedBridge;
use self::encoder::{FusedEncoder, Words};
use self::slices::{GradBuffer, GradSlices, ParamSlices, draw_mask};
use crate::{Batch, Forcing, ModelConfig, Noise, Probability, Score};

/// The operators of a model with their memory, which is reused from step to step. A clone shares
/// the packed weights.
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
    sizes: Sizes,
    config: ModelConfig,
}

#[derive(Clone, Copy)]
struct Sizes {
    layers: usize,
    embedding: usize,
    both: usize, // 2H
    decoder: usize,
    dropout: Probability,
    embedding_dropout: Probability,
}

impl<C: Cell> fmt::Debug for Fused<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fused")
            .field("threads", &self.team.threads())
            .finish_non_exhaustive()
    }
}

impl<C: Cell> Fused<C> {
    fn new(config: &ModelConfig) -> Self {
        let (attention, scorer) = FusedAttention::new(config);
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
            sizes: Sizes {
                layers: config.layers.get(),
                embedding: config.embedding.get(),
                both: 2 * config.hidden.get(),
                decoder: config.decoder.get(),
                dropout: config.dropout,
                embedding_dropout: config.embedding_dropout,
            },
        }
    }

    fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.team.threads()).unwrap_or(NonZeroUsize::MIN)
    }

    /// Packs every weight, and draws what is dropped from `n` words read and as many said, of which
    /// there may be none: all that a pass needs and no batch decides.
    fn prepare(
        &mut self,
        params: &ParamSlices<'_>,
        (n_sources, n_targets): (usize, usize),
        noise: Option<&Noise>,
    ) -> Result<()> {
        let (encoder, bridge, attention) =
            (&mut self.encoder, &mut self.bridge, &mut self.attention);
        let (decoder, masks, sizes) = (&mut self.decoder, &mut self.masks, self.sizes);
        let scorer_params = attention.scorer_params(params)?;
        // The decoder's weights alone are about as many as all others.
        let (all_else, decoder) = self.team.both(
            || {
                encoder.draw(n_sources, noise);
                masks.draw(noise, sizes, n_targets);
                encoder.pack(params)?;
                bridge.pack(params)?;
                attention.pack(params)
            },
            || {
                decoder.scorer.pack(&scorer_params);
                decoder.pack(&params.decoder(sizes.layers)?);
                Ok(())
            },
        );
        all_else.and(decoder)
    }

    fn forward(&mut self, params: &ParamSlices<'_>, host: &HostBatch<'_>) -> Result<()> {
        self.encode(params, host.words())?;
        let (team, masks) = (&mut self.team, &self.masks);
        let between = masks.between();
        let initial = bridge::slices(&self.bridge.states);
        let memory = host.memory(&self.values, self.attention.keys(&self.values));
        self.decoder.forward(
            host.decoder_inputs(memory, &initial, masks.dropout(&between)),
            team,
        );
        Ok(())
    }

    /// The encoder, the decoder's first states and the keys.
    fn encode(&mut self, params: &ParamSlices<'_>, words: Words<'_>) -> Result<()> {
        let team = &mut self.team;
        self.encoder.forward(params, words, team)?;
        self.bridge.forward(params, self.encoder.last(), team)?;
        self.values.resize(words.ids.len() * self.sizes.both, 0.0);
        let position_first = self.encoder.values();
        swap_axes(
            &mut self.values,
            position_first,
            (words.len, words.lengths.len()),
            team,
        );
        self.attention.forward(&self.values, team);
        Ok(())
    }

    /// The loss; the decoder's logits become their gradients of the mean loss.
    fn loss(&mut self, host: &HostBatch<'_>) -> Score {
        let (rows, steps) = (host.target_lengths.len(), host.target_len());
        let logits = self.decoder.logits();
        let vocab = logits.len() / host.targets.len().max(1);
        let mut predictions = vec![0; rows * steps];
        for (index, logits) in logits.chunks_exact(vocab.max(1)).enumerate() {
            let (step, row) = (index / rows, index % rows);
            predictions[row * steps + step] = argmax(logits);
        }
        let n_tokens: usize = host.target_lengths.iter().sum();
        let scale = 1.0 / n_tokens as f32;
        let logits = self.decoder.logits_mut();
        let sums = token_loss(
            logits,
            &host.targets,
            host.target_lengths,
            scale,
            &mut self.team,
        );
        Score {
            loss_sum: sums.loss,
            predictions,
        }
    }

    fn backward(
        &mut self,
        params: &ParamSlices<'_>,
        host: &HostBatch<'_>,
        grads: &mut GradSlices<'_>,
    ) -> Result<()> {
        let Sizes { layers, both, .. } = self.sizes;
        let (rows, positions) = (host.source_lengths.len(), host.sources.len());
        let (team, masks) = (&mut self.team, &self.masks);

        self.d_values.resize(positions * both, 0.0);
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
        let memory = host.memory(&self.values, keys);
        let inputs = host.decoder_inputs(memory, &initial, masks.dropout(&between));
        self.decoder
            .backward(inputs, d_memory, grads.decoder(layers)?, &mut scorer, team);
        self.attention
            .backward(&self.values, &mut self.d_values, grads, team)?;
        swap_axes(
            self.encoder.d_values_mut(),
            &self.d_values,
            (rows, host.source_len()),
            team,
        );

        self.bridge.backward(self.encoder.last(), grads, team)?;
        self.encoder.backward(
            params,
            host.words(),
            &bridge::slices(&self.bridge.d_last),
            grads,
            team,
        )
    }
}

/// A batch as lists on the host, batch first.
struct HostBatch<'a> {
    sources: Vec<u32>, // [B, S]
    source_lengths: &'a [usize],
    targets_in: Vec<u32>, // [B, T]
    targets: Vec<u32>,    // [B, T]
    target_lengths: &'a [usize],
    forced: Vec<bool>, // [B, T]
}

impl<'a> HostBatch<'a> {
    fn of(batch: &'a Batch, forcing: &Forcing) -> Result<Self> {
        let target_lengths = batch.target_rows.lengths();
        let (rows, steps) = batch.target_in.dims2()?;
        forcing.check(rows, steps)?;
        if target_lengths.iter().all(|len| *len == 0) {
            bail!("the loss of a batch without a single real token is undefined");
        }
        let forced = (0..rows)
            .flat_map(|row| (0..steps).map(move |step| (row, step)))
            .map(|(row, step)| forcing.is_forced(row, step))
            .collect();
        Ok(Self {
            sources: words(&batch.source.tokens)?,
            source_lengths: batch.source.rows.lengths(),
            targets_in: words(&batch.target_in)?,
            targets: words(&batch.target_out)?,
            target_lengths,
            forced,
        })
    }

    fn words(&self) -> Words<'_> {
        Words {
            ids: &self.sources,
            lengths: self.source_lengths,
            len: self.source_len(),
        }
    }

    fn decoder_inputs<'m>(
        &'m self,
        memory: Memory<'m, f32>,
        initial: &'m [State<&'m [f32]>],
        dropout: DecoderDropout<'m, f32>,
    ) -> DecoderInputs<'m, f32> {
        DecoderInputs {
            memory,
            initial,
            targets: Targets {
                words: &self.targets_in,
                forced: &self.forced,
            },
            dropout,
        }
    }

    fn memory<'m>(&'m self, values: &'m [f32], keys: &'m [f32]) -> Memory<'m, f32> {
        Memory {
            values,
            keys,
            lengths: self.source_lengths,
            len: self.source_len(),
        }
    }

    /// Words that are read, and said, padding included.
    fn n_words(&self) -> (usize, usize) {
        (self.sources.len(), self.targets.len())
    }

    fn source_len(&self) -> usize {
        self.sources.len() / self.source_lengths.len()
    }

    fn target_len(&self) -> usize {
        self.targets.len() / self.target_lengths.len()
    }
}

/// The decoder's dropout masks, batch first, empty where nothing is dropped; the same draws as the
/// reference's.
#[derive(Clone, Default)]
struct Masks {
    embedding: Vec<f32>,    // [B, T, E]
    between: Vec<Vec<f32>>, // [B, T, D] each, one between two layers
}

impl Masks {
    fn draw(&mut self, noise: Option<&Noise>, sizes: Sizes, n_targets: usize) {
        let Sizes {
            dropout,
            embedding_dropout,
            layers,
            embedding,
            decoder,
            ..
        } = sizes;
        let (place, n) = ("decoder.embedding", n_targets * embedding);
        draw_mask(&mut self.embedding, noise, place, n, embedding_dropout);
        self.between.resize_with(layers - 1, Vec::new);
        for (below, mask) in self.between.iter_mut().enumerate() {
            let (place, n) = (format!("decoder.rnn.{}", below + 1), n_targets * decoder);
            draw_mask(mask, noise, &place, n, dropout);
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

/// The first index of the greatest number.
fn argmax(numbers: &[f32]) -> u32 {
    let mut best = 0;
    for (index, number) in numbers.iter().enumerate() {
        if *number > numbers[best] {
            best = index;
        }
    }
    best as u32
}

fn words(tensor: &Tensor) -> Result<Vec<u32>> {
    match &*tensor.storage_and_layout().0 {
        Storage::Cpu(CpuStorage::U32(_)) => tensor.flatten_all()?.to_vec1(),
        _ => bail!("tokens must be u32 on the CPU"),
    }
}
