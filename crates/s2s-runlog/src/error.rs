use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::fs;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of a run directory. An error of the operating system is the `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder of a new run contains files, or is not a folder.
    #[error("{} already exists and is not an empty folder; nothing was changed", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of a run does not exist.
    #[error("run folder {} does not exist", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The path exists but is not the folder of a run.
    #[error("{} is not a run folder: it has no {missing}", path.display())]
    NotARun {
        /// The path.
        path: PathBuf,
        /// The file that every run folder has.
        missing: &'static str,
    },
    /// Another process holds the run's lock.
    #[error("run folder {} is in use by {}; wait for it, or stop it", path.display(), holder(*pid))]
    Busy {
        /// The run folder.
        path: PathBuf,
        /// Process number of the holder, if known.
        pid: Option<u32>,
    },
    /// Another process writes to a file.
    #[error("another process is writing to {}; nothing was changed", path.display())]
    FileBusy {
        /// The file.
        path: PathBuf,
    },
    /// The run folder is no longer the one that this process locked.
    #[error("run folder {} {now} while this process used it", path.display())]
    Lost {
        /// The path of the run folder.
        path: PathBuf,
        /// What became of the folder.
        now: Whereabouts,
    },
    /// The lock operation failed, for example on a file system without locks.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file or folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file or folder could not be written, synced, renamed or removed.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The path of a file leads to something else.
    #[error("{} is a {kind}, not a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is: `folder`, `symbolic link`, `FIFO`, ...
        kind: &'static str,
    },
    /// A file is too large to read.
    #[error("{} has at least {size} bytes; the limit is {max}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes; a lower bound for a pipe or a device, which is not read further.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A JSON file does not contain the expected record.
    #[error("{} is not a valid record", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Position and reason.
        source: serde_json::Error,
    },
    /// A line of a file of records is not the expected record.
    #[error("line {line} of {} is not a valid record", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Position in the line, and reason.
        source: serde_json::Error,
    },
    /// A record cannot be encoded as JSON.
    #[error("cannot write a record to {}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// A record cannot be encoded as CSV.
    #[error("cannot write a record to {}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: csv::Error,
    },
    /// A record would not be the same after it is written and read again, because it contains NaN or an
    /// infinity, which JSON cannot represent.
    #[error("cannot write a record to {}: it contains a number that is not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
    },
    /// The checkpoint does not exist.
    #[error("checkpoint {} does not exist: the run stopped before it saved one, or the path is wrong", path.display())]
    NoCheckpoint {
        /// The checkpoint's folder.
        path: PathBuf,
    },
    /// A checkpoint exists but is damaged.
    #[error("checkpoint {} is damaged: {damage}", path.display())]
    Damaged {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is damaged.
        damage: Damage,
    },
    /// The name of a checkpoint's file occurs twice, is reserved (`manifest.json`), or is not a plain file
    /// name: at most 100 ASCII letters, digits, `.`, `_` and `-`, starting with a letter or a digit.
    #[error("invalid file name {name:?} in checkpoint {}", path.display())]
    FileName {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

/// What became of a run folder that is no longer at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It, or its lock file, was deleted.
    Deleted,
    /// It was moved to this path.
    MovedTo(PathBuf),
    /// It was moved, and the system does not say where to.
    Unknown,
    /// Another process, perhaps on another machine, claimed it although it was locked. The text names that
    /// process, and its machine if known.
    Claimed(String),
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => f.write_str("or its run.lock was deleted"),
            Self::MovedTo(path) => write!(f, "was moved to {}", path.display()),
            Self::Unknown => f.write_str("was moved"),
            Self::Claimed(by) => write!(f, "was claimed by {by}"),
        }
    }
}

/// What is wrong with a checkpoint. Files are named relative to its folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Its path is a file, a link or a device.
    #[error("it is a {kind}, not a folder")]
    NotAFolder {
        /// What it is: `regular file`, `symbolic link`, `FIFO`, ...
        kind: &'static str,
    },
    /// It was deleted: the records of the run show that it existed.
    #[error("it is missing, although the run saved it at step {step}")]
    Lost {
        /// The step.
        step: u64,
    },
    /// A file that the manifest lists, or the manifest itself, does not exist.
    #[error("{file} is missing")]
    Missing {
        /// The file.
        file: String,
    },
    /// A file, or the folder, cannot be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// The file, or `the folder`.
        file: String,
        /// The reason.
        source: io::Error,
    },
    /// The path of a file leads to something else.
    #[error("{file} is a {kind}, not a regular file")]
    NotRegular {
        /// The file.
        file: String,
        /// What it is: `folder`, `symbolic link`, `FIFO`, ...
        kind: &'static str,
    },
    /// The manifest cannot be parsed.
    #[error("manifest.json is invalid: {source}")]
    Manifest {
        /// Position and reason.
        source: serde_json::Error,
    },
    /// The manifest is valid, but not byte for byte what this program writes.
    #[error("manifest.json was changed after it was written")]
    ManifestChanged,
    /// The checkpoint has an unknown format.
    #[error("it has format {found}; this program reads format {known}")]
    Format {
        /// Format of the checkpoint.
        found: u64,
        /// Format of this program.
        known: u64,
    },
    /// The manifest lists a name that is not a plain file name, or lists it twice.
    #[error("manifest.json lists the invalid file name {name:?}")]
    FileName {
        /// The name.
        name: String,
    },
    /// A file, or all files together, are too large to read.
    #[error("{file} has {size} bytes; the limit is {max}")]
    TooLarge {
        /// The file, or `the checkpoint` for all files together.
        file: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The size of a file differs from the manifest.
    #[error("{file} has {actual} bytes; the manifest lists {expected}")]
    Size {
        /// The file.
        file: String,
        /// Its size in bytes.
        actual: u64,
        /// The size in the manifest.
        expected: u64,
    },
    /// The content of a file differs from the manifest.
    #[error("the SHA-256 of {file} differs from the manifest")]
    Hash {
        /// The file.
        file: String,
    },
    /// The checkpoint is valid but does not contain a file that the reader needs.
    #[error("it does not contain {file}")]
    NotListed {
        /// The file.
        file: String,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

/// Converts an I/O error at `path` to an [`Error::Read`].
pub(crate) fn reading(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// Converts a [`fs::Refusal`] at `path` to an [`Error`].
pub(crate) fn refused(path: &Path, refusal: fs::Refusal) -> Error {
    let path = path.to_owned();
    match refusal {
        fs::Refusal::Io(source) => Error::Read { path, source },
        fs::Refusal::NotRegular(kind) => Error::NotRegular { path, kind },
        fs::Refusal::TooLarge { size, max } => Error::TooLarge { path, size, max },
    }
}
