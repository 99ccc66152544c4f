//! Token IDs of symbols and special tokens.
//!
//! ```text
//! 0      1 ... V-1     V     V+1
//! PAD    symbols       BOS   EOS
//! ```
//!
//! The text of a symbol is its number or, in the vocabulary of text, its word, character or byte.
//! Symbol 1 of text is `<unk>`, the token for everything outside the vocabulary.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::{Error, Tokenization};

/// A token ID.
pub type Token = u32;

/// Padding after the end of a sequence; never part of a sequence.
pub const PAD: Token = 0;

/// Maximum `vocab`, which bounds the size of the embedding.
pub const MAX_VOCAB: u32 = 1_000_000;

/// Maximum number of words of text, without `<unk>` and PAD.
pub(crate) const MAX_WORDS: usize = MAX_VOCAB as usize - 2;

/// The text of the unknown token, in input and output.
pub(crate) const UNKNOWN: &str = "<unk>";
const UNKNOWN_SYMBOL: Token = 1;

const PAD_TEXT: &str = "<pad>";
const BOS_TEXT: &str = "<s>";
const EOS_TEXT: &str = "</s>";

/// Whether this is the text of PAD, BOS or EOS, which cannot be a symbol.
pub(crate) fn is_special(text: &str) -> bool {
    [PAD_TEXT, BOS_TEXT, EOS_TEXT].contains(&text)
}

/// The symbols `1..=V-1` and the special tokens PAD, BOS and EOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    vocab: u32, // V
    words: Option<Arc<WordTable>>,
}

/// The texts of symbols 1, 2, ... and how a line is divided into them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WordTable {
    texts: Vec<String>,
    symbols: HashMap<String, Token, FixedState>, // never iterated, so its order does not matter
    tokenization: Tokenization,
}

impl Vocabulary {
    /// A vocabulary of numbers. V is the number of symbols plus 1 for PAD.
    ///
    /// # Errors
    /// If `vocab` is outside `[2, MAX_VOCAB]`.
    pub fn new(vocab: u32) -> Result<Self, Error> {
        if (2..=MAX_VOCAB).contains(&vocab) {
            Ok(Self { vocab, words: None })
        } else {
            Err(Error::Vocab { vocab })
        }
    }

    /// The vocabulary of text: symbol 1 is `<unk>`, followed by these words, which must be distinct.
    ///
    /// # Errors
    /// [`Error::TooManyWords`].
    pub fn from_words(words: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let texts: Vec<String> = [UNKNOWN.to_owned()].into_iter().chain(words).collect();
        let n_words = texts.len() - 1;
        if n_words > MAX_WORDS {
            return Err(Error::TooManyWords { n_words });
        }
        let symbols = texts.iter().cloned().zip(1..).collect();
        let words = Some(Arc::new(WordTable {
            texts,
            symbols,
            tokenization: Tokenization::Words,
        }));
        let vocab = n_words as u32 + 2;
        Ok(Self { vocab, words })
    }

    /// The same vocabulary for tokens of another kind; without effect if symbols are numbers.
    #[must_use]
    pub fn with_tokenization(mut self, tokenization: Tokenization) -> Self {
        if let Some(words) = &mut self.words {
            Arc::make_mut(words).tokenization = tokenization;
        }
        self
    }

    /// The words of text, without `<unk>`; empty if symbols are numbers.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let texts = self.words.iter().flat_map(|words| &words.texts[1..]);
        texts.map(String::as_str)
    }

    /// The symbol `<unk>` of text; `None` if symbols are numbers.
    pub fn unknown(&self) -> Option<Token> {
        self.words.as_ref().map(|_| UNKNOWN_SYMBOL)
    }

    /// BOS, the first input of the decoder.
    pub fn bos(&self) -> Token {
        self.vocab
    }

    /// EOS, the last token of a target.
    pub fn eos(&self) -> Token {
        self.vocab + 1
    }

    /// Number of tokens including PAD, BOS and EOS: the number of rows of an embedding.
    pub fn size(&self) -> usize {
        self.vocab as usize + 2
    }

    /// Number of symbols, which equals the greatest symbol.
    pub fn n_symbols(&self) -> u32 {
        self.vocab - 1
    }

    /// Whether the token is a symbol.
    pub fn is_symbol(&self, token: Token) -> bool {
        (1..self.vocab).contains(&token)
    }

    /// The text of a token: `<pad>`, `<s>`, `</s>`, or its number or word.
    pub fn text(&self, token: Token) -> String {
        match (token, &self.words) {
            (PAD, _) => PAD_TEXT.into(),
            (t, _) if t == self.bos() => BOS_TEXT.into(),
            (t, _) if t == self.eos() => EOS_TEXT.into(),
            (symbol, None) => symbol.to_string(),
            (symbol, Some(words)) => {
                let text = words.texts.get(symbol as usize - 1);
                text.map_or(UNKNOWN, String::as_str).into()
            }
        }
    }

    /// How a line of text is divided into tokens; `None` if symbols are numbers.
    pub fn tokenization(&self) -> Option<Tokenization> {
        self.words.as_ref().map(|words| words.tokenization)
    }

    /// The texts of the tokens in a line. Numbers are separated by white space or commas.
    pub fn split<'a>(&self, line: &'a str) -> Vec<&'a str> {
        match self.tokenization() {
            Some(tokenization) => tokenization.tokens(line).collect(),
            None => {
                let parts = line.split(|c: char| c == ',' || c.is_whitespace());
                parts.filter(|part| !part.is_empty()).collect()
            }
        }
    }

    /// The line with these tokens: the inverse of [`split`](Self::split).
    pub fn join<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> String {
        self.tokenization().unwrap_or_default().join(texts)
    }

    /// The texts of tokens.
    pub fn texts(&self, tokens: &[Token]) -> Vec<String> {
        tokens.iter().map(|token| self.text(*token)).collect()
    }

    /// The line with these tokens.
    pub fn line(&self, tokens: &[Token]) -> String {
        self.join(self.texts(tokens).iter().map(String::as_str))
    }

    /// The symbol with this text. In the vocabulary of text, everything else is
    /// [`<unk>`](Self::unknown).
    ///
    /// # Errors
    /// [`Error::NotANumber`] or [`Error::OutOfVocabulary`] if symbols are numbers; [`Error::Reserved`] if
    /// they are words and this is the text of a special token.
    pub fn parse(&self, text: &str) -> Result<Token, Error> {
        if let Some(words) = &self.words {
            return match words.symbols.get(text) {
                None if is_special(text) => Err(Error::Reserved {
                    text: text.to_owned(),
                }),
                symbol => Ok(symbol.copied().unwrap_or(UNKNOWN_SYMBOL)),
            };
        }
        let symbol = text.parse().ok().filter(|&token| self.is_symbol(token));
        symbol.ok_or_else(|| {
            let (text, max) = (text.to_owned(), self.n_symbols());
            if is_integer(&text) {
                Error::OutOfVocabulary { text, max }
            } else {
                Error::NotANumber { text, max }
            }
        })
    }
}

