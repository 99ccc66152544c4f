//! Greedy decoding on slices. Finished rows leave the batch.

use candle_core::Result;
use s2s_kernels::slices::{Cell, Save};

use super::bridge::slices;
use super::slices::ParamSlices;
use super::{Fused, argmax, memory};
use crate::{Decoded, Params, Source, Stop, Tokens, Watch};

impl<C: Cell> Fused<C> {
    /// The most likely token at each step; the weights must be packed.
    pub(super) fn decode(
        &mut self,
        params: &Params,
        tokens: Tokens,
        source: &Source,
        stop: Stop,
        mut watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>> {
        self.encode(&ParamSlices::of(params), source, Save::Nothing)?;
        let (lengths, len) = (source.lengths(), source.max_len());
        let memory = memory(source, &self.values, self.attention.keys(&self.values));
        let decoding = &mut self.decoding;
        decoding.start(&self.decoder, memory, &slices(&self.bridge.states));

        let mut rows = vec![Decoded::default(); lengths.len()];
        let active: Vec<usize> = (0..lengths.len())
            .filter(|row| stop.limit(lengths[*row]) > 0)
            .collect();
        if active.len() < lengths.len() {
            decoding.keep(&active);
        }
        let mut fed = vec![tokens.bos; active.len()];
        while !fed.is_empty() {
            decoding.step(&self.decoder, memory, &fed);
            let mut active = Vec::with_capacity(fed.len());
            fed.clear();
            for (index, &row) in decoding.rows().iter().enumerate() {
                let logits = &decoding.logits()[index * tokens.size..][..tokens.size];
                let (token, log_prob) = most_likely(logits, stop, tokens.eos);
                rows[row].push(token, log_prob, tokens.eos);
                let mut is_done =
                    rows[row].stopped || rows[row].log_probs.len() >= stop.limit(lengths[row]);
                if let Some(watch) = &mut watch {
                    let weights = &decoding.attention()[index * len..][..lengths[row]];
                    is_done |= watch(row, weights, decoding.reach()[index].clone()).is_break();
                }
                if !is_done {
                    active.push(index);
                    fed.push(token);
                }
            }
            if active.len() < decoding.rows().len() {
                decoding.keep(&active);
            }
        }
        Ok(rows)
    }
}

/// The most likely token and its log-probability in nats. EOS is excluded if the length is fixed.
fn most_likely(logits: &[f32], stop: Stop, eos: u32) -> (u32, f32) {
    let mut without_eos = Vec::new();
    let logits = match stop {
        Stop::AtEos(_) => logits,
        Stop::AtSourceLength { .. } => {
            without_eos.extend_from_slice(logits);
            without_eos[eos as usize] = f32::NEG_INFINITY;
            &without_eos
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
