//! A 64-bit hash of the tokens of a line, equal on every machine.
//!
//! The hash of a source decides its split, so its definition never changes. Tokens are hashed, not
//! bytes: white space between words does not count.

use std::cmp::Reverse;

use super::span::{Span, word};
use super::tokenization::BytewiseTokens;
use crate::random::mix;

/// Lines that are hashed at the same time.
pub(super) const LANES: usize = 8;

/// The hash of a line with these tokens of a buffer.
pub(super) fn hash_tokens(buffer: &[u8], tokens: &[Span], seed: u64) -> u64 {
    let mut state = start(seed);
    for token in tokens {
        match token.word(buffer) {
            Some(bytes) => {
                state = mix(state ^ bytes as u64);
                if token.len() > 8 {
                    state = mix(state ^ (bytes >> 64) as u64);
                }
            }
            None => {
                for chunk in token.bytes(buffer).chunks(8) {
                    state = mix(state ^ word(chunk));
                }
            }
        }
        state = mix(state.wrapping_add(token.len() as u64));
    }
    state
}

/// The same for lines in which every byte is a token. Each step of a hash waits for the one before it,
/// so that several lines together take little more time than one.
pub(super) fn hash_bytewise(lines: &[&[u8]], tokens: &BytewiseTokens, seed: u64) -> [u64; LANES] {
    let mut order: [usize; LANES] = std::array::from_fn(|lane| lane);
    let order = &mut order[..lines.len()];
    order.sort_unstable_by_key(|lane| Reverse(lines[*lane].len()));
    let mut sorted = [&[][..]; LANES];
    let mut states = [start(seed); LANES];
    for (slot, lane) in sorted.iter_mut().zip(&*order) {
        *slot = lines[*lane];
    }
    let mut done = 0;
    for n_left in (1..=lines.len()).rev() {
        let until = sorted[n_left - 1].len();
        for at in done..until {
            for (state, line) in states[..n_left].iter_mut().zip(&sorted) {
                let (word, len) = tokens.word(line[at]);
                *state = mix(mix(*state ^ word).wrapping_add(len));
            }
        }
        done = until;
    }
    let mut hashes = [0; LANES];
    for (state, lane) in states.iter().zip(order) {
        hashes[*lane] = *state;
    }
    hashes
}

fn start(seed: u64) -> u64 {
    mix(seed ^ 0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::super::Tokenization;
    use super::*;

    /// The hash of the tokens of a line, one by one.
    fn hash(line: &str, tokenization: Tokenization) -> u64 {
        let (mut text, mut spans) = (String::new(), Vec::new());
        for token in tokenization.tokens(line) {
            let start = text.len();
            text.push_str(token);
            spans.push(Span::new(start, text.len()));
        }
        hash_tokens(text.as_bytes(), &spans, 7)
    }

    #[test]
    fn white_space_between_words_does_not_change_the_hash() {
        use Tokenization::{Chars, Words};
        assert_eq!(hash("a b", Words), hash(" a\t b ", Words));
        assert_ne!(hash("a b", Words), hash("ab", Words));
        assert_ne!(hash("a b", Chars), hash("a  b", Chars));
        // Golden: a change moves pairs between splits.
        assert_eq!(hash("a b", Words), 16_430_845_591_197_691_014);
        let long = "a fourteen-bytes exactly16-bytes more-than-sixteen-bytes";
        assert_eq!(hash(long, Words), 15_612_169_147_585_504_724);
    }

    #[test]
    fn lines_hashed_together_have_the_hashes_of_their_tokens() {
        let lines = [
            "",
            "a",
            "a longer line",
            "tab\there",
            "é ü",
            "xyz",
            "12",
            "a",
        ];
        for tokenization in [Tokenization::Chars, Tokenization::Bytes] {
            for n in 0..=lines.len() {
                let lines: Vec<&str> = lines[..n]
                    .iter()
                    .copied()
                    .filter(|line| tokenization.bytewise(line).is_some())
                    .collect();
                let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
                let tokens = tokenization.bytewise("").unwrap();
                let hashes = hash_bytewise(&bytes, tokens, 7);
                for (line, found) in lines.iter().zip(hashes) {
                    assert_eq!(found, hash(line, tokenization), "{line:?}");
                }
            }
        }
    }
}
