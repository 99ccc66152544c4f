//! The fast path on a CUDA device: the same equations as [`fused`](crate::fused), forward and backward, on
//! the kernels of [`s2s_kernels::cuda`].
//!
//! ```text
//! pack      weights side by side where one product reads them; dropout masks are drawn
//! forward   encoder -> bridge, keys -> decoder -> loss
//! backward  decoder -> keys, bridge -> encoder; each gradient is written once
//! ```
//!
//! A step waits for the device once, when it reads the loss. The fast path exists in f32, for additive and
//! location-relative attention.

mod batch;
mod bridge;
mod encoder;
mod greedy;
mod params;

use std::num::NonZeroUsize;

use candle_core::{DType, Device, Result, Tensor};
use s2s_kernels::cuda::{
    Buffer, Cell, Copies, Decoder, DecoderSizes, DecoderViews, Dropout, DropoutKey, Matrix, Memory,
    MemoryGrads, Queue, Sum, View, fill_dropout_mask,
};

use self::batch::DeviceBatch;
use self::bridge::CudaBridge;
use self::encoder::CudaEncoder;
use self::params::{GradBuffer, ParamViews};
use crate::fused::FusedModel;
use crate::{
    AttentionKernel, Batch, BatchLoss, CellKind, Decoded, Forcing, Keys, Mode, ModelConfig, Noise,
    Params, Probability, Source, Stop, Tokens, Watch,
};

/// The model with its workspace, which is reused from step to step. A clone has a workspace of its own.
#[derive(Clone, Debug)]
struct CudaModel {
    queue: Queue,
    encoder: CudaEncoder,
    bridge: CudaBridge,
    attention: AttentionNames,
    decoder: Decoder,
    batch: DeviceBatch,
    keys: Buffer<f32>,     // [S, B, A]
    d_keys: Buffer<f32>,   // [S, B, A]
    d_values: Buffer<f32>, // [S, B, 2H]
    masks: Masks,
    gradients: GradBuffer,
    config: ModelConfig,
}

/// Names of the attention's parameters.
#[derive(Clone, Debug)]
struct AttentionNames {
    key: String,
    energy: String,
    /// Weight and bias of each map from the state to the queries.
    queries: Vec<[String; 2]>,
    units: usize, // A
}

/// The fast path of a model on a CUDA device, if its attention has one.
pub(crate) fn fused(
    config: &ModelConfig,
    kernel: &AttentionKernel,
    params: &Params,
) -> Option<Box<dyn FusedModel>> {
    if params.dtype() != DType::F32 {
        return None;
    }
    let queue = Queue::new(params.device()).ok()?;
    let scores = kernel.scorer.on_cuda()?;
    let Keys::Projected(key) = kernel.keys else {
        return None;
    };
    let name = |name: &str| format!("attention.{name}");
    // Weight and bias of the query, the energy, then weight and bias of each other map.
    let [weight, bias, energy, rest @ ..] = kernel.parameters.as_slice() else {
        return None;
    };
    let others = rest
        .chunks_exact(2)
        .map(|pair| [name(pair[0]), name(pair[1])]);
    let attention = AttentionNames {
        key: name(key),
        energy: name(energy),
        queries: std::iter::once([name(weight), name(bias)])
            .chain(others)
            .collect(),
        units: params.get(&name(energy))?.elem_count(),
    };
    let cell = match config.cell {
        CellKind::Gru => Cell::Gru,
        CellKind::Lstm => Cell::Lstm,
    };
    let decoder = Decoder::new(DecoderSizes {
        cell,
        scores,
        vocab: params.get("decoder.output.bias")?.elem_count(),
        embedding: config.embedding.get(),
        units: config.decoder.get(),
        values: 2 * config.hidden.get(),
        attention: attention.units,
        layers: config.layers.get(),
    });
    Some(Box::new(CudaModel {
        queue,
        encoder: CudaEncoder::new(config, cell),
        bridge: CudaBridge::new(config),
        attention,
        decoder,
        batch: DeviceBatch::default(),
        keys: Buffer::default(),
        d_keys: Buffer::default(),
        d_values: Buffer::default(),
        masks: Masks::default(),
        gradients: GradBuffer::default(),
        config: config.clone(),
    }))
}

impl CudaModel {
    fn both(&self) -> usize {
        2 * self.config.hidden.get()
    }

