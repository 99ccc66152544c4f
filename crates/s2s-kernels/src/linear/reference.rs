//! The linear layer in plain tensor operations.

use candle_core::{Result, Tensor};

use super::check;

/// The definition of [`linear`](crate::linear()): `x` is `[.., K]`, `weight` `[N, K]`, `bias` `[N]`.
///
/// # Errors
/// If the shapes disagree.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    check(x, weight, bias)?;
    let y = x.broadcast_matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}
