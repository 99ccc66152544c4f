//! BLEU of a corpus: Papineni et al. (2002), "BLEU: a method for automatic evaluation of machine
//! translation", with the tokenization (13a) and smoothing (exp) that are the defaults of sacreBLEU:
//! Post (2018), arXiv:1804.08771.

use super::ngrams;

/// Longest n-grams that count.
const MAX_ORDER: usize = 4;

/// Sums over the outputs of a corpus.
#[derive(Clone, Debug, Default)]
pub(super) struct Bleu {
    n_matches: [u64; MAX_ORDER],
    n_grams: [u64; MAX_ORDER],
    output_len: u64,
    reference_len: u64,
}

impl Bleu {
    /// Adds an output with its references, at least one.
    pub(super) fn add(&mut self, output: &str, references: &[String]) {
        let output = tokenize(output);
        let references: Vec<Vec<String>> = references.iter().map(|line| tokenize(line)).collect();
        let lens = references.iter().map(Vec::len);
        let closest = lens.min_by_key(|len| (len.abs_diff(output.len()), *len));
        self.output_len += output.len() as u64;
        self.reference_len += closest.unwrap_or(0) as u64;
        for order in 1..=MAX_ORDER {
            let counts = ngrams(&output, order);
            let of_references: Vec<_> = references.iter().map(|line| ngrams(line, order)).collect();
            for (ngram, count) in &counts {
                let most = of_references
                    .iter()
                    .filter_map(|counts| counts.get(ngram))
                    .max();
                self.n_matches[order - 1] += (*count).min(most.copied().unwrap_or(0));
                self.n_grams[order - 1] += count;
            }
        }
    }

    /// The score in [0, 100].
    pub(super) fn score(&self) -> f64 {
        if self.n_matches[0] == 0 {
            return 0.0;
        }
        let (mut log_sum, mut smoothing) = (0.0, 1.0);
        for (n_matches, n_grams) in self.n_matches.into_iter().zip(self.n_grams) {
            let precision = match (n_matches, n_grams) {
                (_, 0) => return 0.0, // no output is this long
                (0, n_grams) => {
                    smoothing *= 2.0;
                    1.0 / (smoothing * n_grams as f64)
                }
                (n_matches, n_grams) => n_matches as f64 / n_grams as f64,
            };
            log_sum += precision.ln();
        }
        let (output, reference) = (self.output_len as f64, self.reference_len as f64);
        let brevity_penalty = (1.0 - reference / output).min(0.0).exp();
        100.0 * brevity_penalty * (log_sum / MAX_ORDER as f64).exp()
    }
}

/// Tokenization 13a, that of mteval-v13a: punctuation is separated, except for periods and commas
/// between digits.
fn tokenize(line: &str) -> Vec<String> {
    let line = line.replace("<skipped>", "").replace("&quot;", "\"");
    let line = line
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    let mut spaced = String::new();
    for c in format!(" {line} ").chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => {
                spaced.extend([' ', c, ' ']);
            }
            c => spaced.push(c),
        }
    }
    let is_stop = |c: char| c == '.' || c == ',';
    let is_digit = |c: char| c.is_ascii_digit();
    let spaced = split_pairs(
        &spaced,
        |a, b| !is_digit(a) && is_stop(b),
        |a, b| [a, ' ', b, ' '],
    );
    let spaced = split_pairs(
        &spaced,
        |a, b| is_stop(a) && !is_digit(b),
        |a, b| [' ', a, ' ', b],
    );
    let spaced = split_pairs(
        &spaced,
        |a, b| is_digit(a) && b == '-',
        |a, b| [a, ' ', b, ' '],
    );
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Replaces each pair of neighbours that matches, from left to right; pairs do not overlap.
fn split_pairs(
    text: &str,
    matches: impl Fn(char, char) -> bool,
    replace: impl Fn(char, char) -> [char; 4],
) -> String {
    let (mut result, mut rest) = (String::new(), text.chars().peekable());
    while let Some(c) = rest.next() {
        match rest.peek() {
            Some(&next) if matches(c, next) => {
                result.extend(replace(c, next));
                rest.next();
            }
            _ => result.push(c),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_is_separated_except_between_digits() {
        let tokens = |line: &str| tokenize(line).join(" ");
        // Recorded from sacreBLEU 2.6.0.
        assert_eq!(
            tokens("a, b.c (d) 1,000.5 3-4 x-y"),
            "a , b . c ( d ) 1,000.5 3 - 4 x-y"
        );
        assert_eq!(
            tokens("'tis &amp; \"so\" ... 7. end, $5"),
            "'tis & \" so \" . . . 7 . end , $ 5"
        );
    }
}