    /// The decoder's parameters, or their gradients.
    fn decoder_views<'a>(&self, views: &ParamViews<'a>) -> Result<DecoderViews<'a>> {
        let layers = 0..self.config.layers.get();
        let pair = |names: &[String; 2]| Ok([views.get(&names[0])?, views.get(&names[1])?]);
        Ok(DecoderViews {
            embedding: views.get("decoder.embedding.weight")?,
            layers: layers
                .map(|k| views.recurrent("decoder.rnn", &format!("_l{k}")))
                .collect::<Result<_>>()?,
            output_weight: views.get("decoder.output.weight")?,
            output_bias: views.get("decoder.output.bias")?,
            queries: self
                .attention
                .queries
                .iter()
                .map(pair)
                .collect::<Result<_>>()?,
            energy: views.get(&self.attention.energy)?,
        })
    }

    /// Packs the weights.
    fn pack(&mut self, params: &ParamViews<'_>) -> Result<()> {
        self.encoder.resize_weights(&self.queue)?;
        self.decoder.resize_weights(&self.queue)?;
        let views = self.decoder_views(params)?;
        let mut copies = Copies::default();
        self.encoder.pack(params, &mut copies)?;
        self.decoder.pack(&views, &mut copies);
        copies.run(&self.queue)
    }

    /// Encodes the sources of the uploaded batch, for so many steps of the decoder.
    fn encode(
        &mut self,
        params: &ParamViews<'_>,
        steps: usize,
        noise: Option<&Noise>,
    ) -> Result<()> {
        let (queue, both) = (&self.queue, self.both());
        let source = self.batch.source();
        let (rows, len) = (
            source.lengths.len(),
            source.ids.len() / source.lengths.len(),
        );
        self.encoder.forward(queue, params, source, noise)?;
        self.decoder.resize(queue, rows, len, steps)?;
        self.bridge
            .forward(queue, params, &self.encoder, &self.decoder, rows)?;
        self.keys.resize(queue, rows * len * self.attention.units)?;
        let key = Matrix::dense(params.get(&self.attention.key)?, self.attention.units, both);
        queue.multiply(
            Matrix::dense(self.encoder.values(), rows * len, both),
            key.t(),
            Matrix::dense(self.keys.all(), rows * len, self.attention.units),
            Sum::Replace,
        )
    }

    fn memory(&self) -> Memory<'_> {
        Memory {
            values: self.encoder.values(),
            keys: self.keys.all(),
            lengths: self.batch.source().lengths,
        }
    }

    /// Runs the model on a batch; dropout is on if there is noise.
    fn forward(
        &mut self,
        params: &ParamViews<'_>,
        batch: &Batch,
        forcing: &Forcing,
        noise: Option<&Noise>,
    ) -> Result<()> {
        let n_targets = batch.target_in().len();
        self.batch.upload(&self.queue, batch, forcing)?;
        self.masks
            .draw(&self.queue, noise, &self.config, n_targets)?;
        self.pack(params)?;
        self.encode(params, batch.target_len(), noise)?;
        let views = self.decoder_views(params)?;
        let targets = self.batch.targets();
        let dropout = self.masks.dropout();
        self.decoder
            .forward(&self.queue, &views, self.memory(), targets, &dropout)
    }

    /// Submits the loss: logits become the gradients of the mean loss.
    fn submit_loss(&self, batch: &Batch) -> Result<()> {
        let scale = 1.0 / batch.n_tokens() as f32;
        let (targets, lengths) = self.batch.target_out();
        self.decoder.loss(&self.queue, targets, lengths, scale)
    }

    /// Waits for the loss.
    fn read_loss(&self, batch: &Batch) -> Result<BatchLoss> {
        let (rows, steps) = (batch.n_rows(), batch.target_len());
        let (time_major, losses) = self.decoder.results(&self.queue)?;
        let mut predictions = vec![0; time_major.len()];
        for (index, token) in time_major.into_iter().enumerate() {
            predictions[index % rows * steps + index / rows] = token;
        }
        Ok(BatchLoss {
            loss_sum: losses.into_iter().map(f64::from).sum(),
            predictions,
        })
    }

    fn backward(&mut self, params: &ParamViews<'_>, grads: &ParamViews<'_>) -> Result<()> {
        let (both, units) = (self.both(), self.attention.units);
        self.d_values
            .resize(&self.queue, self.encoder.values().len())?;
        self.d_keys.resize(&self.queue, self.keys.all().len())?;
        let queue = &self.queue;
        let (views, d_views) = (self.decoder_views(params)?, self.decoder_views(grads)?);
        let d_memory = MemoryGrads {
            values: self.d_values.all(),
            keys: self.d_keys.all(),
        };
        let (memory, dropout) = (self.memory(), self.masks.dropout());
        let targets = self.batch.targets();
        self.decoder
            .backward(queue, &views, memory, targets, &dropout, d_memory, &d_views)?;

        // forward: keys = values W
        let positions = memory.values.len() / both;
        let d_keys = Matrix::dense(d_memory.keys, positions, units);
        queue.multiply(
            d_keys.t(),
            Matrix::dense(memory.values, positions, both),
            Matrix::dense(grads.get(&self.attention.key)?, units, both),
            Sum::Replace,
        )?;
        queue.multiply(
            d_keys,
            Matrix::dense(params.get(&self.attention.key)?, units, both),
            Matrix::dense(d_memory.values, positions, both),
            Sum::Add,
        )?;
        let rows = memory.lengths.len();
        self.bridge
            .backward(queue, params, grads, &self.encoder, &self.decoder, rows)?;
        let source = self.batch.source();
        self.encoder
            .backward(queue, params, grads, source, d_memory.values)
    }

    /// The decoder's logits `[B, T, V]`.
    fn logits_tensor(&self, batch: &Batch) -> Result<Tensor> {
        let (rows, steps) = (batch.n_rows(), batch.target_len());
        let logits = self.decoder.logits().download(&self.queue)?;
        let shape = (steps, rows, logits.len() / (rows * steps));
        let time_major = Tensor::from_vec(logits, shape, &Device::Cpu)?;
        time_major
            .transpose(0, 1)?
            .contiguous()?
            .to_device(&self.queue.device())
    }
}

