//! Atomic replacement of files and folders: a reader never sees a partial one.
//!
//! **A file** is written to `.<name>.tmp` in the same folder and fsynced, then renamed. The name
//! therefore refers to the old content or to all of the new content, even after a power loss. The
//! folder is fsynced last, so the new content is durable when the function returns. The next writer
//! removes a temporary file left by a killed process.
//!
//! **A folder** cannot be renamed over a folder that contains files. To replace a checkpoint `last`:
//!
//! 1. *Settle* the leftovers of an interrupted save (see below). Afterwards neither `last.new` nor
//!    `last.old` exists.
//! 2. *Build* `last.new`: write and fsync the files, then the manifest, then fsync the folder and its
//!    parent. `last` is unchanged. From here on `last.new` is complete and durable.
//! 3. *Swap* the two names. Linux and macOS do this in one system call, so `last` always exists.
//!    Elsewhere, and on file systems without that call: rename `last` to `last.old`, fsync the
//!    parent, rename `last.new` to `last`. Each rename moves one complete checkpoint while the other
//!    stays under a durable name.
//! 4. Fsync the parent. The new checkpoint is now durably `last`.
//! 5. Remove the old checkpoint, which is now `last.new` or `last.old`.
//!
//! **A reader** takes the first valid checkpoint of `last`, `last.new` and `last.old`. A checkpoint is
//! valid if its manifest and all hashes match, so the leftovers of an interrupted step 2 or 5 are
//! never read. Before step 3 the reader gets the old checkpoint, or the new one if `last` is missing;
//! after step 3 it gets the new one.
//!
//! **Settling** moves the checkpoint that a reader would take to its own name, then removes the
//! others. It never removes the checkpoint that it moves.
//!
//! If an operation fails (without killing the process) in step 2 or in the first rename of step 3,
//! `last` is unchanged and `last.new` is removed, which frees space on a full disk. After a later
//! failure both remain, because it is unknown which of them the disk holds.

use crate::{Error, Result, fs};
use std::ffi::OsString;
use std::io;
use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
use std::path::{Path, PathBuf};

/// Replaces a file, or creates it. Its folder must exist.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path)?;
    let write = || -> io::Result<()> {
        if fs::kind_at(&temporary)?.is_some() {
            fs::remove_file(&temporary)?;
        }
        write_new(&temporary, bytes)?;
        fs::rename(&temporary, path)
    };
    write()
        .map_err(writing(path))
        .inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    fs::sync_dir(parent(path)).map_err(writing(path))
}

/// Replaces a folder by one with these files. They are written in order; the last one makes the
/// folder valid. Creates the parent of the folder if necessary, but not the one above: that is a run
/// folder, which nobody recreates.
///
/// `is_valid` returns whether a reader would accept a folder.
pub(crate) fn replace_dir(
    path: &Path,
    files: &[(&str, &[u8])],
    is_valid: fn(&Path) -> bool,
) -> Result<()> {
    path.file_name().ok_or_else(|| nameless(path))?;
    let [_, new, old] = candidates(path);
    // If the folder exists, its parents were made durable by the save that created it.
    if fs::kind_at(path).map_err(writing(path))?.is_none() {
        create_dir(parent(path))?;
    }
    settle(path, is_valid).map_err(writing(path))?;
    let discard = |_: &Error| drop(fs::remove_dir(&new)); // if this fails too, the next save settles
    build(&new, files).inspect_err(discard)?;

    let is_first = fs::kind_at(path)
        .map_err(writing(path))
        .inspect_err(discard)?
        .is_none();
    if is_first {
        fs::rename(&new, path)
            .map_err(writing(path))
            .inspect_err(discard)?;
    } else if !fs::exchange(&new, path)
        .map_err(writing(path))
        .inspect_err(discard)?
    {
        fs::rename(path, &old)
            .map_err(writing(path))
            .inspect_err(discard)?;
        fs::sync_dir(parent(path)).map_err(writing(path))?;
        fs::rename(&new, path).map_err(writing(path))?;
    }
    fs::sync_dir(parent(path)).map_err(writing(path))?;

    // The save is complete; leftovers that cannot be removed now are removed by the next one.
    for leftover in [&new, &old] {
        let _ = remove_if_exists(leftover);
    }
    Ok(())
}

/// The name under which a file is written before it is renamed.
pub(crate) fn temporary(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| nameless(path))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(path.with_file_name(temporary))
}

/// The names under which a reader looks for a checkpoint, in order.
pub(crate) fn candidates(path: &Path) -> [PathBuf; 3] {
    let with_suffix = |suffix| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        path.with_file_name(name)
    };
    [path.to_owned(), with_suffix(".new"), with_suffix(".old")]
}

/// Creates a folder and its parents; each is durable before the next is created.
///
/// The deepest existing folder is made durable too, because a killed process may have created it.
/// Its parents are durable already.
pub(crate) fn create_dirs(path: &Path) -> Result<()> {
    if !fs::is_dir(path) {
        create_dirs(parent(path))?;
    }
    create_dir(path)
}

