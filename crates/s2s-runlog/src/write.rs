use crate::atomic::{parent, replace_dir, replace_file, writing};
use crate::error::refused;
use crate::fs::File;
use crate::manifest::{MANIFEST, Manifest, bad_name};
use crate::read::{is_valid, lines, read_file};
use crate::{Error, MAX_RECORDS_BYTES, Result, atomic, fs};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Creates a folder and its parents, durably. An existing folder is not changed.
///
/// # Errors
/// [`Error::Write`].
pub fn create_folder(path: impl AsRef<Path>) -> Result<()> {
    atomic::create_dirs(path.as_ref())
}

/// Writes a file atomically and durably. Its folder must exist: a folder that another process removed
/// is not created again.
///
/// Only one process at a time may write a file: hold the [`RunLock`](crate::RunLock).
///
/// # Errors
/// [`Error::Write`]; the previous file is unchanged.
pub fn write_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    replace_file(path.as_ref(), bytes)
}

/// Removes a file, durably. A file that does not exist is not an error.
///
/// # Errors
/// [`Error::Write`].
pub fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    if fs::kind_at(path).map_err(writing(path))?.is_none() {
        return Ok(());
    }
    fs::remove_file(path).map_err(writing(path))?;
    fs::sync_dir(parent(path)).map_err(writing(path))
}

/// Writes a record as an indented JSON file, as [`write_file`] does.
///
/// # Errors
/// [`Error::NotFinite`] if reading the file would not return the same record; [`Error::Encode`] if the
/// record has no JSON form; [`Error::Write`].
pub fn write_json<T>(path: impl AsRef<Path>, record: &T) -> Result<()>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let path = path.as_ref();
    replace_file(path, &encode_pretty(path, record)?)
}

/// Writes flat records as a CSV file with a header line, as [`write_file`] does. `None` becomes an
/// empty cell; without records the file is empty.
///
/// # Errors
/// [`Error::Csv`] for a record that is not flat; [`Error::Write`].
pub fn write_csv<T: Serialize>(path: impl AsRef<Path>, records: &[T]) -> Result<()> {
    let path = path.as_ref();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let encoding = |source| Error::Csv {
        path: path.to_owned(),
        source,
    };
    for record in records {
        writer.serialize(record).map_err(encoding)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| encoding(error.into_error().into()))?;
    replace_file(path, &bytes)
}

/// Writes a checkpoint: a folder at `path` with these files and their manifest.
///
/// At any time, [`read_checkpoint`](crate::read_checkpoint) finds either the previous checkpoint or
/// this one, complete. When this function returns, it finds this one, even after a power loss. Other
/// files in the folder are removed. Creates the folder above `path` if necessary, such as
/// `checkpoints`, but not the one above that.
///
/// Only one process at a time may write a checkpoint: hold the [`RunLock`](crate::RunLock).
///
/// # Errors
/// [`Error::Write`]; the previous checkpoint is still readable. [`Error::FileName`] for a name that is
/// not a plain file name or occurs twice.
pub fn write_checkpoint(path: impl AsRef<Path>, files: &[(&str, &[u8])]) -> Result<()> {
    let path = path.as_ref();
    if let Some(name) = bad_name(files.iter().map(|(name, _)| *name)) {
        return Err(Error::FileName {
            path: path.to_owned(),
            name: name.to_owned(),
        });
    }
    let manifest = Manifest::new(files).to_bytes();
    let all: Vec<(&str, &[u8])> = files
        .iter()
        .copied()
        .chain([(MANIFEST, &manifest[..])])
        .collect();
    replace_dir(path, &all, is_valid)
}

/// Cleans up after an interrupted [`write_checkpoint`]: moves the checkpoint that
/// [`read_checkpoint`](crate::read_checkpoint) finds to `path`, and removes the leftovers. The next
/// [`write_checkpoint`] would do the same; call this for a run that may not save again.
///
/// # Errors
/// [`Error::Write`].
pub fn settle_checkpoint(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    atomic::settle(path, is_valid).map_err(writing(path))
}

/// Opens a log file for appending, for example as the standard error of a process. Creates the file
/// and the folders above it if necessary.
///
/// # Errors
/// [`Error::Write`].
pub fn open_log(path: impl AsRef<Path>) -> Result<fs::File> {
    let path = path.as_ref();
    atomic::create_dirs(parent(path))?;
    fs::open_log(path).map_err(writing(path))
}