impl FusedModel for CudaModel {
    fn set_threads(&mut self, _threads: NonZeroUsize) {}

    fn packed_alike(&self, params: &Params) -> Result<Box<dyn FusedModel>> {
        let mut alike = self.clone();
        alike.pack(&ParamViews::of(params)?)?;
        Ok(Box::new(alike))
    }

    fn logits(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let noise = match mode {
            Mode::Train(noise) => Some(noise),
            Mode::Evaluate => None,
        };
        self.forward(&ParamViews::of(params)?, batch, forcing, noise)?;
        self.logits_tensor(batch)
    }

    fn loss(&mut self, params: &Params, batch: &Batch, forcing: &Forcing) -> Result<BatchLoss> {
        self.forward(&ParamViews::of(params)?, batch, forcing, None)?;
        self.submit_loss(batch)?;
        self.read_loss(batch)
    }

    fn gradients(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(BatchLoss, Vec<Tensor>)> {
        let views = ParamViews::of(params)?;
        self.forward(&views, batch, forcing, Some(noise))?;
        self.submit_loss(batch)?;
        let gradients = self.gradients.tensors(params)?;
        self.backward(&views, &ParamViews::of_gradients(params, &gradients)?)?;
        Ok((self.read_loss(batch)?, gradients))
    }

    fn greedy(
        &mut self,
        params: &Params,
        tokens: Tokens,
        source: &Source,
        stop: Stop,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>> {
        self.decode(params, tokens, source, stop, watch)
    }
}

/// The decoder's dropout masks, with the same draws as on the CPU.
#[derive(Clone, Debug, Default)]
struct Masks {
    embedding: Mask,    // [B, T, E]
    between: Vec<Mask>, // [B, T, D] each, one between two layers
}

impl Masks {
    fn draw(
        &mut self,
        queue: &Queue,
        noise: Option<&Noise>,
        config: &ModelConfig,
        n_targets: usize,
    ) -> Result<()> {
        let (embedding, units) = (config.embedding.get(), config.decoder.get());
        let (place, n) = ("decoder.embedding", n_targets * embedding);
        self.embedding
            .draw(queue, noise, place, n, config.embedding_dropout)?;
        self.between
            .resize_with(config.layers.get() - 1, Mask::default);
        for (below, mask) in self.between.iter_mut().enumerate() {
            let place = format!("decoder.rnn.{}", below + 1);
            mask.draw(queue, noise, &place, n_targets * units, config.dropout)?;
        }
        Ok(())
    }

    fn dropout(&self) -> Dropout<'_> {
        Dropout {
            embedding: self.embedding.view(),
            between: self.between.iter().map(Mask::view).collect(),
        }
    }
}

/// A dropout mask, or none.
#[derive(Clone, Debug, Default)]
struct Mask {
    factors: Buffer<f32>,
    is_dropping: bool,
}

impl Mask {
    /// Draws `n` factors, if anything is dropped.
    fn draw(
        &mut self,
        queue: &Queue,
        noise: Option<&Noise>,
        place: &str,
        n: usize,
        drop: Probability,
    ) -> Result<()> {
        let noise = noise.filter(|_| drop > Probability::ZERO);
        self.is_dropping = noise.is_some();
        let Some(noise) = noise else {
            return Ok(());
        };
        let draw = noise.dropout_draw(place, drop);
        self.factors.resize(queue, n)?;
        let key = DropoutKey::new(draw.key);
        fill_dropout_mask(queue, self.factors.all(), key, draw.threshold, draw.keep)
    }

    fn view(&self) -> Option<View<'_, f32>> {
        self.is_dropping.then(|| self.factors.all())
    }
}
