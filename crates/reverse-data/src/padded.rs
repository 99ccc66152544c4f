//! Batches padded to a common length.

use std::borrow::Borrow;

use crate::{Example, PAD, Token, Vocabulary};

/// A batch of sources and targets, both padded to their longest row, in row-major order. Positions
/// after the end of a row are [`PAD`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaddedBatch {
    /// `[B, S]`: the sources, including BOS and EOS if the configuration adds them.
    pub source: Vec<Token>,
    /// `[B]`: length of each source, including BOS and EOS.
    pub source_lengths: Vec<usize>,
    /// `[B, T]`: the targets, each ending with EOS.
    pub target: Vec<Token>,
    /// `[B]`: length of each target, including EOS.
    pub target_lengths: Vec<usize>,
}

impl PaddedBatch {
    /// Pads the examples. Appends EOS to each target; if `source_markers`, adds BOS and EOS to each
    /// source.
    pub fn from_examples<E: Borrow<Example>>(
        examples: impl IntoIterator<Item = E>,
        vocabulary: &Vocabulary,
        source_markers: bool,
    ) -> Self {
        let (bos, eos) = ([vocabulary.bos()], [vocabulary.eos()]);
        let (mut sources, mut targets) = (Rows::default(), Rows::default());
        for example in examples {
            let Example { source, target } = example.borrow();
            match source_markers {
                true => sources.push(&[&bos, source, &eos]),
                false => sources.push(&[source]),
            }
            targets.push(&[target, &eos]);
        }
        Self {
            source: sources.padded(),
            source_lengths: sources.lengths,
            target: targets.padded(),
            target_lengths: targets.lengths,
        }
    }

    /// B: number of examples.
    pub fn n_rows(&self) -> usize {
        self.source_lengths.len()
    }

    /// S: length of the longest source.
    pub fn source_len(&self) -> usize {
        longest(&self.source_lengths)
    }

    /// T: length of the longest target, including EOS.
    pub fn target_len(&self) -> usize {
        longest(&self.target_lengths)
    }
}

/// Rows of tokens, stored consecutively.
#[derive(Default)]
struct Rows {
    tokens: Vec<Token>,
    lengths: Vec<usize>,
}

impl Rows {
    /// Appends a row: the concatenation of these parts.
    fn push(&mut self, parts: &[&[Token]]) {
        let start = self.tokens.len();
        for part in parts {
            self.tokens.extend_from_slice(part);
        }
        self.lengths.push(self.tokens.len() - start);
    }

    /// The rows padded with [`PAD`] to the longest.
    fn padded(&self) -> Vec<Token> {
        let width = longest(&self.lengths);
        let mut padded = vec![PAD; self.lengths.len() * width];
        let mut rest = &self.tokens[..];
        for (row, &length) in padded.chunks_exact_mut(width.max(1)).zip(&self.lengths) {
            let (tokens, remaining) = rest.split_at(length);
            row[..length].copy_from_slice(tokens);
            rest = remaining;
        }
        padded
    }
}

/// The source with BOS in front and EOS at the end.
pub fn mark_source(source: &[Token], vocabulary: &Vocabulary) -> Vec<Token> {
    [&[vocabulary.bos()], source, &[vocabulary.eos()]].concat()
}

fn longest(lengths: &[usize]) -> usize {
    lengths.iter().copied().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(source_markers: bool) -> PaddedBatch {
        let examples = [
            Example {
                source: vec![1, 2, 3],
                target: vec![3, 2, 1],
            },
            Example {
                source: vec![4],
                target: vec![4],
            },
        ];
        PaddedBatch::from_examples(&examples, &Vocabulary::new(5).unwrap(), source_markers)
    }

    #[test]
    fn rows_are_padded_after_their_end() {
        let batch = batch(false);
        assert_eq!(
            (batch.n_rows(), batch.source_len(), batch.target_len()),
            (2, 3, 4)
        );
        assert_eq!(batch.source, [1, 2, 3, 4, PAD, PAD]);
        assert_eq!(batch.source_lengths, [3, 1]);
        assert_eq!(batch.target, [3, 2, 1, 6, 4, 6, PAD, PAD]);
        assert_eq!(batch.target_lengths, [4, 2]);
    }

    #[test]
    fn markers_lengthen_sources_but_not_targets() {
        let marked = batch(true);
        assert_eq!(marked.source, [5, 1, 2, 3, 6, 5, 4, 6, PAD, PAD]);
        assert_eq!(marked.source_lengths, [5, 3]);
        assert_eq!(marked.target, batch(false).target);
    }

    #[test]
    fn empty_rows_and_empty_batches_have_a_shape() {
        let mut rows = Rows::default();
        assert_eq!(rows.padded(), []);
        rows.push(&[]);
        assert_eq!(rows.padded(), []);
        rows.push(&[&[7], &[]]);
        assert_eq!((rows.padded(), rows.lengths), (vec![PAD, 7], vec![0, 1]));
        let empty =
            PaddedBatch::from_examples([] as [Example; 0], &Vocabulary::new(5).unwrap(), false);
        assert_eq!(
            (empty.n_rows(), empty.source_len(), empty.target_len()),
            (0, 0, 0)
        );
    }
}
