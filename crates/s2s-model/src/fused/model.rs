//! One interface to the kernels of every cell.

use std::fmt;
use std::num::NonZeroUsize;

use candle_core::{DType, Device, Result, Tensor};
use dyn_clone::DynClone;
use s2s_kernels::slices::{Cell, Gru, Lstm, Team, in_pool};

use super::rows::FusedRows;
use super::slices::ParamSlices;
use super::transducer::FusedTransducer;
use super::{Fused, batch_loss, logits_tensor};
use crate::decode::Rows;
use crate::{
    AttentionKernel, Batch, BatchLoss, CellKind, Forcing, ModelConfig, Noise, Params, PendingLoss,
    Seq2Seq, TransducerConfig,
};

/// A model on the kernels, whatever its cell.
pub(crate) trait FusedModel: fmt::Debug + DynClone + Send + Sync {
    fn set_threads(&mut self, threads: NonZeroUsize);

    /// Rows to decode `model`, whose kernels these are: with packed weights and their own workspace.
    fn rows<'a>(&self, model: &'a Seq2Seq) -> Result<Box<dyn Rows + 'a>>;

    /// Logits `[B, T, V]`; dropout is on if there is noise.
    fn logits(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: Option<&Noise>,
    ) -> Result<Tensor>;

    /// Loss and predictions, without dropout.
    fn loss(&mut self, params: &Params, batch: &Batch, forcing: &Forcing) -> Result<BatchLoss>;

    /// Loss and predictions with dropout, and the gradient of the mean loss per token, in memory that
    /// the next call overwrites. On CUDA, it does not wait for them.
    fn gradients(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(PendingLoss, Vec<Tensor>)>;
}

dyn_clone::clone_trait_object!(FusedModel);

/// What a decoder has kernels for.
pub(crate) enum FusedDecoder {
    Recurrent(AttentionKernel),
    Transducer(TransducerConfig),
}

/// The fast path of a model, if its device and precision have one.
pub(crate) fn fused(
    config: &ModelConfig,
    decoder: FusedDecoder,
    params: &Params,
) -> Option<Box<dyn FusedModel>> {
    #[cfg(feature = "cuda")]
    if params.device().is_cuda() {
        return match decoder {
            FusedDecoder::Recurrent(kernel) if config.is_plain_on_cuda() => {
                crate::cuda::fused(config, &kernel, params)
            }
            FusedDecoder::Recurrent(_) | FusedDecoder::Transducer(_) => None,
        };
    }
    let has_kernels = matches!(params.device(), Device::Cpu) && params.dtype() == DType::F32;
    has_kernels.then(|| match config.cell {
        CellKind::Gru => of_cell::<Gru>(config, decoder),
        CellKind::Lstm => of_cell::<Lstm>(config, decoder),
    })
}

fn of_cell<C: Cell>(config: &ModelConfig, decoder: FusedDecoder) -> Box<dyn FusedModel> {
    match decoder {
        FusedDecoder::Recurrent(kernel) => Box::new(Fused::<C>::new(config, kernel)),
        FusedDecoder::Transducer(options) => Box::new(FusedTransducer::<C>::new(config, &options)),
    }
}

impl<C: Cell> FusedModel for Fused<C> {
    fn set_threads(&mut self, threads: NonZeroUsize) {
        self.team = Team::new(threads);
    }

    fn rows<'a>(&self, model: &'a Seq2Seq) -> Result<Box<dyn Rows + 'a>> {
        let rows = FusedRows::new(model.params(), self.without_buffers())?;
        Ok(Box::new(rows))
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
            let forced = self.forward(&slices, batch, forcing, Some(noise))?;
            let loss = batch_loss(self.decoder.logits_mut(), batch, &mut self.team);
            let mut buffer = std::mem::take(&mut self.gradients);
            let gradients = buffer.fill(params, |grads| {
                self.backward(&slices, batch, &forced, grads)
            })?;
            self.gradients = buffer;
            Ok((loss.into(), gradients))
        })
    }
}
