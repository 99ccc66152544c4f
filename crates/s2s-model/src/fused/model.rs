//! One face for the operators of every cell.

use std::fmt;
use std::num::NonZeroUsize;

use candle_core::{DType, Device, Result, Tensor};
use dyn_clone::DynClone;
use s2s_kernels::slices::{Cell, Gru, Lstm, Team, in_pool};

use super::slices::ParamSlices;
use super::{Fused, HostBatch};
use crate::{
    Batch, CellKind, Decoded, Forcing, ModelConfig, Noise, Params, Score, Source, Stop, Tokens,
    Watch,
};

/// A model on the kernels, whatever its cell.
pub(crate) trait FusedModel: fmt::Debug + DynClone + Send + Sync {
    fn set_threads(&mut self, threads: NonZeroUsize);

    /// The same operators with memory of their own, packed.
    fn packed_alike(&self, params: &Params) -> Result<Box<dyn FusedModel>>;

    /// Loss and predictions, without dropout.
    fn score(&mut self, params: &Params, batch: &Batch, forcing: &Forcing) -> Result<Score>;

    /// Loss and predictions with dropout, and the gradient of the mean loss of a token, in memory
    /// that the next call writes over.
    fn gradients(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(Score, Vec<Tensor>)>;

    /// The likeliest token at each step; the weights must be packed.
    fn greedy(
        &mut self,
        params: &Params,
        tokens: Tokens,
        source: &Source,
        stop: Stop,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>>;
}

dyn_clone::clone_trait_object!(FusedModel);

/// The operators of a model, if there are kernels for it.
pub(crate) fn fused(config: &ModelConfig, params: &Params) -> Option<Box<dyn FusedModel>> {
    let is_here = matches!(params.device(), Device::Cpu) && params.dtype() == DType::F32;
    is_here.then(|| -> Box<dyn FusedModel> {
        match config.cell {
            CellKind::Gru => Box::new(Fused::<Gru>::new(config)),
            CellKind::Lstm => Box::new(Fused::<Lstm>::new(config)),
        }
    })
}

impl<C: Cell> FusedModel for Fused<C> {
    fn set_threads(&mut self, threads: NonZeroUsize) {
        self.team = Team::new(threads);
    }

    fn packed_alike(&self, params: &Params) -> Result<Box<dyn FusedModel>> {
        let mut alike = Self::new(&self.config);
        alike.team = self.team.clone();
        alike.prepare(&ParamSlices::of(params), (0, 0), None)?;
        Ok(Box::new(alike))
    }

    fn score(&mut self, params: &Params, batch: &Batch, forcing: &Forcing) -> Result<Score> {
        in_pool(self.threads(), || {
            let host = HostBatch::of(batch, forcing)?;
            let params = ParamSlices::of(params);
            self.prepare(&params, host.n_words(), None)?;
            self.forward(&params, &host)?;
            Ok(self.loss(&host))
        })
    }

    fn gradients(
        &mut self,
        params: &Params,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(Score, Vec<Tensor>)> {
        in_pool(self.threads(), || {
            let host = HostBatch::of(batch, forcing)?;
            let slices = ParamSlices::of(params);
            self.prepare(&slices, host.n_words(), Some(noise))?;
            self.forward(&slices, &host)?;
            let score = self.loss(&host);
            let mut buffer = std::mem::take(&mut self.gradients);
            let gradients = buffer.fill(params, |grads| self.backward(&slices, &host, grads))?;
            self.gradients = buffer;
            Ok((score, gradients))
        })
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
