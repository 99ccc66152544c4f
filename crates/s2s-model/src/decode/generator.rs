//! Every way to decode, for one model or several.

use std::ops::ControlFlow;

use candle_core::{Result, bail};

use super::ensemble::{Ensemble, Member};
use super::{Beam, Decoded, Rows, Sampling, Scored, Stop, Watch, beam, sampling, score};
use crate::{Batch, BatchLoss, Forcing, Seq2Seq, Source, Tokens};

/// A model that generates outputs: greedily, by beam search or by sampling. On the fast path, it packs the
/// model's weights once.
///
/// ```
/// # use candle_core::{DType, Device};
/// # use s2s_model::{Beam, Generator, ModelConfig, Seq2Seq, Source, Tokens};
/// # fn main() -> candle_core::Result<()> {
/// # let tokens = Tokens { size: 12, bos: 10, eos: 11 };
/// # let model = Seq2Seq::new(&ModelConfig::default(), tokens, 0, DType::F32, &Device::Cpu)?;
/// let mut generator = Generator::new(&model)?;
/// let source = Source::new(&[vec![3, 1, 4]], tokens)?;
/// for output in &generator.beam(&source, &Beam::new(5))?[0] {
///     println!("{:?} {}", output.tokens, output.log_prob());
/// }
/// # Ok(())
/// # }
/// ```
///
/// It uses the parameters as they are when it is created. A clone shares the packed weights and has its
/// own workspace, so several threads can decode at the same time with one clone each. On the CPU's fast
/// path, the output for a source has the same bits in every batch.
#[derive(Clone, Debug)]
pub struct Generator<'a> {
    rows: Box<dyn Rows + 'a>,
    tokens: Tokens,
    has_attention: bool,
    returns_attention: bool,
}

impl<'a> Generator<'a> {
    /// Packs the weights.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(model: &'a Seq2Seq) -> Result<Self> {
        Ok(Self {
            rows: model.rows()?,
            tokens: model.tokens(),
            has_attention: model.has_attention(),
            returns_attention: false,
        })
    }

    /// Several models as one: the probability of a token is the mean of theirs, and so is the attention of
    /// those that have attention.
    ///
    /// # Errors
    /// If there is no model, the models have different vocabularies, or a device fails.
    pub fn ensemble(models: &[&'a Seq2Seq]) -> Result<Self> {
        let [first, others @ ..] = models else {
            bail!("an ensemble must have at least one model");
        };
        if others.is_empty() {
            return Self::new(first);
        }
        let tokens = first.tokens();
        if let Some(other) = others.iter().find(|other| other.tokens() != tokens) {
            bail!(
                "the models of an ensemble must have the same vocabulary, but one has {tokens:?} and one \
                 has {:?}",
                other.tokens()
            );
        }
        let member = |model: &&'a Seq2Seq| -> Result<Member<'a>> {
            Ok(Member {
                rows: model.rows()?,
                has_attention: model.has_attention(),
            })
        };
        let members = models.iter().map(member).collect::<Result<_>>()?;
        Ok(Self {
            rows: Box::new(Ensemble::new(members, tokens.size)),
            tokens,
            has_attention: models.iter().any(|model| model.has_attention()),
            returns_attention: false,
        })
    }

    /// Adds attention weights to the outputs, if a model has attention. Their memory grows with the square of
    /// the length.
    #[must_use]
    pub fn with_attention(mut self) -> Self {
        self.returns_attention = self.has_attention;
        self
    }

    /// Whether the outputs have attention weights.
    pub fn returns_attention(&self) -> bool {
        self.returns_attention
    }

    /// Decodes every source greedily.
    ///
    /// # Errors
    /// If the source was made with other tokens, or the device fails.
    pub fn greedy(&mut self, source: &Source, stop: Stop) -> Result<Vec<Decoded>> {
        source.check(self.tokens)?;
        if !self.returns_attention {
            return self.rows.greedy(self.tokens, source, stop, None);
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

    /// Like [`Generator::greedy`], with a callback that sees the attention weights and can end rows early.
    ///
    /// # Errors
    /// If the source was made with other tokens, or the device fails.
    pub fn watch(
        &mut self,
        source: &Source,
        stop: Stop,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Decoded>> {
        source.check(self.tokens)?;
        self.rows.greedy(self.tokens, source, stop, Some(watch))
    }

    /// The best outputs for every source by beam search, at most [`Beam::n_best`] each and at least one,
    /// best first.
    ///
    /// # Errors
    /// If the source was made with other tokens, the constraints are invalid for it, or the device fails.
    pub fn beam(&mut self, source: &Source, beam: &Beam) -> Result<Vec<Vec<Decoded>>> {
        source.check(self.tokens)?;
        beam.constraints.check(self.tokens, source)?;
        let attention = self.returns_attention;
        beam::search(&mut *self.rows, self.tokens, source, beam, attention)
    }

    /// [`Sampling::draws`] random outputs for every source. `lines` holds a number for each source, which
    /// keys its random numbers: an output depends on the seed, this number and the draw.
    ///
    /// # Errors
    /// If the source was made with other tokens, the constraints are invalid for it, or the device fails.
    pub fn sample(
        &mut self,
        source: &Source,
        lines: &[u64],
        sampling: &Sampling,
    ) -> Result<Vec<Vec<Decoded>>> {
        source.check(self.tokens)?;
        sampling.check()?;
        sampling.constraints.check(self.tokens, source)?;
        if lines.len() != source.n_rows() {
            bail!("{} sources have {} keys", source.n_rows(), lines.len());
        }
        sampling::draw(
            &mut *self.rows,
            self.tokens,
            source,
            lines,
            sampling,
            self.returns_attention,
        )
    }

    /// Forced decoding: how probable the model finds these targets, which do not contain EOS.
    ///
    /// # Errors
    /// If the source was made with other tokens, the number of targets is not that of the sources, a token
    /// lies outside the vocabulary, or the device fails.
    pub fn score(&mut self, source: &Source, targets: &[Vec<u32>]) -> Result<Vec<Scored>> {
        source.check(self.tokens)?;
        score::score(&mut *self.rows, self.tokens, source, targets)
    }

    /// Loss and predictions of a batch, without dropout: what [`Seq2Seq::loss`] computes for a single model.
    ///
    /// # Errors
    /// If the source was made with other tokens, or the device fails.
    pub fn loss(&mut self, batch: &Batch, forcing: &Forcing) -> Result<BatchLoss> {
        batch.source().check(self.tokens)?;
        score::loss(&mut *self.rows, self.tokens, batch, forcing)
    }
}
