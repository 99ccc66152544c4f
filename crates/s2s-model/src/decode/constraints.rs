//! What an output may contain.

use std::borrow::Cow;

use candle_core::{Result, bail};

use super::Stop;
use super::logits::Normalizer;
use crate::{Source, Tokens};

/// What an output may contain and when it ends. The default allows everything.
///
/// Constraints influence which tokens are chosen, and a repetition penalty also how outputs are ranked; the
/// log-probabilities of the output remain the model's.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraints {
    /// When decoding ends.
    pub stop: Stop,
    /// Minimum number of tokens before EOS.
    pub min_len: usize,
    /// The tokens that every output begins with.
    pub prefix: Vec<u32>,
    /// The tokens that an output may contain after the prefix, besides EOS; all if there are none.
    pub allowed: Vec<u32>,
    /// Makes tokens that the output contains less likely: divides their logits if positive, multiplies them
    /// if negative. 1 changes nothing. Keskar et al. (2019), arXiv:1909.05858.
    pub repetition_penalty: f32,
    /// No sequence of so many tokens occurs twice in an output; 0 for no limit.
    pub no_repeat_ngram: usize,
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            stop: Stop::default(),
            min_len: 0,
            prefix: Vec::new(),
            allowed: Vec::new(),
            repetition_penalty: 1.0,
            no_repeat_ngram: 0,
        }
    }
}

impl Constraints {
    /// Checks them for a vocabulary and sources.
    pub(super) fn check(&self, tokens: Tokens, source: &Source) -> Result<()> {
        for (what, ids) in [("prefix", &self.prefix), ("allowed", &self.allowed)] {
            if let Some(id) = ids.iter().find(|id| **id as usize >= tokens.size) {
                bail!(
                    "{what}: token {id} lies outside the vocabulary of {}",
                    tokens.size
                );
            }
        }
        if self.prefix.contains(&tokens.eos) {
            bail!("a prefix cannot contain the end of the output");
        }
        let penalty = self.repetition_penalty;
        if !(penalty > 0.0 && penalty.is_finite()) {
            bail!("a repetition penalty must be a positive number, got {penalty}");
        }
        let limits = source.lengths().iter().map(|len| self.stop.limit(*len));
        if let Some(limit) = limits.min().filter(|limit| *limit < self.prefix.len()) {
            bail!(
                "the prefix has {} tokens, but the output may have only {limit}",
                self.prefix.len()
            );
        }
        Ok(())
    }

    /// What the token of a step is chosen by, from the model's logits `[V]`. `output` returns the tokens so
    /// far; it is called only if they matter.
    pub(super) fn choice<'l>(
        &self,
        logits: &'l [f32],
        step: usize,
        tokens: Tokens,
        output: impl FnOnce() -> Vec<u32>,
    ) -> Choice<'l> {
        let mut choice = Choice {
            logits: Cow::Borrowed(logits),
            penalized: None,
        };
        if let Some(&forced) = self.prefix.get(step) {
            keep_only(choice.logits.to_mut(), &[forced]);
            return choice;
        }
        let has_penalty = self.repetition_penalty != 1.0;
        let output = match has_penalty || self.no_repeat_ngram > 0 {
            true => output(),
            false => Vec::new(),
        };
        if has_penalty {
            let logits = choice.logits.to_mut();
            penalize(logits, &output, self.repetition_penalty);
            choice.penalized = Some(Normalizer::of(logits));
        }
        if !self.allowed.is_empty() {
            let with_eos = [&self.allowed[..], &[tokens.eos]].concat();
            keep_only(choice.logits.to_mut(), &with_eos);
        }
        if step < self.min_len {
            choice.logits.to_mut()[tokens.eos as usize] = f32::NEG_INFINITY;
        }
        if self.no_repeat_ngram > 0 {
            for token in repeating(&output, self.no_repeat_ngram) {
                choice.logits.to_mut()[token as usize] = f32::NEG_INFINITY;
            }
        }
        choice
    }
}

/// What a token is chosen by.
#[derive(Debug)]
pub(super) struct Choice<'l> {
    /// `[V]`, -∞ where the constraints exclude a token.
    pub(super) logits: Cow<'l, [f32]>,
    /// Normalizes these logits if a penalty has changed them.
    pub(super) penalized: Option<Normalizer>,
}

fn penalize(logits: &mut [f32], output: &[u32], penalty: f32) {
    let mut seen = output.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for token in seen {
        let logit = &mut logits[token as usize];
        *logit = match *logit > 0.0 {
            true => *logit / penalty,
            false => *logit * penalty,
        };
    }
}

fn keep_only(logits: &mut [f32], ids: &[u32]) {
    let kept: Vec<f32> = ids.iter().map(|id| logits[*id as usize]).collect();
    logits.fill(f32::NEG_INFINITY);
    for (&id, logit) in ids.iter().zip(kept) {
        logits[id as usize] = logit;
    }
}

/// The tokens that would complete a sequence of `n` tokens which `history` contains already.
fn repeating(history: &[u32], n: usize) -> impl Iterator<Item = u32> {
    let n_before = n - 1;
    let end = &history[history.len().saturating_sub(n_before)..];
    let is_long = end.len() == n_before;
    let ngrams = history.windows(n).filter(move |_| is_long);
    ngrams.filter_map(move |ngram| (ngram[..n_before] == *end).then_some(ngram[n_before]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: Tokens = Tokens {
        size: 6,
        bos: 4,
        eos: 5,
    };
    const NO: f32 = f32::NEG_INFINITY;

    #[track_caller]
    fn check(constraints: &Constraints, output: &[u32], expected: [f32; 6]) {
        let logits = [0.0, 1.0, 2.0, -3.0, 4.0, 5.0];
        let choice = constraints.choice(&logits, output.len(), TOKENS, || output.to_vec());
        assert_eq!(*choice.logits, expected);
    }

    #[test]
    fn constraints_exclude_tokens_or_change_their_logits() {
        let free = Constraints::default;
        check(&free(), &[1, 2], [0.0, 1.0, 2.0, -3.0, 4.0, 5.0]);
        let prefix = Constraints {
            prefix: vec![3, 1],
            ..free()
        };
        check(&prefix, &[3], [NO, 1.0, NO, NO, NO, NO]);
        check(&prefix, &[3, 1], [0.0, 1.0, 2.0, -3.0, 4.0, 5.0]);
        let allowed = Constraints {
            allowed: vec![2],
            min_len: 2,
            ..free()
        };
        check(&allowed, &[2], [NO, NO, 2.0, NO, NO, NO]);
        check(&allowed, &[2, 2], [NO, NO, 2.0, NO, NO, 5.0]);
        let penalty = Constraints {
            repetition_penalty: 2.0,
            ..free()
        };
        check(&penalty, &[2, 3, 2], [0.0, 1.0, 1.0, -6.0, 4.0, 5.0]);
        let ngram = Constraints {
            no_repeat_ngram: 2,
            ..free()
        };
        check(&ngram, &[1, 2, 3, 1], [0.0, 1.0, NO, -3.0, 4.0, 5.0]);
    }

    #[test]
    fn an_ngram_repeats_only_after_its_beginning() {
        let of = |history: &[u32], n| repeating(history, n).collect::<Vec<_>>();
        assert_eq!(of(&[1, 2, 1], 1), [1, 2, 1]);
        assert_eq!(of(&[1, 2, 3, 1, 2], 3), [3]);
        assert_eq!(of(&[1, 2, 3, 2, 1], 3), [0; 0]);
        assert_eq!(of(&[1], 3), [0; 0]);
        assert_eq!(of(&[], 1), [0; 0]);
    }
}
