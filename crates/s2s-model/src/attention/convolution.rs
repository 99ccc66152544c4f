//! Windows over the weights of the step before, for filters to read.

use candle_core::{Result, Tensor};

/// The window around each position, `[B, S, width]`: `windows[b,i,j] = weights[b, i + j - c]` with
/// `c = ⌊width / 2⌋`, and 0 beyond both ends.
pub(super) fn windows(weights: &Tensor, width: usize) -> Result<Tensor> {
    let source_len = weights.dim(1)?;
    let center = width / 2;
    let padded = weights.pad_with_zeros(1, center, width - 1 - center)?; // [B, S + width - 1]
    let taps = (0..width)
        .map(|tap| padded.narrow(1, tap, source_len))
        .collect::<Result<Vec<_>>>()?;
    Tensor::stack(&taps, 2)?.contiguous() // CUDA multiplies contiguous matrices only
}