/// A file to which a running process appends records of any format. For JSON records, use [`JsonLines`].
#[derive(Debug)]
pub struct GrowingFile {
    path: PathBuf,
    file: File,
    len: u64,        // bytes of complete records
    is_torn: bool,   // part of a record may follow them
    is_synced: bool, // the content survives a power loss
}

impl GrowingFile {
    /// Creates the file. Its folder must exist.
    ///
    /// # Errors
    /// [`Error::Write`], also if the file exists; an existing file is unchanged.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = fs::create_new(&path).map_err(writing(&path))?;
        fs::sync_dir(parent(&path)).map_err(writing(&path))?;
        Ok(Self {
            path,
            file,
            len: 0,
            is_torn: false,
            is_synced: false,
        })
    }

    /// Opens and [locks](Self::lock) an existing file of lines for further appending. It is unchanged until then.
    ///
    /// # Errors
    /// [`Error::NotRegular`], [`Error::Read`], [`Error::Write`], [`Error::FileBusy`].
    pub fn resume(path: impl Into<PathBuf>) -> Result<Resumed> {
        let path = path.into();
        let file = fs::open_to_extend(&path).map_err(|refusal| refused(&path, refusal))?;
        let mut file = Self {
            path,
            file,
            len: 0,
            is_torn: true,
            is_synced: false,
        };
        file.lock()?;
        let read = || -> io::Result<_> {
            let found = fs::find_lines(&file.file)?;
            let last = fs::read_range(&file.file, found.last..found.end)?;
            let partial = fs::read_range(&file.file, found.end..found.len)?;
            Ok((found, last, partial))
        };
        let (found, last, partial) = read().map_err(|source| Error::Read {
            path: file.path.clone(),
            source,
        })?;
        file.len = found.end;
        Ok(Resumed {
            file,
            n_lines: found.n,
            last,
            partial,
        })
    }

    /// Claims the file for this process, until it is closed. Without effect on a file system without locks.
    ///
    /// # Errors
    /// [`Error::FileBusy`] if another process holds the lock.
    pub fn lock(&self) -> Result<()> {
        match fs::try_lock(&self.file) {
            Ok(false) => Err(Error::FileBusy {
                path: self.path.clone(),
            }),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Appends a record in a single write, so that readers never see part of it. The record survives
    /// the end of the process, but a power loss only after [`GrowingFile::sync`].
    ///
    /// # Errors
    /// [`Error::Write`]. Earlier records stay intact, and later ones can be appended.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        if self.is_torn {
            self.truncate()?;
        }
        self.is_synced = false;
        if let Err(e) = fs::write(&self.file, record) {
            self.is_torn = true;
            let _ = self.truncate(); // if this fails, the next append tries again
            return Err(writing(&self.path)(e));
        }
        self.len += record.len() as u64;
        Ok(())
    }

    /// Makes the records survive a power loss.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&mut self) -> Result<()> {
        if !self.is_synced {
            fs::sync(&self.file).map_err(writing(&self.path))?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the partial record that a failed write may have left.
    fn truncate(&mut self) -> Result<()> {
        fs::set_len(&self.file, self.len).map_err(writing(&self.path))?;
        self.is_torn = false;
        Ok(())
    }
}

/// A file of lines that an earlier process wrote.
#[derive(Debug)]
pub struct Resumed {
    /// The file. The first record that is appended replaces `partial`.
    pub file: GrowingFile,
    /// Number of complete lines.
    pub n_lines: u64,
    /// The last complete line, with its line end; empty if there is none.
    pub last: Vec<u8>,
    /// What follows it: part of a line.
    pub partial: Vec<u8>,
}

/// A file of records, one JSON object per line, to which a running process appends.
#[derive(Debug)]
pub struct JsonLines<T> {
    file: GrowingFile,
    records: PhantomData<fn(&T)>,
}

