//! Attention: at each step, the decoder weighs the source positions.
//!
//! A mechanism is one file of this folder. It holds the mechanism's configuration, its equations in
//! tensor operations, its parameters by name, its sizes and cost, and its kernel. What all mechanisms
//! share (mask, softmax, weighted sum) is in [`Memory`]. [`AttentionConfig`] lists the mechanisms that
//! a configuration can name; nothing else in the workspace does. A model can also use a mechanism that
//! is not in the list: see [`Seq2Seq::builder`](crate::Seq2Seq::builder).

mod additive;
mod convolution;
mod dot;
mod dynamic_convolution;
mod location;
mod location_relative;
mod none;
mod ntm;
mod shift;

use std::fmt::Debug;
use std::num::NonZeroUsize;

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::softmax;
use s2s_kernels::Start;
use s2s_kernels::slices::Scorer;
use serde::{Deserialize, Serialize};

use crate::{Problem, Scope};

pub use additive::{AdditiveAttention, AdditiveConfig};
pub use dot::{DotAttention, DotConfig};
pub use dynamic_convolution::{DynamicConvolutionAttention, DynamicConvolutionConfig};
pub use location::{LocationAttention, LocationConfig};
pub use location_relative::{LocationRelativeAttention, LocationRelativeConfig};
pub use none::NoAttention;
pub use ntm::{NtmAttention, NtmConfig};

pub(crate) use shift::softplus;

use dot::General;
use none::Blind;

/// An attention mechanism.
///
/// An implementation holds its parameters, as tensors that it took from a [`Scope`]. Only
/// [`prepare`](Self::prepare) and [`attend`](Self::attend) are required: the mechanism then trains
/// through autograd. With a [`kernel`](Self::kernel) it runs on the fast path as well.
///
/// ```
/// use candle_core::{D, Device, Result, Tensor};
/// use s2s_model::{Attended, Attention, Linear, Memory, ModelConfig, Scope, Seq2Seq, Tokens};
///
/// /// score[b,s] = (W query[b]) · value[b,s]
/// #[derive(Debug)]
/// struct Bilinear {
///     query: Linear, // D -> H
/// }
///
/// impl Bilinear {
///     fn new(scope: &mut Scope<'_>, values: usize, state: usize) -> Result<Self> {
///         let query = Linear::without_bias(&mut scope.pp("query"), state, values)?;
///         Ok(Self { query })
///     }
/// }
///
/// impl Attention for Bilinear {
///     fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
///         Memory::new(values, values, mask) // the keys are the values
///     }
///
///     fn attend(&self, query: &Tensor, memory: &Memory, _previous: &Tensor) -> Result<Attended> {
///         let query = self.query.forward(query)?.unsqueeze(1)?; // [B, 1, H]
///         let scores = memory.keys().broadcast_mul(&query)?.sum(D::Minus1)?; // [B, S]
///         memory.weigh(&scores)
///     }
/// }
///
/// let tokens = Tokens { size: 12, bos: 10, eos: 11 };
/// let model = Seq2Seq::builder(&ModelConfig::default(), tokens)
///     .attention(Bilinear::new)
///     .build(&Device::Cpu)?;
/// assert!(model.params().get("attention.query.weight").is_some());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub trait Attention: Debug + Send + Sync {
    /// What can be computed once per sequence, from `values` `[B, S, H]` and `mask` `[B, S]`.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory>;

    /// Weights and context of one step, from the decoder's state `query` `[B, D]` and the weights
    /// `previous` `[B, S]` of the step before; at the first step, those are
    /// [`Memory::first_weights`].
    ///
    /// # Errors
    /// If the shapes disagree.
    fn attend(&self, query: &Tensor, memory: &Memory, previous: &Tensor) -> Result<Attended>;

    /// The weights before the first step, for a mechanism that reads them.
    fn start(&self) -> Start {
        Start::Zeros
    }

    /// The same mechanism on slices, if there is a kernel for it.
    fn kernel(&self) -> Option<AttentionKernel> {
        None
    }
}

/// A mechanism on slices: its scorer, and the parameters that the scorer and the keys read.
///
/// Names of parameters are relative to the mechanism's scope.
#[derive(Debug)]
pub struct AttentionKernel {
    /// Computes the scores of a step and their gradients.
    pub scorer: Box<dyn Scorer<f32>>,
    /// The scorer's parameters, in the order in which it packs them.
    pub parameters: Vec<&'static str>,
    /// What the scorer compares the state with.
    pub keys: Keys,
}

