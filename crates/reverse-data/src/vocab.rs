//! Which numbers are symbols, and which are marks.
//!
//! ```text
//! 0      1 ... V-1     V     V+1
//! PAD    symbols       BOS   EOS
//! ```
//!
//! A symbol reads as its number; or, in the vocabulary of a text, as its word. Symbol 1 of a text
//! stands for every word that the vocabulary does not have.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Error;

/// One position of a sequence.
pub type Token = u32;

/// Fills the rows of a batch past their ends; never part of a sequence.
pub const PAD: Token = 0;

/// The greatest `vocab`. Beyond it the embedding alone would fill a machine.
pub const MAX_VOCAB: u32 = 1_000_000;

/// How the symbol of unknown words reads, and what may be written for one.
pub(crate) const UNKNOWN: &str = "<unk>";

const PAD_TEXT: &str = "<pad>";
const BOS_TEXT: &str = "<s>";
const EOS_TEXT: &str = "</s>";

/// Whether a text is how a mark reads, and so cannot be a symbol.
pub(crate) fn is_mark(text: &str) -> bool {
    [PAD_TEXT, BOS_TEXT, EOS_TEXT].contains(&text)
}

/// The symbols `1..=V-1`, and the marks around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    vocab: u32, // V
    words: Option<Arc<Words>>,
}

/// The words of a text's symbols, from symbol 1 on.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    texts: Vec<String>,
    symbols: HashMap<String, Token>, // only ever asked for one: its order does not matter
}

impl Vocabulary {
    /// The vocabulary of numbers of a given V, which counts PAD and the symbols.
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

    /// The vocabulary of a text: the unknown word is symbol 1, these different words follow it.
    ///
    /// # Errors
    /// If there are too many.
    pub fn of_words(words: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let texts: Vec<String> = [UNKNOWN.to_owned()].into_iter().chain(words).collect();
        let vocab = u32::try_from(texts.len() + 1).unwrap_or(u32::MAX);
        let symbols = texts.iter().cloned().zip(1..).collect();
        let words = Some(Arc::new(Words { texts, symbols }));
        Ok(Self {
            words,
            ..Self::new(vocab)?
        })
    }

    /// The words of a text's vocabulary, without the unknown one; none if symbols are numbers.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let texts = self.words.iter().flat_map(|words| &words.texts[1..]);
        texts.map(String::as_str)
    }

    /// The symbol of words that a text's vocabulary does not have; `None` if symbols are numbers.
    pub fn unknown(&self) -> Option<Token> {
        self.words.as_ref().map(|_| 1)
    }

    /// The mark that a target starts with.
    pub fn bos(&self) -> Token {
        self.vocab
    }

    /// The mark that a target ends with.
    pub fn eos(&self) -> Token {
        self.vocab + 1
    }

    /// How many tokens there are, PAD, BOS and EOS included: the height of an embedding table.
    pub fn size(&self) -> usize {
        self.vocab as usize + 2
    }

    /// How many symbols there are, which is also the greatest of them.
    pub fn n_symbols(&self) -> u32 {
        self.vocab - 1
    }

    /// Whether a sequence may contain this token.
    pub fn is_symbol(&self, token: Token) -> bool {
        (1..self.vocab).contains(&token)
    }

    /// A token as a person reads it: `<pad>`, `<s>`, `</s>`, or its number or word.
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

    /// The symbol that a text names. A word that the vocabulary of a text does not have is its
    /// [unknown](Self::unknown) one.
    ///
    /// # Errors
    /// If symbols are numbers and the text is none, or a number that is no symbol; if they are
    /// words and the text is the name of a mark.
    pub fn parse(&self, text: &str) -> Result<Token, Error> {
        if let Some(words) = &self.words {
            let text = text.to_owned();
            return match words.symbols.get(&text) {
                None if is_mark(&text) => Err(Error::Mark { text }),
                symbol => Ok(symbol.copied().unwrap_or(1)),
            };
        }
        let symbol = text.parse().ok().filter(|&token| self.is_symbol(token));
        symbol.ok_or_else(|| {
            let (text, max) = (text.to_owned(), self.n_symbols());
            if is_whole_number(&text) {
                Error::OutOfVocabulary { text, max }
            } else {
                Error::NotANumber { text, max }
            }
        })
    }
}

/// Of any size: what does not fit a [`Token`] is still a number.
fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_after_the_symbols() {
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
    fn a_vocabulary_has_a_symbol_and_a_bound() {
        assert!(Vocabulary::new(2).is_ok() && Vocabulary::new(MAX_VOCAB).is_ok());
        for vocab in [0, 1, MAX_VOCAB + 1, u32::MAX] {
            assert_eq!(Vocabulary::new(vocab), Err(Error::Vocab { vocab }));
        }
    }

    #[test]
    fn words_are_symbols_and_what_is_not_one_is_unknown() {
        let vocabulary = Vocabulary::of_words(["b", "7"].map(str::to_owned)).unwrap();
        assert_eq!((vocabulary.bos(), vocabulary.size()), (4, 6));
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|t| vocabulary.text(t)),
            ["<pad>", "<unk>", "b", "7", "<s>", "</s>"]
        );
        assert_eq!(
            ["b", "7", "a", "<unk>"].map(|text| vocabulary.parse(text)),
            [Ok(2), Ok(3), Ok(1), Ok(1)]
        );
        assert!(matches!(vocabulary.parse("<s>"), Err(Error::Mark { .. })));
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
    fn symbols_are_parsed_and_all_else_is_named() {
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