/// Creates a folder and makes it durable. Its parent must exist and be durable.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    if !fs::is_dir(path) {
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && fs::is_dir(path) => {}
            result => result.map_err(writing(path))?,
        }
    }
    match fs::sync_dir(parent(path)) {
        // A folder that forbids writing contains no folder created by a killed process.
        Err(e) if matches!(e.kind(), PermissionDenied | ReadOnlyFilesystem) => Ok(()),
        result => result.map_err(writing(path)),
    }
}

/// The folder that contains `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Converts an I/O error at `path` to an [`Error::Write`].
pub(crate) fn writing(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Write {
        path: path.to_owned(),
        source,
    }
}

/// Settles the leftovers of an interrupted save; see the [module docs](self).
pub(crate) fn settle(path: &Path, is_valid: fn(&Path) -> bool) -> io::Result<()> {
    let [_, new, old] = candidates(path);
    if fs::kind_at(&new)?.is_none() && fs::kind_at(&old)?.is_none() {
        return Ok(());
    }
    if let Some(valid) = candidates(path)
        .iter()
        .find(|candidate| is_valid(candidate))
        && valid != path
    {
        remove_if_exists(path)?;
        fs::rename(valid, path)?;
        fs::sync_dir(parent(path))?;
    }
    remove_if_exists(&new)?;
    remove_if_exists(&old)
}

/// Creates a folder with these files and makes all of it durable.
fn build(path: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    fs::create_dir(path).map_err(writing(path))?;
    for (name, bytes) in files {
        let file = path.join(name);
        write_new(&file, bytes).map_err(writing(&file))?;
    }
    fs::sync_dir(path).map_err(writing(path))?;
    fs::sync_dir(parent(path)).map_err(writing(path))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = fs::create_new(path)?;
    fs::write(&file, bytes)?;
    fs::sync(&file)
}

fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::kind_at(path)? {
        None => Ok(()),
        Some(fs::FOLDER) => fs::remove_dir(path),
        Some(_) => fs::remove_file(path),
    }
}

fn nameless(path: &Path) -> Error {
    writing(path)(io::Error::new(
        io::ErrorKind::InvalidFilename,
        "the path does not end in a file name",
    ))
}

#[cfg(test)]
mod tests {
    use crate::fs::fault::{Plan, during};
    use crate::{
        CheckpointName, CorpusRecord, Environment, Error, Identity, RunDir, RunStart,
        read_checkpoint, settle_checkpoint, write_checkpoint, write_file,
    };
    use std::fs;
    use std::path::Path;

    const OLD: &[(&str, &[u8])] = &[("params", b"old parameters"), ("state", b"1")];
    const NEW: &[(&str, &[u8])] = &[
        ("params", b"the new ones"),
        ("moments", b"m"),
        ("state", b"2"),
    ];

    /// More than any save performs.
    const OPERATIONS: usize = 100;

    fn plans() -> impl Iterator<Item = Plan> {
        (0..OPERATIONS).flat_map(|successes| {
            [(true, true), (true, false), (false, true), (false, false)].map(
                |(is_final, can_exchange)| Plan {
                    successes,
                    is_final,
                    can_exchange,
                },
            )
        })
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[track_caller]
    fn check_holds(path: &Path, files: &[(&str, &[u8])], plan: Plan) {
        let read = read_checkpoint(path).unwrap();
        assert_eq!(read.files().collect::<Vec<_>>(), files, "{plan:?}");
    }

    #[test]
    fn a_save_interrupted_after_any_operation_leaves_a_valid_checkpoint() {
        for plan in plans() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("last");
            write_checkpoint(&path, OLD).unwrap();

            let saved = during(plan, || write_checkpoint(&path, NEW));
            let found = read_checkpoint(&path).unwrap();
            let found: Vec<_> = found.files().collect();
            assert!(found == OLD || found == NEW, "{plan:?}: {found:?}");
            if saved.is_ok() {
                assert_eq!(found, NEW, "{plan:?}");
            }

            settle_checkpoint(&path).unwrap();
            check_holds(&path, &found, plan);
            assert_eq!(names(folder.path()), ["last"], "{plan:?}");
            write_checkpoint(&path, NEW).unwrap();
            check_holds(&path, NEW, plan);
            assert_eq!(names(folder.path()), ["last"], "{plan:?}");
        }
    }

