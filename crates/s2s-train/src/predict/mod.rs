//! Lines of input to answers.
//!
//! ```text
//! line ─> Sequence ─> batches of similar length ─> Generator ─> Decoded ─> Answer
//! ```

mod answer;
mod batches;
mod decoding;
mod generators;

use std::num::NonZeroUsize;

use reverse_data::{MAX_LEN, Sequence, SequenceError, Token};
use s2s_model::{Decoded, MAX_REFERENCE_LEN, Scored, Seq2Seq, Source, Tokens};

use self::batches::in_batches;
use self::generators::Generators;
use crate::{Codec, Error, Result, tokens_of};

pub use answer::Answer;
pub use decoding::Decoding;

/// Default number of sources that are decoded at once by a thread.
const BATCH_SIZE: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// A model that answers many lines, on all threads of rayon's pool. It packs the weights once, and several
/// threads can use it at the same time.
///
/// By default, it decodes greedily up to the limit of the [`Codec`], without attention weights. An answer
/// depends neither on the other lines nor on the number of threads.
#[derive(Debug)]
pub struct Predictor<'a> {
    codec: &'a Codec,
    tokens: Tokens,
    generators: Generators<'a>,
    decoding: Decoding,
    batch_size: NonZeroUsize,
    replaces_unknown: bool,
}

impl<'a> Predictor<'a> {
    /// Maximum number of tokens of a source [with attention](Self::with_attention), whose memory grows with
    /// the square of the length.
    pub const MAX_LEN_WITH_ATTENTION: usize = 1024;

