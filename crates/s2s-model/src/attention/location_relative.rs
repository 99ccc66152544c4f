//! Location-relative attention: additive attention that knows where it was, and moves on from there.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_kernels::{Kernels, Start};
use serde::{Deserialize, Serialize};

use super::shift::Shift;
use super::{AdditiveAttention, AdditiveConfig, Attended, Attention, Memory, size};
use crate::Scope;

/// Location-relative attention: additive attention that knows where it was, and moves on from there.
///
/// Bahdanau's energy (arXiv:1409.0473) with the weights before, shifted by a kernel that the state
/// chooses, as a prior: forward attention with a transition agent (Zhang, Ling, Dai 2018,
/// arXiv:1807.06736), whose agent may go either way, with the shift and the sharpening of the neural
/// Turing machine (Graves, Wayne, Danihelka 2014, arXiv:1410.5401).
///
/// ```text
/// energy[b,:]  = v · tanh(W query[b] + w + U value[b,:])
/// k            = softmax(K query[b] + k₀)                          offsets -1, 0, +1
/// γ            = 1 + softplus(R query[b] + r)
/// shifted[i]   = Σ_o k[o] previous[b, i - o]                       0 beyond both ends
/// weight[b,:]  = softmax(γ ln(shifted + 1e-8) + energy[b,:])
/// ```
///
/// A step of the walk does not depend on the length of the source, so that what is learned on short
/// sequences holds on long ones. A start at the last position tells it where a reversal begins,
/// though not which way to go.
#[derive(Debug)]
pub struct LocationRelativeAttention {
    content: AdditiveAttention,
    shift: Shift,
    start: Start,
}

impl LocationRelativeAttention {
    /// For values `values` wide and states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &LocationRelativeConfig,
        values: usize,
        state: usize,
        kernels: Kernels,
    ) -> Result<Self> {
        let units = AdditiveConfig {
            units: config.units,
        };
        Ok(Self {
            content: AdditiveAttention::new(scope, &units, values, state, kernels)?,
            shift: Shift::new(scope, state)?,
            start: config.start,
        })
    }
}

impl Attention for LocationRelativeAttention {
    fn start(&self) -> Start {
        self.start
    }

    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        self.content.prepare(values, mask)
    }

    fn attend(&self, query: &Tensor, memory: &Memory, previous: &Tensor) -> Result<Attended> {
        let energies = self.content.scores(query, memory)?; // [B, S]
        memory.weigh(&(self.shift.log_weights(query, previous)? + energies)?)
    }
}

/// Options of location-relative attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocationRelativeConfig {
    /// Width of the space in which state and value meet.
    pub units: NonZeroUsize,
    /// Where it looked before the first step.
    pub start: Start,
}

impl Default for LocationRelativeConfig {
    fn default() -> Self {
        Self {
            units: size(64),
            start: Start::Last,
        }
    }
}
