//! A padded batch as tensors.

use candle_core::{DType, Device, Result, Tensor, bail};
use s2s_kernels::Ragged;

/// The tokens that mean something to the model itself. Padding is token 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens in all, special ones included: the `V` of every shape.
    pub size: usize,
    /// Begins every target.
    pub bos: u32,
    /// Ends every target.
    pub eos: u32,
}

/// Padded sources with their lengths.
#[derive(Clone, Debug)]
pub struct Source {
    /// `[B, S]` (u32), 0 where padded.
    pub tokens: Tensor,
    /// Real positions of each row; its mask is 1 for a real position and 0 for padding.
    pub rows: Ragged,
}

impl Source {
    /// Pads sequences to the longest.
    ///
    /// # Errors
    /// If there is no sequence, one is empty, or a token lies outside the vocabulary.
    pub fn new(
        sequences: &[Vec<u32>],
        tokens: Tokens,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let mut padded = Vec::with_capacity(sequences.len() * width);
        for sequence in sequences {
            padded.extend_from_slice(sequence);
            padded.resize(padded.len() + width - sequence.len(), 0);
        }
        Self::from_padded(padded, lengths, width, tokens, dtype, device)
    }

    /// Sources that are padded already: `padded` is `[B, S]`, row by row.
    ///
    /// # Errors
    /// If the shapes disagree, a row is empty, or a token lies outside the vocabulary.
    pub fn from_padded(
        padded: Vec<u32>,
        lengths: Vec<usize>,
        width: usize,
        tokens: Tokens,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        check_vocabulary(&padded, tokens)?;
        if let Some(row) = lengths.iter().position(|len| *len == 0) {
            bail!("row {row} of the batch is empty");
        }
        let shape = (lengths.len(), width);
        Ok(Self {
            tokens: Tensor::from_vec(padded, shape, device)?,
            rows: Ragged::new(lengths, width, dtype, device)?,
        })
    }
}

/// Sources with the targets to learn.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What the encoder reads.
    pub source: Source,
    /// What the decoder is fed: BOS and the target, `[B, T]` (u32), 0 where padded.
    pub target_in: Tensor,
    /// What the decoder should say: the target and EOS, `[B, T]` (u32), 0 where padded.
    pub target_out: Tensor,
    /// Real positions of `target_out`, EOS included.
    pub target_rows: Ragged,
}

impl Batch {
    /// Pads bare sources and targets; BOS and EOS are put around the targets.
    ///
    /// # Errors
    /// If the counts differ, a source is empty, or a token lies outside the vocabulary.
    pub fn new(
        sources: &[Vec<u32>],
        targets: &[Vec<u32>],
        tokens: Tokens,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if sources.len() != targets.len() {
            bail!("{} sources have {} targets", sources.len(), targets.len());
        }
        let source = Source::new(sources, tokens, dtype, device)?;
        let lengths: Vec<usize> = targets.iter().map(|target| target.len() + 1).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let mut target_out = Vec::with_capacity(targets.len() * width);
        for target in targets {
            target_out.extend_from_slice(target);
            target_out.push(tokens.eos);
            target_out.resize(target_out.len() + width - target.len() - 1, 0);
        }
        Self::with_target(source, target_out, lengths, width, tokens)
    }

    /// Adds targets that are padded already: `target_out` is `[B, T]`, row by row, each row ending
    /// with EOS and counting it in its length.
    ///
    /// # Errors
    /// If the shapes disagree or a token lies outside the vocabulary.
    pub fn with_target(
        source: Source,
        target_out: Vec<u32>,
        lengths: Vec<usize>,
        width: usize,
        tokens: Tokens,
    ) -> Result<Self> {
        check_vocabulary(&target_out, tokens)?;
        if lengths.len() != source.rows.n_rows() {
            bail!(
                "{} sources have {} targets",
                source.rows.n_rows(),
                lengths.len()
            );
        }
        let mut rows = lengths.iter().enumerate();
        if let Some((row, len)) = rows.find(|(_, len)| !(1..=width).contains(*len)) {
            bail!("target {row} has {len} tokens, EOS included, in a batch {width} wide");
        }
        let mut target_in = Vec::with_capacity(target_out.len());
        for (row, len) in target_out.chunks_exact(width).zip(&lengths) {
            target_in.push(tokens.bos);
            target_in.extend_from_slice(&row[..len - 1]);
            target_in.resize(target_in.len() + width - len, 0);
        }
        let (device, dtype) = (source.tokens.device().clone(), source.rows.mask().dtype());
        let shape = (lengths.len(), width);
        Ok(Self {
            source,
            target_in: Tensor::from_vec(target_in, shape, &device)?,
            target_out: Tensor::from_vec(target_out, shape, &device)?,
            target_rows: Ragged::new(lengths, width, dtype, &device)?,
        })
    }
}

fn check_vocabulary(padded: &[u32], tokens: Tokens) -> Result<()> {
    match padded.iter().find(|token| **token as usize >= tokens.size) {
        Some(token) => bail!(
            "token {token} lies outside the vocabulary of {}",
            tokens.size
        ),
        None => Ok(()),
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
        let batch = Batch::new(
            &[vec![1, 2, 3], vec![4]],
            &[vec![3, 2, 1], vec![4]],
            TOKENS,
            DType::F32,
            &Device::Cpu,
        )?;
        assert_eq!(
            batch.target_out.to_vec2::<u32>()?,
            [[3, 2, 1, 9], [4, 9, 0, 0]]
        );
        assert_eq!(
            batch.target_in.to_vec2::<u32>()?,
            [[8, 3, 2, 1], [8, 4, 0, 0]]
        );
        assert_eq!(batch.target_rows.lengths(), [4, 2]);
        Ok(())
    }

    #[test]
    fn empty_source_and_foreign_token_are_refused() {
        let source = |rows: &[Vec<u32>]| Source::new(rows, TOKENS, DType::F32, &Device::Cpu);
        assert!(
            source(&[vec![1], vec![]])
                .unwrap_err()
                .to_string()
                .contains("row 1")
        );
        assert!(
            source(&[vec![10]])
                .unwrap_err()
                .to_string()
                .contains("token 10")
        );
        assert!(source(&[]).is_err());
    }
}
