//! chrF2 of a corpus: Popović (2015), "chrF: character n-gram F-score for automatic MT evaluation", with
//! the defaults of sacreBLEU: n-grams of up to 6 characters without white space, recall weighted twice.

use super::ngrams;

/// Longest n-grams that count.
const MAX_ORDER: usize = 6;

/// Weight of recall relative to precision.
const BETA: f64 = 2.0;

/// Sums over the outputs of a corpus, one element for each length of n-grams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chrf([Counts; MAX_ORDER]);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    n_output: u64,
    n_reference: u64,
    n_matches: u64,
}

impl Chrf {
    /// Adds an output with its references, at least one; the reference with the best score counts.
    pub(super) fn add(&mut self, output: &str, references: &[String]) {
        let output = characters(output);
        let scored = references
            .iter()
            .map(|reference| Self::of(&output, &characters(reference)));
        // The first of equal scores.
        let best = scored.reduce(|best, other| {
            if other.score() > best.score() {
                other
            } else {
                best
            }
        });
        for (sum, counts) in self.0.iter_mut().zip(best.unwrap_or_default().0) {
            sum.n_output += counts.n_output;
            sum.n_reference += counts.n_reference;
            sum.n_matches += counts.n_matches;
        }
    }

    /// The score in [0, 100].
    pub(super) fn score(&self) -> f64 {
        let (mut precision, mut recall, mut n_orders) = (0.0, 0.0, 0.0);
        for counts in self.0 {
            if counts.n_output > 0 && counts.n_reference > 0 {
                precision += counts.n_matches as f64 / counts.n_output as f64;
                recall += counts.n_matches as f64 / counts.n_reference as f64;
                n_orders += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall, factor) = (precision / n_orders, recall / n_orders, BETA * BETA);
        100.0 * (1.0 + factor) * precision * recall / (factor * precision + recall)
    }

    fn of(output: &[char], reference: &[char]) -> Self {
        let mut counts = Self::default();
        for (order, counts) in (1..).zip(&mut counts.0) {
            let (of_output, of_reference) = (ngrams(output, order), ngrams(reference, order));
            let matches = of_output
                .iter()
                .map(|(ngram, count)| of_reference.get(ngram).copied().unwrap_or(0).min(*count));
            *counts = Counts {
                n_matches: matches.sum(),
                // Without n-grams in the reference, those of the output do not count.
                n_output: match of_reference.is_empty() {
                    true => 0,
                    false => of_output.values().sum(),
                },
                n_reference: of_reference.values().sum(),
            };
        }
        counts
    }
}

fn characters(line: &str) -> Vec<char> {
    line.chars().filter(|c| !c.is_whitespace()).collect()
}
