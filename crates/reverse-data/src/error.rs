use std::fmt;
use std::path::PathBuf;

use crate::corpus::MAX_LINES;
use crate::{MAX_LEN, MAX_VOCAB, Problem, Token};

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
    /// A token of a text that is the name of a mark.
    #[error("token {text:?} is the name of a mark")]
    Mark {
        /// The token as given.
        text: String,
    },
    /// A line of a text that cannot be used.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// A file with no lines, or with too many.
    #[error("{} has {n_lines} lines, expected 1 to {MAX_LINES}", path.display())]
    NumberOfLines {
        /// The file.
        path: PathBuf,
        /// How many it has.
        n_lines: usize,
    },
    /// Sources and targets that are not pairs.
    #[error(
        "{} has {n_sources} lines, but {} has {n_targets}: line i of one belongs to line i of the \
         other",
        source_path.display(), target_path.display()
    )]
    LineCounts {
        /// The file of the sources.
        source_path: PathBuf,
        /// How many it has.
        n_sources: usize,
        /// The file of the targets.
        target_path: PathBuf,
        /// How many it has.
        n_targets: usize,
    },
    /// Samples that were to be drawn, where they are read.
    #[error(
        "no samples are drawn where data.folder names a corpus, here {}", folder.display()
    )]
    NotDrawn {
        /// The folder of the corpus.
        folder: PathBuf,
    },
    /// A configuration that cannot be drawn from, with all that is wrong with it.
    #[error("{}", join(problems))]
    Config {
        /// At least one.
        problems: Vec<Problem>,
    },
}

/// What is wrong with a line of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineProblem {
    /// There is nothing on it.
    Empty,
    /// There are more tokens on it than a model reads.
    TooLong {
        /// How many.
        len: usize,
    },
    /// Its bytes are no text.
    NotUtf8 {
        /// The first of them that is not, counted from 1.
        byte: usize,
    },
    /// One of its tokens is the name of a mark.
    Mark {
        /// The token.
        text: String,
    },
    /// A line of a vocabulary with several tokens.
    NotOneToken,
    /// A line of a vocabulary that was there before.
    Repeated {
        /// Where, counted from 1.
        first: u64,
    },
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no token"),
            Self::TooLong { len } => write!(f, "{len} tokens, at most {MAX_LEN} are read"),
            Self::NotUtf8 { byte } => write!(f, "byte {byte} of the line is not UTF-8"),
            Self::Mark { text } => {
                write!(f, "the token {text:?} is the name of a mark; rename it")
            }
            Self::NotOneToken => f.write_str("more than one token"),
            Self::Repeated { first } => write!(f, "the same token stands on line {first}"),
        }
    }
}

fn join(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("; ")
}
