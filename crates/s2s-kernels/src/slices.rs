//! The kernels themselves, on slices: no candle, no autograd, no allocation to speak of after the
//! first step.
//!
//! A training step packs the weights, runs each operator forward, then each backward in the other
//! order, and finds the gradients in the slices that it named:
//!
//! ```text
//! pack      Bidirectional::pack, Linear::pack, Scorer::pack, Decoder::pack
//! forward   Bidirectional::forward a layer; swap_axes; Linear for the bridge and the keys;
//!           Decoder::forward;
//!           token_loss, which turns Decoder::logits_mut into their gradients
//! backward  Decoder::backward; Linear::backward, weight_gradient; swap_axes;
//!           Bidirectional::backward
//! update    squared_norm, adam
//! ```
//!
//! Operators keep what their backward pass needs; their memory grows to the largest batch seen and
//! is reused.
//!
//! * Activations are **position first**: `[S, B, H]`, the rows of one step are neighbors, and those
//!   of all steps are one matrix, over which each weight's gradient is one product. What comes from
//!   a batch stays batch first, `[B, S]`: words, lengths, coins, masks; and so is what the attention
//!   looks at, [`Memory`], since it reads one row's positions together: [`swap_axes`] stands between.
//! * A gradient is replaced, unless an argument says whether it is replaced or added to.
//! * Dropout masks hold 0 or 1/(1-p) and come from outside.
//! * A [`Team`] says how many threads share the work. The results have the same bits for any number of them.
//! * A backward pass consumes what its forward pass kept: one backward a forward.
//!
//! Wrong lengths are a mistake in the calling program: they panic.

pub use crate::attention::additive::{Additive, AdditiveParams};
pub use crate::attention::dot::Dot;
pub use crate::attention::dynamic::{DynamicConvolution, DynamicConvolutionParams};
pub use crate::attention::kernel::{Memory, Scorer, Step, StepGrads};
pub use crate::attention::location::{Location, LocationParams};
pub use crate::attention::location_relative::{LocationRelative, LocationRelativeParams};
pub use crate::attention::none::NoScores;
pub use crate::attention::ntm::{Ntm, NtmParams};
pub use crate::decoder::{
    Decoder, DecoderDropout, DecoderGrads, DecoderInputs, DecoderParams, DecoderSizes, Decoding,
    MemoryGrads, Targets,
};
pub use crate::gru::Gru;
pub use crate::linear::{Linear, bias_gradient, weight_gradient};
pub use crate::loss::kernel::{TokenSums, token_loss};
pub use crate::lstm::Lstm;
pub use crate::optim::kernel::{adam, squared_norm};
pub use crate::real::{Matrix, Output, Real};
pub use crate::recurrent::bidirectional::{Bidirectional, BidirectionalStates};
pub use crate::recurrent::layer::{
    Columns, RecurrentBatch, RecurrentInput, RecurrentLayer, RecurrentStates,
};
pub use crate::recurrent::{Cell, GateBlock, RecurrentGrads, RecurrentParams};
pub use crate::storage::{read, write};
pub use crate::table::{gather, multiply_mask, position_first, scatter_add, swap_axes};
pub use crate::team::{Team, in_pool};
