//! Padded batches of token ids, in host memory.
//!
//! The fast path reads them as they are; the reference path copies them to its device.

use candle_core::{DType, Device, Result, Tensor, bail};
use s2s_kernels::Ragged;

use crate::Probability;

/// The token ids that have a meaning for the model itself. Padding is token 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Size of the vocabulary, special tokens included: the `V` of every shape.
    pub size: usize,
    /// Begins every target.
    pub bos: u32,
    /// Ends every target.
    pub eos: u32,
}

impl Tokens {
    /// Checks that BOS and EOS are tokens of the vocabulary.
    pub(crate) fn check(self) -> Result<()> {
        for (name, token) in [("BOS", self.bos), ("EOS", self.eos)] {
            if token as usize >= self.size {
                bail!(
                    "{name} is token {token}, which lies outside the vocabulary of {}",
                    self.size
                );
            }
        }
        Ok(())
    }
}

/// Padded sources with their lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    rows: PaddedRows,
    tokens: Tokens,
}

impl Source {
    /// Pads sequences to the longest.
    ///
    /// # Errors
    /// If there is no sequence, one is empty, or a token lies outside the vocabulary.
    pub fn new(sequences: &[Vec<u32>], tokens: Tokens) -> Result<Self> {
        let rows = PaddedRows::pad(sequences.iter().map(|sequence| (&sequence[..], None)));
        rows.check("source", tokens)?;
        Ok(Self { rows, tokens })
    }

    /// Sources that are padded already: `padded` is `[B, S]`, row by row.
    ///
    /// # Errors
    /// If the shapes disagree, a row is empty, or a token lies outside the vocabulary.
    pub fn from_padded(padded: Vec<u32>, lengths: Vec<usize>, tokens: Tokens) -> Result<Self> {
        let rows = PaddedRows {
            ids: padded,
            lengths,
        };
        rows.check("source", tokens)?;
        Ok(Self { rows, tokens })
    }

    /// Token ids `[B, S]`, row by row, 0 where padded.
    pub fn ids(&self) -> &[u32] {
        &self.rows.ids
    }

    /// Real positions of each row, `[B]`.
    pub fn lengths(&self) -> &[usize] {
        &self.rows.lengths
    }

    /// PaddedRows, `B`.
    pub fn n_rows(&self) -> usize {
        self.rows.lengths.len()
    }

    /// Padded length, `S`.
    pub fn max_len(&self) -> usize {
        self.rows.width()
    }

    /// Checks that these sources, and the targets of their batch, are made of a model's tokens.
    pub(crate) fn check(&self, of_model: Tokens) -> Result<()> {
        if self.tokens != of_model {
            bail!(
                "a batch made with {:?} cannot be read by a model with {of_model:?}; make it with \
                 Seq2Seq::tokens",
                self.tokens
            );
        }
        Ok(())
    }

    /// The ids as a tensor `[B, S]` (u32).
    pub(crate) fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        self.rows.to_tensor(&self.rows.ids, device)
    }

    /// The lengths with their mask.
    pub(crate) fn ragged(&self, dtype: DType, device: &Device) -> Result<Ragged> {
        self.rows.ragged(dtype, device)
    }
}

/// Sources with the targets to learn.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    source: Source,
    target_in: Vec<u32>,
    target_out: PaddedRows,
    label_smoothing: Probability,
}

impl Batch {
    /// Pads plain sources and targets, and adds BOS and EOS to the targets.
    ///
    /// # Errors
    /// If the counts differ, a source is empty, or a token, BOS and EOS included, lies outside the
    /// vocabulary.
    pub fn new(sources: &[Vec<u32>], targets: &[Vec<u32>], tokens: Tokens) -> Result<Self> {
        let source = Source::new(sources, tokens)?;
        let target_out = PaddedRows::pad(targets.iter().map(|row| (&row[..], Some(tokens.eos))));
        Self::with_rows(source, target_out, tokens)
    }

    /// Adds targets that are padded already: `target_out` is `[B, T]`, row by row; each row ends with
    /// EOS, which its length includes.
    ///
    /// # Errors
    /// If the shapes disagree, a row is empty, a token, BOS and EOS included, lies outside the vocabulary, or
    /// the sources were made with other `tokens`.
    pub fn with_target(
        source: Source,
        target_out: Vec<u32>,
        lengths: Vec<usize>,
        tokens: Tokens,
    ) -> Result<Self> {
        let rows = PaddedRows {
            ids: target_out,
            lengths,
        };
        Self::with_rows(source, rows, tokens)
    }

    fn with_rows(source: Source, target_out: PaddedRows, tokens: Tokens) -> Result<Self> {
        let (n_sources, n_targets) = (source.n_rows(), target_out.lengths.len());
        if n_sources != n_targets {
            bail!("{n_sources} sources have {n_targets} targets");
        }
        tokens.check()?;
        source.check(tokens)?;
        target_out.check("target", tokens)?;
        let width = target_out.width();
        let mut target_in = vec![0; target_out.ids.len()];
        let rows = target_in.chunks_exact_mut(width);
        let targets = target_out.ids.chunks_exact(width);
        for ((row, target), &len) in rows.zip(targets).zip(&target_out.lengths) {
            row[0] = tokens.bos;
            row[1..len].copy_from_slice(&target[..len - 1]);
        }
        Ok(Self {
            source,
            target_in,
            target_out,
            label_smoothing: Probability::ZERO,
        })
    }

