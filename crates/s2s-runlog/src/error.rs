use std::io;
use std::path::PathBuf;

/// What every function of this crate that may fail returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a run directory. Where the system gave a reason, it is the `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A new run was to be made where something stands already.
    #[error("{} exists and is no empty folder: nothing in it was touched", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such folder.
    #[error("there is no run folder {}", path.display())]
    NoRun {
        /// The folder that was asked for.
        path: PathBuf,
    },
    /// The path exists, but no run was ever started in it.
    #[error("{} is not a run folder: it has no {missing}", path.display())]
    NotARun {
        /// The path that was asked for.
        path: PathBuf,
        /// The file that each run folder has and this one lacks.
        missing: &'static str,
    },
    /// Another process holds the run's lock.
    #[error("run folder {} is in use by {}; wait for it, or stop it", path.display(), holder(*pid))]
    Busy {
        /// The run folder.
        path: PathBuf,
        /// The holder, if it has said so yet.
        pid: Option<u32>,
    },
    /// The lock can be neither had nor refused, as on a file system without locks.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// What was being read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder could not be written, made durable, renamed or removed.
    #[error("cannot write {}", path.display())]
    Write {
        /// What was being written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something other than a file stands where a file belongs.
    #[error("{} is a {kind}, not a regular file", path.display())]
    NotRegular {
        /// Where.
        path: PathBuf,
        /// What it is: a folder, a symbolic link, a FIFO.
        kind: &'static str,
    },
    /// A file is larger than anything this program writes.
    #[error("{} has {size} bytes, at most {max} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// A JSON file does not hold the record that belongs there.
    #[error("{} does not hold what it should", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where in it, and why.
        source: serde_json::Error,
    },
    /// A line of a file of records does not hold a record.
    #[error("line {line} of {} is no record", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Where in the line, and why.
        source: serde_json::Error,
    },
    /// A record has no form in JSON.
    #[error("cannot write a record to {}", path.display())]
    Encode {
        /// The file it was meant for.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A record has no form as a line of CSV.
    #[error("cannot write a record to {}", path.display())]
    Csv {
        /// The file it was meant for.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// A record would not be read back as it is: JSON has no NaN and no infinity.
    #[error("a number in a record for {} is not finite", path.display())]
    NotFinite {
        /// The file it was meant for.
        path: PathBuf,
    },
    /// No checkpoint was ever finished under this name.
    #[error("there is no checkpoint {}: its run stopped before the first one, or the path is wrong", path.display())]
    NoCheckpoint {
        /// The checkpoint's folder.
        path: PathBuf,
    },
    /// A checkpoint is there, and cannot be trusted.
    #[error("checkpoint {} is damaged: {damage}; load another checkpoint of the run, or train it again", path.display())]
    Damaged {
        /// The checkpoint's folder.
        path: PathBuf,
        /// In what way.
        damage: Damage,
    },
    /// A checkpoint's file was to have a name that is more than a name, or that another one has.
    #[error("{name:?} cannot be the name of a file in checkpoint {}", path.display())]
    FileName {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Its path leads to a file, a link or a device.
    #[error("it is a {kind}, not a folder")]
    NotAFolder {
        /// What it is.
        kind: &'static str,
    },
    /// A file that belongs to it is not there.
    #[error("{file} is missing")]
    Missing {
        /// The file.
        file: String,
    },
    /// The system refuses to read a file.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// Something other than a file stands where a file belongs.
    #[error("{file} is a {kind}, not a regular file")]
    NotRegular {
        /// The file's name.
        file: String,
        /// What it is.
        kind: &'static str,
    },
    /// The manifest is not JSON, or not the JSON of a manifest.
    #[error("manifest.json cannot be understood: {source}")]
    Manifest {
        /// Where in it, and why.
        source: serde_json::Error,
    },
    /// The manifest says the right things in other bytes than those that were written.
    #[error("manifest.json has been changed since it was written")]
    ManifestChanged,
    /// The checkpoint was written by a program that this one does not know.
    #[error("it has format {found}, this program reads format {known}")]
    Format {
        /// The checkpoint's.
        found: u64,
        /// This program's.
        known: u64,
    },
    /// The manifest has a file whose name is a path, or stands in it twice.
    #[error("manifest.json lists a file named {name:?}")]
    FileName {
        /// The name.
        name: String,
    },
    /// A file, or all files together, are larger than any that this program writes.
    #[error("{file} has {size} bytes, at most {max} are read")]
    TooLarge {
        /// The file, or the checkpoint as a whole.
        file: String,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// A file was cut short or has grown.
    #[error("{file} has {actual} bytes, its manifest says {expected}")]
    Size {
        /// The file.
        file: String,
        /// Its size.
        actual: u64,
        /// The size that it was written with.
        expected: u64,
    },
    /// A file has its size, but not its bytes.
    #[error("the bytes of {file} are not those that were written (its SHA-256 differs)")]
    Hash {
        /// The file.
        file: String,
    },
    /// The checkpoint is whole, but a file that the reader needs was never part of it.
    #[error("it was written without {file}")]
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
