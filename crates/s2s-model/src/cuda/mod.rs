//! The fast path on a CUDA device: the same equations as [`fused`](crate::fused), forward and backward, on
//! the kernels of [`s2s_kernels::cuda`].
//!
//! ```text
//! pack      weights side by side where one product reads them; dropout masks are drawn
//! forward   encoder -> bridge, keys -> decoder -> loss
//! backward  decoder -> keys, bridge -> encoder; each gradient is written once
//! ```
//!
//! A step does not wait for the device: whoever needs the loss does. The fast path exists in f32, for additive and
//! location-relative attention.

mod batch;
mod bridge;
mod encoder;
mod greedy;
mod masks;
mod params;

use std::num::NonZeroUsize;

use candle_core::{DType, Device, Result, Tensor};
use s2s_kernels::cuda::{
    Buffer, Copies, Decoder, DecoderInputs, DecoderSizes, DecoderViews, Dropout, Matrix, Memory,
    MemoryGrads, Queue, RecurrentCell, Update, read_results,
};

use self::batch::DeviceBatch;
use self::bridge::CudaBridge;
use self::encoder::CudaEncoder;
use self::greedy::CudaRows;
use self::masks::Masks;
use self::params::{GradBuffer, ParamViews};
use crate::decode::Rows;
use crate::fused::FusedModel;
use crate::{
    AttentionKernel, Batch, BatchLoss, CellKind, Forcing, Keys, ModelConfig, Noise, Params,
    PendingLoss, Seq2Seq, Source,
};

/// Loss and predictions of a batch in the device's memory.
#[derive(Debug)]
pub(crate) struct DeviceLoss {
    queue: Queue,
    results: Buffer<u32>, // predictions [T, B], then losses [T, B] as bits
    rows: usize,          // B
}

impl DeviceLoss {
    /// Waits for the device.
    pub(crate) fn wait(&self) -> Result<BatchLoss> {
        let (time_major, losses) = read_results(&self.queue, &self.results)?;
        let (rows, steps) = (self.rows, time_major.len() / self.rows);
        let mut predictions = vec![0; time_major.len()];
        for (index, token) in time_major.into_iter().enumerate() {
            predictions[index % rows * steps + index / rows] = token;
        }
        Ok(BatchLoss {
            loss_sum: losses.into_iter().map(f64::from).sum(),
            predictions,
        })
    }
}

