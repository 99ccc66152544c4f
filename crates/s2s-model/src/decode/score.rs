//! Forced decoding: how probable the model finds an output; and the loss of a batch.

use candle_core::{Result, bail};

use super::Rows;
use super::logits::{Normalizer, argmax};
use crate::{Batch, BatchLoss, Forcing, Source, Tokens};

/// How probable the model finds a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Log-probability of each target token and of EOS, in nats.
    pub log_probs: Vec<f32>,
    /// The rank of each of them among all tokens of its step, from 1 for the most likely.
    pub ranks: Vec<usize>,
}

impl Scored {
    /// Log-probability of the whole target in nats.
    pub fn log_prob(&self) -> f64 {
        self.log_probs.iter().map(|p| f64::from(*p)).sum()
    }

    /// The perplexity: the inverse of the geometric mean of the probabilities, EOS included.
    pub fn perplexity(&self) -> f64 {
        (-self.log_prob() / self.log_probs.len() as f64).exp()
    }
}

/// Scores one target per source, without EOS.
pub(super) fn score(
    rows: &mut dyn Rows,
    tokens: Tokens,
    source: &Source,
    targets: &[Vec<u32>],
) -> Result<Vec<Scored>> {
    if targets.len() != source.n_rows() {
        bail!("{} sources have {} targets", source.n_rows(), targets.len());
    }
    if let Some(id) = targets
        .iter()
        .flatten()
        .find(|id| **id as usize >= tokens.size)
    {
        bail!("token {id} lies outside the vocabulary of {}", tokens.size);
    }
    rows.start(source)?;
    let mut scored = vec![Scored::default(); targets.len()];
    let mut active: Vec<usize> = (0..targets.len()).collect();
    let mut fed = vec![tokens.bos; active.len()];
    while !fed.is_empty() {
        rows.step(source, &fed)?;
        let mut kept = Vec::with_capacity(fed.len());
        fed.clear();
        for (row, &index) in active.iter().enumerate() {
            let logits = &rows.logits()[row * tokens.size..][..tokens.size];
            let scored = &mut scored[index];
            let next = targets[index].get(scored.ranks.len());
            let token = *next.unwrap_or(&tokens.eos);
            let log_prob = Normalizer::of(logits).log_prob(logits[token as usize]);
            scored.log_probs.push(log_prob as f32);
            scored.ranks.push(rank(logits, token as usize));
            if next.is_some() {
                kept.push(row);
                fed.push(token);
            }
        }
        if kept.len() < active.len() {
            rows.keep(&kept)?;
            active = kept.into_iter().map(|row| active[row]).collect();
        }
    }
    Ok(scored)
}

/// Loss and predictions of a batch. A row leaves when its target has ended; predictions after it are 0.
pub(super) fn loss(
    rows: &mut dyn Rows,
    tokens: Tokens,
    batch: &Batch,
    forcing: &Forcing,
) -> Result<BatchLoss> {
    let (width, lengths) = (batch.target_len(), batch.target_lengths());
    let mut loss = BatchLoss {
        loss_sum: 0.0,
        predictions: vec![0; batch.n_rows() * width],
    };
    rows.start(batch.source())?;
    let mut active: Vec<usize> = (0..batch.n_rows()).collect();
    let mut fed = vec![tokens.bos; active.len()];
    for step in 0..width {
        rows.step(batch.source(), &fed)?;
        let mut kept = Vec::with_capacity(fed.len());
        fed.clear();
        for (row, &index) in active.iter().enumerate() {
            let logits = &rows.logits()[row * tokens.size..][..tokens.size];
            let position = index * width + step;
            let (target, predicted) = (batch.target_out()[position], argmax(logits));
            loss.loss_sum -= Normalizer::of(logits).log_prob(logits[target as usize]);
            loss.predictions[position] = predicted;
            if step + 1 < lengths[index] {
                kept.push(row);
                fed.push(match forcing.is_forced(index, step + 1) {
                    true => target,
                    false => predicted,
                });
            }
        }
        if kept.len() < active.len() {
            rows.keep(&kept)?;
            active = kept.into_iter().map(|row| active[row]).collect();
        }
    }
    Ok(loss)
}

/// The rank of a token; of equal ones, the first comes first.
fn rank(logits: &[f32], token: usize) -> usize {
    let is_before = |(index, logit): (usize, &f32)| {
        *logit > logits[token] || (*logit == logits[token] && index < token)
    };
    1 + logits
        .iter()
        .enumerate()
        .filter(|pair| is_before(*pair))
        .count()
}
