//! Additive attention: a small network scores the decoder's state against each value.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_kernels::reference::additive_scores;
use s2s_kernels::slices::{Additive, AdditiveParams};
use serde::{Deserialize, Serialize};

use super::{
    Attended, Attention, AttentionCost, AttentionKernel, AttentionSizes, Keys, Mechanism, Memory,
    size,
};
use crate::{Init, Linear, Scope};

/// Additive attention: a small network scores the decoder's state against each value.
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
}

impl AdditiveAttention {
    /// For values `values` wide and decoder states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &AdditiveConfig,
        values: usize,
        state: usize,
    ) -> Result<Self> {
        let units = config.units.get();
        Ok(Self {
            query: Linear::new(&mut scope.pp("query"), state, units)?,
            key: Linear::without_bias(&mut scope.pp("key"), values, units)?,
            energy: scope.get("energy", units, Init::Uniform { bound: 0.1 })?,
        })
    }

    /// The scores `[B, S]` of the positions for the states `query` `[B, D]`.
    pub(super) fn scores(&self, query: &Tensor, memory: &Memory) -> Result<Tensor> {
        let query = self.query.forward(query)?; // [B, A]
        additive_scores(&query, memory.keys(), &self.energy)
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

    fn kernel(&self) -> Option<AttentionKernel> {
        let parameters = AdditiveParams {
            query_weight: "query.weight",
            query_bias: "query.bias",
            energy: "energy",
        };
        let kernel = AttentionKernel::new(Additive::new(), parameters);
        Some(kernel.with_keys(Keys::Projected("key.weight")))
    }
}

impl Mechanism for AdditiveConfig {
    fn build(
        &self,
        scope: &mut Scope<'_>,
        values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>> {
        Ok(Box::new(AdditiveAttention::new(
            scope, self, values, state,
        )?))
    }

    fn has_cuda_kernels(&self) -> bool {
        true
    }

    fn cost(&self, values: usize, state: usize) -> AttentionCost {
        let units = self.units.get();
        AttentionCost {
            key: values * units,
            step: state * units,
            score: units,
            context: values,
        }
    }

    fn sizes(&self) -> AttentionSizes {
        AttentionSizes {
            units: self.units.get(),
            ..AttentionSizes::default()
        }
    }
}

/// Options of additive attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdditiveConfig {
    /// Width of the space in which state and value are compared.
    pub units: NonZeroUsize,
}

impl Default for AdditiveConfig {
    fn default() -> Self {
        Self { units: size(64) }
    }
}