    /// The same batch, of which gradients are those of the loss with label smoothing, as in PyTorch's
    /// `CrossEntropyLoss(label_smoothing=..)`: the target distribution gives this probability to all tokens
    /// of the vocabulary alike. Losses that are reported do not depend on it.
    pub fn with_label_smoothing(self, label_smoothing: Probability) -> Self {
        Self {
            label_smoothing,
            ..self
        }
    }

    /// The share of the target distribution that is spread over the vocabulary; 0 without smoothing.
    pub fn label_smoothing(&self) -> Probability {
        self.label_smoothing
    }

    /// What the encoder reads.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What a teacher-forced decoder reads: BOS and the target without its EOS, `[B, T]`, row by row,
    /// 0 where padded.
    pub fn target_in(&self) -> &[u32] {
        &self.target_in
    }

    /// What the decoder should output: the target and EOS, `[B, T]`, row by row, 0 where padded.
    pub fn target_out(&self) -> &[u32] {
        &self.target_out.ids
    }

    /// Real positions of each row of `target_out`, EOS included, `[B]`.
    pub fn target_lengths(&self) -> &[usize] {
        &self.target_out.lengths
    }

    /// PaddedRows, `B`.
    pub fn n_rows(&self) -> usize {
        self.source.n_rows()
    }

    /// Padded length of the targets, `T`.
    pub fn target_len(&self) -> usize {
        self.target_out.width()
    }

    /// Real target tokens of all rows, EOS included.
    pub fn n_tokens(&self) -> usize {
        self.target_out.lengths.iter().sum()
    }

    /// `target_in` as a tensor `[B, T]` (u32).
    pub(crate) fn target_in_tensor(&self, device: &Device) -> Result<Tensor> {
        self.target_out.to_tensor(&self.target_in, device)
    }

    /// `target_out` as a tensor `[B, T]` (u32).
    pub(crate) fn target_out_tensor(&self, device: &Device) -> Result<Tensor> {
        self.target_out.to_tensor(&self.target_out.ids, device)
    }

    /// The target lengths with their mask.
    pub(crate) fn target_ragged(&self, dtype: DType, device: &Device) -> Result<Ragged> {
        self.target_out.ragged(dtype, device)
    }
}

/// Padded rows of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PaddedRows {
    ids: Vec<u32>,       // [B, width]
    lengths: Vec<usize>, // [B]
}

impl PaddedRows {
    /// Pads rows to the longest, each with its last token if it has one.
    fn pad<'a>(rows: impl ExactSizeIterator<Item = (&'a [u32], Option<u32>)> + Clone) -> Self {
        let length = |(row, last): (&[u32], Option<u32>)| row.len() + usize::from(last.is_some());
        let lengths: Vec<usize> = rows.clone().map(length).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let mut ids = Vec::with_capacity(lengths.len() * width);
        for (index, (row, last)) in rows.enumerate() {
            ids.extend_from_slice(row);
            ids.extend(last);
            ids.resize((index + 1) * width, 0);
        }
        Self { ids, lengths }
    }

    fn width(&self) -> usize {
        self.ids.len() / self.lengths.len().max(1)
    }

    fn check(&self, what: &str, tokens: Tokens) -> Result<()> {
        let (n_ids, n_rows, width) = (self.ids.len(), self.lengths.len(), self.width());
        if n_rows == 0 {
            bail!("a batch must have at least one row");
        }
        if width * n_rows != n_ids {
            bail!("{n_ids} tokens do not fill {n_rows} rows of one width");
        }
        let mut rows = self.lengths.iter().enumerate();
        if let Some((row, len)) = rows.find(|(_, len)| !(1..=width).contains(*len)) {
            bail!("{what} {row} has {len} tokens in a batch that is {width} wide");
        }
        if let Some(id) = self.ids.iter().find(|id| **id as usize >= tokens.size) {
            bail!("token {id} lies outside the vocabulary of {}", tokens.size);
        }
        Ok(())
    }

    fn to_tensor(&self, ids: &[u32], device: &Device) -> Result<Tensor> {
        Tensor::from_slice(ids, (self.lengths.len(), self.width()), device)
    }

    fn ragged(&self, dtype: DType, device: &Device) -> Result<Ragged> {
        Ragged::new(self.lengths.clone(), self.width(), dtype, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: Tokens = Tokens {
        size: 10,
        bos: 8,
        eos: 9,
    };

    #[test]
    fn target_in_is_target_out_one_step_later() -> Result<()> {
        let targets = [vec![3, 2, 1], vec![4]];
        let batch = Batch::new(&[vec![1, 2, 3], vec![4]], &targets, TOKENS)?;
        assert_eq!(batch.source().ids(), [1, 2, 3, 4, 0, 0]);
        assert_eq!(batch.target_out(), [3, 2, 1, 9, 4, 9, 0, 0]);
        assert_eq!(batch.target_in(), [8, 3, 2, 1, 8, 4, 0, 0]);
        assert_eq!(batch.target_lengths(), [4, 2]);
        Ok(())
    }

    #[test]
    fn malformed_rows_are_refused_with_their_number() {
        let refused = |rows: &[Vec<u32>]| Source::new(rows, TOKENS).unwrap_err().to_string();
        assert!(refused(&[vec![1], vec![]]).contains("source 1 has 0 tokens"));
        assert!(refused(&[vec![10]]).contains("token 10"));
        assert!(refused(&[]).contains("at least one row"));
        let padded = |ids: Vec<u32>, lengths| Source::from_padded(ids, lengths, TOKENS);
        assert!(padded(vec![1, 2, 3], vec![1, 1]).is_err());
        assert!(padded(vec![1, 2, 3, 4], vec![1, 3]).is_err());
    }
}
