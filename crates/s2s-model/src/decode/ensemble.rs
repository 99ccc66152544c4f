//! Several models that decode together.

use std::borrow::Cow;

use candle_core::Result;

use super::Rows;
use super::logits::Normalizer;
use crate::Source;

/// Models with the same vocabulary, whose probabilities are averaged at each step.
#[derive(Clone, Debug)]
pub(super) struct Ensemble<'a> {
    members: Vec<Member<'a>>,
    vocab: usize,
    /// The logarithms of the mean probabilities, `[rows, V]`.
    logits: Vec<f32>,
}

/// A model of an ensemble.
#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    pub(super) rows: Box<dyn Rows + 'a>,
    pub(super) has_attention: bool,
}

impl<'a> Ensemble<'a> {
    /// An ensemble of models with `vocab` tokens each.
    pub(super) fn new(members: Vec<Member<'a>>, vocab: usize) -> Self {
        Self {
            members,
            vocab,
            logits: Vec::new(),
        }
    }
}

impl Rows for Ensemble<'_> {
    fn start(&mut self, source: &Source) -> Result<()> {
        let mut members = self.members.iter_mut();
        members.try_for_each(|member| member.rows.start(source))
    }

    fn step(&mut self, source: &Source, tokens: &[u32]) -> Result<()> {
        let mut means = vec![0.0_f64; tokens.len() * self.vocab];
        for member in &mut self.members {
            member.rows.step(source, tokens)?;
            let rows = member.rows.logits().chunks_exact(self.vocab);
            for (means, logits) in means.chunks_exact_mut(self.vocab).zip(rows) {
                let normalizer = Normalizer::of(logits);
                for (mean, &logit) in means.iter_mut().zip(logits) {
                    *mean += normalizer.log_prob(logit).exp();
                }
            }
        }
        let scale = 1.0 / self.members.len() as f64;
        self.logits.clear();
        let logs = means.into_iter().map(|sum| (scale * sum).ln() as f32);
        self.logits.extend(logs);
        Ok(())
    }

    fn keep(&mut self, from: &[usize]) -> Result<()> {
        let mut members = self.members.iter_mut();
        members.try_for_each(|member| member.rows.keep(from))
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The mean over the models with attention.
    fn attention(&self) -> Result<Cow<'_, [f32]>> {
        let with_attention = || self.members.iter().filter(|member| member.has_attention);
        let mut members = with_attention().map(|member| member.rows.attention());
        let Some(first) = members.next() else {
            return self.members[0].rows.attention();
        };
        let mut sums = first?.into_owned();
        for weights in members {
            for (sum, weight) in sums.iter_mut().zip(&*weights?) {
                *sum += weight;
            }
        }
        let scale = 1.0 / with_attention().count() as f32;
        sums.iter_mut().for_each(|sum| *sum *= scale);
        Ok(Cow::Owned(sums))
    }
}
