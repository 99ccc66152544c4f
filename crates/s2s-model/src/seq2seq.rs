//! The whole model: encoder and decoder.

use std::num::NonZeroUsize;

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::decode::{ReferenceRows, Rows};
use crate::fused::{FusedDecoder, FusedModel, fused};
use crate::{
    Attention, Batch, BatchLoss, Bridge, Decoder, DecoderConfig, DecoderState, Encoder, Forcing,
    Kernels, Memory, Mode, ModelConfig, Noise, Params, PendingLoss, RecurrentDecoder, Scope,
    Source, Tokens, Transducer, TransducerConfig,
};

/// Maximum number of tokens of a source, and of a target with its EOS, on the reference path.
///
/// Its graph has nodes for every step, and autograd's backward pass and the drop of the graph recurse
/// over them: a thread that trains or encodes sequences of this length needs a stack of
/// [`REFERENCE_STACK_BYTES`]. Time and memory grow with the square of the length. The fast path has no
/// such bound.
pub const MAX_REFERENCE_LEN: usize = 4096;

/// Stack that a thread needs for sequences of [`MAX_REFERENCE_LEN`] on the reference path, in bytes.
/// The need is proportional to the length.
pub const REFERENCE_STACK_BYTES: usize = 256 << 20;

/// A sequence-to-sequence model with its parameters.
///
/// Sutskever, Vinyals, Le (2014), arXiv:1409.3215, with the attention of Bahdanau, Cho, Bengio
/// (2015), arXiv:1409.0473.
///
/// [`forward`](Self::forward) is the definition, in plain tensor operations.
/// [`logits`](Self::logits), [`loss`](Self::loss), [`gradients`](Self::gradients) and
/// [`Generator`](crate::Generator) run the same equations on hand-written kernels where those exist: in f32
/// with `kernels = "fused"`, on the CPU with a transducer or an attention that has a kernel, and on CUDA with
/// additive or location-relative attention and without residual connections, layer normalization and input
/// feeding.
///
/// # Parameters
/// [`params`](Self::params) lists them. Names, shapes and the order of gates are those of PyTorch's modules.
/// V tokens, E = `embedding`, H = `hidden`, D = `decoder`; G = 3 gates for GRU and 4 for LSTM; `k` counts
/// layers from 0, and layers above the first read the one below.
///
/// | name | shape | in PyTorch |
/// | --- | --- | --- |
/// | `encoder.embedding.weight` | `[V, E]` | `nn.Embedding` |
/// | `encoder.rnn.{weight_ih,weight_hh}_l{k}[_reverse]` | `[G·H, E]`, `[G·H, H]` | `nn.GRU` or `nn.LSTM`, bidirectional |
/// | `encoder.rnn.{bias_ih,bias_hh}_l{k}[_reverse]` | `[G·H]` | |
/// | `encoder.norm.{k}.{weight,bias}` | `[2H]` | `nn.LayerNorm` of the output of layer k, with `layer_norm` |
/// | `bridge.{k}.{weight,bias}` | `[D, 2H]`, `[D]` | `nn.Linear`, followed by tanh |
/// | `bridge.{k}.cell.{weight,bias}` | `[D, 2H]`, `[D]` | the same for the cell of an LSTM |
/// | `attention.*` | by mechanism | documented with each, for example [`AdditiveAttention`](crate::AdditiveAttention) |
/// | `decoder.embedding.weight` | `[V, E]` | `nn.Embedding` |
/// | `decoder.rnn.{weight_ih,weight_hh}_l{k}` | `[G·D, E + 2H]`, `[G·D, D]` | `nn.GRU` or `nn.LSTM`, which reads `[embedding; context]` |
/// | `decoder.rnn.{bias_ih,bias_hh}_l{k}` | `[G·D]` | |
/// | `decoder.norm.{k}.{weight,bias}` | `[D]` | `nn.LayerNorm` of the output of layer k, with `layer_norm` |
/// | `decoder.output.{weight,bias}` | `[V, D + 2H]`, `[V]` | `nn.Linear` of `[state; context]` |
///
/// With `input_feeding`, `decoder.attentional.{weight,bias}`, `[D, D + 2H]` and `[D]`, map `[state; context]`
/// to the attentional vector, which `decoder.output` `[V, D]` and `decoder.rnn.weight_ih_l0` `[G·D, E + D]`
/// read instead.
///
/// ```
/// # use candle_core::{DType, Device};
/// # use s2s_model::{ModelConfig, Seq2Seq, Tokens};
/// # fn main() -> candle_core::Result<()> {
/// # let tokens = Tokens { size: 12, bos: 10, eos: 11 };
/// # let model = Seq2Seq::new(&ModelConfig::default(), tokens, 0, DType::F32, &Device::Cpu)?;
/// let names: Vec<&str> = model.params().iter().map(|(name, _)| name).collect();
/// assert_eq!(names, [
///     "encoder.embedding.weight",
///     "encoder.rnn.weight_ih_l0",
///     "encoder.rnn.weight_hh_l0",
///     "encoder.rnn.bias_ih_l0",
///     "encoder.rnn.bias_hh_l0",
///     "encoder.rnn.weight_ih_l0_reverse",
///     "encoder.rnn.weight_hh_l0_reverse",
///     "encoder.rnn.bias_ih_l0_reverse",
///     "encoder.rnn.bias_hh_l0_reverse",
///     "bridge.0.weight",
///     "bridge.0.bias",
///     "attention.query.weight",
///     "attention.query.bias",
///     "attention.key.weight",
///     "attention.energy",
///     "decoder.embedding.weight",
///     "decoder.rnn.weight_ih_l0",
///     "decoder.rnn.weight_hh_l0",
///     "decoder.rnn.bias_ih_l0",
///     "decoder.rnn.bias_hh_l0",
///     "decoder.output.weight",
///     "decoder.output.bias",
/// ]);
/// # Ok(())
/// # }
/// ```
///
/// [`load_weights`](crate::load_weights) sets them from a file, whose names may differ.
#[derive(Debug)]
pub struct Seq2Seq {
    params: Params,
    encoder: Encoder,
    decoder: Decoder,
    tokens: Tokens,
    has_attention: bool,
    threads: NonZeroUsize,
    fused: Option<Box<dyn FusedModel>>,
}

