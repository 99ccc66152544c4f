//! Additive scores in plain tensor operations.

use candle_core::{Result, Tensor};

/// The definition of [`additive_scores`](crate::additive_scores()): `[B, S]`, of `query` `[B, A]`, `keys`
/// `[B, S, A]` and `energy` `[A]`.
///
/// # Errors
/// If the shapes disagree.
pub fn additive_scores(query: &Tensor, keys: &Tensor, energy: &Tensor) -> Result<Tensor> {
    let (batch, source_len, units) = keys.dims3()?;
    keys.broadcast_add(&query.unsqueeze(1)?)?
        .tanh()? // [B, S, A]
        .reshape((batch * source_len, units))?
        .matmul(&energy.unsqueeze(1)?)? // [B·S, 1]
        .reshape((batch, source_len))
}
