//! The whole model: encoder, bridge, decoder.

use std::num::NonZeroUsize;

use candle_core::{D, DType, Device, Result, Tensor, bail};
use s2s_kernels::Kernels;

use crate::fused::{FusedModel, fused};
use crate::{
    Batch, Bridge, Decoder, DecoderState, Encoder, Forcing, Memory, Mode, ModelConfig, Noise,
    Params, Score, Source, Tokens,
};

/// The most tokens of a source, and of a target with its end, on the reference path.
///
/// Its graph has nodes for every step, which autograd's backward pass and the dropping of the graph
/// go through by recursion: whoever trains, or encodes, near this many needs a stack of
/// [`REFERENCE_STACK_BYTES`]. Time and memory grow with the square of the length. The fused kernels
/// have no such bound.
pub const MAX_REFERENCE_LEN: usize = 4096;

/// Stack that a thread needs for sequences of [`MAX_REFERENCE_LEN`] on the reference path; shorter ones
/// need as much less as they are shorter.
pub const REFERENCE_STACK_BYTES: usize = 256 << 20;

/// A sequence-to-sequence model with its parameters.
///
/// Sutskever, Vinyals, Le (2014), arXiv:1409.3215, with the attention of Bahdanau, Cho, Bengio
/// (2015), arXiv:1409.0473.
#[derive(Debug)]
pub struct Seq2Seq {
    params: Params,
    encoder: Encoder,
    bridge: Bridge,
    decoder: Decoder,
    tokens: Tokens,
    kernels: Kernels,
    embedding: usize,
    has_attention: bool,
    threads: NonZeroUsize,
    fused: Option<Box<dyn FusedModel>>,
}

/// What a model says to a batch whose targets it knows.
#[derive(Clone, Debug)]
pub struct Output {
    /// `[B, T, V]`.
    pub logits: Tensor,
    /// The likeliest token at each position, `[B, T]` (u32).
    pub predictions: Tensor,
}

impl Seq2Seq {
    /// A model whose parameters are drawn from `seed`.
    ///
    /// # Errors
    /// If the configuration has [problems](ModelConfig::problems), or the device fails.
    pub fn new(
        config: &ModelConfig,
        tokens: Tokens,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if let Some(problem) = config.problems().first() {
            bail!("{}", problem.message);
        }
        let mut params = Params::new(seed, dtype, device);
        let mut root = params.root();
        Ok(Self {
            encoder: Encoder::new(&mut root.pp("encoder"), config, tokens.size)?,
            bridge: Bridge::new(&mut root.pp("bridge"), config)?,
            decoder: Decoder::new(&mut root, config, tokens.size)?,
            tokens,
            kernels: config.kernels,
            embedding: config.embedding.get(),
            has_attention: config.attention.has_weights(),
            threads: NonZeroUsize::MIN,
            fused: match config.kernels {
                Kernels::Fused => fused(config, &params),
                Kernels::Reference => None,
            },
            params,
        })
    }

    /// The parameters, named and ordered.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The tokens that the model knows.
    pub fn tokens(&self) -> Tokens {
        self.tokens
    }

    /// Which operators it runs.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Sets how many threads the fused kernels may use; 0 uses all cores. No result depends on it.
    pub fn set_threads(&mut self, threads: usize) {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = NonZeroUsize::new(threads).unwrap_or_else(all);
        self.threads = threads;
        if let Some(fused) = &mut self.fused {
            fused.set_threads(threads);
        }
    }

