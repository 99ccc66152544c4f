//! Metrics of text: outputs compared with one or more references.

mod bleu;
mod chrf;

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;

use s2s_model::Decoded;
use s2s_runlog::{NBest, TextScores};
use strsim::generic_levenshtein;

use bleu::Bleu;
use chrf::Chrf;

/// How often each sequence of `order` tokens occurs.
fn ngrams<T: Eq + Hash>(tokens: &[T], order: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    for ngram in tokens.windows(order) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

/// The outputs for a source and its references, as tokens and as lines.
pub(crate) struct OutputsWithReferences<'a> {
    /// The outputs, best first, at least one.
    pub(crate) outputs: &'a [Decoded],
    /// The best output as a line.
    pub(crate) line: &'a str,
    /// The tokens of each reference, at least one.
    pub(crate) references: &'a [Vec<u32>],
    /// The references as lines.
    pub(crate) lines: &'a [String],
}

/// Sums over sources, from which the scores follow.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextTally {
    n_best: usize,
    n_sources: u64,
    n_exact: u64,
    /// Sources with an exact output among the best.
    n_any_exact: u64,
    n_truncated: u64,
    n_tokens: u64,
    n_unknown: u64,
    tokens: Edits,
    chars: Edits,
    bleu: Bleu,
    chrf: Chrf,
}

/// Edit operations, and the length of the references that they lead to.
#[derive(Clone, Copy, Debug, Default)]
struct Edits {
    distance: u64,
    n_reference: u64,
}

impl Edits {
    /// Adds the distance to the closest reference, relative to its length.
    fn add<T: PartialEq>(&mut self, output: Vec<T>, references: impl Iterator<Item = Vec<T>>) {
        let distances = references.map(|reference| Edits {
            distance: generic_levenshtein(&output, &reference) as u64,
            n_reference: reference.len() as u64,
        });
        if let Some(closest) = distances.min_by(|a, b| a.rate().total_cmp(&b.rate())) {
            self.distance += closest.distance;
            self.n_reference += closest.n_reference;
        }
    }

    fn rate(&self) -> f64 {
        self.distance as f64 / self.n_reference.max(1) as f64
    }
}

impl TextTally {
    /// A tally of at most so many outputs per source.
    pub(crate) fn new(n_best: NonZeroUsize) -> Self {
        Self {
            n_best: n_best.get(),
            ..Self::default()
        }
    }

    /// Adds a source. Reference tokens that equal `unknown` are never correct.
    pub(crate) fn add(&mut self, scored: &OutputsWithReferences<'_>, unknown: Option<u32>) {
        /// A reference token that no output token equals.
        const NEVER: u32 = u32::MAX;
        let is_unknown = |token: u32| unknown == Some(token);
        let references = || {
            scored.references.iter().map(|reference| -> Vec<u32> {
                let tokens = reference.iter().copied();
                tokens
                    .map(|token| if is_unknown(token) { NEVER } else { token })
                    .collect()
            })
        };
        let is_exact = |output: &Decoded| {
            output.stopped && references().any(|reference| reference == output.tokens)
        };
        let best = &scored.outputs[0];
        self.n_sources += 1;
        self.n_exact += u64::from(is_exact(best));
        self.n_any_exact += u64::from(scored.outputs.iter().any(is_exact));
        self.n_truncated += u64::from(!best.stopped);
        for reference in scored.references {
            self.n_tokens += reference.len() as u64;
            self.n_unknown += reference.iter().filter(|token| is_unknown(**token)).count() as u64;
        }
        self.tokens.add(best.tokens.clone(), references());
        let chars = |line: &str| -> Vec<char> { line.chars().collect() };
        let lines = scored.lines.iter();
        self.chars
            .add(chars(scored.line), lines.map(|line| chars(line)));
        self.bleu.add(scored.line, scored.lines);
        self.chrf.add(scored.line, scored.lines);
    }

