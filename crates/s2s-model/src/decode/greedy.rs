//! Greedy decoding: the likeliest token at each step.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::log_softmax;

use super::{Decoded, Stop};
use crate::{Mode, Seq2Seq, Source};

/// The likeliest token at each step, for every row of a batch; it ends as soon as all rows have.
///
/// Attention weights are kept only `with_weights`: they take memory in the square of the length.
///
/// # Errors
/// If the device fails.
pub fn greedy(
    model: &Seq2Seq,
    source: &Source,
    stop: Stop,
    with_weights: bool,
) -> Result<Vec<Decoded>> {
    let tokens = model.tokens();
    let (mut state, memory) = model.encode(source, Mode::Evaluate)?;
    let lengths = source.rows.lengths();
    let limits: Vec<usize> = lengths.iter().map(|len| stop.limit(*len)).collect();
    let longest = limits.iter().copied().max().unwrap_or(0);
    let device = source.tokens.device();
    let forbidden = forbid_eos(
        stop,
        tokens.eos,
        tokens.size,
        state.hidden[0].dtype(),
        device,
    )?;

    let nothing = Decoded {
        tokens: Vec::new(),
        log_probs: Vec::new(),
        stopped: false,
        weights: Vec::new(),
    };
    let mut rows = vec![nothing; lengths.len()];
    let mut fed = Tensor::full(tokens.bos, lengths.len(), device)?;
    for step in 0..longest {
        let (mut logits, next) = model.decoder().step(&fed, &state, &memory)?; // [B, V]
        state = next;
        if let Some(forbidden) = &forbidden {
            logits = logits.broadcast_add(forbidden)?;
        }
        fed = logits.argmax(D::Minus1)?; // [B]
        let said = fed.to_vec1::<u32>()?;
        let log_probs = log_softmax(&logits, D::Minus1)?
            .gather(&fed.unsqueeze(1)?, 1)?
            .squeeze(1)?
            .to_dtype(DType::F32)?
            .to_vec1::<f32>()?;
        let weights = match state.attended.as_ref().filter(|_| with_weights) {
            Some(attended) => attended.weights.to_dtype(DType::F32)?.to_vec2::<f32>()?,
            None => Vec::new(),
        };

        for (b, row) in rows.iter_mut().enumerate() {
            if row.stopped || step >= limits[b] {
                continue;
            }
            row.log_probs.push(log_probs[b]);
            if let Some(weights) = weights.get(b) {
                row.weights.push(weights[..lengths[b]].to_vec());
            }
            if said[b] == tokens.eos {
                row.stopped = true;
            } else {
                row.tokens.push(said[b]);
            }
        }
        if (0..rows.len()).all(|b| rows[b].stopped || step + 1 >= limits[b]) {
            break;
        }
    }
    Ok(rows)
}

/// What to add to the logits so that EOS is never said, if the length is told: `[V]`.
fn forbid_eos(
    stop: Stop,
    eos: u32,
    vocab_size: usize,
    dtype: DType,
    device: &candle_core::Device,
) -> Result<Option<Tensor>> {
    match stop {
        Stop::AtEos => Ok(None),
        Stop::AtSourceLength => {
            let mut bias = vec![0.0_f32; vocab_size];
            bias[eos as usize] = -1e30;
            Tensor::from_vec(bias, vocab_size, device)?
                .to_dtype(dtype)
                .map(Some)
        }
    }
}
