//! Greedy decoding: the most likely token at each step.

use std::ops::ControlFlow;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::log_softmax;

use super::{Decoded, Stop, Watch};
use crate::fused::FusedModel;
use crate::{Mode, Seq2Seq, Source};

/// A greedy decoder for a model. On the fast path, it packs the model's weights once.
///
/// It uses the parameters as they are when it is created. A clone shares the packed weights and has its
/// own workspace, so several threads can decode at the same time with one clone each.
#[derive(Clone, Debug)]
pub struct Greedy<'a> {
    model: &'a Seq2Seq,
    fused: Option<Box<dyn FusedModel>>,
}

impl<'a> Greedy<'a> {
    /// Packs the weights.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(model: &'a Seq2Seq) -> Result<Self> {
        Ok(Self {
            model,
            fused: model.fused_for_decoding()?,
        })
    }

    /// Decodes every row of a batch.
    ///
    /// Attention weights are returned only `with_weights`: their memory grows with the square of the
    /// length.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(
        &mut self,
        source: &Source,
        stop: Stop,
        with_weights: bool,
    ) -> Result<Vec<Decoded>> {
        if !with_weights {
            return self.run(source, stop, None);
        }
        let mut all = vec![Vec::new(); source.n_rows()];
        let mut rows = self.watch(source, stop, &mut |row, weights, _| {
            all[row].push(weights.to_vec());
            ControlFlow::Continue(())
        })?;
        for (row, weights) in rows.iter_mut().zip(all) {
            row.weights = weights;
        }
        Ok(rows)
    }

    /// Like [`Greedy::decode`], with a callback that sees the attention weights and can end rows early.
    ///
    /// # Errors
    /// If the device fails.
    pub fn watch(
        &mut self,
        source: &Source,
        stop: Stop,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Decoded>> {
        self.run(source, stop, Some(watch))
    }

    fn run(
        &mut self,
        source: &Source,
        stop: Stop,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>> {
        let (params, tokens) = (self.model.params(), self.model.tokens());
        match &mut self.fused {
            Some(fused) => fused.greedy(params, tokens, source, stop, watch),
            None => reference(self.model, source, stop, watch),
        }
    }
}

/// [`Greedy`] for a single batch.
///
/// # Errors
/// If the device fails.
pub fn greedy(
    model: &Seq2Seq,
    source: &Source,
    stop: Stop,
    with_weights: bool,
) -> Result<Vec<Decoded>> {
    Greedy::new(model)?.decode(source, stop, with_weights)
}

fn reference(
    model: &Seq2Seq,
    source: &Source,
    stop: Stop,
    mut watch: Option<&mut Watch<'_>>,
) -> Result<Vec<Decoded>> {
    let tokens = model.tokens();
    // Detached: otherwise each step would keep the graph of all steps before it.
    let (state, memory) = model.encode(source, Mode::Evaluate)?;
    let (mut state, memory) = (state.detached(), memory.detached());
    let lengths = source.lengths();
    let device = model.params().device();
    let forbidden = forbid_eos(stop, tokens.eos, tokens.size, device)?;

    let mut rows = vec![Decoded::default(); lengths.len()];
    let mut is_done: Vec<bool> = lengths.iter().map(|len| stop.limit(*len) == 0).collect();
    let mut fed = Tensor::full(tokens.bos, lengths.len(), device)?;
    while is_done.contains(&false) {
        let (mut logits, next) = model.decoder().step(&fed, &state, &memory)?; // [B, V]
        state = next.detached();
        if let Some(forbidden) = &forbidden {
            logits = logits.broadcast_add(&forbidden.to_dtype(logits.dtype())?)?;
        }
        fed = logits.argmax(D::Minus1)?; // [B]
        let chosen = fed.to_vec1::<u32>()?;
        let log_probs = log_softmax(&logits, D::Minus1)?
            .gather(&fed.unsqueeze(1)?, 1)?
            .squeeze(1)?
            .to_dtype(DType::F32)?
            .to_vec1::<f32>()?;
        let weights = match state.attended.as_ref().filter(|_| watch.is_some()) {
            Some(attended) => attended.weights.to_dtype(DType::F32)?.to_vec2::<f32>()?, // [B, S]
            None => Vec::new(),
        };
        for (b, (row, is_done)) in rows.iter_mut().zip(&mut is_done).enumerate() {
            if !*is_done {
                row.push(chosen[b], log_probs[b], tokens.eos);
                *is_done = row.stopped || row.log_probs.len() >= stop.limit(lengths[b]);
                if let Some((watch, weights)) = watch.as_mut().zip(weights.get(b)) {
                    *is_done |= watch(b, &weights[..lengths[b]], 0..lengths[b]).is_break();
                }
            }
        }
    }
    Ok(rows)
}

/// A bias on the logits `[V]` that excludes EOS, if the output length is fixed.
fn forbid_eos(stop: Stop, eos: u32, vocab_size: usize, device: &Device) -> Result<Option<Tensor>> {
    match stop {
        Stop::AtEos(_) => Ok(None),
        Stop::AtSourceLength { .. } => {
            let mut bias = vec![0.0_f32; vocab_size];
            bias[eos as usize] = -1e30;
            Tensor::from_vec(bias, vocab_size, device).map(Some)
        }
    }
}
