use std::path::PathBuf;

use crate::atomic::{create_dirs, parent, temporary, writing};
use crate::fs::File;
use crate::{Result, fs};

/// Bytes buffered before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// A file written in pieces that appears under its name only when it is complete. For content that is in
/// memory as a whole, use [`write_file`](crate::write_file).
///
/// Only one process at a time may write a file. A draft that is dropped before
/// [`Draft::publish`] leaves no file.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    temporary: Option<PathBuf>, // `None` once published
    file: File,
    buffer: Vec<u8>,
}

impl Draft {
    /// Starts an empty draft of the file at `path`; creates missing parent folders.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write); an existing file at `path` is unchanged.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let temporary = temporary(&path)?;
        create_dirs(parent(&path))?;
        let open = || {
            if fs::kind_at(&temporary)?.is_some() {
                fs::remove_file(&temporary)?;
            }
            fs::create_new(&temporary)
        };
        let file = open().map_err(writing(&path))?;
        Ok(Self {
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            temporary: Some(temporary),
            path,
        })
    }

    /// Appends bytes. They may stay in memory until [`Draft::publish`].
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write).
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes the content durable, then renames the draft to its final name; replaces an existing file.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write).
    pub fn publish(mut self) -> Result<()> {
        self.flush()?;
        fs::sync(&self.file).map_err(writing(&self.path))?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(writing(&self.path))?;
        }
        self.temporary = None;
        fs::sync_dir(parent(&self.path)).map_err(writing(&self.path))
    }

    fn flush(&mut self) -> Result<()> {
        fs::write(&self.file, &self.buffer).map_err(writing(&self.path))?;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::fault::{Plan, during};

    #[test]
    fn a_draft_interrupted_after_any_operation_leaves_the_old_or_the_new_file() {
        let new = "line\n".repeat(40_000); // more than one buffer
        let write = |path: &std::path::Path| -> Result<()> {
            let mut draft = Draft::create(path)?;
            for line in new.split_inclusive('\n') {
                draft.write(line.as_bytes())?;
            }
            draft.publish()
        };
        for successes in 0..20 {
            for is_final in [true, false] {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("train.src");
                std::fs::write(&path, "old").unwrap();
                let plan = Plan {
                    successes,
                    is_final,
                    can_exchange: true,
                };
                let written = during(plan, || write(&path));
                let found = std::fs::read_to_string(&path).unwrap();
                assert!(found == "old" || found == new, "{plan:?}");
                if written.is_ok() {
                    assert_eq!(found, new, "{plan:?}");
                }
                let n_files = || std::fs::read_dir(folder.path()).unwrap().count();
                assert!(is_final || n_files() == 1, "{plan:?}");
                write(&path).unwrap();
                assert_eq!(std::fs::read_to_string(&path).unwrap(), new, "{plan:?}");
                assert_eq!(n_files(), 1, "{plan:?}");
            }
        }
    }
}
