//! A model with a transducer on slices: the equations are [`Transducer`](crate::Transducer)'s.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;

use candle_core::{Result, Tensor};
use s2s_kernels::State;
use s2s_kernels::slices::{
    Cell, EntropyBonus, Save, Team, Transducer, TransducerDecoding, TransducerInputs,
    TransducerParams, TransducerSizes, in_pool, swap_axes,
};

use super::encoder::FusedEncoder;
use super::slices::{GradBuffer, GradSlices, ParamSlices, draw_mask};
use super::{FusedModel, batch_loss, logits_tensor};
use crate::decode::Rows;
use crate::{
    Batch, BatchLoss, Forcing, ModelConfig, Noise, Params, PendingLoss, Seq2Seq, Source,
    TransducerConfig,
};

/// The kernels of a model with their workspace, which is reused from step to step. A clone shares the
/// packed weights.
#[derive(Clone)]
pub(super) struct FusedTransducer<C: Cell> {
    team: Team<f32>,
    encoder: FusedEncoder<C>,
    decoder: Transducer<f32>,
    values: Vec<f32>,   // [B, S, 2H], after dropout
    d_values: Vec<f32>, // [B, S, 2H]
    mask: Vec<f32>,     // [B, S, 2H], empty without dropout
    gradients: GradBuffer,
    config: ModelConfig,
    transducer: TransducerConfig,
}

impl<C: Cell> fmt::Debug for FusedTransducer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FusedTransducer")
            .field("threads", &self.team.threads())
            .finish_non_exhaustive()
    }
}

impl<C: Cell> FusedTransducer<C> {
    pub(super) fn new(config: &ModelConfig, transducer: &TransducerConfig) -> Self {
        Self {
            team: Team::new(NonZeroUsize::MIN),
            encoder: FusedEncoder::new(config),
            decoder: Transducer::new(),
            values: Vec::new(),
            d_values: Vec::new(),
            mask: Vec::new(),
            gradients: GradBuffer::default(),
            config: config.clone(),
            transducer: transducer.clone(),
        }
    }

    fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.team.threads()).unwrap_or(NonZeroUsize::MIN)
    }

    fn encoder_width(&self) -> usize {
        2 * self.config.hidden.get()
    }

    /// Packs every weight; the masks of the encoder must have been drawn.
    fn pack(&mut self, params: &ParamSlices<'_>) -> Result<()> {
        self.encoder.pack(params)?;
        let own = parameters(|name| params.get(name))?;
        let sizes = TransducerSizes {
            modes: self.transducer.modes.get(),
            reach: self.transducer.reach.get(),
            vocab: own.output_bias.len(),
            values: self.encoder_width(),
        };
        self.decoder.pack(sizes, own);
        Ok(())
    }

    /// The encoder's states, batch first.
    fn encode(&mut self, params: &ParamSlices<'_>, source: &Source, save: Save) -> Result<()> {
        let (rows, len, encoder_width) = (source.n_rows(), source.max_len(), self.encoder_width());
        self.encoder.forward(params, source, save, &mut self.team)?;
        self.values.resize(rows * len * encoder_width, 0.0);
        let states = self.encoder.values();
        swap_axes(&mut self.values, states, len, rows, &mut self.team);
        Ok(())
    }

    /// Runs the model on a batch; dropout is on if there is noise. No token is fed back, whatever is forced.
    fn forward(
        &mut self,
        params: &ParamSlices<'_>,
        batch: &Batch,
        forcing: &Forcing,
        noise: Option<&Noise>,
    ) -> Result<()> {
        forcing.check(batch.n_rows(), batch.target_len())?;
        let n_sources = batch.source().ids().len();
        self.encoder.draw(n_sources, noise);
        let (place, n) = ("decoder.values", n_sources * self.encoder_width());
        draw_mask(&mut self.mask, noise, place, n, self.transducer.dropout);
        self.pack(params)?;
        self.encode(params, batch.source(), Save::Gates)?;
        multiply(&mut self.values, &self.mask);
        let inputs = self.transducer.inputs(batch.source(), &self.values, noise);
        self.decoder
            .forward(inputs, batch.target_len(), &mut self.team);
        Ok(())
    }

    fn backward(
        &mut self,
        params: &ParamSlices<'_>,
        batch: &Batch,
        noise: &Noise,
        grads: &mut GradSlices<'_>,
    ) -> Result<()> {
        let (source, encoder_width) = (batch.source(), self.encoder_width());
        self.d_values.resize(self.values.len(), 0.0);
        let bonus = EntropyBonus {
            factor: self.transducer.bonus_at(noise.progress()) / batch.n_tokens() as f64,
            steps: batch.target_lengths(),
        };
        let inputs = self.transducer.inputs(source, &self.values, Some(noise));
        self.decoder.backward(
            inputs,
            bonus,
            &mut self.d_values,
            parameters(|name| grads.take(name))?,
            &mut self.team,
        );
        multiply(&mut self.d_values, &self.mask);
        swap_axes(
            self.encoder.d_values_mut(),
            &self.d_values,
            source.n_rows(),
            source.max_len(),
            &mut self.team,
        );
        // A transducer does not read the last states.
        let zeros = vec![0.0; source.n_rows() * encoder_width];
        let d_last = State {
            hidden: &*zeros,
            cell: &zeros[..C::CELL_STATES * zeros.len()],
        };
        let d_last = vec![d_last; self.config.layers.get()];
        self.encoder
            .backward(params, source, &d_last, grads, &mut self.team)
    }
}