    #[test]
    fn two_interrupted_saves_leave_a_valid_checkpoint() {
        for first in (0..40).map(|successes| Plan {
            successes,
            is_final: true,
            can_exchange: false,
        }) {
            for second in (0..40).map(|successes| Plan { successes, ..first }) {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("last");
                write_checkpoint(&path, OLD).unwrap();
                let _ = during(first, || write_checkpoint(&path, NEW));
                let _ = during(second, || write_checkpoint(&path, NEW));
                let found = read_checkpoint(&path).unwrap();
                let found: Vec<_> = found.files().collect();
                assert!(
                    found == OLD || found == NEW,
                    "{first:?}, {second:?}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn an_interrupted_first_save_leaves_nothing_or_a_valid_checkpoint() {
        for plan in plans() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("checkpoints/last");
            let saved = during(plan, || write_checkpoint(&path, NEW));
            match read_checkpoint(&path) {
                Ok(found) => assert_eq!(found.files().collect::<Vec<_>>(), NEW, "{plan:?}"),
                Err(e) => {
                    assert!(saved.is_err(), "{plan:?}");
                    assert!(matches!(e, Error::NoCheckpoint { .. }), "{plan:?}: {e}");
                }
            }
            write_checkpoint(&path, OLD).unwrap();
            check_holds(&path, OLD, plan);
        }
    }

    #[test]
    fn a_save_that_fails_before_the_swap_removes_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last");
        write_checkpoint(&path, OLD).unwrap();
        let swap = 15; // create, 4 × (create, write, sync), 2 folder syncs
        for successes in 0..=swap {
            let plan = Plan {
                successes,
                is_final: false,
                can_exchange: true,
            };
            let error = during(plan, || write_checkpoint(&path, NEW)).unwrap_err();
            assert!(matches!(error, Error::Write { .. }), "{error}");
            assert_eq!(names(folder.path()), ["last"], "{plan:?}");
            check_holds(&path, OLD, plan);
        }
    }

    #[test]
    fn a_valid_leftover_is_read_in_place_of_a_damaged_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last");
        write_checkpoint(&path, NEW).unwrap();
        fs::write(path.join("params"), "rot").unwrap();
        write_checkpoint(folder.path().join("last.old"), OLD).unwrap();

        let found = read_checkpoint(&path).unwrap();
        assert!(found.path().ends_with("last.old"));
        let [Error::Damaged { path: damaged, .. }] = found.rejected() else {
            panic!("{found:?}")
        };
        assert_eq!(*damaged, path);

        for successes in 0..OPERATIONS {
            let plan = Plan {
                successes,
                is_final: true,
                can_exchange: true,
            };
            let saved = during(plan, || write_checkpoint(&path, NEW));
            let found = read_checkpoint(&path).unwrap();
            let found: Vec<_> = found.files().collect();
            assert!(
                found == NEW || (found == OLD && saved.is_err()),
                "{plan:?}: {found:?}"
            );
        }
        assert_eq!(names(folder.path()), ["last"]);
    }

    #[test]
    fn a_file_is_old_or_new_after_any_operation() {
        for plan in plans() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run.json");
            write_file(&path, b"old").unwrap();
            let written = during(plan, || write_file(&path, b"newer"));
            let found = fs::read(&path).unwrap();
            assert!(found == b"old" || found == b"newer", "{plan:?}: {found:?}");
            if written.is_ok() {
                assert_eq!(found, b"newer");
            }
            if !plan.is_final {
                assert_eq!(names(folder.path()), ["run.json"], "{plan:?}");
            }
            write_file(&path, b"newest").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"newest");
            assert_eq!(names(folder.path()), ["run.json"], "{plan:?}");
        }
    }

    #[test]
    fn a_run_killed_while_it_starts_can_be_resumed_or_created_again() {
        let environment = Environment {
            version: String::new(),
            platform: String::new(),
            cpu: String::new(),
            cores: 1,
            threads: 1,
            device: String::new(),
            device_reason: String::new(),
            card: String::new(),
            driver_version: String::new(),
            driver_cuda_version: String::new(),
            kernels: String::new(),
            instruction_set: String::new(),
            precision: String::new(),
            command: Vec::new(),
        };
        let identity = Identity {
            id: String::new(),
            name: String::new(),
            tags: Vec::new(),
            parent: None,
        };
        let text = CorpusRecord {
            files: Vec::new(),
            vocabulary: Vec::new(),
            longest: [1, 1],
        };
        for corpus in [None, Some(&text)] {
            let start = |path: &Path| -> crate::Result<()> {
                let run = RunDir::create(path)?;
                let _lock = run.lock()?;
                run.write_start(&RunStart {
                    config: "",
                    corpus,
                    environment: &environment,
                    identity: &identity,
                    resolved_config: "seed = 0",
                })
            };
            let folder = tempfile::tempdir().unwrap();
            for successes in 0..OPERATIONS {
                let path = folder.path().join(format!("runs/{successes}"));
                let plan = Plan {
                    successes,
                    is_final: true,
                    can_exchange: true,
                };
                let started = during(plan, || start(&path));
                assert!(started.is_ok() || successes + 1 < OPERATIONS);
                if RunDir::open(&path).is_err() {
                    start(&path).unwrap();
                }
                let run = RunDir::open(&path).unwrap();
                assert!(run.config().exists() && run.identity().exists());
                assert_eq!(run.corpus().exists(), corpus.is_some());
                assert!(matches!(
                    read_checkpoint(run.checkpoint(CheckpointName::Last)),
                    Err(Error::NoCheckpoint { .. })
                ));
            }
        }
    }
}
