//! Dot-product attention: state and value meet as they are, or after a linear map.

use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use super::{Attended, Attention, Memory};
use crate::{Linear, Scope};

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
/// Luong asks with the state after the step, this decoder with the one before, as Bahdanau does.
#[derive(Debug)]
pub struct DotAttention {
    key: Option<Linear>, // W: H -> D
    scale: f64,
}

impl DotAttention {
    /// Dot products of states and values themselves, for values `values` wide and states `state`
    /// wide.
    ///
    /// # Errors
    /// If the widths differ.
    pub fn new(config: &DotConfig, values: usize, state: usize) -> Result<Self> {
        if values != state {
            bail!("a state {state} wide has no dot product with values {values} wide");
        }
        Ok(Self {
            key: None,
            scale: config.scale(state),
        })
    }

    /// Luong's "general": the values are mapped to states first.
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
}

/// Options of dot-product attention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DotConfig {
    /// Whether scores are divided by the root of the width, so that they start of one size at any
    /// width.
    pub scaled: bool,
}

impl DotConfig {
    /// The factor on the dot products of vectors `width` wide.
    pub(crate) fn scale(&self, width: usize) -> f64 {
        if self.scaled {
            1.0 / (width as f64).sqrt()
        } else {
            1.0
        }
    }
}
