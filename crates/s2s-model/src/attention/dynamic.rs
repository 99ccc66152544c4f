//! Dynamic convolution attention: filters over the weights before, some of them made by the state.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_kernels::{Kernels, Start};
use serde::{Deserialize, Serialize};

use super::convolution::windows;
use super::{Attended, Attention, Memory, size};
use crate::{Init, Linear, Scope};

/// Dynamic convolution attention: it sees where it looked before, and of the source nothing.
///
/// Battenberg et al. (2020), arXiv:1910.10288, equation 8. Left out is their prior filter, which is
/// fixed and lets attention go forwards only: it would forbid to read a source backwards.
///
/// ```text
/// G[b]            = V tanh(W query[b] + w)                        N filters of the state's own
/// feature[b,i,n]  = Σ_j F[n,j] previous[b, i + j - c]             c = ⌊width / 2⌋, 0 beyond both ends
/// feature[b,i,N+n] = Σ_j G[b,n,j] previous[b, i + j - c]
/// score[b,i]      = v · tanh(L feature[b,i] + l)
/// ```
#[derive(Debug)]
pub struct DynamicConvolutionAttention {
    query: Linear,    // W, w: D -> A
    dynamic: Linear,  // V: A -> N·width
    filters: Tensor,  // F: [N, width]
    location: Linear, // L: 2N -> A
    bias: Tensor,     // l: [A]
    energy: Tensor,   // v: [A]
    start: Start,
    kernels: Kernels,
}

impl DynamicConvolutionAttention {
    /// For states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &DynamicConvolutionConfig,
        state: usize,
        kernels: Kernels,
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
            energy: scope.get("energy", units, Init::Uniform { bound: 0.1 })?,
            start: config.start,
            kernels,
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
        let (filters, width) = self.filters.dims2()?;
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
        memory.weigh(&self.kernels.additive_scores(&bias, &keys, &self.energy)?)
    }
}

/// Options of dynamic convolution attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicConvolutionConfig {
    /// Width of the spaces in which filters are made and features are scored.
    pub units: NonZeroUsize,
    /// Fixed filters over the weights of the step before, and as many made by the state.
    pub filters: NonZeroUsize,
    /// Positions that a filter sees.
    pub width: NonZeroUsize,
    /// Where it looked before the first step: not nowhere, since it finds nothing by content.
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
