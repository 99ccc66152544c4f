use std::fs::File;
use std::path::PathBuf;

use crate::atomic::{create_dirs, parent, temporary, writing};
use crate::{Result, fs};

/// Bytes that are kept back before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// A file that is written bit by bit, and has its name only once it is whole.
///
/// One process at a time may write a file. A draft that is dropped before it is
/// [published](Draft::publish) leaves nothing.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    temporary: Option<PathBuf>, // none once it is published
    file: File,
    buffer: Vec<u8>,
}

impl Draft {
    /// An empty draft of the file at `path`, with the folders above it.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write); what stands at `path` still does.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let temporary = temporary(&path)?;
        create_dirs(parent(&path))?;
        let open = || {
            if fs::look(&temporary)?.is_some() {
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

    /// Adds bytes to its end.
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

    /// Makes all of it durable, and then gives it its name, over whatever had it.
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
    fn a_draft_interrupted_after_any_operation_leaves_the_old_file_or_the_new() {
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
