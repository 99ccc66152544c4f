//! The kernels on slices: no tensors, no autograd, and almost no allocation after the first step.
//!
//! A training step packs the weights, runs the operators forward and then backward in reverse order,
//! and writes the gradients to slices that the caller provides:
//!
//! ```text
//! pack      Bidirectional::pack, Linear::pack, Scorer::pack, Decoder::pack
//! forward   Bidirectional::forward per layer; swap_axes; Linear for the bridge and the keys;
//!           Decoder::forward; token_loss, which replaces Decoder::logits_mut by their gradients
//! backward  Decoder::backward; Linear::backward, weight_gradient; swap_axes;
//!           Bidirectional::backward
//! update    squared_norm, adam
//! ```
//!
//! Each operator owns the values that it saves for its backward pass. Its memory grows to the largest
//! batch and is reused. A backward pass overwrites the saved values, so it can run only once after each
//! forward pass.
//!
//! * Activations are **time-major**, `[S, B, H]`: the rows of a step are adjacent, and the rows of all
//!   steps form one matrix, so that the gradient of each weight is one product. Token ids, lengths,
//!   teacher-forcing flags and dropout masks are batch-major, `[B, S]`. So is the [`Memory`] of the
//!   attention, which reads all positions of one row together; [`swap_axes`] converts between the two.
//! * A gradient is replaced, unless an [`Epilogue`] says otherwise.
//! * Dropout masks contain 0 or 1/(1-p) and are drawn by the caller.
//! * A [`Team`] sets the number of threads. Results have the same bits for any number of threads.
//!
//! Slices of the wrong length are bugs in the caller and cause a panic.

pub use crate::activation::tanh_in_place;
pub use crate::attention::additive::{Additive, AdditiveParams};
pub use crate::attention::dot::Dot;
pub use crate::attention::dynamic::{DynamicConvolution, DynamicConvolutionParams};
pub use crate::attention::kernel::{Memory, Scorer, Step, StepGrads};
pub use crate::attention::location::{Location, LocationParams};
pub use crate::attention::location_relative::{LocationRelative, LocationRelativeParams};
pub use crate::attention::none::NoScores;
pub use crate::attention::ntm::{Ntm, NtmParams};
pub use crate::decoder::{
    AttentionalGrads, AttentionalParams, Connections, Decoder, DecoderDropout, DecoderGrads,
    DecoderInputs, DecoderParams, DecoderSizes, Decoding, MemoryGrads, Targets,
};
pub use crate::gru::Gru;
pub use crate::lanes::argmax;
pub use crate::linear::{Linear, bias_gradient, weight_gradient};
pub use crate::loss::kernel::token_loss;
pub use crate::lstm::Lstm;
pub use crate::matrix::{Epilogue, Matrix};
pub use crate::norm::{LayerNorm, NormGrads};
pub use crate::optim::kernel::{adam, squared_norm};
pub use crate::real::Real;
pub use crate::recurrent::batch::{RecurrentBatch, RecurrentInput};
pub use crate::recurrent::bidirectional::{Bidirectional, BidirectionalStates};
pub use crate::recurrent::{Cell, GateBlock, NextState, RecurrentGrads, RecurrentParams, Save};
pub use crate::storage::write;
pub use crate::table::{add_row, gather, multiply_mask, scatter_add, swap_axes, time_major};
pub use crate::team::{Team, in_pool};
pub use crate::transducer::{
    EntropyBonus, Transducer, TransducerDecoding, TransducerInputs, TransducerParams,
    TransducerSizes,
};
