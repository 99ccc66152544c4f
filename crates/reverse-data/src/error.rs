use std::fmt;
use std::path::PathBuf;

use crate::vocab::MAX_WORDS;
use crate::{MAX_LEN, MAX_LINES, MAX_VOCAB, Problem, Split, Token};

/// Invalid configurations and input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A vocabulary size outside the bounds.
    #[error("vocab must lie in [2, {MAX_VOCAB}], got {vocab}")]
    Vocab {
        /// The requested size.
        vocab: u32,
    },
    /// More words than a vocabulary can have.
    #[error("{n_words} distinct tokens; a vocabulary has at most {MAX_WORDS}")]
    TooManyWords {
        /// Number of distinct tokens.
        n_words: usize,
    },
    /// A token that is not an integer.
    #[error("token {text:?} is not a number, expected 1 to {max}")]
    NotANumber {
        /// The token as given.
        text: String,
        /// The greatest valid number.
        max: Token,
    },
    /// A number outside the vocabulary.
    #[error("token {text} is outside the vocabulary, expected 1 to {max}")]
    OutOfVocabulary {
        /// The token as given.
        text: String,
        /// The greatest valid number.
        max: Token,
    },
    /// An unknown name of a split.
    #[error("split must be train, val or test, got {text:?}")]
    UnknownSplit {
        /// The name as given.
        text: String,
    },
    /// A text token that reads like a special token.
    #[error("token {text:?} is reserved")]
    Reserved {
        /// The token as given.
        text: String,
    },
    /// An invalid line of a text file.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// A file without lines, or with too many.
    #[error("{} has {n_lines} lines, expected 1 to {MAX_LINES}", path.display())]
    NumberOfLines {
        /// The file.
        path: PathBuf,
        /// Its number of lines.
        n_lines: usize,
    },
    /// A table whose only row is the header.
    #[error("{} has only a header", path.display())]
    OnlyHeader {
        /// The table.
        path: PathBuf,
    },
    /// A file that is too large.
    #[error("{} has {n_bytes} bytes; the limit is 4 GiB", path.display())]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its size.
        n_bytes: usize,
    },
    /// A source file and a target file with different numbers of lines.
    #[error(
        "{} has {n_sources} lines, but {} has {n_targets}; each source line needs a target line",
        source_path.display(), target_path.display()
    )]
    LineCounts {
        /// The source file.
        source_path: PathBuf,
        /// Its number of lines.
        n_sources: usize,
        /// The target file.
        target_path: PathBuf,
        /// Its number of lines.
        n_targets: usize,
    },
    /// A split of a table without pairs.
    #[error(
        "{}: none of its {n_rows} pairs falls in the {split} split; raise its share in data.split",
        path.display()
    )]
    EmptySplit {
        /// The table.
        path: PathBuf,
        /// The empty split.
        split: Split,
        /// Number of pairs in the table.
        n_rows: usize,
    },
    /// A table without a configured column.
    #[error("{}: no column {name:?} in the header; its columns are {}", path.display(), quoted(header))]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// The configured name.
        name: String,
        /// The names in the header.
        header: Vec<String>,
    },
    /// A split without samples.
    #[error("the {split} split has no samples")]
    NoSamples {
        /// The split.
        split: Split,
    },
    /// A sample that no model could read.
    #[error("{split} sample {index}: {problem}")]
    Sample {
        /// Its split.
        split: Split,
        /// Its index in the split.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Synthetic data were requested from the configuration of text.
    #[error("synthetic data need empty data.folder and data.file, got {}", path.display())]
    NotSynthetic {
        /// The folder or file of the text.
        path: PathBuf,
    },
    /// An invalid configuration.
    #[error("{}", join(problems))]
    Config {
        /// All problems, at least one.
        problems: Vec<Problem>,
    },
}

/// What is wrong with a line of a text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineProblem {
    /// It has no token.
    Empty,
    /// It has too many tokens.
    TooLong {
        /// Number of tokens.
        len: usize,
    },
    /// It is not UTF-8.
    NotUtf8 {
        /// The first invalid byte, from 1.
        byte: usize,
    },
    /// It is not UTF-8 because the file has another encoding.
    Encoding {
        /// Its name, `UTF-16` or `UTF-32`.
        name: &'static str,
    },
    /// The header of a table of commas has one field, with semicolons in it.
    Semicolons,
    /// One of its tokens reads like a special token.
    Reserved {
        /// The token.
        text: String,
    },
    /// A row of a table has too few fields.
    Columns {
        /// Number of fields that the configured columns need.
        expected: usize,
        /// Number of fields found.
        n_fields: usize,
        /// What separates fields, in the plural.
        separators: &'static str,
    },
    /// A row of a table has another number of fields than the first.
    Ragged {
        /// Number of fields of the first row.
        expected: usize,
        /// Number of fields found.
        n_fields: usize,
        /// What separates fields, in the plural.
        separators: &'static str,
    },
    /// A quoted field of a table begins here, and its last quote is not at the end of a field.
    Quote,
    /// A row is not valid CSV.
    NotCsv {
        /// What the reader of CSV reports.
        message: String,
    },
    /// A line of a vocabulary file has several tokens.
    NotOneToken,
    /// A line of a vocabulary file occurs twice.
    Repeated {
        /// Its first line number, from 1.
        first: u64,
    },
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the line is empty"),
            Self::TooLong { len } => write!(f, "{len} tokens; the limit is {MAX_LEN}"),
            Self::NotUtf8 { byte } => write!(f, "byte {byte} of the line is not UTF-8"),
            Self::Encoding { name } => write!(f, "the file is {name}, expected UTF-8"),
            Self::Semicolons => {
                f.write_str("expected fields separated by commas, found semicolons")
            }
            Self::Reserved { text } => write!(f, "token {text:?} is reserved; rename it"),
            Self::Columns {
                expected,
                n_fields,
                separators,
            } => write!(
                f,
                "expected at least {expected} fields separated by {separators}, found {n_fields}"
            ),
            Self::Ragged {
                expected,
                n_fields,
                separators,
            } => write!(
                f,
                "expected {expected} fields separated by {separators}, as in the first row, found {n_fields}"
            ),
            Self::Quote => f.write_str(
                "a quoted field begins here, but no quote before a comma or the end of a line closes it",
            ),
            Self::NotCsv { message } => write!(f, "not valid CSV: {message}"),
            Self::NotOneToken => f.write_str("expected one token"),
            Self::Repeated { first } => write!(f, "duplicate of line {first}"),
        }
    }
}

fn join(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("; ")
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}