/// The parameters of [`Seq2Seq`] with one row per token of the vocabulary.
pub const TOKEN_PARAMETERS: [&str; 5] = [
    "encoder.embedding.weight",
    "decoder.embedding.weight",
    "decoder.output.weight",
    "decoder.output.bias",
    "decoder.mode_output.weight",
];

/// The output of a model for a batch with known targets.
#[derive(Clone, Debug)]
pub struct ForwardOutput {
    /// `[B, T, V]`.
    pub logits: Tensor,
    /// The most likely token at each position, `[B, T]` (u32).
    pub predictions: Tensor,
    /// What is added to the mean loss in training, as a scalar that autograd can differentiate.
    pub penalty: Option<Tensor>,
}

type BuildAttention<'a> =
    Box<dyn FnOnce(&mut Scope<'_>, usize, usize) -> Result<Box<dyn Attention>> + 'a>;

/// Builds a [`Seq2Seq`]; see [`Seq2Seq::builder`].
pub struct Builder<'a> {
    config: &'a ModelConfig,
    tokens: Tokens,
    seed: u64,
    dtype: DType,
    attention: Option<BuildAttention<'a>>,
}

impl<'a> Builder<'a> {
    /// The seed that the parameters are drawn from; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The type of the parameters; f32 by default.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// An attention mechanism that replaces the configured one.
    ///
    /// `build` gets the scope of its parameters, the width of the values (`2 hidden`) and the width of
    /// the decoder's state.
    pub fn attention<A: Attention + 'static>(
        mut self,
        build: impl FnOnce(&mut Scope<'_>, usize, usize) -> Result<A> + 'a,
    ) -> Self {
        self.attention = Some(Box::new(|scope, values, state| {
            Ok(Box::new(build(scope, values, state)?))
        }));
        self
    }

    /// The model.
    ///
    /// # Errors
    /// If the configuration has [problems](ModelConfig::problems), BOS or EOS lies outside the vocabulary, or
    /// the device fails.
    pub fn build(self, device: &Device) -> Result<Seq2Seq> {
        let config = self.config;
        let problems = match &self.attention {
            Some(_) => config.problems_except_attention(),
            None => config.problems(),
        };
        if let Some(problem) = problems.first() {
            bail!("{}", problem.message);
        }
        self.tokens.check()?;
        let has_attention = self.attention.is_some() || config.attention.has_weights();
        let mut params = Params::new(self.seed, self.dtype, device);
        let mut root = params.root();
        let encoder = Encoder::new(&mut root.pp("encoder"), config, self.tokens.size)?;
        let (decoder, kernels) = match (&config.decoder, self.attention) {
            (DecoderConfig::Recurrent(_), attention) => {
                recurrent(config, self.tokens, attention, &mut root)?
            }
            (DecoderConfig::Transducer(_), Some(_)) => {
                bail!("a transducer has no attention that could be replaced")
            }
            (DecoderConfig::Transducer(transducer), None) => {
                let scope = &mut root.pp("decoder");
                let decoder = Transducer::new(scope, config, transducer, self.tokens.size)?;
                let kernels = (config.kernels == Kernels::Fused)
                    .then(|| FusedDecoder::Transducer(transducer.clone()));
                (Decoder::Transducer(decoder), kernels)
            }
        };
        Ok(Seq2Seq {
            encoder,
            decoder,
            tokens: self.tokens,
            has_attention,
            threads: NonZeroUsize::MIN,
            fused: kernels.and_then(|decoder| fused(config, decoder, &params)),
            params,
        })
    }
}

