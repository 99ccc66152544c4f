//! Attention: the decoder asks, the source positions answer.
//!
//! A mechanism scores the positions; what all of them share (mask, softmax, weighted sum) lives
//! once, in [`Memory`]. A new mechanism is a file of this folder, an [`AttentionConfig`] variant
//! and a line in [`AttentionConfig::build`]; the contract test covers it with no edit.

mod additive;
mod none;

use std::fmt::Debug;
use std::num::NonZeroUsize;

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax;
use s2s_kernels::Kernels;
use serde::{Deserialize, Serialize};

use crate::Scope;

pub use additive::AdditiveAttention;
pub use none::NoAttention;

/// A way for the decoder to look at the source.
pub trait Attention: Debug + Send + Sync {
    /// What can be computed once a sequence, from `values` `[B, S, H]` and `mask` `[B, S]`.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory>;

    /// Where to look at one step, from the decoder's state `query` `[B, D]` and, from the second
    /// step on, where it looked before.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn attend(
        &self,
        query: &Tensor,
        memory: &Memory,
        previous: Option<&Attended>,
    ) -> Result<Attended>;
}

/// A sequence as attention sees it: made once, asked at every step.
#[derive(Clone, Debug)]
pub struct Memory {
    values: Tensor,
    keys: Tensor,
    mask: Tensor,
    bias: Tensor,
}

impl Memory {
    /// From `values` `[B, S, H]`, `keys` `[B, S, A]` and `mask` `[B, S]` (1 real, 0 padding).
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(values: &Tensor, keys: &Tensor, mask: &Tensor) -> Result<Self> {
        // So far below any score that its exponential is exactly 0, yet finite: a row of scores
        // plus this has a maximum, a difference and a gradient.
        const MASKED: f64 = -1e30;
        Ok(Self {
            values: values.clone(),
            keys: keys.clone(),
            mask: mask.clone(),
            bias: mask.affine(-MASKED, MASKED)?,
        })
    }

    /// The same numbers without their history: nothing before them gets a gradient.
    pub fn detached(&self) -> Self {
        Self {
            values: self.values.detach(),
            keys: self.keys.detach(),
            mask: self.mask.clone(),
            bias: self.bias.clone(),
        }
    }

    /// `[B, S, A]`.
    pub fn keys(&self) -> &Tensor {
        &self.keys
    }

    /// `[B, S, H]`.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// `[B, S]`, 1 for a real position and 0 for padding.
    pub fn mask(&self) -> &Tensor {
        &self.mask
    }

    /// Masked softmax of `scores` `[B, S]`, then the weighted sum of the values.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn weigh(&self, scores: &Tensor) -> Result<Attended> {
        let weights = softmax(&(scores + &self.bias)?, D::Minus1)?; // [B, S]
        let context = weights.unsqueeze(1)?.matmul(&self.values)?.squeeze(1)?; // [B, H]
        Ok(Attended { context, weights })
    }
}

/// What attention answers at one step.
#[derive(Clone, Debug)]
pub struct Attended {
    /// `[B, H]`.
    pub context: Tensor,
    /// `[B, S]`: not negative, 1 in sum, 0 where padded; all 0 without attention.
    pub weights: Tensor,
}

/// The `[model.attention]` table of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttentionConfig {
    /// Bahdanau's: the score is a small network of state and value.
    Additive(AdditiveConfig),
    /// No look at the source but through the bridge: the ablation.
    None {},
}

impl Default for AttentionConfig {
    fn default() -> Self {
        Self::Additive(AdditiveConfig::default())
    }
}

impl AttentionConfig {
    /// The mechanism, for values `values` wide and states `state` wide.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn build(
        &self,
        scope: &mut Scope<'_>,
        values: usize,
        state: usize,
        kernels: Kernels,
    ) -> Result<Box<dyn Attention>> {
        Ok(match self {
            Self::Additive(config) => Box::new(AdditiveAttention::new(
                scope, config, values, state, kernels,
            )?),
            Self::None {} => Box::new(NoAttention),
        })
    }

    /// Whether there are weights to look at.
    pub fn has_weights(&self) -> bool {
        !matches!(self, Self::None {})
    }
}

/// Options of additive attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdditiveConfig {
    /// Width of the space in which state and value meet.
    pub units: NonZeroUsize,
}

impl Default for AdditiveConfig {
    fn default() -> Self {
        Self {
            units: NonZeroUsize::new(64).expect("a literal above zero"),
        }
    }
}
