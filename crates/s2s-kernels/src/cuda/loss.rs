//! Predictions and the loss on the device.

use candle_core::Result;

use super::queue::{Queue, View, launch, warps};

/// Adds the bias to `logits [rows, V]` and finds the most likely token of each row, and its log-probability
/// if there is room for it. A `forbidden` token is not chosen and has no probability.
///
/// # Errors
/// If the driver fails.
pub fn predict(
    queue: &Queue,
    logits: View<'_, f32>,
    bias: View<'_, f32>,
    predictions: View<'_, u32>,
    log_probs: Option<View<'_, f32>>,
    forbidden: Option<u32>,
) -> Result<()> {
    let (rows, vocab) = (predictions.len, bias.len);
    assert_eq!(logits.len, rows * vocab, "logits");
    let forbidden = forbidden.map_or(vocab, |token| token as usize);
    launch!(
        queue,
        Predict,
        warps(rows),
        logits,
        bias,
        predictions,
        log_probs,
        rows,
        vocab,
        forbidden,
    )
}

/// The negative log-likelihood `losses [T, B]` of the targets `[B, T]`, 0 where padded, without label
/// smoothing. `logits [T, B, V]` become the gradients of the sum of the smoothed losses times a scale;
/// `numbers [2]` are the scale and the smoothing.
///
/// # Errors
/// If the driver fails.
pub fn token_loss(
    queue: &Queue,
    logits: View<'_, f32>,
    targets: View<'_, u32>,
    lengths: View<'_, u32>,
    losses: View<'_, f32>,
    numbers: View<'_, f32>,
) -> Result<()> {
    let (positions, batch) = (targets.len, lengths.len);
    assert_eq!(losses.len, positions, "a loss for each target");
    assert_eq!(numbers.len, 2, "scale and smoothing");
    let (len, vocab) = (positions / batch, logits.len / positions);
    launch!(
        queue,
        TokenLoss,
        warps(positions),
        logits,
        targets,
        lengths,
        losses,
        numbers,
        batch,
        len,
        vocab,
    )
}
