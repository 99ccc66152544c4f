//! The locks of a run folder.
//!
//! The operating system holds a lock, so it cannot outlive its process. Not every network file system
//! passes locks on to other machines. Therefore `run.lock` also names its holder, by a number that no
//! other has: a run whose name was overwritten stops before its next write.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::atomic::{create_dir, writing};
use crate::error::refused;
use crate::fs::File;
use crate::layout::LOCK;
use crate::{Error, Result, RunDir, Whereabouts, fs, system_file};

/// If a lock is taken but its holder's process number is not readable yet, try again this often.
const LOCK_ATTEMPTS: usize = 40;
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(5);

/// A lock file has at most so many bytes.
const MAX_BYTES: usize = 256;

/// Exclusive right to write to a run folder ([`RunDir::lock`]), or to its plots ([`RunDir::lock_plots`]). It
/// ends when it is dropped or when its process ends, whichever comes first.
#[derive(Debug)]
pub struct RunLock {
    folder: PathBuf,
    path: PathBuf,
    file: File, // the operating system releases the lock when the file is closed
    /// What the lock file says about its holder; empty for plots.
    holder: Vec<u8>,
}

impl RunLock {
    /// Checks that the folder at the run's path is still the one that was locked. Call it before each
    /// write: a run must not write into a folder that took the place of its own.
    ///
    /// # Errors
    /// [`Error::Lost`] if the folder or its lock file was deleted, moved or replaced, or if another
    /// process has claimed it; [`Error::Lock`] if the system does not say.
    pub fn check(&self) -> Result<()> {
        let failed = |source| Error::Lock {
            path: self.path.clone(),
            source,
        };
        let path = self.folder.clone();
        if fs::is_at(&self.file, &self.path).map_err(failed)? {
            let holder = match self.holder.is_empty() {
                true => Vec::new(),
                false => fs::first_bytes(&self.file, MAX_BYTES).map_err(failed)?,
            };
            return match holder == self.holder {
                true => Ok(()),
                false => Err(Error::Lost {
                    path,
                    now: Whereabouts::Claimed(named(&holder)),
                }),
            };
        }
        if fs::is_deleted(&self.file).map_err(failed)? {
            return Err(Error::Lost {
                path,
                now: Whereabouts::Deleted,
            });
        }
        let now = fs::path_of(&self.file).and_then(|path| Some(path.parent()?.to_owned()));
        let now = now.map_or(Whereabouts::Unknown, Whereabouts::MovedTo);
        Err(Error::Lost { path, now })
    }
}

impl RunDir {
    /// Claims the folder for writing. Readers need no lock.
    ///
    /// The operating system holds the lock, so it cannot outlive its process. `run.lock` only tells
    /// other processes who holds it.
    ///
    /// # Errors
    /// [`Error::Busy`], with the holder's process number, if another process holds the lock;
    /// [`Error::Lost`] if the folder is removed meanwhile; [`Error::Lock`] if the system cannot lock the
    /// file; [`Error::Write`].
    pub fn lock(&self) -> Result<RunLock> {
        let file = self.claim()?;
        // Durable before any other file: it marks the files of this folder as a run's.
        let holder = holder();
        fs::overwrite(&file, &holder)
            .and_then(|()| fs::sync_dir(self.path()))
            .map_err(writing(&self.path().join(LOCK)))?;
        let (folder, path) = (self.path().to_owned(), self.path().join(LOCK));
        let lock = RunLock {
            folder,
            path,
            file,
            holder,
        };
        lock.check()?; // it may have been replaced before it was locked
        Ok(lock)
    }

    /// Whether a process holds the [lock](RunDir::lock), so that it may be writing to the folder. False if
    /// the lock file does not exist.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::NotRegular`] if the lock file cannot be opened.
    pub fn is_locked(&self) -> Result<bool> {
        let path = self.path().join(LOCK);
        fs::is_locked(&path).map_err(|refusal| refused(&path, refusal))
    }