impl AttentionKernel {
    /// A kernel without keys.
    ///
    /// `parameters` lists names in the scorer's order; the parameter structs of
    /// [`s2s_kernels::slices`] convert to such a list.
    pub fn new(
        scorer: impl Scorer<f32> + 'static,
        parameters: impl Into<Vec<&'static str>>,
    ) -> Self {
        Self {
            scorer: Box::new(scorer),
            parameters: parameters.into(),
            keys: Keys::None,
        }
    }

    /// The same kernel with keys.
    pub fn with_keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }
}

/// What a scorer compares the decoder's state with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The values after a linear map without bias, whose weight `[K, H]` has this name. They are
    /// projected once per sequence.
    Projected(&'static str),
    /// The values themselves.
    Values,
    /// Nothing: the scores do not depend on the content of the source.
    None,
}

/// The source as attention reads it: computed once per sequence, used at every step.
#[derive(Clone, Debug)]
pub struct Memory {
    values: Tensor,
    keys: Tensor,
    mask: Tensor,
    bias: Tensor,
    temperature: f64,
}

impl Memory {
    /// From `values` `[B, S, H]`, `keys` `[B, S, A]` and `mask` `[B, S]` (1 real, 0 padding).
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(values: &Tensor, keys: &Tensor, mask: &Tensor) -> Result<Self> {
        Ok(Self {
            values: values.clone(),
            keys: keys.clone(),
            mask: mask.clone(),
            bias: bias(mask)?,
            temperature: 1.0,
        })
    }

    /// The same memory for experiments: attention cannot see positions with 0 in `visible` `[B, S]`,
    /// and scores are divided by `temperature` before the softmax.
    ///
    /// # Errors
    /// If the device fails.
    pub fn altered(&self, visible: &Tensor, temperature: f64) -> Result<Self> {
        Ok(Self {
            bias: bias(&(&self.mask * visible)?)?,
            temperature,
            ..self.clone()
        })
    }

    /// A copy that is detached from the graph.
    pub fn detached(&self) -> Self {
        Self {
            values: self.values.detach(),
            keys: self.keys.detach(),
            mask: self.mask.clone(),
            bias: self.bias.clone(),
            temperature: self.temperature,
        }
    }

    /// The memory of the rows with these indices `[n]` (u32).
    pub(crate) fn rows(&self, indices: &Tensor) -> Result<Self> {
        let of = |tensor: &Tensor| tensor.index_select(indices, 0);
        Ok(Self {
            values: of(&self.values)?,
            keys: of(&self.keys)?,
            mask: of(&self.mask)?,
            bias: of(&self.bias)?,
            temperature: self.temperature,
        })
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

    /// The weights `[B, S]` before the first step: 1 at the start position of each row, or all 0.
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
            // A real position with no real position after it.
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
        if self.temperature == 1.0 {
            return softmax(&(scores + &self.bias)?, D::Minus1);
        }
        let scores = scores.affine(1.0 / self.temperature, 0.0)?;
        softmax(&(scores + &self.bias)?, D::Minus1)
    }

    /// [`softmax`](Self::softmax) of `scores` `[B, S]`, then the weighted sum of the values.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn weigh(&self, scores: &Tensor) -> Result<Attended> {
        let weights = self.softmax(scores)?; // [B, S]
        let context = weights.unsqueeze(1)?.matmul(&self.values)?.squeeze(1)?; // [B, H]
        Ok(Attended {
            context,
            weights,
            controls: vec![("score", scores.clone())],
        })
    }
}

/// What is added to the scores `[B, S]`: 0 where `mask` is 1.
fn bias(mask: &Tensor) -> Result<Tensor> {
    // Far enough below any score that its exponential is exactly 0, but finite, so that the
    // maximum, the differences and the gradients of a row stay finite.
    let masked = match mask.dtype() {
        DType::F16 => -6e4, // its maximum is 65,504
        _ => -1e30,
    };
    mask.affine(-masked, masked)
}

/// The result of attention at one step.
#[derive(Clone, Debug)]
pub struct Attended {
    /// `[B, H]`.
    pub context: Tensor,
    /// `[B, S]`: non-negative, with sum 1, 0 where padded; all 0 without attention.
    pub weights: Tensor,
    /// Named results that explain the weights, `[B, S]` or `[B, n]`. [`Memory::weigh`] adds `score`,
    /// which the weights are the softmax of.
    pub controls: Vec<(&'static str, Tensor)>,
}

impl Attended {
    /// The results of the rows with these indices `[n]` (u32), without controls.
    pub(crate) fn rows(&self, indices: &Tensor) -> Result<Self> {
        Ok(Self {
            context: self.context.index_select(indices, 0)?,
            weights: self.weights.index_select(indices, 0)?,
            controls: Vec::new(),
        })
    }

