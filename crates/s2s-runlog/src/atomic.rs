//! Replacing a file or a folder so that no reader, at no instant, finds half of one.
//!
//! **A file** is written to `.<name>.tmp` beside it and fsynced before it is renamed: the name leads
//! to the old bytes or to all of the new ones, whatever is lost. The folder is fsynced after, so
//! that on return the new ones stay. What a killed writer leaves under the temporary name is removed
//! by the next one.
//!
//! **A folder** cannot be renamed over another that has files in it. So, for a checkpoint `last`:
//!
//! 1. *Settle* what an interrupted save left, see below. After it, there is neither a `last.new` nor
//!    a `last.old`.
//! 2. *Build* `last.new`: the files, each fsynced; then the manifest, fsynced; then the folder and
//!    its parent are fsynced. `last` is untouched. From here on `last.new` is whole and stays.
//! 3. *Swap* the two names: one system call on Linux and macOS, so that `last` is never missing.
//!    Elsewhere, and on file systems that have no such call: rename `last` to `last.old`, fsync the
//!    parent, rename `last.new` to `last`. Each rename moves one of two whole checkpoints while the
//!    other stands still under a name that is already durable.
//! 4. Fsync the parent: the new checkpoint is `last`, for good.
//! 5. Only then remove the old one, which is `last.new` or `last.old` by now.
//!
//! **A reader** takes the first whole one of `last`, `last.new`, `last.old`. It is whole if its
//! manifest and all hashes agree; so what step 2 leaves when it is interrupted, or step 5, is never
//! taken for a checkpoint. Before step 3 that gives the old one, or, if `last` is lost or has never
//! been, the new one; after it, the new one.
//!
//! **Settling** puts what a reader would take under its own name, and only then removes the rest.
//! The checkpoint that is moved is never the one that is removed.
//!
//! A failure (rather than a kill) in step 2 or in the first move of step 3 leaves `last` untouched
//! and removes `last.new`, which makes room on a full disk. A later failure leaves both, since it is
//! not known which of them the disk has.

use crate::{Error, Result, fs};
use std::ffi::OsString;
use std::io;
use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
use std::path::{Path, PathBuf};

/// Replaces a file, or creates it together with the folders above it.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path)?;
    create_dirs(parent(path))?;
    let write = || -> io::Result<()> {
        if fs::look(&temporary)?.is_some() {
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

/// Replaces a folder by one with these files, of which the last makes it whole.
///
/// `is_whole` says whether a folder is one that a reader would take.
pub(crate) fn replace_dir(
    path: &Path,
    files: &[(&str, &[u8])],
    is_whole: fn(&Path) -> bool,
) -> Result<()> {
    path.file_name().ok_or_else(|| nameless(path))?;
    let [_, new, old] = candidates(path);
    // What a save has put there was not begun before the folders above it were durable.
    if fs::look(path).map_err(writing(path))?.is_none() {
        create_dirs(parent(path))?;
    }
    settle(path, is_whole).map_err(writing(path))?;
    let discard = |_: &Error| drop(fs::remove_dir(&new)); // if that fails too, the next save settles
    build(&new, files).inspect_err(discard)?;

    let is_first = fs::look(path)
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

    // The save is done: what cannot be removed is left to the next one.
    for litter in [&new, &old] {
        let _ = remove_litter(litter);
    }
    Ok(())
}

/// Where a file is written before it is renamed.
pub(crate) fn temporary(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| nameless(path))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(path.with_file_name(temporary))
}

/// Where a folder may be, in the order in which a reader looks.
pub(crate) fn candidates(path: &Path) -> [PathBuf; 3] {
    let beside = |suffix| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        path.with_file_name(name)
    };
    [path.to_owned(), beside(".new"), beside(".old")]
}

/// Creates a folder and those above it, each durable before the next.
///
/// The one that is there already may be the last that a killed process made: so it is made durable
/// too. Those above it are.
pub(crate) fn create_dirs(path: &Path) -> Result<()> {
    if !fs::is_dir(path) {
        create_dirs(parent(path))?;
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && fs::is_dir(path) => {}
            result => result.map_err(writing(path))?,
        }
    }
    match fs::sync_dir(parent(path)) {
        // Where nothing may be made, nothing was.
        Err(e) if matches!(e.kind(), PermissionDenied | ReadOnlyFilesystem) => Ok(()),
        result => result.map_err(writing(path)),
    }
}

