//! Attention: the decoder asks, the source positions answer.
//!
//! A mechanism scores the positions; what all of them share (mask, softmax, weighted sum) lives
//! once, in [`Memory`]. A new mechanism is a file of this folder, an [`AttentionConfig`] variant
//! and a line in [`AttentionConfig::build`]; the contract test covers it with no edit.

mod additive;
mod convolution;
mod dot;
mod dynamic;
mod location;
mod location_relative;
mod none;
mod ntm;
mod shift;

use std::fmt::Debug;
use std::num::NonZeroUsize;

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax;
use s2s_kernels::{Kernels, Start};
use serde::{Deserialize, Serialize};

use crate::Scope;

pub use additive::{AdditiveAttention, AdditiveConfig};
pub use dot::{DotAttention, DotConfig};
pub use dynamic::{DynamicConvolutionAttention, DynamicConvolutionConfig};
pub use location::{LocationAttention, LocationConfig};
pub use location_relative::{LocationRelativeAttention, LocationRelativeConfig};
pub use none::NoAttention;
pub use ntm::{NtmAttention, NtmConfig};

/// A way for the decoder to look at the source.
pub trait Attention: Debug + Send + Sync {
    /// What can be computed once a sequence, from `values` `[B, S, H]` and `mask` `[B, S]`.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory>;

    /// Where it looked before the first step, if that matters to it.
    fn start(&self) -> Start {
        Start::Zeros
    }

    /// Where to look at one step, from the decoder's state `query` `[B, D]` and the weights
    /// `previous` `[B, S]` of the step before; at the first step those are
    /// [`Memory::first_weights`].
    ///
    /// # Errors
    /// If the shapes disagree.
    fn attend(&self, query: &Tensor, memory: &Memory, previous: &Tensor) -> Result<Attended>;
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

    /// The weights `[B, S]` before the first step: one at the start of each row, or none.
    ///
    /// # Errors
    /// If the device fails.
    pub fn first_weights(&self, start: Start) -> Result<Tensor> {
        let source_len = self.mask.dim(1)?;
        match start {
            Start::Zeros => self.mask.zeros_like(),
            Start::First => self
                .mask
                .narrow(1, 0, 1)?
                .pad_with_zeros(1, 0, source_len - 1),
            // Real, and no real position after it.
            Start::Last => {
                let later = self
                    .mask
                    .pad_with_zeros(1, 0, 1)?
                    .narrow(1, 1, source_len)?;
                &self.mask - later
            }
        }
    }

    /// Masked softmax of `scores` `[B, S]`.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn softmax(&self, scores: &Tensor) -> Result<Tensor> {
        softmax(&(scores + &self.bias)?, D::Minus1)
    }

    /// [`softmax`](Self::softmax) of `scores` `[B, S]`, then the weighted sum of the values.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn weigh(&self, scores: &Tensor) -> Result<Attended> {
        let weights = self.softmax(scores)?; // [B, S]
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
    /// Luong's "dot": the score is the product of state and value, which must be of one width.
    Dot(DotConfig),
    /// Luong's "general": the same with a linear map between.
    General {},
    /// Chorowski's: additive, with a convolution over the weights before.
    Location(LocationConfig),
    /// Battenberg's: convolutions over the weights before, and nothing else.
    DynamicConvolution(DynamicConvolutionConfig),
    /// Graves's, of neural Turing machines: content or location, then a shift.
    Ntm(NtmConfig),
    /// Additive, with the weights before, shifted, as a prior.
    LocationRelative(LocationRelativeConfig),
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
    /// If the names are taken, or the widths do not [fit](Self::state_width).
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
            Self::Dot(config) => Box::new(DotAttention::new(config, values, state)?),
            Self::General {} => Box::new(DotAttention::general(scope, values, state)?),
            Self::Location(config) => Box::new(LocationAttention::new(
                scope, config, values, state, kernels,
            )?),
            Self::DynamicConvolution(config) => Box::new(DynamicConvolutionAttention::new(
                scope, config, state, kernels,
            )?),
            Self::Ntm(config) => {
                Box::new(NtmAttention::new(scope, config, values, state, kernels)?)
            }
            Self::LocationRelative(config) => Box::new(LocationRelativeAttention::new(
                scope, config, values, state, kernels,
            )?),
            Self::None {} => Box::new(NoAttention),
        })
    }

    /// The sizes that can be chosen.
    pub fn sizes(&self) -> AttentionSizes {
        let units = |units: NonZeroUsize| AttentionSizes {
            units: units.get(),
            ..AttentionSizes::default()
        };
        let filters = |units, filters, width| {
            let [units, filters, width] = [units, filters, width].map(NonZeroUsize::get);
            AttentionSizes {
                units,
                filters,
                width,
            }
        };
        match self {
            Self::Additive(config) => units(config.units),
            Self::Ntm(config) => units(config.units),
            Self::LocationRelative(config) => units(config.units),
            Self::Location(config) => filters(config.units, config.filters, config.width),
            Self::DynamicConvolution(config) => filters(config.units, config.filters, config.width),
            Self::Dot(_) | Self::General {} | Self::None {} => AttentionSizes::default(),
        }
    }

    /// Whether there are weights to look at.
    pub fn has_weights(&self) -> bool {
        !matches!(self, Self::None {})
    }

    /// The one width of states that it can work with, for values `values` wide; `None` if any.
    pub fn state_width(&self, values: usize) -> Option<usize> {
        matches!(self, Self::Dot(_)).then_some(values)
    }
}

/// The sizes of a mechanism; 0 where it has no such thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttentionSizes {
    /// Width of the space in which state and value meet.
    pub units: usize,
    /// Filters over the weights before, of each sort.
    pub filters: usize,
    /// Positions that a filter sees.
    pub width: usize,
}

/// A size above zero, for defaults.
fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("a literal above zero")
}
