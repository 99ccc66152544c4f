//! Why a configuration cannot be loaded.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Where a value of a configuration was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file.
    File(PathBuf),
    /// On the command line, as `key=value`.
    Set(String),
    /// Not written: the default.
    Default,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where the value was written.
    pub origin: Origin,
    /// Byte range in the file; absent unless the origin is the file.
    pub span: Option<Range<usize>>,
    /// Line and column of its start, counted from 1.
    pub position: Option<(usize, usize)>,
    /// What is wrong, with the key, the value and the bound.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl ConfigProblem {
    /// A problem of no written value.
    pub(super) fn general(message: impl Into<String>, help: Option<String>) -> Self {
        Self {
            origin: Origin::Default,
            span: None,
            position: None,
            message: message.into(),
            help,
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.position) {
            (Origin::File(path), Some((line, column))) => {
                write!(f, "{}:{line}:{column}: ", path.display())?;
            }
            (Origin::File(path), None) => write!(f, "{}: ", path.display())?,
            (Origin::Set(set), _) => write!(f, "--set {set}: ")?,
            (Origin::Default, _) => {}
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Why a configuration cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The configuration is invalid.
    #[error("{}", listed(problems))]
    Invalid {
        /// The file, if there was one.
        file: Option<PathBuf>,
        /// The text of the file.
        text: String,
        /// All problems, in the order of the file.
        problems: Vec<ConfigProblem>,
    },
}

impl ConfigError {
    pub(crate) fn of(error: &dyn fmt::Display) -> Self {
        Self::Invalid {
            file: None,
            text: String::new(),
            problems: vec![ConfigProblem::general(error.to_string().trim(), None)],
        }
    }
}

fn listed(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