    /// Threads that the fused kernels may use.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
    }

    /// Whether it is trained and evaluated by fused kernels: they are asked for, and there are some.
    pub fn is_fused(&self) -> bool {
        self.fused.is_some()
    }

    /// Name of the operators that this model is trained and evaluated by: `fused`, or `reference`
    /// where there are no kernels for it.
    pub fn kernels_name(&self) -> &'static str {
        match self.is_fused() {
            true => "fused",
            false => "reference",
        }
    }

    /// Whether there are attention weights to look at.
    pub fn has_attention(&self) -> bool {
        self.has_attention
    }

    /// The decoder, to be driven step by step.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Reads the sources: the decoder's state before its first step, and what attention sees.
    ///
    /// # Errors
    /// If the device fails.
    pub fn encode(&self, source: &Source, mode: Mode<'_>) -> Result<(DecoderState, Memory)> {
        check_len("sources", source.rows.max_len())?;
        let encoded = self.encoder.forward(source, mode)?;
        let state = DecoderState::new(self.bridge.forward(&encoded)?);
        Ok((state, self.decoder.prepare(&encoded, source)?))
    }

    /// Logits for every position of the targets, fed as `forcing` says.
    ///
    /// Logits at step t depend on the source and on the tokens fed up to t: true ones where forced,
    /// the model's own otherwise.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn forward(&self, batch: &Batch, forcing: &Forcing, mode: Mode<'_>) -> Result<Output> {
        let (rows, steps) = batch.target_in.dims2()?;
        check_len("targets", steps)?;
        forcing.check(rows, steps)?;
        let (mut state, memory) = self.encode(&batch.source, mode)?;
        let dropout = self.decoder.dropout(mode, &state, steps, self.embedding)?;

        let mut all_logits = Vec::with_capacity(steps);
        let mut predictions = Vec::with_capacity(steps);
        for step in 0..steps {
            let truth = batch.target_in.narrow(1, step, 1)?.squeeze(1)?; // [B]
            let fed = match predictions.last() {
                Some(own) => choose(&truth, own, forcing, rows, step)?,
                None => truth,
            };
            let (logits, next) = self
                .decoder
                .step_with(&fed, &state, &memory, &dropout, step)?; // [B, V]
            predictions.push(logits.detach().argmax(D::Minus1)?); // [B]
            all_logits.push(logits);
            state = next;
        }
        Ok(Output {
            logits: Tensor::stack(&all_logits, 1)?,
            predictions: Tensor::stack(&predictions, 1)?,
        })
    }
}

impl Seq2Seq {
    /// Operators of its own for a decoder of this model, packed, if there are kernels for it.
    pub(crate) fn fused_for_decoding(&self) -> Result<Option<Box<dyn FusedModel>>> {
        self.fused
            .as_ref()
            .map(|fused| fused.packed_alike(&self.params))
            .transpose()
    }

    /// Loss and predictions, without dropout.
    ///
    /// # Errors
    /// If the shapes disagree, or no target token is real.
    pub fn score(&mut self, batch: &Batch, forcing: &Forcing) -> Result<Score> {
        match &mut self.fused {
            Some(fused) => fused.score(&self.params, batch, forcing),
            None => {
                let output = self.forward(batch, forcing, Mode::Evaluate)?;
                Ok(Score::of(&output, batch, self.kernels)?.0)
            }
        }
    }

    /// Loss and predictions with dropout, and the gradient of the mean loss of a token for each
    /// parameter, in their order. The fused path writes its next gradients where these stand.
    ///
    /// # Errors
    /// If the shapes disagree, or no target token is real.
    pub fn gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(Score, Vec<Tensor>)> {
        match &mut self.fused {
            Some(fused) => fused.gradients(&self.params, batch, forcing, noise),
            None => {
                let output = self.forward(batch, forcing, Mode::Train(noise))?;
                let (score, mean_loss) = Score::of(&output, batch, self.kernels)?;
                Ok((score, self.params.gradients(&mean_loss)?))
            }
        }
    }
}

fn check_len(what: &str, len: usize) -> Result<()> {
    if len > MAX_REFERENCE_LEN {
        bail!(
            "{what} of {len} tokens are too long for the reference kernels, which keep a graph of \
             every step: they take {MAX_REFERENCE_LEN} at most; kernels = \"fused\" take more"
        );
    }
    Ok(())
}

/// The token fed to each row at `step`: the true one where forced, the model's own otherwise.
fn choose(
    truth: &Tensor,
    own: &Tensor,
    forcing: &Forcing,
    rows: usize,
    step: usize,
) -> Result<Tensor> {
    match forcing {
        Forcing::Always => Ok(truth.clone()),
        Forcing::Never => Ok(own.clone()),
        Forcing::Coins { .. } => {
            let coins: Vec<u8> = (0..rows)
                .map(|row| u8::from(forcing.is_forced(row, step)))
                .collect();
            Tensor::from_vec(coins, rows, truth.device())?.where_cond(truth, own)
        }
    }
}
