//! Dynamic convolution attention: filters over the previous weights, half of them computed from the
//! state.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_kernels::Start;
use s2s_kernels::reference::additive_scores;
use s2s_kernels::slices::{DynamicConvolution, DynamicConvolutionParams};
use serde::{Deserialize, Serialize};

use super::convolution::windows;
use super::{
    Attended, Attention, AttentionCost, AttentionKernel, AttentionSizes, Mechanism, Memory, size,
};
use crate::{Init, Linear, Problem, Scope};

/// Dynamic convolution attention: the scores depend on the previous weights, not on the source.
///
/// Battenberg et al. (2020), arXiv:1910.10288, equation 8, without their prior filter, which is fixed
/// and lets attention move forwards only.
///
/// ```text
/// G[b]            = V tanh(W query[b] + w)                        N filters computed from the state
/// feature[b,i,n]  = Σ_j F[n,j] previous[b, i + j - c]             c = ⌊width / 2⌋, 0 beyond both ends
/// feature[b,i,N+n] = Σ_j G[b,n,j] previous[b, i + j - c]
/// score[b,i]      = v · tanh(L feature[b,i] + l)
/// ```
#[derive(Debug)]
pub struct DynamicConvolutionAttention {
    query: Linear,   // W, w: D -> A
    dynamic: Linear, // V: A -> N·width
    filters: Tensor, // F: [N, width]
    width: usize,
    location: Linear, // L: 2N -> A
    bias: Tensor,     // l: [A]
    energy: Tensor,   // v: [A]
    start: Start,
}

impl DynamicConvolutionAttention {
    /// For decoder states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &DynamicConvolutionConfig,
        state: usize,
    ) -> Result<Self> {
        let [units, filters, width] =
            [config.units, config.filters, config.width].map(NonZeroUsize::get);
        let mut location = scope.pp("location");
        let bias = location.get("bias", units, Init::fan_in(2 * filters))?;
        Ok(Self {
            location: Linear::without_bias(&mut location, 2 * filters, units)?,
            bias,
            query: Linear::new(&mut scope.pp("query"), state, units)?,
            dynamic: Linear::without_bias(&mut scope.pp("dynamic"), units, filters * width)?,
            filters: scope.get("filters", (filters, width), Init::fan_in(width))?,
            width,
            energy: scope.get("energy", units, Init::Uniform { bound: 0.1 })?,
            start: config.start,
        })
    }
}

impl Attention for DynamicConvolutionAttention {
    fn start(&self) -> Start {
        self.start
    }

    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        Memory::new(values, values, mask)
    }

    fn attend(&self, query: &Tensor, memory: &Memory, previous: &Tensor) -> Result<Attended> {
        let (filters, width) = (self.filters.dim(0)?, self.width);
        let batch = query.dim(0)?;
        let dynamic = self.dynamic.forward(&self.query.forward(query)?.tanh()?)?;
        let dynamic = dynamic.reshape((batch, filters, width))?;
        let windows = windows(previous, width)?; // [B, S, width]
        let features = Tensor::cat(
            &[
                windows.broadcast_matmul(&self.filters.t()?)?,
                windows.matmul(&dynamic.transpose(1, 2)?)?,
            ],
            2,
        )?; // [B, S, 2N]
        let bias = self.bias.unsqueeze(0)?.repeat((batch, 1))?; // [B, A]
        let keys = self.location.forward(&features)?; // [B, S, A]
        memory.weigh(&additive_scores(&bias, &keys, &self.energy)?)
    }

    fn kernel(&self) -> Option<AttentionKernel> {
        let parameters = DynamicConvolutionParams {
            query_weight: "query.weight",
            query_bias: "query.bias",
            dynamic: "dynamic.weight",
            filters: "filters",
            location_weight: "location.weight",
            location_bias: "location.bias",
            energy: "energy",
        };
        let scorer = DynamicConvolution::new(self.width, self.start);
        Some(AttentionKernel::new(scorer, parameters))
    }
}

impl Mechanism for DynamicConvolutionConfig {
    fn build(
        &self,
        scope: &mut Scope<'_>,
        _values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>> {
        Ok(Box::new(DynamicConvolutionAttention::new(
            scope, self, state,
        )?))
    }

    fn cost(&self, values: usize, state: usize) -> AttentionCost {
        let AttentionSizes {
            units,
            filters,
            width,
        } = self.sizes();
        AttentionCost {
            key: 0,
            step: state * units + units * filters * width,
            score: 2 * filters * (width + units) + units,
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

    fn problem(&self, _values: usize, _state: usize) -> Option<Problem> {
        (self.start == Start::Zeros).then(|| Problem {
            key: "attention.start",
            message:
                "attention \"dynamic-convolution\" reads the previous weights only, and start \
                      \"zeros\" has none"
                    .to_owned(),
            help: "set attention.start = \"last\" or \"first\"".to_owned(),
        })
    }
}

/// Options of dynamic convolution attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicConvolutionConfig {
    /// Width of the spaces in which filters are computed and features are scored.
    pub units: NonZeroUsize,
    /// Fixed filters over the previous weights; as many are computed from the state.
    pub filters: NonZeroUsize,
    /// Positions that a filter covers.
    pub width: NonZeroUsize,
    /// The weights before the first step. They cannot be zeros: content does not enter the scores.
    pub start: Start,
}

impl Default for DynamicConvolutionConfig {
    fn default() -> Self {
        Self {
            units: size(64),
            filters: size(8),
            width: size(21),
            start: Start::Last,
        }
    }
}