/// A recurrent decoder with the given attention or else the configured one, and the kernel of the attention
/// if it has one that shall be used.
fn recurrent(
    config: &ModelConfig,
    tokens: Tokens,
    attention: Option<BuildAttention<'_>>,
    root: &mut Scope<'_>,
) -> Result<(Decoder, Option<FusedDecoder>)> {
    let (values, state) = (2 * config.hidden.get(), config.decoder.width().get());
    let bridge = Bridge::new(&mut root.pp("bridge"), config)?;
    let mut scope = root.pp("attention");
    let attention = match attention {
        Some(build) => build(&mut scope, values, state)?,
        None => config.attention.build(&mut scope, values, state)?,
    };
    let kernel = match config.kernels {
        Kernels::Fused => attention.kernel().map(FusedDecoder::Recurrent),
        Kernels::Reference => None,
    };
    let scope = &mut root.pp("decoder");
    let decoder = RecurrentDecoder::new(scope, config, tokens.size, bridge, attention)?;
    Ok((Decoder::Recurrent(decoder), kernel))
}

impl Seq2Seq {
    /// A model whose parameters are drawn from `seed`.
    ///
    /// # Errors
    /// If the configuration has [problems](ModelConfig::problems), BOS or EOS lies outside the vocabulary, or
    /// the device fails.
    pub fn new(
        config: &ModelConfig,
        tokens: Tokens,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        Self::builder(config, tokens)
            .seed(seed)
            .dtype(dtype)
            .build(device)
    }