    /// Claims `plots/`; waits while another process holds it.
    ///
    /// A run may be plotted while another process trains it. Read the records after you have this lock:
    /// then newer plots are never overwritten with older ones.
    ///
    /// # Errors
    /// [`Error::Write`] if the folder cannot be created; [`Error::Lock`] if the lock file cannot be created
    /// or locked; [`Error::NotRegular`] if the lock file is not a regular file.
    pub fn lock_plots(&self) -> Result<RunLock> {
        create_dir(&self.plots())?;
        let (folder, path) = (self.path().to_owned(), self.plots().join(".lock"));
        let file = open_lock(&path)?;
        match fs::lock(&file) {
            Ok(()) => Ok(RunLock {
                folder,
                path,
                file,
                holder: Vec::new(),
            }),
            Err(source) => Err(Error::Lock { path, source }),
        }
    }

    /// Opens and locks the lock file, without changing its content.
    pub(crate) fn claim(&self) -> Result<File> {
        let path = self.path().join(LOCK);
        let file = open_lock(&path)?;
        for _ in 0..LOCK_ATTEMPTS {
            match fs::try_lock(&file) {
                Ok(true) => return Ok(file),
                Ok(false) => {}
                Err(source) => return Err(Error::Lock { path, source }),
            }
            let number = fs::first_bytes(&file, MAX_BYTES).ok();
            if let Some(pid) = number.and_then(|number| running_pid(&number)) {
                return Err(self.busy(Some(pid)));
            }
            sleep(LOCK_RETRY_DELAY); // the holder is about to write its number, or has just ended
        }
        Err(self.busy(None))
    }

    fn busy(&self, pid: Option<u32>) -> Error {
        let path = self.path().to_owned();
        Error::Busy { path, pid }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    fs::open_lock(path).map_err(|refusal| match refusal {
        fs::Refusal::Io(source) => Error::Lock {
            path: path.to_owned(),
            source,
        },
        other => refused(path, other),
    })
}

/// The process number, a number that no other holder has, and the host.
fn holder() -> Vec<u8> {
    let host = system_file("/proc/sys/kernel/hostname").unwrap_or_default();
    let unique = RandomState::new().build_hasher().finish();
    let mut text = format!("{}\n{unique:016x} {}", std::process::id(), host.trim());
    let is_short = |end: &usize| *end < MAX_BYTES && text.is_char_boundary(*end);
    text.truncate((0..=text.len()).rev().find(is_short).unwrap_or(0));
    text.push('\n');
    text.into_bytes()
}

/// The holder that a lock file names, for a message.
fn named(holder: &[u8]) -> String {
    let text = String::from_utf8_lossy(holder);
    let mut lines = text.lines();
    let pid = lines.next().unwrap_or_default();
    let host = lines.next().and_then(|line| line.split_once(' '));
    match host {
        Some((_, host)) => format!("process {pid} on {host}"),
        None => format!("process {pid}"),
    }
}

/// The process number in a lock file; `None` if it is incomplete, or if that process has ended (which
/// can be checked without privileges on Linux only).
fn running_pid(holder: &[u8]) -> Option<u32> {
    let (pid, _) = str::from_utf8(holder).ok()?.split_once('\n')?;
    let pid: u32 = pid.parse().ok()?;
    let is_running = !cfg!(target_os = "linux") || fs::is_dir(Path::new(&format!("/proc/{pid}")));
    is_running.then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_lock_file_names_another_holder_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path().join("run")).unwrap();
        let lock = run.lock().unwrap();
        lock.check().unwrap();
        std::fs::write(run.path().join(LOCK), "7\n0123 far\n").unwrap();
        let message = lock.check().unwrap_err().to_string();
        assert!(message.contains("claimed by process 7 on far"), "{message}");
    }

    #[test]
    fn no_two_holders_are_equal() {
        assert_ne!(holder(), holder());
        let pid = std::process::id();
        assert_eq!(running_pid(&holder()), Some(pid));
        assert_eq!(
            running_pid(format!("{pid}").as_bytes()),
            None,
            "it is incomplete"
        );
    }
}
