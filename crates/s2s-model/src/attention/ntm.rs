//! The addressing of neural Turing machines: by content or by location, as a gate decides.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;
use s2s_kernels::{Kernels, Start};
use serde::{Deserialize, Serialize};

use super::shift::Shift;
use super::{AdditiveAttention, AdditiveConfig, Attended, Attention, Memory, size};
use crate::{Linear, Scope};

/// The addressing of neural Turing machines: by content or by location, as a gate decides.
///
/// Graves, Wayne, Danihelka (2014), arXiv:1410.5401, equations 7 to 9. Content is additive
/// attention's instead of the cosine of equation 5; the shift does not wrap.
///
/// ```text
/// content[b,:] = softmax(v · tanh(W query[b] + w + U value[b,:]))
/// m            = sigmoid(G query[b] + g)
/// gated        = m content[b,:] + (1 - m) previous[b,:]
/// k            = softmax(K query[b] + k₀)                          offsets -1, 0, +1
/// γ            = 1 + softplus(R query[b] + r)
/// shifted[i]   = Σ_o k[o] gated[i - o]                             0 beyond both ends
/// weight[b,:]  = softmax(γ ln(shifted + 1e-8))
/// ```
#[derive(Debug)]
pub struct NtmAttention {
    content: AdditiveAttention,
    gate: Linear, // G, g: D -> 1
    shift: Shift,
    start: Start,
}

impl NtmAttention {
    /// For values `values` wide and states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &NtmConfig,
        values: usize,
        state: usize,
        kernels: Kernels,
    ) -> Result<Self> {
        let units = AdditiveConfig {
            units: config.units,
        };
        Ok(Self {
            content: AdditiveAttention::new(scope, &units, values, state, kernels)?,
            gate: Linear::new(&mut scope.pp("gate"), state, 1)?,
            shift: Shift::new(scope, state)?,
            start: config.start,
        })
    }
}

impl Attention for NtmAttention {
    fn start(&self) -> Start {
        self.start
    }

    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        self.content.prepare(values, mask)
    }

    fn attend(&self, query: &Tensor, memory: &Memory, previous: &Tensor) -> Result<Attended> {
        let content = memory.softmax(&self.content.scores(query, memory)?)?; // [B, S]
        let gate = sigmoid(&self.gate.forward(query)?)?; // [B, 1]
        let gated = (previous + (content - previous)?.broadcast_mul(&gate)?)?; // [B, S]
        memory.weigh(&self.shift.log_weights(query, &gated)?)
    }
}

/// Options of the addressing of neural Turing machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NtmConfig {
    /// Width of the space in which state and value meet.
    pub units: NonZeroUsize,
    /// Where it looked before the first step.
    pub start: Start,
}

impl Default for NtmConfig {
    fn default() -> Self {
        Self {
            units: size(64),
            start: Start::Zeros,
        }
    }
}
