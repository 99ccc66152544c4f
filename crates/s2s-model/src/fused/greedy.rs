//! Greedy decoding on slices: rows that have ended leave the batch.

use candle_core::Result;
use s2s_kernels::slices::{Cell, Memory};

use super::bridge::slices;
use super::encoder::Words;
use super::slices::ParamSlices;
use super::{Fused, argmax, words};
use crate::{Decoded, Params, Source, Stop, Tokens, Watch};

impl<C: Cell> Fused<C> {
    /// The likeliest token at each step; the weights must be packed.
    pub(super) fn decode(
        &mut self,
        params: &Params,
        tokens: Tokens,
        source: &Source,
        stop: Stop,
        mut watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>> {
        let (ids, lengths, len) = (
            words(&source.tokens)?,
            source.rows.lengths(),
            source.rows.max_len(),
        );
        let read = Words {
            ids: &ids,
            lengths,
            len,
        };
        self.encode(&ParamSlices::of(params), read)?;
        let memory = Memory {
            values: &self.values,
            keys: self.attention.keys(&self.values),
            lengths,
            len,
        };
        let decoding = &mut self.decoding;
        decoding.start(&self.decoder, memory, &slices(&self.bridge.states));

        let mut rows = vec![Decoded::default(); lengths.len()];
        let going: Vec<usize> = (0..lengths.len())
            .filter(|row| stop.limit(lengths[*row]) > 0)
            .collect();
        if going.len() < lengths.len() {
            decoding.keep(&going);
        }
        let mut fed = vec![tokens.bos; going.len()];
        while !fed.is_empty() {
            decoding.step(&self.decoder, memory, &fed);
            let mut going = Vec::with_capacity(fed.len());
            fed.clear();
            for (index, &row) in decoding.rows().iter().enumerate() {
                let logits = &decoding.logits()[index * tokens.size..][..tokens.size];
                let (token, log_prob) = likeliest(logits, stop, tokens.eos);
                rows[row].say(token, log_prob, tokens.eos);
                let mut is_done =
                    rows[row].stopped || rows[row].log_probs.len() >= stop.limit(lengths[row]);
                if let Some(watch) = &mut watch {
                    let weights = &decoding.attention()[index * len..][..lengths[row]];
                    is_done |= watch(row, weights).is_break();
                }
                if !is_done {
                    going.push(index);
                    fed.push(token);
                }
            }
            if going.len() < decoding.rows().len() {
                decoding.keep(&going);
            }
        }
        Ok(rows)
    }
}

/// The likeliest token and the natural logarithm of its chance; EOS has none where the length is
/// told.
fn likeliest(logits: &[f32], stop: Stop, eos: u32) -> (u32, f32) {
    let mut told = Vec::new();
    let logits = match stop {
        Stop::AtEos => logits,
        Stop::AtSourceLength { .. } => {
            told.extend_from_slice(logits);
            told[eos as usize] = f32::NEG_INFINITY;
            &told
        }
    };
    let token = argmax(logits);
    let greatest = logits[token as usize];
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - greatest).exp())
        .sum();
    (token, -sum.ln() as f32)
}
