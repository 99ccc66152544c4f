//! A 64-bit hash of the tokens of a line, equal on every machine.
//!
//! The hash of a source decides its split, so its definition never changes. Tokens are hashed, not
//! bytes: white space between words does not count.

use std::cmp::Reverse;
use std::hint::select_unpredictable;

use super::span::{Span, word};
use super::tokenization::BytewiseTokens;
use crate::random::mix;

/// Lines that are hashed at the same time.
pub(super) const LANES: usize = 8;

/// The state of a hash before the first token.
pub(super) fn start(seed: u64) -> u64 {
    mix(seed ^ 0x9e37_79b9_7f4a_7c15)
}

/// Adds tokens of a buffer to the hashes of up to [`LANES`] lines.
pub(super) fn add_spans(states: &mut [u64; LANES], buffer: &[u8], lines: [&[Span]; LANES]) {
    add(states, lines, |mut state, token| {
        match token.word(buffer) {
            Some(bytes) => {
                state = mix(state ^ bytes as u64);
                let longer = mix(state ^ (bytes >> 64) as u64);
                state = select_unpredictable(token.len() > 8, longer, state);
            }
            None => {
                for chunk in token.bytes(buffer).chunks(8) {
                    state = mix(state ^ word(chunk));
                }
            }
        }
        mix(state.wrapping_add(token.len() as u64))
    });
}

/// Adds tokens that consist of one byte.
pub(super) fn add_bytes(states: &mut [u64; LANES], tokens: &BytewiseTokens, lines: [&[u8]; LANES]) {
    add(states, lines, |state, byte| {
        let (word, len) = tokens.word(*byte);
        mix(mix(state ^ word).wrapping_add(len))
    });
}

/// Adds the items of lines to their hashes. Each step of a hash waits for the one before it, so that
/// several lines together take little more time than one.
fn add<T>(states: &mut [u64; LANES], lines: [&[T]; LANES], step: impl Fn(u64, &T) -> u64) {
    let mut lanes: [usize; LANES] = std::array::from_fn(|lane| lane);
    lanes.sort_unstable_by_key(|lane| Reverse(lines[*lane].len()));
    let sorted = lanes.map(|lane| lines[lane]);
    let mut sorted_states = lanes.map(|lane| states[lane]);
    let mut done = 0;
    for n_left in (1..=LANES).rev() {
        let until = sorted[n_left - 1].len();
        for at in done..until {
            for (state, line) in sorted_states[..n_left].iter_mut().zip(&sorted) {
                *state = step(*state, &line[at]);
            }
        }
        done = until;
    }
    for (state, lane) in sorted_states.into_iter().zip(lanes) {
        states[lane] = state;
    }
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
        let (mut states, mut lines) = ([start(7); LANES], [&[][..]; LANES]);
        lines[3] = &spans[..];
        add_spans(&mut states, text.as_bytes(), lines);
        states[3]
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
                let mut bytes = [&[][..]; LANES];
                for (bytes, line) in bytes.iter_mut().zip(&lines) {
                    *bytes = line.as_bytes();
                }
                let mut states = [start(7); LANES];
                add_bytes(&mut states, tokenization.bytewise("").unwrap(), bytes);
                for (line, found) in lines.iter().zip(states) {
                    assert_eq!(found, hash(line, tokenization), "{line:?}");
                }
            }
        }
    }
}
