//! The weights of the step before, shifted and sharpened.
//!
//! Graves, Wayne, Danihelka (2014), arXiv:1410.5401, equations 8 and 9; without their wrap at the
//! ends, and with a floor under the logarithm.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax;

use crate::{Linear, Scope};

/// Taps of the shift: one position back, stay, one forward.
pub(super) const TAPS: usize = 3;

/// Added to a shifted weight before the logarithm: a position that no weight was shifted to can still
/// be chosen by content.
const FLOOR: f64 = 1e-8;

/// Shift and sharpening, computed from the decoder's state.
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

/// Numbers that are computed from the state: the taps, and the sharpness.
pub(super) const CONTROLS: usize = TAPS + 1;

impl Shift {
    /// For states `state` wide.
    pub(super) fn new(scope: &mut Scope<'_>, state: usize) -> Result<Self> {
        Ok(Self {
            kernel: Linear::new(&mut scope.pp("shift"), state, TAPS)?,
            sharpness: Linear::new(&mut scope.pp("sharpen"), state, 1)?,
        })
    }

    /// The logarithm of `weights` `[B, S]` after the shift and the sharpening that `query` `[B, D]`
    /// selects, up to a constant per row.
    pub(super) fn log_weights(&self, query: &Tensor, weights: &Tensor) -> Result<Shifted> {
        let source_len = weights.dim(1)?;
        let kernel = softmax(&self.kernel.forward(query)?, D::Minus1)?; // [B, 3]
        let padded = weights.pad_with_zeros(1, 1, 1)?; // [B, S + 2]
        let mut shifted = weights.zeros_like()?;
        for tap in 0..TAPS {
            let from = padded.narrow(1, TAPS - 1 - tap, source_len)?; // weights[i - (tap - 1)]
            shifted = (shifted + from.broadcast_mul(&kernel.narrow(1, tap, 1)?)?)?;
        }
        let sharpness = softplus(&self.sharpness.forward(query)?)?.affine(1.0, 1.0)?; // [B, 1]
        Ok(Shifted {
            log: shifted
                .affine(1.0, FLOOR)?
                .log()?
                .broadcast_mul(&sharpness)?,
            controls: vec![
                ("shift", kernel),
                ("sharpness", sharpness),
                ("prior", shifted),
            ],
        })
    }
}

/// Shifted and sharpened weights.
pub(super) struct Shifted {
    /// Their logarithm, `[B, S]`.
    pub(super) log: Tensor,
    /// The taps `[B, 3]`, the sharpness `[B, 1]` and the shifted weights `[B, S]`.
    pub(super) controls: Vec<(&'static str, Tensor)>,
}

/// `ln(1 + exp(x))`, without overflow.
pub(crate) fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + x.abs()?.neg()?.exp()?.affine(1.0, 1.0)?.log()?
}
