//! Sequences of different lengths as one rectangle.

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
    pub fn from_examples(
        examples: &[Example],
        vocabulary: &Vocabulary,
        source_markers: bool,
    ) -> Self {
        let (source, source_lengths) = if source_markers {
            let marked = examples
                .iter()
                .map(|example| mark_source(&example.source, vocabulary));
            pad(&marked.collect::<Vec<_>>())
        } else {
            pad(&examples
                .iter()
                .map(|example| &example.source)
                .collect::<Vec<_>>())
        };
        let eos = [vocabulary.eos()];
        let ended = examples
            .iter()
            .map(|example| [&example.target[..], &eos].concat());
        let targets: Vec<_> = ended.collect();
        let (target, target_lengths) = pad(&targets);
        Self {
            source,
            source_lengths,
            target,
            target_lengths,
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

/// The rows one after the other, each filled with [`PAD`] up to the longest, and their lengths.
pub fn pad<Row: AsRef<[Token]>>(rows: &[Row]) -> (Vec<Token>, Vec<usize>) {
    let lengths: Vec<_> = rows.iter().map(|row| row.as_ref().len()).collect();
    let width = longest(&lengths);
    let mut padded = Vec::with_capacity(rows.len() * width);
    for (row, tokens) in rows.iter().enumerate() {
        padded.extend_from_slice(tokens.as_ref());
        padded.resize((row + 1) * width, PAD);
    }
    (padded, lengths)
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
        assert_eq!(pad::<Vec<Token>>(&[]), (vec![], vec![]));
        assert_eq!(pad(&[vec![], vec![7]]), (vec![PAD, 7], vec![0, 1]));
        let empty = PaddedBatch::from_examples(&[], &Vocabulary::new(5).unwrap(), false);
        assert_eq!(
            (empty.n_rows(), empty.source_len(), empty.target_in()),
            (0, 0, vec![])
        );
    }
}
