//! Moving along: the weights of the step before, shifted and sharpened.
//!
//! Graves, Wayne, Danihelka (2014), arXiv:1410.5401, equations 8 and 9; without their wrap at the
//! ends, and with a floor under the logarithm.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax;

use crate::{Linear, Scope};

/// Taps of the kernel: one position back, stay, one on.
const TAPS: usize = 3;

/// What a position is worth where no weight came to: there the walk has no opinion, but content may.
const FLOOR: f64 = 1e-8;

/// What the state says about moving on.
///
/// ```text
/// k          = softmax(K query + b)                      offsets -1, 0, +1
/// γ          = 1 + softplus(g · query + c)
/// shifted[i] = Σ_o k[o] weights[i - o]                   0 beyond both ends
/// log[i]     = γ ln(shifted[i] + 1e-8)
/// ```
#[derive(Debug)]
pub(super) struct Shift {
    kernel: Linear,    // K, b: D -> 3
    sharpness: Linear, // g, c: D -> 1
}

impl Shift {
    /// For states `state` wide.
    pub(super) fn new(scope: &mut Scope<'_>, state: usize) -> Result<Self> {
        Ok(Self {
            kernel: Linear::new(&mut scope.pp("shift"), state, TAPS)?,
            sharpness: Linear::new(&mut scope.pp("sharpen"), state, 1)?,
        })
    }

    /// The logarithm of `weights` `[B, S]`, moved and sharpened as `query` `[B, D]` says, but for a
    /// constant a row.
    pub(super) fn log_weights(&self, query: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let source_len = weights.dim(1)?;
        let kernel = softmax(&self.kernel.forward(query)?, D::Minus1)?; // [B, 3]
        let padded = weights.pad_with_zeros(1, 1, 1)?; // [B, S + 2]
        let mut shifted = weights.zeros_like()?;
        for tap in 0..TAPS {
            let from = padded.narrow(1, TAPS - 1 - tap, source_len)?; // weights[i - (tap - 1)]
            shifted = (shifted + from.broadcast_mul(&kernel.narrow(1, tap, 1)?)?)?;
        }
        let sharpness = softplus(&self.sharpness.forward(query)?)?.affine(1.0, 1.0)?; // [B, 1]
        shifted.affine(1.0, FLOOR)?.log()?.broadcast_mul(&sharpness)
    }
}

/// `ln(1 + exp(x))`, of any `x`.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + x.abs()?.neg()?.exp()?.affine(1.0, 1.0)?.log()?
}
