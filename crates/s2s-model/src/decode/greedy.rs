//! Greedy decoding: the most likely token at each step. Finished rows leave the batch.

use std::borrow::Cow;
use std::slice;

use candle_core::Result;

use super::logits::{Normalizer, argmax};
use super::{Decoded, Rows, Stop, Watch};
use crate::{Source, Tokens};

pub(super) fn search(
    rows: &mut (impl Rows + ?Sized),
    tokens: Tokens,
    source: &Source,
    stop: Stop,
    mut watch: Option<&mut Watch<'_>>,
) -> Result<Vec<Decoded>> {
    let (lengths, len) = (source.lengths(), source.max_len());
    rows.start(source)?;
    let mut outputs = vec![Decoded::default(); lengths.len()];
    let mut sources: Vec<usize> = (0..lengths.len())
        .filter(|row| stop.limit(lengths[*row]) > 0)
        .collect();
    if sources.len() < lengths.len() {
        rows.keep(&sources)?;
    }
    let mut fed = vec![tokens.bos; sources.len()];
    while !fed.is_empty() {
        rows.step(source, &fed)?;
        let attention = match watch {
            Some(_) => rows.attention()?,
            None => Cow::default(),
        };
        let mut active = Vec::with_capacity(fed.len());
        fed.clear();
        for (index, &row) in sources.iter().enumerate() {
            let logits = &rows.logits()[index * tokens.size..][..tokens.size];
            let logits = stop.possible(logits, tokens.eos);
            let token = argmax(&logits);
            let log_prob = Normalizer::of(&logits).log_prob(logits[token as usize]);
            let output = &mut outputs[row];
            output.push(token, log_prob as f32, tokens.eos);
            let mut is_done = output.stopped || output.log_probs.len() >= stop.limit(lengths[row]);
            if let Some(watch) = &mut watch {
                let weights = &attention[index * len..][..lengths[row]];
                let all = 0..lengths[row];
                let support = rows.support(index).unwrap_or(slice::from_ref(&all));
                is_done |= watch(row, weights, support).is_break();
            }
            if !is_done {
                active.push(index);
                fed.push(token);
            }
        }
        drop(attention);
        if active.len() < sources.len() {
            rows.keep(&active)?;
            sources = active.into_iter().map(|index| sources[index]).collect();
        }
    }
    Ok(outputs)
}