/// The folder that a path stands in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Makes an [`Error::Write`] of what the system says about a path.
pub(crate) fn writing(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Write {
        path: path.to_owned(),
        source,
    }
}

/// Undoes what an interrupted save left, see the [module docs](self).
pub(crate) fn settle(path: &Path, is_whole: fn(&Path) -> bool) -> io::Result<()> {
    let [_, new, old] = candidates(path);
    if fs::look(&new)?.is_none() && fs::look(&old)?.is_none() {
        return Ok(());
    }
    if let Some(whole) = candidates(path)
        .iter()
        .find(|candidate| is_whole(candidate))
        && whole != path
    {
        remove_litter(path)?;
        fs::rename(whole, path)?;
        fs::sync_dir(parent(path))?;
    }
    remove_litter(&new)?;
    remove_litter(&old)
}

/// A new folder with these files, all of it durable.
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

fn remove_litter(path: &Path) -> io::Result<()> {
    match fs::look(path)? {
        None => Ok(()),
        Some(metadata) if metadata.is_dir() => fs::remove_dir(path),
        Some(_) => fs::remove_file(path),
    }
}

fn nameless(path: &Path) -> Error {
    writing(path)(io::Error::new(
        io::ErrorKind::InvalidFilename,
        "the path does not end in a name",
    ))
}

#[cfg(test)]
mod tests {
    use crate::fs::fault::{Plan, during};
    use crate::{
        CheckpointName, Error, RunDir, read_checkpoint, settle_checkpoint, write_checkpoint,
        write_file,
    };
    use std::fs;
    use std::path::Path;

    const OLD: &[(&str, &[u8])] = &[("params", b"old parameters"), ("state", b"1")];
    const NEW: &[(&str, &[u8])] = &[
        ("params", b"the new ones"),
        ("moments", b"m"),
        ("state", b"2"),
    ];

    /// More than any save has.
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
    fn a_save_interrupted_after_any_operation_leaves_a_whole_checkpoint() {
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
    fn saves_interrupted_twice_leave_a_whole_checkpoint() {
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
    fn a_first_save_that_is_interrupted_leaves_nothing_or_a_whole_checkpoint() {
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
    fn a_save_that_fails_up_to_the_swap_leaves_no_litter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last");
        write_checkpoint(&path, OLD).unwrap();
        let swap = 15; // after create, 4 times (create, write, sync), 2 folder syncs
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
    fn a_damaged_checkpoint_gives_way_to_the_whole_one_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last");
        write_checkpoint(&path, NEW).unwrap();
        fs::write(path.join("params"), "rot").unwrap();
        write_checkpoint(folder.path().join("last.old"), OLD).unwrap();

        let found = read_checkpoint(&path).unwrap();
        assert!(found.path().ends_with("last.old"));
        let [Error::Damaged { path: damaged, .. }] = found.passed_over() else {
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
    fn a_run_killed_before_its_first_file_can_be_created_again() {
        let folder = tempfile::tempdir().unwrap();
        for successes in 0..30 {
            let start = |path: &Path| -> crate::Result<()> {
                let run = RunDir::create(path)?;
                let _lock = run.lock()?;
                write_file(run.config(), b"")?;
                write_file(run.environment(), b"{}")?;
                write_file(run.resolved_config(), b"seed = 0")
            };
            let path = folder.path().join(format!("runs/{successes}"));
            let plan = Plan {
                successes,
                is_final: true,
                can_exchange: true,
            };
            if during(plan, || start(&path)).is_err() && RunDir::open(&path).is_err() {
                start(&path).unwrap();
            }
            let run = RunDir::open(&path).unwrap();
            assert!(run.config().exists() && run.environment().exists());
            assert!(matches!(
                read_checkpoint(run.checkpoint(CheckpointName::Last)),
                Err(Error::NoCheckpoint { .. })
            ));
        }
    }
}
