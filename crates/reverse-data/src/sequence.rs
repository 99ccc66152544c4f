//! A source or a target: tokens and their texts.

use crate::{Error, Token, Vocabulary};

/// Maximum length of an error message, which may quote the input.
const MAX_MESSAGE: usize = 200;

/// A source or a target, without BOS and EOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The texts of the tokens, as given.
    pub texts: Vec<String>,
    /// The tokens.
    pub tokens: Vec<Token>,
}

/// Why a line is not a sequence that a model can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceError {
    /// It is empty.
    #[error("no tokens")]
    Empty,
    /// It has too many tokens.
    #[error("too long: {len} tokens, but the limit is {max} tokens")]
    TooLong {
        /// Number of tokens.
        len: usize,
        /// Its bound.
        max: usize,
    },
    /// A token is not a symbol.
    #[error("{}", shortened(.0))]
    Token(Error),
    /// The prefix of every output is longer than the output for this source may be.
    #[error("the prefix has {n_prefix} tokens, but the output may have only {limit}")]
    Prefix {
        /// Number of tokens of the prefix.
        n_prefix: usize,
        /// Maximum number of tokens of the output.
        limit: usize,
    },
}

impl Sequence {
    /// Parses a line of at most `max` tokens: numbers separated by spaces or commas, or text.
    ///
    /// # Errors
    /// If it has no tokens or more than `max`, or if a token is not a number in the vocabulary or reads
    /// like a special token.
    pub fn parse(line: &str, vocabulary: &Vocabulary, max: usize) -> Result<Self, SequenceError> {
        let texts = vocabulary.split(line);
        let tokens = texts.iter().map(|text| vocabulary.parse(text));
        let tokens: Vec<Token> = tokens
            .collect::<Result<_, _>>()
            .map_err(SequenceError::Token)?;
        match tokens.len() {
            0 => Err(SequenceError::Empty),
            len if len > max => Err(SequenceError::TooLong { len, max }),
            _ => Ok(Self {
                texts: texts.into_iter().map(str::to_owned).collect(),
                tokens,
            }),
        }
    }

    /// The sequence of tokens, each with its text in the vocabulary.
    pub fn of_tokens(tokens: Vec<Token>, vocabulary: &Vocabulary) -> Self {
        Self {
            texts: vocabulary.texts(&tokens),
            tokens,
        }
    }

    /// The texts that are not in the vocabulary, which the model reads as `<unk>`.
    pub fn unknown(&self, vocabulary: &Vocabulary) -> Vec<&str> {
        let pairs = self.texts.iter().zip(&self.tokens);
        let unknown = pairs.filter(|(_, token)| vocabulary.unknown() == Some(**token));
        unknown.map(|(text, _)| text.as_str()).collect()
    }
}

fn shortened(error: &Error) -> String {
    error.to_string().chars().take(MAX_MESSAGE).collect()
}
