//! Location-relative attention: additive attention whose prior is the previous weights, shifted.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_kernels::Start;
use s2s_kernels::slices::{LocationRelative, LocationRelativeParams};
use serde::{Deserialize, Serialize};

use super::shift::{CONTROLS, Shift, TAPS};
use super::{
    AdditiveAttention, AdditiveConfig, Attended, Attention, AttentionCost, AttentionKernel,
    AttentionSizes, Keys, Mechanism, Memory, size,
};
use crate::Scope;

/// Location-relative attention: additive attention whose prior is the previous weights, shifted.
///
/// The energy of Bahdanau et al. (arXiv:1409.0473), plus a log-prior: the previous weights, shifted by a
/// kernel that is computed from the state. This is forward attention with a transition agent (Zhang,
/// Ling, Dai 2018, arXiv:1807.06736) that can move both ways, with the shift and the sharpening of the
/// neural Turing machine (Graves, Wayne, Danihelka 2014, arXiv:1410.5401).
///
/// ```text
/// energy[b,:]  = v · tanh(W query[b] + w + U value[b,:])
/// k            = softmax(K query[b] + k₀)                          offsets -1, 0, +1
/// γ            = 1 + softplus(R query[b] + r)
/// shifted[i]   = Σ_o k[o] previous[b, i - o]                       0 beyond both ends
/// weight[b,:]  = softmax(γ ln(shifted + 1e-8) + energy[b,:])
/// ```
///
/// A shift does not depend on the length of the source, so what is learned on short sequences holds on
/// long ones. `start = "last"` gives away where a reversal begins, but not its direction.
#[derive(Debug)]
pub struct LocationRelativeAttention {
    content: AdditiveAttention,
    shift: Shift,
    start: Start,
}

impl LocationRelativeAttention {
    /// For values `values` wide and decoder states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &LocationRelativeConfig,
        values: usize,
        state: usize,
    ) -> Result<Self> {
        let units = AdditiveConfig {
            units: config.units,
        };
        Ok(Self {
            content: AdditiveAttention::new(scope, &units, values, state)?,
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
        let prior = self.shift.log_weights(query, previous)?;
        let mut attended = memory.weigh(&(prior.log + &energies)?)?;
        attended.controls.extend(prior.controls);
        attended.controls.push(("content", energies));
        Ok(attended)
    }

    fn kernel(&self) -> Option<AttentionKernel> {
        let parameters = LocationRelativeParams {
            query_weight: "query.weight",
            query_bias: "query.bias",
            energy: "energy",
            shift_weight: "shift.weight",
            shift_bias: "shift.bias",
            sharpen_weight: "sharpen.weight",
            sharpen_bias: "sharpen.bias",
        };
        let scorer = LocationRelative::new(self.start);
        Some(AttentionKernel::new(scorer, parameters).with_keys(Keys::Projected("key.weight")))
    }
}

impl Mechanism for LocationRelativeConfig {
    fn build(
        &self,
        scope: &mut Scope<'_>,
        values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>> {
        Ok(Box::new(LocationRelativeAttention::new(
            scope, self, values, state,
        )?))
    }

    fn has_cuda_kernels(&self) -> bool {
        true
    }

    fn takes_logarithms(&self) -> bool {
        true
    }

    fn cost(&self, values: usize, state: usize) -> AttentionCost {
        let units = self.units.get();
        AttentionCost {
            key: values * units,
            step: state * (units + CONTROLS),
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

/// Options of location-relative attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocationRelativeConfig {
    /// Width of the space in which state and value are compared.
    pub units: NonZeroUsize,
    /// The weights before the first step.
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