    /// A copy that is detached from the graph.
    pub fn detached(&self) -> Self {
        Self {
            context: self.context.detach(),
            weights: self.weights.detach(),
            controls: self
                .controls
                .iter()
                .map(|(name, tensor)| (*name, tensor.detach()))
                .collect(),
        }
    }
}

/// The `[model.attention]` table of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttentionConfig {
    /// Bahdanau: a small network scores state against value.
    Additive(AdditiveConfig),
    /// Luong "dot": the dot product of state and value, which must have one width.
    Dot(DotConfig),
    /// Luong "general": a dot product after a linear map of the values.
    General {},
    /// Chorowski: additive, with a convolution over the previous weights.
    Location(LocationConfig),
    /// Battenberg: convolutions over the previous weights only.
    DynamicConvolution(DynamicConvolutionConfig),
    /// Neural Turing machine: content or location, then a shift.
    Ntm(NtmConfig),
    /// Additive, with the shifted previous weights as a prior.
    LocationRelative(LocationRelativeConfig),
    /// No attention: the decoder sees the source through the bridge only.
    None {},
}

impl Default for AttentionConfig {
    fn default() -> Self {
        Self::Additive(AdditiveConfig::default())
    }
}

impl AttentionConfig {
    /// The mechanism, for values `values` wide and decoder states `state` wide.
    ///
    /// # Errors
    /// If the names are taken, or the mechanism has a [problem](crate::ModelConfig::problems) with the
    /// widths.
    pub fn build(
        &self,
        scope: &mut Scope<'_>,
        values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>> {
        self.mechanism().build(scope, values, state)
    }

    /// The sizes that the configuration chooses.
    pub fn sizes(&self) -> AttentionSizes {
        self.mechanism().sizes()
    }

    /// Whether the mechanism computes attention weights.
    pub fn has_weights(&self) -> bool {
        *self != Self::None {}
    }

    /// Whether the mechanism takes the logarithm of weights, which f16 cannot represent if they are small.
    pub fn takes_logarithms(&self) -> bool {
        self.mechanism().takes_logarithms()
    }

    pub(crate) fn mechanism(&self) -> &dyn Mechanism {
        match self {
            Self::Additive(config) => config,
            Self::Dot(config) => config,
            Self::General {} => &General,
            Self::Location(config) => config,
            Self::DynamicConvolution(config) => config,
            Self::Ntm(config) => config,
            Self::LocationRelative(config) => config,
            Self::None {} => &Blind,
        }
    }
}

/// What a mechanism declares in its configuration, before it is built.
pub(crate) trait Mechanism {
    /// The mechanism, for values `values` wide and decoder states `state` wide.
    fn build(
        &self,
        scope: &mut Scope<'_>,
        values: usize,
        state: usize,
    ) -> Result<Box<dyn Attention>>;

    /// The necessary operations.
    fn cost(&self, values: usize, state: usize) -> AttentionCost;

    /// The sizes that the configuration chooses.
    fn sizes(&self) -> AttentionSizes {
        AttentionSizes::default()
    }

    /// Whether there are kernels for it on a CUDA device.
    fn has_cuda_kernels(&self) -> bool {
        false
    }

    /// Whether it takes the logarithm of weights.
    fn takes_logarithms(&self) -> bool {
        false
    }

    /// Why the mechanism cannot be built for these widths, if it cannot.
    fn problem(&self, _values: usize, _state: usize) -> Option<Problem> {
        None
    }
}

/// The multiply-adds that a mechanism needs for each row of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct AttentionCost {
    /// For each source position, once per sequence: its key.
    pub(crate) key: usize,
    /// For each step: what is computed from the state.
    pub(crate) step: usize,
    /// For each step and source position: its score.
    pub(crate) score: usize,
    /// Width of the context, which each step sums over the positions; 0 without attention.
    pub(crate) context: usize,
}

/// The sizes of a mechanism; 0 where it has no such size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttentionSizes {
    /// Width of the space in which state and value are compared.
    pub units: usize,
    /// Filters over the previous weights, of each kind.
    pub filters: usize,
    /// Positions that a filter covers.
    pub width: usize,
}

/// A size above zero, for defaults.
fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("a literal above zero")
}