    pub(crate) fn scores(&self) -> TextScores {
        let of_sources = |count: u64| count as f64 / self.n_sources.max(1) as f64;
        TextScores {
            unknown_tokens: self.n_unknown as f64 / self.n_tokens.max(1) as f64,
            n_truncated: self.n_truncated,
            exact_match: of_sources(self.n_exact),
            n_sources: self.n_sources,
            token_error_rate: self.tokens.rate(),
            char_error_rate: self.chars.rate(),
            bleu: self.bleu.score(),
            chrf: self.chrf.score(),
            n_best: (self.n_best > 1).then(|| NBest {
                n: self.n_best,
                exact_match: of_sources(self.n_any_exact),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of a sequence, and its line.
    type Sequence<'a> = (&'a [u32], &'a str);

    fn decoded(tokens: &[u32], stopped: bool) -> Decoded {
        Decoded {
            tokens: tokens.to_vec(),
            stopped,
            ..Decoded::default()
        }
    }

    /// The scores of outputs: sequence, whether it stopped, references.
    fn scores(cases: &[(Sequence<'_>, bool, &[Sequence<'_>])]) -> TextScores {
        let mut tally = TextTally::default();
        for ((output, line), stopped, references) in cases {
            let (tokens, lines): (Vec<Vec<u32>>, Vec<String>) = references
                .iter()
                .map(|(tokens, line)| (tokens.to_vec(), (*line).to_owned()))
                .unzip();
            let scored = OutputsWithReferences {
                outputs: &[decoded(output, *stopped)],
                line,
                references: &tokens,
                lines: &lines,
            };
            tally.add(&scored, Some(1));
        }
        tally.scores()
    }

    #[test]
    fn an_output_is_compared_with_its_closest_reference() {
        let long: Sequence<'_> = (&[2, 2, 2, 2], "b b b b");
        let scores = scores(&[
            ((&[2, 3], "b c"), true, &[long, (&[2, 3], "b c")]),
            (
                (&[2], "b"),
                true,
                &[(&[2, 3], "b c"), (&[4, 3, 3], "d c c")],
            ),
        ]);
        assert_eq!((scores.n_sources, scores.exact_match), (2, 0.5));
        assert_eq!(scores.token_error_rate, 1.0 / 4.0);
        assert_eq!(scores.char_error_rate, 2.0 / 6.0);
    }

    #[test]
    fn a_correct_output_anywhere_among_the_best_counts_for_them_alone() {
        let mut tally = TextTally::new(NonZeroUsize::new(3).unwrap());
        for (outputs, reference) in [
            (vec![decoded(&[2], true), decoded(&[3], true)], 2),
            (vec![decoded(&[2], true), decoded(&[3], true)], 3),
            (vec![decoded(&[2], true), decoded(&[3], false)], 3),
            (vec![decoded(&[2], true)], 4),
        ] {
            let scored = OutputsWithReferences {
                outputs: &outputs,
                line: "",
                references: &[vec![5], vec![reference]],
                lines: &[String::new(), String::new()],
            };
            tally.add(&scored, None);
        }
        let scores = tally.scores();
        assert_eq!(scores.exact_match, 0.25);
        let exact_match = 0.5;
        assert_eq!(scores.n_best, Some(NBest { n: 3, exact_match }));
        assert_eq!(TextTally::new(NonZeroUsize::MIN).scores().n_best, None);
    }

    #[test]
    fn bleu_and_chrf_equal_those_of_sacrebleu() {
        let cases = [
            (
                "the cat sat on the mat",
                ["the cat is on the mat", "a cat sat on the mat today"],
            ),
            ("2024-03-03", ["2024-03-03", "2024-03-04"]),
            (
                "a quick brown fox, jumps.",
                ["the quick brown fox jumps.", "a quick fox, jumps over."],
            ),
            ("", ["not empty", "none"]),
            ("x y z w v", ["x y z w v", "x y"]),
            ("naïve café 漢字", ["naive café 漢字 !", "naïve cafe"]),
        ];
        #[track_caller]
        fn check(cases: &[(&str, &[&str])], bleu: f64, chrf: f64) {
            let (mut of_bleu, mut of_chrf) = (Bleu::default(), Chrf::default());
            for (output, references) in cases {
                let references: Vec<String> =
                    references.iter().map(|line| (*line).to_owned()).collect();
                of_bleu.add(output, &references);
                of_chrf.add(output, &references);
            }
            // Both sum a few logarithms or quotients of doubles in another order.
            assert!((of_bleu.score() - bleu).abs() < 1e-9, "{}", of_bleu.score());
            assert!((of_chrf.score() - chrf).abs() < 1e-9, "{}", of_chrf.score());
        }
        // Recorded from sacreBLEU 2.6.0.
        let all: Vec<_> = cases
            .iter()
            .map(|(line, lines)| (*line, &lines[..]))
            .collect();
        check(&all, 77.305_517_569_394_55, 70.530_534_885_474_42);
        let first: Vec<_> = cases
            .iter()
            .map(|(line, lines)| (*line, &lines[..1]))
            .collect();
        check(&first, 53.312_909_464_625_6, 67.157_849_818_019_03);
        check(&[("a b", &["a b"])], 0.0, 100.0);
        check(
            &[("a b c d e", &["a x c y e"])],
            14.058_533_129_758_727,
            12.0,
        );
    }

    #[test]
    fn unknown_tokens_are_errors_and_truncated_outputs_are_not_exact() {
        let scores = scores(&[
            ((&[1, 2], "<unk> b"), true, &[(&[1, 2], "x b")]),
            ((&[2], "b"), false, &[(&[2], "b")]),
        ]);
        assert_eq!((scores.exact_match, scores.n_truncated), (0.0, 1));
        assert_eq!(scores.unknown_tokens, 1.0 / 3.0);
        assert_eq!(scores.token_error_rate, 1.0 / 3.0);
    }
}
