//! No attention: the context is zero, and the decoder has only the state that the bridge gave it.
//!
//! Sutskever, Vinyals, Le (2014), arXiv:1409.3215.

use candle_core::{Result, Tensor};
use s2s_kernels::slices::NoScores;

use super::{Attended, Attention, AttentionCost, AttentionKernel, Mechanism, Memory};
use crate::Scope;

/// The ablation without attention.
#[derive(Debug)]
pub struct NoAttention;

impl Attention for NoAttention {
    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        Memory::new(values, values, mask)
    }

    fn attend(&self, query: &Tensor, memory: &Memory, _previous: &Tensor) -> Result<Attended> {
        let (batch, _, width) = memory.values().dims3()?;
        Ok(Attended {
            context: Tensor::zeros((batch, width), query.dtype(), query.device())?,
            weights: memory.mask().zeros_like()?,
            controls: Vec::new(),
        })
    }

    fn kernel(&self) -> Option<AttentionKernel> {
        Some(AttentionKernel::new(NoScores, []))
    }
}

/// The configuration, which has no options.
pub(super) struct Blind;

impl Mechanism for Blind {
    fn build(
        &self,
        _scope: &mut Scope<'_>,
        _values: usize,
        _state: usize,
    ) -> Result<Box<dyn Attention>> {
        Ok(Box::new(NoAttention))
    }

    fn cost(&self, _values: usize, _state: usize) -> AttentionCost {
        AttentionCost::default()
    }
}
