//! Which numbers are symbols, and which are marks.
//!
//! ```text
//! 0      1 ... V-1     V     V+1
//! PAD    symbols       BOS   EOS
//! ```

use crate::Error;

/// One position of a sequence.
pub type Token = u32;

/// Fills the rows of a batch past their ends; never part of a sequence.
pub const PAD: Token = 0;

/// The greatest `vocab`. Beyond it the embedding alone would fill a machine.
pub const MAX_VOCAB: u32 = 1_000_000;

/// The symbols `1..=V-1`, and the marks around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    vocab: u32, // V
}

impl Vocabulary {
    /// The vocabulary of a given V, which counts PAD and the symbols.
    ///
    /// # Errors
    /// If `vocab` is outside `[2, MAX_VOCAB]`.
    pub fn new(vocab: u32) -> Result<Self, Error> {
        if (2..=MAX_VOCAB).contains(&vocab) {
            Ok(Self { vocab })
        } else {
            Err(Error::Vocab { vocab })
        }
    }

    /// The mark that a target starts with.
    pub fn bos(self) -> Token {
        self.vocab
    }

    /// The mark that a target ends with.
    pub fn eos(self) -> Token {
        self.vocab + 1
    }

    /// How many tokens there are, PAD, BOS and EOS included: the height of an embedding table.
    pub fn size(self) -> usize {
        self.vocab as usize + 2
    }

    /// How many symbols there are, which is also the greatest of them.
    pub fn n_symbols(self) -> u32 {
        self.vocab - 1
    }

    /// Whether a sequence may contain this token.
    pub fn is_symbol(self, token: Token) -> bool {
        (1..self.vocab).contains(&token)
    }

    /// A token as a person reads it: `<pad>`, `<s>`, `</s>`, or the number.
    pub fn text(self, token: Token) -> String {
        match token {
            PAD => "<pad>".into(),
            t if t == self.bos() => "<s>".into(),
            t if t == self.eos() => "</s>".into(),
            symbol => symbol.to_string(),
        }
    }

    /// The symbol that a text names.
    ///
    /// # Errors
    /// If the text is not a whole number, or if the number is not a symbol.
    pub fn parse(self, text: &str) -> Result<Token, Error> {
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