    /// A model with its codec; several models are an ensemble, whose probabilities are averaged.
    ///
    /// # Errors
    /// If there is no model, the models have different vocabularies, or a device fails.
    pub fn new(codec: &'a Codec, models: &[&'a Seq2Seq]) -> Result<Self> {
        Ok(Self {
            codec,
            tokens: tokens_of(&codec.vocabulary),
            generators: Generators::new(models)?,
            decoding: Decoding::Greedy(codec.stop()),
            batch_size: BATCH_SIZE,
            replaces_unknown: false,
        })
    }

    /// Chooses outputs in another way.
    #[must_use]
    pub fn with_decoding(mut self, decoding: impl Into<Decoding>) -> Self {
        self.decoding = decoding.into();
        self
    }

    /// Adds attention weights to the answers, if the model has attention. A source may then have at most
    /// [`MAX_LEN_WITH_ATTENTION`](Self::MAX_LEN_WITH_ATTENTION) tokens.
    #[must_use]
    pub fn with_attention(mut self) -> Self {
        self.generators = self.generators.with_attention();
        self
    }

    /// Replaces each `<unk>` in the texts of an answer by the text of the source token that has the
    /// greatest attention weight. Implies [`with_attention`](Self::with_attention).
    #[must_use]
    pub fn replacing_unknown(mut self) -> Self {
        self.replaces_unknown = true;
        self.with_attention()
    }

    /// Decodes at most so many sources at once per thread, 64 by default. No answer depends on it.
    #[must_use]
    pub fn with_batch_size(mut self, batch_size: NonZeroUsize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// The answers to each line, best first: one with greedy decoding, otherwise as many as the
    /// [`Decoding`] returns. With sampling, the number of the line, from 1, keys its random numbers.
    ///
    /// # Errors
    /// [`Error::Sequence`] for the first line that is not a sequence; also if the constraints are invalid,
    /// or the device fails.
    pub fn predict(&self, lines: &[impl AsRef<str>]) -> Result<Vec<Vec<Answer>>> {
        let lines = lines.iter().map(AsRef::as_ref);
        let parse = |line: &str| {
            self.parse(line)
                .map_err(|problem| Error::of_line(line, problem))
        };
        let sources: Vec<Sequence> = lines.map(parse).collect::<Result<_>>()?;
        let decoded = self.decode(&Vec::from_iter((1..).zip(&sources)))?;
        let answers = |(source, decoded): (&Sequence, Vec<Decoded>)| {
            let answers = decoded
                .into_iter()
                .map(|decoded| self.answer(source, decoded));
            answers.collect()
        };
        Ok(sources.iter().zip(decoded).map(answers).collect())
    }

    /// The source in a line.
    ///
    /// # Errors
    /// If the line is not a sequence that the model can read.
    pub fn parse(&self, line: &str) -> Result<Sequence, SequenceError> {
        let source = Sequence::parse(line, &self.codec.vocabulary, self.max_len())?;
        let n_markers = 2 * usize::from(self.codec.source_markers);
        self.decoding.check(source.tokens.len() + n_markers)?;
        Ok(source)
    }

    /// Maximum number of tokens of a source.
    pub fn max_len(&self) -> usize {
        match (
            self.generators.return_attention(),
            self.generators.is_fused(),
        ) {
            (true, _) => Self::MAX_LEN_WITH_ATTENTION,
            (false, true) => MAX_LEN,
            (false, false) => MAX_REFERENCE_LEN - 2, // without its markers
        }
    }

    /// The outputs for each source, best first, with attention weights if requested. A source comes with a
    /// number that keys its random numbers.
    ///
    /// # Errors
    /// If a source is empty or has a token outside the vocabulary, the constraints are invalid, or the
    /// device fails.
    pub fn decode(&self, sources: &[(u64, &Sequence)]) -> Result<Vec<Vec<Decoded>>> {
        let lengths: Vec<usize> = sources.iter().map(|(_, s)| s.tokens.len()).collect();
        in_batches(&lengths, self.batch_size, |batch| {
            let rows = || batch.iter().map(|&index| sources[index]);
            let source = self.source(rows().map(|(_, source)| source))?;
            let keys: Vec<u64> = rows().map(|(key, _)| key).collect();
            self.generators
                .with(|generator| self.decoding.outputs(generator, &source, &keys))
        })
    }

    /// How probable the model finds a target for each source.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode).
    pub fn score(&self, pairs: &[(&Sequence, &Sequence)]) -> Result<Vec<Scored>> {
        let lengths: Vec<usize> = pairs.iter().map(|(s, _)| s.tokens.len()).collect();
        in_batches(&lengths, self.batch_size, |batch| {
            let rows = || batch.iter().map(|&index| pairs[index]);
            let source = self.source(rows().map(|(source, _)| source))?;
            let targets: Vec<Vec<Token>> = rows().map(|(_, t)| t.tokens.clone()).collect();
            self.generators
                .with(|generator| Ok(generator.score(&source, &targets)?))
        })
    }

    /// The answer of an output for a source.
    pub fn answer(&self, source: &Sequence, decoded: Decoded) -> Answer {
        let vocabulary = &self.codec.vocabulary;
        let texts = self.texts(source, &decoded);
        let unknown = source.unknown(vocabulary);
        Answer {
            text: vocabulary.join(texts.iter().map(String::as_str)),
            texts,
            probabilities: decoded.log_probs.iter().map(|p| p.exp()).collect(),
            log_prob: decoded.log_prob(),
            tokens: decoded.tokens,
            stopped: decoded.stopped,
            attention: decoded.weights,
            unknown: unknown.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The texts of the output.
    fn texts(&self, source: &Sequence, decoded: &Decoded) -> Vec<String> {
        let vocabulary = &self.codec.vocabulary;
        let n_before = usize::from(self.codec.source_markers);
        let text = |(step, token): (usize, &Token)| {
            let is_replaced = self.replaces_unknown && vocabulary.unknown() == Some(*token);
            let weights = decoded.weights.get(step).filter(|_| is_replaced);
            let attended = weights.and_then(|weights| {
                let of_source = weights[n_before..].iter().take(source.texts.len());
                // The last of equal weights.
                of_source
                    .enumerate()
                    .max_by(|(_, a), (_, b)| a.total_cmp(b))
            });
            match attended {
                Some((index, _)) => source.texts[index].clone(),
                None => vocabulary.text(*token),
            }
        };
        decoded.tokens.iter().enumerate().map(text).collect()
    }

    /// Sources as the model reads them.
    fn source<'s>(&self, sources: impl Iterator<Item = &'s Sequence>) -> Result<Source> {
        let inputs: Vec<Vec<Token>> = sources
            .map(|source| self.codec.model_input(&source.tokens))
            .collect();
        Ok(Source::new(&inputs, self.tokens)?)
    }
}
