//! How a line is divided into tokens, and put together again.

use std::str::SplitWhitespace;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use unicode_segmentation::{Graphemes, UnicodeSegmentation};

/// How a line of text is divided into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokenization {
    /// At white space, which is not kept.
    #[default]
    Words,
    /// Into extended grapheme clusters (Unicode Standard Annex 29), spaces included.
    Chars,
    /// Into the bytes of UTF-8. No byte is ever unknown.
    Bytes,
}

/// The text of each byte: the character if it is printable ASCII, else `<0xNN>`.
static BYTES: LazyLock<[String; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| match byte as u8 {
        b' '..=b'~' => char::from(byte as u8).to_string(),
        _ => format!("<0x{byte:02X}>"),
    })
});

impl Tokenization {
    /// The tokens of a line.
    pub fn tokens(self, line: &str) -> impl Iterator<Item = &str> {
        match self {
            Self::Words if line.is_ascii() => Tokens::AsciiWords(line),
            Self::Words => Tokens::Words(line.split_whitespace()),
            Self::Chars if line.is_ascii() => Tokens::AsciiChars(line),
            Self::Chars => Tokens::Chars(line.graphemes(true)),
            Self::Bytes => Tokens::Bytes(line.as_bytes()),
        }
    }

    /// The line with these tokens: joined by spaces if they are words, else without separator. Bytes
    /// that are not UTF-8 become U+FFFD.
    pub fn join<'a>(self, tokens: impl IntoIterator<Item = &'a str>) -> String {
        match self {
            Self::Words => Vec::from_iter(tokens).join(" "),
            Self::Chars => tokens.into_iter().collect(),
            Self::Bytes => {
                let bytes: Vec<u8> = tokens.into_iter().flat_map(bytes_of).copied().collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }

    /// The tokens of a vocabulary that no training text can extend: all bytes.
    pub(crate) fn closed_vocabulary(self) -> Option<impl Iterator<Item = String>> {
        (self == Self::Bytes).then(|| BYTES.iter().cloned())
    }

    /// The name of the tokens, in the plural.
    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Chars => "characters",
            Self::Bytes => "bytes",
        }
    }
}

/// The byte with this text; the bytes of the text itself if it is a special token.
fn bytes_of(text: &str) -> &[u8] {
    static VALUES: [u8; 256] = {
        let mut values = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            values[byte] = byte as u8;
            byte += 1;
        }
        values
    };
    let hex = text
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    match hex.and_then(|hex| usize::from_str_radix(hex, 16).ok()) {
        Some(byte) if byte < 256 => &VALUES[byte..=byte],
        _ => text.as_bytes(),
    }
}

enum Tokens<'a> {
    Words(SplitWhitespace<'a>),
    AsciiWords(&'a str),
    /// Every ASCII character is a grapheme cluster of its own, since a line contains no line end.
    AsciiChars(&'a str),
    Chars(Graphemes<'a>),
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match self {
            Self::Words(words) => words.next(),
            Self::AsciiWords(line) => {
                let bytes = line.as_bytes();
                let is_space = |at: usize| matches!(bytes[at], b' ' | b'\t'..=b'\r');
                let mut start = 0;
                while start < bytes.len() && is_space(start) {
                    start += 1;
                }
                let mut end = start;
                while end < bytes.len() && !is_space(end) {
                    end += 1;
                }
                let word = &line[start..end];
                *line = &line[end..];
                (!word.is_empty()).then_some(word)
            }
            Self::AsciiChars(line) => {
                let (first, rest) = line.split_at_checked(1)?;
                *line = rest;
                Some(first)
            }
            Self::Chars(graphemes) => graphemes.next(),
            Self::Bytes(bytes) => {
                let (first, rest) = bytes.split_first()?;
                *bytes = rest;
                Some(&BYTES[usize::from(*first)])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tokenization: Tokenization, line: &str, expected: &[&str]) {
        let tokens: Vec<&str> = tokenization.tokens(line).collect();
        assert_eq!(tokens, expected);
    }

    #[test]
    fn words_end_at_white_space_and_characters_include_it() {
        check(
            Tokenization::Words,
            " to be\u{a0}or\tnot ",
            &["to", "be", "or", "not"],
        );
        check(Tokenization::Chars, "a  b", &["a", " ", " ", "b"]);
        check(Tokenization::Words, "\u{b}to\u{c}be ", &["to", "be"]);
        // A letter with a combining accent, a flag of two code points.
        check(
            Tokenization::Chars,
            "e\u{301}\u{1f1eb}\u{1f1f7}",
            &["e\u{301}", "\u{1f1eb}\u{1f1f7}"],
        );
        check(Tokenization::Bytes, "é a", &["<0xC3>", "<0xA9>", " ", "a"]);
    }

    #[test]
    fn characters_and_bytes_round_trip() {
        for line in [
            "March 3, 2024",
            "  ",
            "naïve  漢字",
            "e\u{301}x",
            "<0x41>",
            "<unk>",
        ] {
            for tokenization in [Tokenization::Chars, Tokenization::Bytes] {
                let tokens = tokenization.tokens(line);
                assert_eq!(tokenization.join(tokens), line, "{tokenization:?}");
            }
        }
        assert_eq!(
            Tokenization::Bytes.join(["<0xC3>", "<unk>"]),
            "\u{fffd}<unk>"
        );
    }

    #[test]
    fn every_byte_has_its_own_text() {
        let texts: Vec<String> = Tokenization::Bytes.closed_vocabulary().unwrap().collect();
        for (byte, text) in texts.iter().enumerate() {
            assert_eq!(bytes_of(text), [byte as u8]);
        }
    }
}