/// Whether this is an integer of any size.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bos_and_eos_follow_the_symbols() {
        let vocabulary = Vocabulary::new(51).unwrap();
        assert_eq!((vocabulary.bos(), vocabulary.eos()), (51, 52));
        assert_eq!((vocabulary.n_symbols(), vocabulary.size()), (50, 53));
        let symbols: Vec<_> = (0..60).filter(|&t| vocabulary.is_symbol(t)).collect();
        assert_eq!(symbols, Vec::from_iter(1..=50));
        assert_eq!(
            [0, 1, 50, 51, 52].map(|t| vocabulary.text(t)),
            ["<pad>", "1", "50", "<s>", "</s>"]
        );
    }

    #[test]
    fn the_vocabulary_size_is_bounded() {
        assert!(Vocabulary::new(2).is_ok() && Vocabulary::new(MAX_VOCAB).is_ok());
        for vocab in [0, 1, MAX_VOCAB + 1, u32::MAX] {
            assert_eq!(Vocabulary::new(vocab), Err(Error::Vocab { vocab }));
        }
    }

    #[test]
    fn words_are_symbols_and_all_others_are_unknown() {
        let vocabulary = Vocabulary::from_words(["b", "7"].map(str::to_owned)).unwrap();
        assert_eq!((vocabulary.bos(), vocabulary.size()), (4, 6));
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|t| vocabulary.text(t)),
            ["<pad>", "<unk>", "b", "7", "<s>", "</s>"]
        );
        assert_eq!(
            ["b", "7", "a", "<unk>"].map(|text| vocabulary.parse(text)),
            [Ok(2), Ok(3), Ok(1), Ok(1)]
        );
        assert!(matches!(
            vocabulary.parse("<s>"),
            Err(Error::Reserved { .. })
        ));
        assert_eq!(vocabulary.words().collect::<Vec<_>>(), ["b", "7"]);
        assert_eq!(vocabulary.unknown(), Some(1));
        let numbers = Vocabulary::new(9).unwrap();
        assert_eq!((numbers.words().count(), numbers.unknown()), (0, None));
    }

    #[track_caller]
    fn check_parse(text: &str, expected: Result<Token, &str>) {
        let parsed = Vocabulary::new(51).unwrap().parse(text);
        assert_eq!(
            parsed.map_err(|error| error.to_string()),
            expected.map_err(str::to_owned)
        );
    }

    #[test]
    fn the_number_of_words_is_bounded() {
        let words = |n: usize| Vocabulary::from_words((0..n).map(|word| word.to_string()));
        assert_eq!(words(MAX_WORDS).unwrap().n_symbols(), MAX_VOCAB - 1);
        assert_eq!(
            words(MAX_WORDS + 1).unwrap_err().to_string(),
            "999999 distinct tokens; a vocabulary has at most 999998"
        );
    }

    #[test]
    fn symbols_are_parsed_and_errors_name_the_text() {
        check_parse("1", Ok(1));
        check_parse("50", Ok(50));
        for text in [
            "0",
            "51",
            "52",
            "-3",
            "+51",
            "4294967297",
            "99999999999999999999",
        ] {
            let message = format!("token {text} is outside the vocabulary, expected 1 to 50");
            check_parse(text, Err(&message));
        }
        for text in ["", "-", "x", "1.5", "1 2", "</s>"] {
            let message = format!("token {text:?} is not a number, expected 1 to 50");
            check_parse(text, Err(&message));
        }
    }
}
