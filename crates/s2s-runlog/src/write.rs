use crate::atomic::{parent, replace_dir, replace_file, writing};
use crate::manifest::{MANIFEST, Manifest, bad_name};
use crate::read::{is_whole, lines, read_file};
use crate::{Error, MAX_RECORDS_BYTES, Result, atomic, fs};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Writes a file so that at no instant its name leads to half of it, with the folders above it.
///
/// One process at a time may write a file: hold the [`RunLock`](crate::RunLock).
///
/// # Errors
/// [`Error::Write`]; what stood there before still does.
pub fn write_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    replace_file(path.as_ref(), bytes)
}

/// Writes a record as a JSON file, as [`write_file`] does.
///
/// # Errors
/// [`Error::NotFinite`] if the record would not be read back as it is; [`Error::Write`].
pub fn write_json<T>(path: impl AsRef<Path>, record: &T) -> Result<()>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let path = path.as_ref();
    let mut bytes = encode(path, record, serde_json::to_vec_pretty)?;
    bytes.push(b'\n');
    replace_file(path, &bytes)
}

/// Writes flat records as a CSV file with a line of names, as [`write_file`] does. What is absent is
/// an empty cell.
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

/// Writes a checkpoint: these files and a manifest of them, as one folder at `path`.
///
/// At every instant, [`read_checkpoint`](crate::read_checkpoint) finds the one that stood there
/// before or this one, whole. When this returns, it is this one, even if power is lost. Anything
/// else that stood in the folder goes.
///
/// One process at a time may write a checkpoint: hold the [`RunLock`](crate::RunLock).
///
/// # Errors
/// [`Error::Write`], and the checkpoint that stood there before still can be read;
/// [`Error::FileName`] for a name that is no plain file name, or stands twice.
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
    replace_dir(path, &all, is_whole)
}

/// Puts in order what an interrupted [`write_checkpoint`] left, as the next one would: for a run that
/// will write no other. What [`read_checkpoint`](crate::read_checkpoint) finds stays.
///
/// # Errors
/// [`Error::Write`].
pub fn settle_checkpoint(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    atomic::settle(path, is_whole).map_err(writing(path))
}

/// A file that grows by whole records while a run goes on.
#[derive(Debug)]
pub struct GrowingFile {
    path: PathBuf,
    file: File,
    len: u64,        // of its whole records
    is_torn: bool,   // whether part of a record may stand behind them
    is_synced: bool, // whether all of it survives a loss of power
}

impl GrowingFile {
    /// Starts a file that did not exist before.
    ///
    /// # Errors
    /// [`Error::Write`], also if the file exists: it is left as it is.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        atomic::create_dirs(parent(&path))?;
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

    /// Adds a record: all of it in one write, so that a reader sees it or does not, and a killed
    /// process leaves it behind.
    ///
    /// # Errors
    /// [`Error::Write`]. The records before stay whole in any case, and a later one may be appended.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        if self.is_torn {
            self.mend()?;
        }
        self.is_synced = false;
        if let Err(e) = fs::write(&self.file, record) {
            self.is_torn = true;
            let _ = self.mend(); // or else at the next append
            return Err(writing(&self.path)(e));
        }
        self.len += record.len() as u64;
        Ok(())
    }

    /// Makes the records survive a loss of power. They survive the end of the process without.
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

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Cuts off what a failed write may have left of its record.
    fn mend(&mut self) -> Result<()> {
        fs::set_len(&self.file, self.len).map_err(writing(&self.path))?;
        self.is_torn = false;
        Ok(())
    }
}

/// A file of records, one a line, that grows while a run goes on.
#[derive(Debug)]
pub struct JsonLines<T> {
    file: GrowingFile,
    records: PhantomData<fn(&T)>,
}

impl<T: Serialize + DeserializeOwned + PartialEq> JsonLines<T> {
    /// Starts a file.
    ///
    /// # Errors
    /// [`Error::Write`], also if the file exists: it is left as it is.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            file: GrowingFile::create(path)?,
            records: PhantomData,
        })
    }

    /// Goes on with a file, or starts it if a killed process did not come to it.
    ///
    /// Lines whose record is not to be kept go, and so does what a killed process or a loss of power
    /// left of lines behind those; the others stay as they are, byte for byte. Keep what is no later
    /// than the checkpoint that the run goes on from, and the file ends up as if the run had never
    /// stopped.
    ///
    /// # Errors
    /// [`Error::Line`] for a line that is no record, with one that is to be kept behind it, and those
    /// of [`read_file`] and [`write_file`]; the file is left as it is.
    pub fn resume(path: impl Into<PathBuf>, keep: impl Fn(&T) -> bool) -> Result<Self> {
        let path = path.into();
        if fs::look(&path).map_err(writing(&path))?.is_none() {
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

    /// Adds a record, as a line of its own.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the record would not be read back as it is; [`Error::Write`]. The
    /// lines before stay readable in any case, and a later record may be appended.
    pub fn append(&mut self, record: &T) -> Result<()> {
        let mut line = encode(self.path(), record, serde_json::to_vec)?;
        line.push(b'\n');
        self.file.append(&line)
    }

    /// Makes the lines survive a loss of power.
    ///
    /// Call it before a checkpoint is saved that counts on them: after a resume from that
    /// checkpoint they would not be written again.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// The JSON of a record, if it can be read back as the same record.
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
        // JSON has `null` for NaN and the infinities.
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
    fn a_failed_append_leaves_whole_lines_and_does_not_stop_the_next() {
        for (successes, can_mend) in [(0, true), (0, false)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            let mut lines = JsonLines::<u64>::create(&path).unwrap();
            lines.append(&1234).unwrap();
            let plan = Plan {
                successes,
                is_final: !can_mend,
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
