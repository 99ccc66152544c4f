//! No attention: the context is zero, and the decoder lives on what the bridge gave it.
//!
//! Sutskever, Vinyals, Le (2014), arXiv:1409.3215.

use candle_core::{Result, Tensor};

use super::{Attended, Attention, Memory};

/// The ablation.
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
        })
    }
}
