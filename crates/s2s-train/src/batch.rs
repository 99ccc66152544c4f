//! Converts padded batches of data to batches of a model.

use reverse_data::{PaddedBatch, Vocabulary};
use s2s_model::{Batch, Source, Tokens};

use crate::Result;

/// The special tokens and the size of a vocabulary, as a model needs them.
pub fn tokens_of(vocabulary: &Vocabulary) -> Tokens {
    Tokens {
        size: vocabulary.size(),
        bos: vocabulary.bos(),
        eos: vocabulary.eos(),
    }
}

/// Checks a padded batch against the vocabulary and turns it into a [`Batch`]. Only the decoder's
/// input tokens are copied.
///
/// # Errors
/// If a row is empty, or a token is outside the vocabulary.
pub fn to_batch(padded: PaddedBatch, tokens: Tokens) -> Result<Batch> {
    let source = Source::from_padded(padded.source, padded.source_lengths, tokens)?;
    Ok(Batch::with_target(
        source,
        padded.target,
        padded.target_lengths,
        tokens,
    )?)
}
