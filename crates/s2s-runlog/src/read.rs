use crate::layout::{reading, refused};
use crate::manifest::{MANIFEST, MAX_MANIFEST_BYTES, Manifest};
use crate::{Damage, Error, MAX_RECORDS_BYTES, Result, atomic, fs};
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// How often a checkpoint is read again that was replaced while it was read.
const ATTEMPTS: usize = 20;

/// A checkpoint that was read as a whole, every byte as it was written.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<(String, Vec<u8>)>,
    passed_over: Vec<Error>,
}

impl Checkpoint {
    /// The folder that it was read from: the one asked for, or what an interrupted save left beside
    /// it (with `.new` or `.old` after its name).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why the folder that was asked for was not taken; empty if it was. To be shown to the user.
    pub fn passed_over(&self) -> &[Error] {
        &self.passed_over
    }

    /// Names and bytes of its files, in the order in which they were written.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// The bytes of one file.
    ///
    /// # Errors
    /// [`Error::Damaged`] with [`Damage::NotListed`] if the checkpoint was written without it.
    pub fn file(&self, name: &str) -> Result<&[u8]> {
        self.files()
            .find(|(listed, _)| *listed == name)
            .map(|(_, bytes)| bytes)
            .ok_or_else(|| Error::Damaged {
                path: self.path.clone(),
                damage: Damage::NotListed {
                    file: name.to_owned(),
                },
            })
    }
}

/// Reads a checkpoint: the folder at `path`, or what an interrupted save left beside it.
///
/// Only files that its manifest lists are read; others (a note, what a file manager leaves) can do
/// no harm, and are ignored. A folder that a trainer replaces meanwhile is read again. Memory is
/// bounded by the size of its files, and that by [`MAX_CHECKPOINT_BYTES`](crate::MAX_CHECKPOINT_BYTES).
///
/// # Errors
/// [`Error::NoCheckpoint`] if none was ever finished, otherwise [`Error::Damaged`] for the folder at
/// `path`.
pub fn read_checkpoint(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    let mut passed_over = Vec::new();
    for candidate in atomic::candidates(path) {
        match read_folder(&candidate) {
            Ok(files) => {
                return Ok(Checkpoint {
                    path: candidate,
                    files,
                    passed_over,
                });
            }
            Err(None) if candidate == path => {
                passed_over.push(Error::NoCheckpoint { path: candidate })
            }
            Err(None) => {}
            Err(Some(damage)) => passed_over.push(Error::Damaged {
                path: candidate,
                damage,
            }),
        }
    }
    Err(passed_over.swap_remove(0)) // the folder asked for is the first that was looked at
}

/// Whether there is a whole checkpoint in this very folder.
pub(crate) fn is_whole(path: &Path) -> bool {
    read_folder_once(path).is_ok()
}

/// The bytes of a regular file of at most `max` bytes.
///
/// # Errors
/// [`Error::NotRegular`], without waiting, for a FIFO, a folder, a symbolic link;
/// [`Error::TooLarge`]; [`Error::Read`] with what the system says.
pub fn read_file(path: impl AsRef<Path>, max: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path, max).map_err(|refusal| refused(path, refusal))
}

/// Whatever can be read from its beginning to its end, such as a FIFO: for input that is no part of a
/// run. It may wait for whoever writes there.
///
/// # Errors
/// [`Error::Read`].
pub fn open_stream(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    fs::open(path).map_err(reading(path))
}

/// The path that a path leads to through links; itself, if it leads nowhere.
pub fn behind_links(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    fs::canonical(path).unwrap_or_else(|_| path.to_owned())
}

/// What the system tells of itself in a file such as `/proc/cpuinfo`, if it does.
pub fn system_file(path: impl AsRef<Path>) -> Option<String> {
    fs::told(path.as_ref()).ok()
}

/// Names of what stands in a folder, sorted; none if there is no such folder.
///
/// # Errors
/// [`Error::Read`].
pub fn list_folder(path: impl AsRef<Path>) -> Result<Vec<OsString>> {
    let path = path.as_ref();
    match fs::names(path) {
        Ok(mut names) => {
            names.sort();
            Ok(names)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(reading(path)(error)),
    }
}

/// The record that a JSON file holds.
///
/// # Errors
/// [`Error::Json`] if the file holds anything else, and those of [`read_file`].
pub fn read_json<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T> {
    let path = path.as_ref();
    let bytes = read_file(path, MAX_RECORDS_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

/// The records of a file, one a line.
///
/// A last line without its line end was being written when its writer was killed: it is left out,
/// whatever is in it.
///
/// # Errors
/// [`Error::Line`] with the number of the first line that is not a record, and those of
/// [`read_file`].
pub fn read_lines<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    let path = path.as_ref();
    let bytes = read_file(path, MAX_RECORDS_BYTES)?;
    lines(path, &bytes)
        .map(|line| line.map(|(record, _)| record))
        .collect()
}

/// The whole lines of a file, each as a record and as it stands there with its line end.
pub(crate) fn lines<'a, T: DeserializeOwned>(
    path: &'a Path,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<(T, &'a [u8])>> {
    let whole = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| line.ends_with(b"\n"));
    whole
        .enumerate()
        .map(move |(i, line)| match serde_json::from_slice(line) {
            Ok(record) => Ok((record, line)),
            Err(source) => Err(Error::Line {
                path: path.to_owned(),
                line: i + 1,
                source,
            }),
        })
}

type Files = Vec<(String, Vec<u8>)>;

/// The files of the checkpoint in a folder; `Err(None)` if there is no such folder.
fn read_folder(path: &Path) -> Result<Files, Option<Damage>> {
    // Two checkpoints with the same manifest are the same.
    let manifest = || fs::read(&path.join(MANIFEST), MAX_MANIFEST_BYTES).ok();
    let mut before = manifest();
    let mut result = read_folder_once(path);
    for _ in 1..ATTEMPTS {
        let after = manifest();
        if result.is_ok() || after == before {
            break;
        }
        before = after;
        result = read_folder_once(path);
    }
    result
}

fn read_folder_once(path: &Path) -> Result<Files, Option<Damage>> {
    let unreadable = |source| Damage::Unreadable {
        file: "the folder".to_owned(),
        source,
    };
    match fs::look(path).map_err(unreadable)? {
        None => return Err(None),
        Some(metadata) if metadata.is_dir() => {}
        Some(metadata) => {
            return Err(Some(Damage::NotAFolder {
                kind: fs::kind(metadata.file_type()),
            }));
        }
    }
    let manifest = Manifest::parse(&read_part(path, MANIFEST, MAX_MANIFEST_BYTES)?)?;
    let mut files = Vec::new();
    for entry in manifest.files {
        let bytes = match read_part(path, &entry.name, entry.size) {
            Err(Damage::TooLarge { file, size, max }) => Err(Damage::Size {
                file,
                actual: size,
                expected: max,
            }),
            other => other,
        }?;
        entry.check(&bytes)?;
        files.push((entry.name, bytes));
    }
    Ok(files)
}

fn read_part(folder: &Path, name: &str, max: u64) -> Result<Vec<u8>, Damage> {
    let file = name.to_owned();
    fs::read(&folder.join(name), max).map_err(|refusal| match refusal {
        fs::Refusal::Io(source) if source.kind() == io::ErrorKind::NotFound => {
            Damage::Missing { file }
        }
        fs::Refusal::Io(source) => Damage::Unreadable { file, source },
        fs::Refusal::NotRegular(kind) => Damage::NotRegular { file, kind },
        fs::Refusal::TooLarge { size, max } => Damage::TooLarge { file, size, max },
    })
}