/// The decoder's parameters, each from its name.
fn parameters<P>(mut of: impl FnMut(&str) -> Result<P>) -> Result<TransducerParams<P>> {
    Ok(TransducerParams {
        transition_weight: of("decoder.transition.weight")?,
        transition_bias: of("decoder.transition.bias")?,
        kernel_weight: of("decoder.kernel.weight")?,
        kernel_bias: of("decoder.kernel.bias")?,
        sharpness: of("decoder.sharpness")?,
        output_weight: of("decoder.output.weight")?,
        output_bias: of("decoder.output.bias")?,
        mode_output: of("decoder.mode_output.weight")?,
    })
}

impl TransducerConfig {
    fn inputs<'a>(
        &self,
        source: &'a Source,
        values: &'a [f32],
        noise: Option<&Noise>,
    ) -> TransducerInputs<'a, f32> {
        TransducerInputs {
            values,
            lengths: source.lengths(),
            len: source.max_len(),
            progress: noise.map_or(1.0, |noise| self.sharpness_at(noise.progress())),
        }
    }
}

/// `values *= mask`, if there is a mask.
fn multiply(values: &mut [f32], mask: &[f32]) {
    for (value, factor) in values.iter_mut().zip(mask) {
        *value *= factor;
    }
}

impl<C: Cell> FusedModel for FusedTransducer<C> {
    fn set_threads(&mut self, threads: NonZeroUsize) {
        self.team = Team::new(threads);
    }

    fn rows<'a>(&self, model: &'a Seq2Seq) -> Result<Box<dyn Rows + 'a>> {
        let mut fused = Self::new(&self.config, &self.transducer);
        fused.team = self.team.clone();
        fused.pack(&ParamSlices::of(model.params()))?;
        Ok(Box::new(TransducerRows {
            params: model.params(),
            fused,
            decoding: TransducerDecoding::new(),
        }))
    }

    fn logits(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: Option<&Noise>,
    ) -> Result<Tensor> {
        in_pool(self.threads(), || {
            self.forward(&ParamSlices::of(params), batch, forcing, noise)?;
            logits_tensor(self.decoder.logits(), batch, &mut self.team)
        })
    }

    fn loss(&mut self, params: &Params, batch: &Batch, forcing: &Forcing) -> Result<BatchLoss> {
        in_pool(self.threads(), || {
            self.forward(&ParamSlices::of(params), batch, forcing, None)?;
            Ok(batch_loss(self.decoder.logits_mut(), batch, &mut self.team))
        })
    }

    fn gradients(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(PendingLoss, Vec<Tensor>)> {
        in_pool(self.threads(), || {
            let slices = ParamSlices::of(params);
            self.forward(&slices, batch, forcing, Some(noise))?;
            let loss = batch_loss(self.decoder.logits_mut(), batch, &mut self.team);
            let mut buffer = std::mem::take(&mut self.gradients);
            let gradients =
                buffer.fill(params, |grads| self.backward(&slices, batch, noise, grads))?;
            self.gradients = buffer;
            Ok((loss.into(), gradients))
        })
    }
}

/// Attention weights outside of the reach count as 0 if their sum is at most this. Logits do not depend on it.
const MAX_BACKGROUND: f32 = 1e-6;

/// The rows of a decoding, with packed weights and their own workspace.
#[derive(Clone, Debug)]
struct TransducerRows<'a, C: Cell> {
    params: &'a Params,
    fused: FusedTransducer<C>,
    decoding: TransducerDecoding<f32>,
}

impl<C: Cell> Rows for TransducerRows<'_, C> {
    fn start(&mut self, source: &Source) -> Result<()> {
        let fused = &mut self.fused;
        fused.encode(&ParamSlices::of(self.params), source, Save::Nothing)?;
        let (values, lengths) = (&fused.values, source.lengths());
        self.decoding
            .start(&fused.decoder, values, lengths, &mut fused.team);
        Ok(())
    }

    /// Tokens are not fed back.
    fn step(&mut self, _source: &Source, _tokens: &[u32]) -> Result<()> {
        self.decoding.step(&self.fused.decoder);
        Ok(())
    }

    fn keep(&mut self, from: &[usize]) -> Result<()> {
        self.decoding.keep(from);
        Ok(())
    }

    fn logits(&self) -> &[f32] {
        self.decoding.logits()
    }

    fn attention(&self) -> Result<Cow<'_, [f32]>> {
        let mut heads = Cow::Borrowed(self.decoding.heads());
        for row in 0..self.decoding.n_rows() {
            if self.decoding.background(row) > MAX_BACKGROUND {
                self.decoding.fill_background(row, heads.to_mut());
            }
        }
        Ok(heads)
    }

    fn support(&self, row: usize) -> Option<&[Range<usize>]> {
        let is_near = self.decoding.background(row) <= MAX_BACKGROUND;
        is_near.then(|| self.decoding.support(row))
    }
}
