//! Dot-product attention, with the values as they are or after a linear map.

use candle_core::{Result, Tensor, bail};
use s2s_kernels::slices::Dot;
use serde::{Deserialize, Serialize};

use super::{Attended, Attention, AttentionCost, AttentionKernel, Keys, Mechanism, Memory};
use crate::{Linear, Problem, Scope};

/// Multiplicative attention, whose score is a dot product.
///
/// Luong, Pham, Manning (2015), arXiv:1508.04025, equation 8, "dot" and "general"; the scale of
/// Vaswani et al. (2017), arXiv:1706.03762, equation 1.
///
/// ```text
/// score[b,s] = query[b] · value[b,s]              dot
/// score[b,s] = query[b] · value[b,s] / √D         dot, scaled
/// score[b,s] = query[b] · W value[b,s]            general
/// ```
///
/// Luong's query is the state after the step; this decoder uses the state before it, as Bahdanau does.
#[derive(Debug)]
pub struct DotAttention {
    key: Option<Linear>, // W: H -> D
    scale: f64,
}

impl DotAttention {
    /// Dot products of states and values, for values `values` wide and decoder states `state` wide.
    ///
    /// # Errors
    /// If the widths differ.
    pub fn new(config: &DotConfig, values: usize, state: usize) -> Result<Self> {
        if values != state {
            bail!("states of width {state} have no dot product with values of width {values}");
        }
        Ok(Self {
            key: None,
            scale: config.scale(state),
        })
    }

    /// Luong's "general": a linear map takes the values to the width of the state.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn general(scope: &mut Scope<'_>, values: usize, state: usize) -> Result<Self> {
        Ok(Self {
            key: Some(Linear::without_bias(&mut scope.pp("key"), values, state)?),
            scale: 1.0,
        })
    }
}

impl Attention for DotAttention {
    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        match &self.key {
            Some(key) => Memory::new(values, &key.forward(values)?, mask), // [B, S, D]
            None => Memory::new(values, values, mask),
        }
    }

    fn attend(&self, query: &Tensor, memory: &Memory, _previous: &Tensor) -> Result<Attended> {
        let query = query.affine(self.scale, 0.0)?.unsqueeze(2)?; // [B, D, 1]
        memory.weigh(&memory.keys().matmul(&query)?.squeeze(2)?)
    }

    fn kernel(&self) -> Option<AttentionKernel> {
        let kernel = AttentionKernel::new(Dot::new(self.scale), []);
        Some(kernel.with_keys(match &self.key {
            Some(_) => Keys::Projected("key.weight"),
            None => Keys::Values,
        }))
    }
}

/// Options of dot-product attention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DotConfig {
    /// Whether scores are divided by the square root of the width, so that their initial variance does
    /// not depend on it.
    pub scaled: bool,
}

impl DotConfig {
    fn scale(&self, width: usize) -> f64 {
        if self.scaled {
            1.0 / (width as f64).sqrt()
        } else {
            1.0
        }
    }
}

impl Mechanism for DotConfig {
    fn build(
        &self,
        _scope: &mut Scope<'_>,
        values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>> {
        Ok(Box::new(DotAttention::new(self, values, state)?))
    }

    fn cost(&self, values: usize, state: usize) -> AttentionCost {
        AttentionCost {
            score: state,
            context: values,
            ..AttentionCost::default()
        }
    }

    fn problem(&self, values: usize, state: usize) -> Option<Problem> {
        (values != state).then(|| Problem {
            key: "attention",
            message: format!(
                "attention \"dot\" needs decoder = {values} with hidden = {}, got {state}",
                values / 2
            ),
            help: format!(
                "set decoder = {values}, or attention.kind = \"general\", which fits any widths"
            ),
        })
    }
}

/// Luong's "general", which has no options.
pub(super) struct General;

impl Mechanism for General {
    fn build(
        &self,
        scope: &mut Scope<'_>,
        values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>> {
        Ok(Box::new(DotAttention::general(scope, values, state)?))
    }

    fn cost(&self, values: usize, state: usize) -> AttentionCost {
        AttentionCost {
            key: values * state,
            score: state,
            context: values,
            ..AttentionCost::default()
        }
    }
}
