//! How a line is divided into tokens, and put together again.

use std::borrow::Cow;
use std::str::SplitWhitespace;
use std::sync::LazyLock;

use memchr::memchr;
use serde::{Deserialize, Serialize};
use unicode_segmentation::{Graphemes, UnicodeSegmentation};

use super::span::{Span, word};

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
            Self::Words => Tokens::Words(line.split_whitespace()),
            Self::Chars => Tokens::Chars("".graphemes(true), line),
            Self::Bytes => Tokens::Bytes(line.as_bytes()),
        }
    }

    /// Adds the tokens of a line that starts at `start` in a buffer. They must be parts of the line: they
    /// are for words and characters.
    pub(super) fn add_spans(self, line: &str, start: usize, spans: &mut Vec<Span>) {
        if self == Self::Words && has_simple_spaces(line) {
            add_words(line.as_bytes(), start, spans);
            return;
        }
        let position = |token: &str| start + token.as_ptr().addr() - line.as_ptr().addr();
        spans.extend(self.tokens(line).map(|token| {
            let start = position(token);
            Span::new(start, start + token.len())
        }));
    }

    /// The tokens of a line, if each is one byte.
    pub(super) fn bytewise(self, line: &str) -> Option<&'static BytewiseTokens> {
        match self {
            Self::Words => None,
            // CR LF, which a quoted field can contain, is one character.
            Self::Chars => {
                let has_cr = || memchr(b'\r', line.as_bytes()).is_some();
                (line.is_ascii() && !has_cr()).then(|| &*ASCII)
            }
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

/// Whether ASCII is all the white space that the line can contain: other white space starts with one of
/// these bytes.
fn has_simple_spaces(line: &str) -> bool {
    line.is_ascii() || !line.bytes().any(|byte| matches!(byte, 0xc2 | 0xe1..=0xe3))
}

/// Adds the words of a line, whose white space is ASCII.
fn add_words(line: &[u8], start: usize, spans: &mut Vec<Span>) {
    let mut word_start = None;
    let mut last = 0; // whether the byte before is in a word
    for (chunk, start) in line.chunks(64).zip((start..).step_by(64)) {
        let words = words(chunk);
        let mut edges = words ^ (words << 1 | last);
        last = words >> 63;
        while edges > 0 {
            let edge = start + edges.trailing_zeros() as usize;
            edges &= edges - 1;
            match word_start.take() {
                None => word_start = Some(edge),
                Some(start) => spans.push(Span::new(start, edge)),
            }
        }
    }
    if let Some(word_start) = word_start {
        spans.push(Span::new(word_start, start + line.len()));
    }
}

/// Which of at most 64 bytes are no white space of ASCII, as bits; those after the last byte are zero.
fn words(bytes: &[u8]) -> u64 {
    let mut words = 0;
    let (chunks, rest) = bytes.as_chunks();
    for (chunk, shift) in chunks.iter().zip((0..).step_by(8)) {
        words |= words_of_8(*chunk) << shift;
    }
    if !rest.is_empty() {
        let mut chunk = [b' '; 8];
        chunk[..rest.len()].copy_from_slice(rest);
        words |= words_of_8(chunk) << (8 * chunks.len());
    }
    words
}

/// The same for eight bytes, which are compared together.
fn words_of_8(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    let bytes = u64::from_le_bytes(bytes);
    // In the highest bit of each byte: whether its other bits are at least this number.
    let at_least = |number: u8| (bytes | HIGH) - ONES * u64::from(number);
    let is_space = at_least(b'\t') & !at_least(b'\r' + 1) | at_least(b' ') & !at_least(b' ' + 1);
    let is_word = (!is_space | bytes) & HIGH;
    // The product gathers the bits in its highest byte.
    (is_word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

enum Tokens<'a> {
    Words(SplitWhitespace<'a>),
    /// The clusters of a part of the line, and the part after it.
    Chars(Graphemes<'a>, &'a str),
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match self {
            Self::Words(words) => words.next(),
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
        // A letter with a combining accent, a flag of two code points.
        check(
            Tokenization::Chars,
            "e\u{301}\u{1f1eb}\u{1f1f7}",
            &["e\u{301}", "\u{1f1eb}\u{1f1f7}"],
        );
        check(Tokenization::Bytes, "é a", &["<0xC3>", "<0xA9>", " ", "a"]);
    }

    #[test]
    fn spans_are_the_positions_of_tokens() {
        let check = |line: &str| {
            for tokenization in [Tokenization::Words, Tokenization::Chars] {
                let buffer = format!("before{line}");
                let mut spans = Vec::new();
                tokenization.add_spans(&buffer[6..], 6, &mut spans);
                let bytes = spans.iter().map(|span| span.bytes(buffer.as_bytes()));
                let tokens = tokenization.tokens(line).map(str::as_bytes);
                assert!(bytes.eq(tokens), "{line:?}");
            }
        };
        for byte in 0..0x80 {
            check(&format!("{0}a{0}{0} {0}bé{0}", char::from(byte)));
        }
        for char in ('\0'..=char::MAX).filter(|char| char.is_whitespace()) {
            check(&format!("a{char}b"));
        }
        for n in 0..140 {
            let [long, other] = ["x".repeat(n), "\u{1}~!я".repeat(n / 5)];
            check(&format!("{long} a\t\u{7f}{other}\r b"));
            check(&long);
            check(&" ".repeat(n));
        }
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