    /// A builder, for a model with an attention mechanism of your own:
    ///
    /// ```no_run
    /// # use candle_core::{Device, Result};
    /// # use s2s_model::{AdditiveAttention, AdditiveConfig, ModelConfig, Seq2Seq, Tokens};
    /// # fn main() -> Result<()> {
    /// # let tokens = Tokens { size: 12, bos: 10, eos: 11 };
    /// let model = Seq2Seq::builder(&ModelConfig::default(), tokens)
    ///     .attention(|scope, values, state| {
    ///         AdditiveAttention::new(scope, &AdditiveConfig::default(), values, state)
    ///     })
    ///     .build(&Device::Cpu)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(config: &ModelConfig, tokens: Tokens) -> Builder<'_> {
        Builder {
            config,
            tokens,
            seed: 0,
            dtype: DType::F32,
            attention: None,
        }
    }

    /// The parameters, named and ordered.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The special tokens and the size of the vocabulary.
    pub fn tokens(&self) -> Tokens {
        self.tokens
    }

    /// Sets how many threads the fast path may use; 0 uses all cores. No result depends on it.
    pub fn set_threads(&mut self, threads: usize) {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = NonZeroUsize::new(threads).unwrap_or_else(all);
        self.threads = threads;
        if let Some(fused) = &mut self.fused {
            fused.set_threads(threads);
        }
    }

    /// Threads that the fast path may use.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
    }

    /// Whether training, evaluation and decoding take the fast path.
    pub fn is_fused(&self) -> bool {
        self.fused.is_some()
    }

    /// The name of the path that training, evaluation and decoding take: `fused` or `reference`.
    pub fn kernels_name(&self) -> &'static str {
        match self.is_fused() {
            true => "fused",
            false => "reference",
        }
    }

    /// Whether the model computes attention weights. Those of a transducer are the positions of its head.
    pub fn has_attention(&self) -> bool {
        self.has_attention
    }

    /// The decoder, to be driven step by step.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The options of the transducer, if the decoder is one.
    pub fn transducer(&self) -> Option<&TransducerConfig> {
        match &self.decoder {
            Decoder::Recurrent(_) => None,
            Decoder::Transducer(transducer) => Some(transducer.config()),
        }
    }

    /// Encodes the sources: the decoder's state before its first step, and the memory that attention
    /// reads.
    ///
    /// # Errors
    /// If the source was made with other tokens, one is longer than [`MAX_REFERENCE_LEN`], or the device
    /// fails.
    pub fn encode(&self, source: &Source, mode: Mode<'_>) -> Result<(DecoderState, Memory)> {
        source.check(self.tokens)?;
        check_len("sources", source.max_len())?;
        let (device, dtype) = (self.params.device(), self.params.dtype());
        let rows = source.ragged(dtype, device)?;
        let encoded = self
            .encoder
            .forward(&source.to_tensor(device)?, &rows, mode)?;
        self.decoder.start(&encoded, &rows, mode)
    }

    /// Logits for every position of the targets: the definition of the model, in plain tensor
    /// operations.
    ///
    /// Logits at step t depend on the source and on the tokens that the decoder has read up to t: true
    /// ones where `forcing` forces them, predicted ones elsewhere.
    ///
    /// # Errors
    /// If the shapes or tokens disagree, or a sequence is longer than [`MAX_REFERENCE_LEN`].
    pub fn forward(
        &self,
        batch: &Batch,
        forcing: &Forcing,
        mode: Mode<'_>,
    ) -> Result<ForwardOutput> {
        check_len("targets", batch.target_len())?;
        forcing.check(batch.n_rows(), batch.target_len())?;
        let start = self.encode(batch.source(), mode)?;
        self.decoder.forward(batch, forcing, mode, start)
    }

    /// The logits `[B, T, V]` that [`forward`](Self::forward) defines, computed on the fast path where
    /// the model has one. They have no graph there.
    ///
    /// # Errors
    /// If the shapes or tokens disagree.
    pub fn logits(&mut self, batch: &Batch, forcing: &Forcing, mode: Mode<'_>) -> Result<Tensor> {
        batch.source().check(self.tokens)?;
        match &mut self.fused {
            Some(fused) => fused.logits(&self.params, batch, forcing, mode.noise()),
            None => Ok(self.forward(batch, forcing, mode)?.logits),
        }
    }

    /// Loss and predictions, without dropout.
    ///
    /// # Errors
    /// If the shapes or tokens disagree.
    pub fn loss(&mut self, batch: &Batch, forcing: &Forcing) -> Result<BatchLoss> {
        batch.source().check(self.tokens)?;
        match &mut self.fused {
            Some(fused) => fused.loss(&self.params, batch, forcing),
            None => {
                let output = self.forward(batch, forcing, Mode::Evaluate)?;
                Ok(BatchLoss::of(&output, batch)?.0)
            }
        }
    }

    /// Loss and predictions with dropout, and the gradient of the mean loss per token with respect to
    /// each parameter, in their order. The next call on the fast path overwrites these gradients.
    ///
    /// # Errors
    /// If the shapes or tokens disagree.
    pub fn gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(BatchLoss, Vec<Tensor>)> {
        let (loss, gradients) = self.submit_gradients(batch, forcing, noise)?;
        Ok((loss.wait()?, gradients))
    }

    /// As [`gradients`](Self::gradients), but on the fast path on CUDA, it does not wait for the device.
    ///
    /// # Errors
    /// If the shapes or tokens disagree.
    pub fn submit_gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(PendingLoss, Vec<Tensor>)> {
        batch.source().check(self.tokens)?;
        match &mut self.fused {
            Some(fused) => fused.gradients(&self.params, batch, forcing, noise),
            None => {
                let output = self.forward(batch, forcing, Mode::Train(noise))?;
                let (loss, mean) = BatchLoss::of(&output, batch)?;
                Ok((loss.into(), self.params.gradients(&mean)?))
            }
        }
    }

    /// Rows to decode with their own workspace, on the fast path with packed weights.
    pub(crate) fn rows(&self) -> Result<Box<dyn Rows + '_>> {
        match &self.fused {
            Some(fused) => fused.rows(self),
            None => Ok(Box::new(ReferenceRows::new(self))),
        }
    }
}

fn check_len(what: &str, len: usize) -> Result<()> {
    if len > MAX_REFERENCE_LEN {
        bail!(
            "{what} of {len} tokens are too long for the reference path, which keeps a graph of every \
             step: its maximum is {MAX_REFERENCE_LEN} tokens; kernels = \"fused\" has no such limit"
        );
    }
    Ok(())
}
