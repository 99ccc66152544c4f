//! Sequences of different lengths as one rectangle.

use std::borrow::Borrow;

use crate::{Example, PAD, Token, Vocabulary};

/// A batch of sources and targets, each padded to its longest row.
///
/// Rows are stored one after the other. The positions of a row past its length are [`PAD`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaddedBatch {
    /// `[B, S]`: symbols, between BOS and EOS if the source is marked.
    pub source: Vec<Token>,
    /// `[B]`: real tokens of each source, marks included.
    pub source_lengths: Vec<usize>,
    /// `[B, T]`: symbols, then EOS. What the model should answer.
    pub target: Vec<Token>,
    /// `[B]`: real tokens of each target, EOS included.
    pub target_lengths: Vec<usize>,
    bos: Token,
}

impl PaddedBatch {
    /// Ends each target with EOS, marks the sources if asked to, and pads.
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
            bos: vocabulary.bos(),
        }
    }

    /// B.
    pub fn n_rows(&self) -> usize {
        self.source_lengths.len()
    }

    /// S: the longest source.
    pub fn source_len(&self) -> usize {
        longest(&self.source_lengths)
    }

    /// T: the longest target, EOS included.
    pub fn target_len(&self) -> usize {
        longest(&self.target_lengths)
    }

    /// `[B, T]`: BOS, then the target without its EOS. What a teacher-forced decoder is fed.
    pub fn target_in(&self) -> Vec<Token> {
        let target_len = self.target_len();
        let mut target_in = vec![PAD; self.target.len()];
        for (row, &length) in self.target_lengths.iter().enumerate() {
            let start = row * target_len;
            target_in[start] = self.bos;
            target_in[start + 1..start + length]
                .copy_from_slice(&self.target[start..start + length - 1]);
        }
        target_in
    }
}

/// Rows of tokens, one after the other.
#[derive(Default)]
struct Rows {
    tokens: Vec<Token>,
    lengths: Vec<usize>,
}

impl Rows {
    /// Adds a row that is made of these parts.
    fn push(&mut self, parts: &[&[Token]]) {
        let begin = self.tokens.len();
        for part in parts {
            self.tokens.extend_from_slice(part);
        }
        self.lengths.push(self.tokens.len() - begin);
    }

    /// Each filled with [`PAD`] up to the longest.
    fn padded(&self) -> Vec<Token> {
        let width = longest(&self.lengths);
        let mut padded = vec![PAD; self.lengths.len() * width];
        let mut rest = &self.tokens[..];
        for (row, &length) in padded.chunks_exact_mut(width.max(1)).zip(&self.lengths) {
            let (tokens, behind) = rest.split_at(length);
            row[..length].copy_from_slice(tokens);
            rest = behind;
        }
        padded
    }
}

/// BOS, the source, EOS.
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
    fn rows_are_padded_past_their_ends() {
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
    fn target_in_is_the_target_one_step_late() {
        assert_eq!(batch(false).target_in(), [5, 3, 2, 1, 5, 4, PAD, PAD]);
    }

    #[test]
    fn markers_count_as_source_and_leave_the_target_alone() {
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
            (empty.n_rows(), empty.source_len(), empty.target_in()),
            (0, 0, vec![])
        );
    }
}
