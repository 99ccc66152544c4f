//! The definition of layer normalization.

use candle_core::{D, Result, Tensor};

use super::EPSILON;

/// The rows of `x [.., N]`, normalized, times `gain [N]`, plus `bias [N]`.
///
/// # Errors
/// If the shapes disagree.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
    let normalized = centered.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
    normalized.broadcast_mul(gain)?.broadcast_add(bias)
}
