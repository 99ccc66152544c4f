//! Location-aware attention: content, and filters over the previous weights.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_kernels::Start;
use s2s_kernels::reference::additive_scores;
use s2s_kernels::slices::{Location, LocationParams};
use serde::{Deserialize, Serialize};

use super::convolution::windows;
use super::{
    Attended, Attention, AttentionCost, AttentionKernel, AttentionSizes, Keys, Mechanism, Memory,
    size,
};
use crate::{Init, Linear, Scope};

/// Location-aware attention: content, and filters over the previous weights.
///
/// Chorowski, Bahdanau, Serdyuk, Cho, Bengio (2015), arXiv:1506.07503, equations 8 and 9; their
/// "hybrid" without the smoothing of section 2.3.
///
/// ```text
/// feature[b,i,n] = Σ_j F[n,j] previous[b, i + j - ⌊width / 2⌋]      0 beyond both ends
/// score[b,i]     = v · tanh(W query[b] + w + U value[b,i] + L feature[b,i])
/// ```
#[derive(Debug)]
pub struct LocationAttention {
    query: Linear,   // W, w: D -> A
    key: Linear,     // U: H -> A
    filters: Tensor, // F: [N, width]
    width: usize,
    location: Linear, // L: N -> A
    energy: Tensor,   // v: [A]
    start: Start,
}

impl LocationAttention {
    /// For values `values` wide and decoder states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &LocationConfig,
        values: usize,
        state: usize,
    ) -> Result<Self> {
        let [units, filters, width] =
            [config.units, config.filters, config.width].map(NonZeroUsize::get);
        Ok(Self {
            query: Linear::new(&mut scope.pp("query"), state, units)?,
            key: Linear::without_bias(&mut scope.pp("key"), values, units)?,
            filters: scope.get("filters", (filters, width), Init::fan_in(width))?,
            width,
            location: Linear::without_bias(&mut scope.pp("location"), filters, units)?,
            energy: scope.get("energy", units, Init::Uniform { bound: 0.1 })?,
            start: config.start,
        })
    }
}

impl Attention for LocationAttention {
    fn start(&self) -> Start {
        self.start
    }

    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        let keys = self.key.forward(values)?; // [B, S, A]
        Memory::new(values, &keys, mask)
    }

    fn attend(&self, query: &Tensor, memory: &Memory, previous: &Tensor) -> Result<Attended> {
        let query = self.query.forward(query)?; // [B, A]
        let features = windows(previous, self.width)?.broadcast_matmul(&self.filters.t()?)?; // [B, S, N]
        let keys = (memory.keys() + self.location.forward(&features)?)?; // [B, S, A]
        memory.weigh(&additive_scores(&query, &keys, &self.energy)?)
    }

    fn kernel(&self) -> Option<AttentionKernel> {
        let parameters = LocationParams {
            query_weight: "query.weight",
            query_bias: "query.bias",
            filters: "filters",
            location: "location.weight",
            energy: "energy",
        };
        let scorer = Location::new(self.width, self.start);
        Some(AttentionKernel::new(scorer, parameters).with_keys(Keys::Projected("key.weight")))
    }
}

impl Mechanism for LocationConfig {
    fn build(
        &self,
        scope: &mut Scope<'_>,
        values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>> {
        Ok(Box::new(LocationAttention::new(
            scope, self, values, state,
        )?))
    }

    fn cost(&self, values: usize, state: usize) -> AttentionCost {
        let AttentionSizes {
            units,
            filters,
            width,
        } = self.sizes();
        AttentionCost {
            key: values * units,
            step: state * units,
            score: filters * (width + units) + units,
            context: values,
        }
    }

    fn sizes(&self) -> AttentionSizes {
        let [units, filters, width] = [self.units, self.filters, self.width].map(NonZeroUsize::get);
        AttentionSizes {
            units,
            filters,
            width,
        }
    }
}

/// Options of location-aware attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocationConfig {
    /// Width of the space in which state, value and location are compared.
    pub units: NonZeroUsize,
    /// Filters over the previous weights.
    pub filters: NonZeroUsize,
    /// Positions that a filter covers.
    pub width: NonZeroUsize,
    /// The weights before the first step.
    pub start: Start,
}

impl Default for LocationConfig {
    fn default() -> Self {
        Self {
            units: size(64),
            filters: size(8),
            width: size(21),
            start: Start::Zeros,
        }
    }
}
