use crate::error::{reading, refused};
use crate::fs::File;
use crate::manifest::{MANIFEST, MAX_MANIFEST_BYTES, Manifest};
use crate::{Damage, Error, MAX_RECORDS_BYTES, Result, atomic, fs};
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How often to read a checkpoint again that was replaced during the read.
const ATTEMPTS: usize = 20;

/// A checkpoint read from disk by [`read_checkpoint`]: named files, whose bytes all match the manifest.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<(String, Vec<u8>)>,
    rejected: Vec<Error>,
}

impl Checkpoint {
    /// The folder that it was read from: the requested one, or a leftover of an interrupted save (the
    /// same name with `.new` or `.old` appended).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why the requested folder, and other candidates before [`Checkpoint::path`], were not read, to show to
    /// the user. Empty if the requested folder was read.
    pub fn rejected(&self) -> &[Error] {
        &self.rejected
    }

    /// Names and contents of the files, in the order in which they were written.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// The content of one file.
    ///
    /// # Errors
    /// [`Error::Damaged`] with [`Damage::NotListed`] if the checkpoint has no such file.
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

/// Reads a checkpoint: the folder at `path`, or a leftover of an interrupted save.
///
/// Reads the files that the manifest lists and ignores all others. If a trainer replaces the folder
/// during the read, it is read again. Memory use is bounded by the size of the files, at most 16 GiB
/// in total.
///
/// # Errors
/// If neither the folder at `path` nor a leftover is valid: [`Error::NoCheckpoint`] if there is nothing at
/// `path`, otherwise [`Error::Damaged`] with the damage of the folder at `path`.
pub fn read_checkpoint(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    let mut rejected = Vec::new();
    for candidate in atomic::candidates(path) {
        match read_folder(&candidate) {
            Ok(files) => {
                return Ok(Checkpoint {
                    path: candidate,
                    files,
                    rejected,
                });
            }
            Err(None) if candidate == path => {
                rejected.push(Error::NoCheckpoint { path: candidate })
            }
            Err(None) => {}
            Err(Some(damage)) => rejected.push(Error::Damaged {
                path: candidate,
                damage,
            }),
        }
    }
    Err(rejected.swap_remove(0)) // the requested folder is the first candidate
}

/// Whether this folder, without its alternatives, is a valid checkpoint.
pub(crate) fn is_valid(path: &Path) -> bool {
    read_folder_once(path).is_ok()
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// [`Error::NotRegular`] for a FIFO, a folder or a symbolic link, without blocking;
/// [`Error::TooLarge`] beyond `max` bytes; [`Error::Read`], also if the file does not exist.
pub fn read_file(path: impl AsRef<Path>, max: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path, max).map_err(|refusal| refused(path, refusal))
}

/// Reads a file that the user named, of any kind: links are followed, and a pipe or a descriptor such as
/// `/dev/stdin` is read to its end, which may block. Such a file can be read only once.
///
/// # Errors
/// [`Error::NotRegular`] for a folder; [`Error::TooLarge`] beyond `max` bytes; [`Error::Read`].
pub fn read_input(path: impl AsRef<Path>, max: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read_any(path, max).map_err(|refusal| refused(path, refusal))
}

/// Opens a file of any kind, such as a FIFO, for sequential reading. Reads may block. Use it for user
/// input, not for files of a run.
///
/// # Errors
/// [`Error::Read`].
pub fn open_stream(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    fs::open(path).map_err(reading(path))
}

/// The content of a file of the system such as `/proc/cpuinfo`; `None` if it does not exist, cannot be read
/// or is not UTF-8. Such files report a size of 0, so [`read_file`] would return nothing.
pub fn system_file(path: impl AsRef<Path>) -> Option<String> {
    fs::read_proc(path.as_ref()).ok()
}

/// When a file was last written, following links; `None` if it does not exist, or the system does not say.
pub fn modified(path: impl AsRef<Path>) -> Option<SystemTime> {
    fs::modified(path.as_ref()).ok()
}

/// Whether a file of any kind exists at `path`. Links are not followed.
///
/// # Errors
/// [`Error::Read`] if the system does not say, for example without permission for the parent folder.
pub fn exists(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    let kind = fs::kind_at(path).map_err(reading(path))?;
    Ok(kind.is_some())
}

/// Whether there is a regular file at `path`; false for a link to one.
///
/// # Errors
/// [`Error::Read`] if the system does not say.
pub fn is_regular(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    let kind = fs::kind_at(path).map_err(reading(path))?;
    Ok(kind == Some(fs::REGULAR))
}

/// Whether two paths lead to the same existing file or folder, following links.
pub fn is_same(a: impl AsRef<Path>, b: impl AsRef<Path>) -> bool {
    fs::is_same(a.as_ref(), b.as_ref())
}

/// Whether `path` is a folder, or a link to one. False if the system does not say.
pub fn is_folder(path: impl AsRef<Path>) -> bool {
    fs::is_dir(path.as_ref())
}

/// Names of the entries of a folder, sorted; empty if the folder does not exist.
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

/// Reads a JSON file that contains one record, at most 1 GiB.
///
/// # Errors
/// [`Error::Json`] if the file contains anything else, and those of [`read_file`].
pub fn read_json<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T> {
    let path = path.as_ref();
    let bytes = read_file(path, MAX_RECORDS_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

/// Reads a file of records, one JSON object per line, at most 1 GiB.
///
/// A last line without a line end was interrupted while it was written, so it is ignored.
///
/// # Errors
/// [`Error::Line`] with the number of the first invalid line, and those of [`read_file`]: a file that does
/// not exist is an [`Error::Read`].
pub fn read_lines<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    let path = path.as_ref();
    let bytes = read_file(path, MAX_RECORDS_BYTES)?;
    lines(path, &bytes)
        .map(|line| line.map(|(record, _)| record))
        .collect()
}

/// The complete lines of a file: each as a record, and as its bytes including the line end.
pub(crate) fn lines<'a, T: DeserializeOwned>(
    path: &'a Path,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<(T, &'a [u8])>> {
    let complete = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| line.ends_with(b"\n"));
    complete
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

/// Reads the checkpoint in a folder; `Err(None)` if the folder does not exist.
fn read_folder(path: &Path) -> Result<Files, Option<Damage>> {
    // Equal manifests mean equal checkpoints.
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
    match fs::kind_at(path).map_err(unreadable)? {
        None => return Err(None),
        Some(fs::FOLDER) => {}
        Some(kind) => return Err(Some(Damage::NotAFolder { kind })),
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
