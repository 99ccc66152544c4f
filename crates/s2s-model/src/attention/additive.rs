//! Additive attention: a small network scores state against value.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_kernels::Kernels;
use serde::{Deserialize, Serialize};

use super::{Attended, Attention, Memory, size};
use crate::{Init, Linear, Scope};

/// Additive attention: a small network scores state against value.
///
/// Bahdanau, Cho, Bengio (2015), arXiv:1409.0473, appendix A.1.2.
///
/// ```text
/// score[b,s]  = v · tanh(W query[b] + w + U value[b,s])
/// weight[b,:] = softmax(score[b,:]) over the positions with mask = 1
/// context[b]  = Σ_s weight[b,s] value[b,s]
/// ```
#[derive(Debug)]
pub struct AdditiveAttention {
    query: Linear,  // W, w: D -> A
    key: Linear,    // U: H -> A
    energy: Tensor, // v: [A]
    kernels: Kernels,
}

impl AdditiveAttention {
    /// For values `values` wide and states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &AdditiveConfig,
        values: usize,
        state: usize,
        kernels: Kernels,
    ) -> Result<Self> {
        let units = config.units.get();
        Ok(Self {
            query: Linear::new(&mut scope.pp("query"), state, units)?,
            key: Linear::without_bias(&mut scope.pp("key"), values, units)?,
            energy: scope.get("energy", units, Init::Uniform { bound: 0.1 })?,
            kernels,
        })
    }

    /// The scores `[B, S]` of the positions, for states `query` `[B, D]`.
    pub(super) fn scores(&self, query: &Tensor, memory: &Memory) -> Result<Tensor> {
        let query = self.query.forward(query)?; // [B, A]
        self.kernels
            .additive_scores(&query, memory.keys(), &self.energy)
    }
}

impl Attention for AdditiveAttention {
    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        let keys = self.key.forward(values)?; // [B, S, A]
        Memory::new(values, &keys, mask)
    }

    fn attend(&self, query: &Tensor, memory: &Memory, _previous: &Tensor) -> Result<Attended> {
        memory.weigh(&self.scores(query, memory)?)
    }
}

/// Options of additive attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdditiveConfig {
    /// Width of the space in which state and value meet.
    pub units: NonZeroUsize,
}

impl Default for AdditiveConfig {
    fn default() -> Self {
        Self { units: size(64) }
    }
}