/// The model with its workspace, which is reused from step to step. A clone shares the packed weights and has
/// a workspace of its own.
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
        CellKind::Gru => RecurrentCell::Gru,
        CellKind::Lstm => RecurrentCell::Lstm,
    };
    let decoder = Decoder::new(DecoderSizes {
        cell,
        scores,
        vocab: params.get("decoder.output.bias")?.elem_count(),
        embedding: config.embedding.get(),
        units: config.decoder.width().get(),
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
    fn encoder_width(&self) -> usize {
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

    /// Packs the weights into the room of [`resize_weights`](Self::resize_weights).
    fn pack(&self, params: &ParamViews<'_>) -> Result<()> {
        let views = self.decoder_views(params)?;
        let mut copies = Copies::default();
        self.encoder.pack(params, &mut copies)?;
        self.decoder.pack(&views, &mut copies);
        copies.run(&self.queue)
    }

    fn resize_weights(&mut self) -> Result<()> {
        self.encoder.resize_weights(&self.queue)?;
        self.decoder.resize_weights(&self.queue)
    }

    /// Makes room for sources and so many steps of the decoder, with dropout if there is noise. Returns the keys
    /// of the dropout masks.
    fn resize(&mut self, source: &Source, steps: usize, noise: Option<&Noise>) -> Result<Vec<u32>> {
        let (queue, encoder_width, units) =
            (&self.queue, self.encoder_width(), self.attention.units);
        let (rows, len) = (source.n_rows(), source.max_len());
        let mut keys = Vec::new();
        self.encoder.resize(queue, rows, len, noise, &mut keys)?;
        self.decoder.resize(queue, rows, len, steps)?;
        self.masks
            .resize(queue, &self.config, rows * steps, noise, &mut keys)?;
        self.keys.resize(queue, rows * len * units)?;
        self.d_keys.resize(queue, rows * len * units)?;
        self.d_values.resize(queue, rows * len * encoder_width)?;
        Ok(keys)
    }

    /// Makes room for a batch and uploads it.
    fn prepare(&mut self, batch: &Batch, forcing: &Forcing, noise: Option<&Noise>) -> Result<()> {
        self.resize_weights()?;
        let keys = self.resize(batch.source(), batch.target_len(), noise)?;
        self.batch.upload(&self.queue, batch, forcing, &keys)
    }

    /// Encodes the sources of the uploaded batch.
    fn encode(&self, params: &ParamViews<'_>) -> Result<()> {
        let (queue, encoder_width, units) =
            (&self.queue, self.encoder_width(), self.attention.units);
        let source = self.batch.source();
        let positions = source.ids.len();
        self.encoder
            .forward(queue, params, source, self.batch.keys())?;
        let rows = source.lengths.len();
        self.bridge
            .forward(queue, params, &self.encoder, &self.decoder, rows)?;
        queue.multiply(
            Matrix::dense(self.encoder.values(), positions, encoder_width),
            Matrix::dense(params.get(&self.attention.key)?, units, encoder_width).t(),
            Matrix::dense(self.keys.all(), positions, units),
            Update::Replace,
        )
    }

    fn memory(&self) -> Memory<'_> {
        Memory {
            values: self.encoder.values(),
            keys: self.keys.all(),
            lengths: self.batch.source().lengths,
        }
    }

    /// Runs the model on the uploaded batch.
    fn forward(&self, params: &ParamViews<'_>) -> Result<()> {
        self.pack(params)?;
        self.masks.draw(&self.queue, self.batch.keys())?;
        self.encode(params)?;
        let views = self.decoder_views(params)?;
        let dropout = self.masks.dropout();
        self.decoder
            .forward(&self.queue, &views, self.inputs(&dropout))
    }

    fn inputs<'a>(&'a self, dropout: &'a Dropout<'a>) -> DecoderInputs<'a> {
        DecoderInputs {
            memory: self.memory(),
            targets: self.batch.targets(),
            dropout,
        }
    }

    /// Runs the model; logits become the gradients of the mean loss, with label smoothing.
    fn forward_loss(&self, params: &ParamViews<'_>) -> Result<()> {
        self.forward(params)?;
        let (targets, lengths) = self.batch.target_out();
        self.decoder
            .loss(&self.queue, targets, lengths, self.batch.loss_numbers())
    }

    /// The loss, of which the device has not finished yet.
    fn take_loss(&mut self, batch: &Batch) -> DeviceLoss {
        DeviceLoss {
            queue: self.queue.clone(),
            results: self.decoder.take_results(),
            rows: batch.n_rows(),
        }
    }

    fn backward(&self, params: &ParamViews<'_>, grads: &ParamViews<'_>) -> Result<()> {
        let (encoder_width, units) = (self.encoder_width(), self.attention.units);
        let queue = &self.queue;
        let (views, d_views) = (self.decoder_views(params)?, self.decoder_views(grads)?);
        let d_memory = MemoryGrads {
            values: self.d_values.all(),
            keys: self.d_keys.all(),
        };
        let dropout = self.masks.dropout();
        let inputs = self.inputs(&dropout);
        self.decoder
            .backward(queue, &views, inputs, d_memory, &d_views)?;

        // forward: keys = values W
        let positions = inputs.memory.values.len() / encoder_width;
        let d_keys = Matrix::dense(d_memory.keys, positions, units);
        queue.multiply(
            d_keys.t(),
            Matrix::dense(inputs.memory.values, positions, encoder_width),
            Matrix::dense(grads.get(&self.attention.key)?, units, encoder_width),
            Update::Replace,
        )?;
        queue.multiply(
            d_keys,
            Matrix::dense(params.get(&self.attention.key)?, units, encoder_width),
            Matrix::dense(d_memory.values, positions, encoder_width),
            Update::Add,
        )?;
        let rows = inputs.memory.lengths.len();
        self.bridge
            .backward(queue, params, grads, &self.encoder, &self.decoder, rows)?;
        let source = self.batch.source();
        self.encoder.backward(queue, grads, source, d_memory.values)
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

    fn rows<'a>(&self, model: &'a Seq2Seq) -> Result<Box<dyn Rows + 'a>> {
        let mut alike = self.clone();
        alike.resize_weights()?;
        alike.pack(&ParamViews::of(model.params())?)?;
        Ok(Box::new(CudaRows::new(model, alike)))
    }

    fn logits(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: Option<&Noise>,
    ) -> Result<Tensor> {
        self.prepare(batch, forcing, noise)?;
        self.forward(&ParamViews::of(params)?)?;
        self.logits_tensor(batch)
    }

    fn loss(&mut self, params: &Params, batch: &Batch, forcing: &Forcing) -> Result<BatchLoss> {
        self.prepare(batch, forcing, None)?;
        self.forward_loss(&ParamViews::of(params)?)?;
        self.take_loss(batch).wait()
    }

    fn gradients(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(PendingLoss, Vec<Tensor>)> {
        self.prepare(batch, forcing, Some(noise))?;
        let gradients = self.gradients.tensors(params)?;
        let views = ParamViews::of(params)?;
        let d_views = ParamViews::of_gradients(params, &gradients)?;
        self.forward_loss(&views)?;
        self.backward(&views, &d_views)?;
        Ok((self.take_loss(batch).into(), gradients))
    }
}
