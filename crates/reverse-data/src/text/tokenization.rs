//! How a line is divided into tokens, and put together again.

use std::borrow::Cow;
use std::str::SplitWhitespace;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use unicode_segmentation::{Graphemes, UnicodeSegmentation};

use super::hash::word;

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

/// The tokens that consist of one byte, in lines in which every byte is a token.
pub(super) struct BytewiseTokens([(u64, u64); 256]);

static ASCII: LazyLock<BytewiseTokens> =
    LazyLock::new(|| BytewiseTokens(std::array::from_fn(|byte| (byte as u64, 1))));
static ALL_BYTES: LazyLock<BytewiseTokens> = LazyLock::new(|| {
    BytewiseTokens(BYTES.each_ref().map(|text| {
        let bytes = text.as_bytes();
        (word(bytes), bytes.len() as u64)
    }))
});

impl BytewiseTokens {
    /// The text of a byte's token, as a little-endian number, and its length.
    pub(super) fn word(&self, byte: u8) -> (u64, u64) {
        self.0[usize::from(byte)]
    }
}

/// Whether a break surely precedes and follows the character if its neighbour is such a character, too.
fn is_simple(char: char) -> bool {
    matches!(char,
        '\0'..='\u{c}' | '\u{e}'..='\u{2ff}' // Latin, without CR
        | '\u{370}'..='\u{482}' | '\u{48a}'..='\u{590}' // Greek, Cyrillic, Armenian
        | '\u{3041}'..='\u{3096}' | '\u{30a0}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}')
}

impl Tokenization {
    /// The tokens of a line.
    pub fn tokens(self, line: &str) -> impl Iterator<Item = &str> {
        match self {
            Self::Words if line.is_ascii() => Tokens::AsciiWords(line),
            Self::Words => Tokens::Words(line.split_whitespace()),
            Self::Chars => Tokens::Chars("".graphemes(true), line),
            Self::Bytes => Tokens::Bytes(line.as_bytes()),
        }
    }

    /// The tokens of a line, if each is one byte.
    pub(super) fn bytewise(self, line: &str) -> Option<&'static BytewiseTokens> {
        match self {
            Self::Words => None,
            // CR LF, which a quoted field can contain, is one character.
            Self::Chars => (line.is_ascii() && !line.contains('\r')).then(|| &*ASCII),
            Self::Bytes => Some(&ALL_BYTES),
        }
    }

    /// The token that consists of a character, or of a byte.
    pub(super) fn small_token(self, number: u32) -> Cow<'static, str> {
        match self {
            Self::Words | Self::Chars => char::from_u32(number)
                .map_or_else(String::new, String::from)
                .into(),
            Self::Bytes => BYTES[number as usize].as_str().into(),
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

/// The number of first bytes of ASCII that are above the space, and so no white space.
fn n_not_space(chunk: [u8; 8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let bytes = u64::from_le_bytes(chunk);
    // The lowest of these bits belongs to the first byte below `'!'`.
    let below = bytes.wrapping_sub(ONES * u64::from(b'!')) & !bytes & (ONES << 7);
    below.trailing_zeros() as usize / 8
}

enum Tokens<'a> {
    Words(SplitWhitespace<'a>),
    AsciiWords(&'a str),
    /// The clusters of a part of the line, and the part after it.
    Chars(Graphemes<'a>, &'a str),
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
                    end += match bytes[end..].first_chunk() {
                        Some(chunk) => n_not_space(*chunk).max(1),
                        None => 1,
                    };
                }
                let word = &line[start..end];
                *line = &line[end..];
                (!word.is_empty()).then_some(word)
            }
            Self::Chars(part, rest) => {
                if let Some(cluster) = part.next() {
                    return Some(cluster);
                }
                let mut chars = rest.chars();
                let mut previous = is_simple(chars.next()?);
                let first_len = rest.len() - chars.as_str().len();
                let mut len = first_len;
                for char in chars {
                    let next = is_simple(char);
                    if previous && next {
                        break;
                    }
                    previous = next;
                    len += char.len_utf8();
                }
                let (before, after) = rest.split_at(len);
                *rest = after;
                if len == first_len {
                    return Some(before);
                }
                *part = before.graphemes(true);
                part.next()
            }
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
        for n in 0..20 {
            let [long, other] = ["x".repeat(n), "\u{1}~!".repeat(n)];
            let line = format!(" {long}a\t\u{7f}{other}\r b");
            let words: Vec<&str> = Tokenization::Words.tokens(&line).collect();
            assert_eq!(words, Vec::from_iter(line.split_whitespace()));
        }
        // A letter with a combining accent, a flag of two code points.
        check(
            Tokenization::Chars,
            "e\u{301}\u{1f1eb}\u{1f1f7}",
            &["e\u{301}", "\u{1f1eb}\u{1f1f7}"],
        );
        check(Tokenization::Bytes, "é a", &["<0xC3>", "<0xA9>", " ", "a"]);
    }

    #[test]
    fn characters_are_grapheme_clusters() {
        for line in [
            "plain",
            "cr\r\nlf\r",
            "e\u{301}a\u{301}\u{301} x\u{200d}y",
            "©\u{200d}© a\u{ad}b \u{600}1 \u{d4e}k",
            "\u{1f1eb}\u{1f1f7}\u{1f1e9}\u{1f1ea}z",
            "Привет, κόσμε! 漢\u{3099}字かな한국\u{1100}\u{1161}\u{11a8}",
            "\u{915}\u{94d}\u{937} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}!",
        ] {
            let tokens: Vec<&str> = Tokenization::Chars.tokens(line).collect();
            assert_eq!(tokens, Vec::from_iter(line.graphemes(true)), "{line:?}");
        }
    }

    #[test]
    fn simple_characters_are_clusters_of_their_own() {
        let simple: Vec<char> = ('\0'..=char::MAX).filter(|char| is_simple(*char)).collect();
        let line: String = simple
            .iter()
            .flat_map(|char| ['a', *char, *char, 'я'])
            .collect();
        assert_eq!(line.graphemes(true).count(), 4 * simple.len());
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
