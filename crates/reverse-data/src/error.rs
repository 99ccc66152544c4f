use crate::{MAX_VOCAB, Problem, Token};

/// What can go wrong with data: only what a caller asked for can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A vocabulary without symbols, or one too large.
    #[error("vocab must lie in [2, {MAX_VOCAB}], got {vocab}")]
    Vocab {
        /// The size asked for.
        vocab: u32,
    },
    /// A token that is not written as a whole number.
    #[error("token {text:?} is not a number, expected 1 to {max}")]
    NotANumber {
        /// The token as given.
        text: String,
        /// The greatest symbol.
        max: Token,
    },
    /// A number that is not a symbol of the vocabulary.
    #[error("token {text} is outside the vocabulary, expected 1 to {max}")]
    OutOfVocabulary {
        /// The token as given.
        text: String,
        /// The greatest symbol.
        max: Token,
    },
    /// A name that no split has.
    #[error("split must be train, val or test, got {text:?}")]
    UnknownSplit {
        /// The name as given.
        text: String,
    },
    /// A configuration that cannot be drawn from, with all that is wrong with it.
    #[error("{}", join(problems))]
    Config {
        /// At least one.
        problems: Vec<Problem>,
    },
}

fn join(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("; ")
}
