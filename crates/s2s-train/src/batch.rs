//! From padded token lists to tensors.

use candle_core::{DType, Device};
use reverse_data::{PaddedBatch, Vocabulary};
use s2s_model::{Batch, Source, Tokens};

use crate::Result;

/// The tokens of a vocabulary as a model needs to know them.
pub fn tokens_of(vocabulary: &Vocabulary) -> Tokens {
    Tokens {
        size: vocabulary.size(),
        bos: vocabulary.bos(),
        eos: vocabulary.eos(),
    }
}

/// A padded batch as tensors.
///
/// # Errors
/// If a token lies outside the vocabulary, or the device fails.
pub fn to_batch(
    padded: &PaddedBatch,
    tokens: Tokens,
    dtype: DType,
    device: &Device,
) -> Result<Batch> {
    let source = Source::from_padded(
        padded.source.clone(),
        padded.source_lengths.clone(),
        padded.source_len(),
        tokens,
        dtype,
        device,
    )?;
    let (target, lengths) = (padded.target.clone(), padded.target_lengths.clone());
    Ok(Batch::with_target(
        source,
        target,
        lengths,
        padded.target_len(),
        tokens,
    )?)
}
