//! The addressing of neural Turing machines: a gate mixes content and location.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;
use s2s_kernels::Start;
use s2s_kernels::slices::{Ntm, NtmParams};
use serde::{Deserialize, Serialize};

use super::shift::{CONTROLS, Shift, TAPS};
use super::{
    AdditiveAttention, AdditiveConfig, Attended, Attention, AttentionCost, AttentionKernel,
    AttentionSizes, Keys, Mechanism, Memory, size,
};
use crate::{Linear, Scope};

/// The addressing of neural Turing machines: a gate mixes content and location.
///
/// Graves, Wayne, Danihelka (2014), arXiv:1410.5401, equations 7 to 9. Content is scored as in additive
/// attention, instead of by the cosine of equation 5; the shift does not wrap around.
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
    /// For values `values` wide and decoder states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &NtmConfig,
        values: usize,
        state: usize,
    ) -> Result<Self> {
        let units = AdditiveConfig {
            units: config.units,
        };
        Ok(Self {
            content: AdditiveAttention::new(scope, &units, values, state)?,
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
        let gated = (previous + (&content - previous)?.broadcast_mul(&gate)?)?; // [B, S]
        let shifted = self.shift.log_weights(query, &gated)?;
        let mut attended = memory.weigh(&shifted.log)?;
        attended.controls.extend(shifted.controls);
        attended
            .controls
            .extend([("content", content), ("gate", gate)]);
        Ok(attended)
    }

    fn kernel(&self) -> Option<AttentionKernel> {
        let parameters = NtmParams {
            query_weight: "query.weight",
            query_bias: "query.bias",
            energy: "energy",
            gate_weight: "gate.weight",
            gate_bias: "gate.bias",
            shift_weight: "shift.weight",
            shift_bias: "shift.bias",
            sharpen_weight: "sharpen.weight",
            sharpen_bias: "sharpen.bias",
        };
        let scorer = Ntm::new(self.start);
        Some(AttentionKernel::new(scorer, parameters).with_keys(Keys::Projected("key.weight")))
    }
}

impl Mechanism for NtmConfig {
    fn build(
        &self,
        scope: &mut Scope<'_>,
        values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>> {
        Ok(Box::new(NtmAttention::new(scope, self, values, state)?))
    }

    fn takes_logarithms(&self) -> bool {
        true
    }

    fn cost(&self, values: usize, state: usize) -> AttentionCost {
        let units = self.units.get();
        let gate = 1;
        AttentionCost {
            key: values * units,
            step: state * (units + gate + CONTROLS),
            score: units + TAPS,
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

/// Options of the addressing of neural Turing machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NtmConfig {
    /// Width of the space in which state and value are compared.
    pub units: NonZeroUsize,
    /// The weights before the first step.
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
