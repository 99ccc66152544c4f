//! Masked cross-entropy in plain tensor operations.

use candle_core::{D, Result, Tensor, bail};
use candle_nn::ops::log_softmax;

use super::TokenLoss;
use crate::Ragged;

/// The definition of [`token_loss`](crate::token_loss()): `logits` is `[B, T, V]`, `targets` `[B, T]` (u32).
///
/// # Errors
/// If the shapes disagree, or if no token is real.
pub fn token_loss(logits: &Tensor, targets: &Tensor, rows: &Ragged) -> Result<TokenLoss> {
    let n_tokens = rows.n_tokens();
    if n_tokens == 0 {
        bail!("the loss of a batch without a single real token is undefined");
    }
    let sum = log_softmax(logits, D::Minus1)? // [B, T, V]
        .gather(&targets.unsqueeze(2)?, 2)? // [B, T, 1]
        .squeeze(2)?
        .mul(rows.mask())?
        .sum_all()?
        .neg()?;
    Ok(TokenLoss { sum, n_tokens })
}

/// The cross-entropy of the uniform distribution at the real positions, which label smoothing mixes with
/// [`token_loss`]: `(1 - ε) token_loss + ε uniform_loss`. `logits` is `[B, T, V]`; the sum is in nats.
///
/// # Errors
/// If the shapes disagree.
pub fn uniform_loss(logits: &Tensor, rows: &Ragged) -> Result<TokenLoss> {
    let sum = log_softmax(logits, D::Minus1)? // [B, T, V]
        .mean(D::Minus1)?
        .mul(rows.mask())?
        .sum_all()?
        .neg()?;
    let n_tokens = rows.n_tokens();
    Ok(TokenLoss { sum, n_tokens })
}