impl<T: Serialize + DeserializeOwned + PartialEq> JsonLines<T> {
    /// Creates the file. Its folder must exist.
    ///
    /// # Errors
    /// [`Error::Write`], also if the file exists; an existing file is unchanged.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            file: GrowingFile::create(path)?,
            records: PhantomData,
        })
    }

    /// Opens the file for further appending, or creates it if it does not exist.
    ///
    /// Keeps the lines for which `keep` returns true, byte for byte, and removes the others. Also
    /// removes the partial lines that a killed process or a power loss left after the last kept line.
    /// If `keep` accepts the records up to the checkpoint that a run resumes from, the file ends up as
    /// if the run had not been interrupted.
    ///
    /// # Errors
    /// [`Error::Line`] for an invalid line that is followed by a kept one, and those of [`read_file`]
    /// and [`write_file`]; the file is unchanged.
    pub fn resume(path: impl Into<PathBuf>, keep: impl Fn(&T) -> bool) -> Result<Self> {
        let path = path.into();
        if fs::kind_at(&path).map_err(writing(&path))?.is_none() {
            return Self::create(path);
        }
        let bytes = read_file(&path, MAX_RECORDS_BYTES)?;
        let mut kept = Vec::new();
        let mut damaged = None;
        for line in lines(&path, &bytes) {
            match (line, damaged.take()) {
                (Ok((record, _)), Some(error)) if keep(&record) => return Err(error),
                (Ok((record, line)), None) if keep(&record) => kept.extend_from_slice(line),
                (Ok(_), error) => damaged = error,
                (Err(error), first) => damaged = first.or(Some(error)),
            }
        }
        replace_file(&path, &kept)?;
        let file = fs::open_append(&path).map_err(writing(&path))?;
        Ok(Self {
            file: GrowingFile {
                path,
                file,
                len: kept.len() as u64,
                is_torn: false,
                is_synced: false,
            },
            records: PhantomData,
        })
    }

    /// Appends a record as one line.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if reading the line would not return the same record; [`Error::Encode`] if the
    /// record has no JSON form; [`Error::Write`]. Earlier lines stay readable, and later records can be
    /// appended.
    pub fn append(&mut self, record: &T) -> Result<()> {
        let mut line = encode(self.path(), record, serde_json::to_vec)?;
        line.push(b'\n');
        self.file.append(&line)
    }

    /// Makes the lines survive a power loss.
    ///
    /// Call this before saving a checkpoint of the same step: a run that resumes from the checkpoint
    /// does not write these lines again.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync()
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// A record as an indented JSON file.
pub(crate) fn encode_pretty<T>(path: &Path, record: &T) -> Result<Vec<u8>>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let mut bytes = encode(path, record, serde_json::to_vec_pretty)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A record as JSON, if decoding it returns the same record.
fn encode<T>(
    path: &Path,
    record: &T,
    to_json: fn(&T) -> serde_json::Result<Vec<u8>>,
) -> Result<Vec<u8>>
where
    T: DeserializeOwned + PartialEq,
{
    let json = to_json(record).map_err(|source| Error::Encode {
        path: path.to_owned(),
        source,
    })?;
    match serde_json::from_slice::<T>(&json) {
        Ok(decoded) if decoded == *record => Ok(json),
        // JSON encodes NaN and infinities as `null`.
        Ok(_) | Err(_) => Err(Error::NotFinite {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::JsonLines;
    use crate::fs::fault::{Plan, during};
    use crate::read_lines;

    #[test]
    fn a_failed_append_leaves_complete_lines_and_the_next_one_succeeds() {
        for can_truncate in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            let mut lines = JsonLines::<u64>::create(&path).unwrap();
            lines.append(&1234).unwrap();
            let plan = Plan {
                successes: 0,
                is_final: !can_truncate,
                can_exchange: true,
            };
            during(plan, || lines.append(&5678)).unwrap_err();
            assert_eq!(read_lines::<u64>(&path).unwrap(), [1234]);
            lines.append(&9).unwrap();
            assert_eq!(read_lines::<u64>(&path).unwrap(), [1234, 9]);
        }
    }

    #[test]
    fn a_resume_interrupted_after_any_operation_can_be_repeated() {
        for successes in 0..12 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            std::fs::write(&path, "1\n2\n3\n4").unwrap();
            let plan = Plan {
                successes,
                is_final: true,
                can_exchange: true,
            };
            let _ = during(plan, || JsonLines::<u64>::resume(&path, |&step| step <= 2));
            JsonLines::<u64>::resume(&path, |&step| step <= 2)
                .unwrap()
                .append(&3)
                .unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n3\n");
        }
    }
}
