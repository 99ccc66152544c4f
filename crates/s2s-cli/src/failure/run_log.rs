//! Hints for run folders and files that cannot be read or written.

use std::io;
use std::path::Path;

use s2s_runlog::{Error, RunDir, RunRecord, Whereabouts, exists, read_checkpoint, read_json};

use super::{BUSY, CHECKPOINT, OTHER, USAGE};
use crate::shell::{command_line, program, quote};

/// The exit code and the hint of a failure to read or write a run.
pub(super) fn classify_run_log(error: &Error) -> (u8, Option<String>) {
    let resume = |path: &Path| format!("`{} resume {}`", program(), quote(path));
    let (code, hint) = match error {
        Error::Exists { path } => {
            let hint = match RunDir::open(path) {
                Ok(_) => format!(
                    "{} to resume that run, or choose another --run-dir",
                    resume(path)
                ),
                Err(_) => "another --run-dir that is empty or does not exist".to_owned(),
            };
            (USAGE, hint)
        }
        Error::NoRun { .. } | Error::NotARun { .. } => {
            let hint = "the folder of a run that `s2s train` created";
            (USAGE, hint.to_owned())
        }
        Error::NoCheckpoint { path } | Error::Damaged { path, .. } => {
            (CHECKPOINT, checkpoint_hint(path))
        }
        Error::Busy { .. } | Error::FileBusy { .. } => return (BUSY, None),
        Error::Lost { path, now } => return (OTHER, lost_hint(path, now)),
        Error::Write { path, source } => (OTHER, write_hint(path, source)),
        Error::Read { path, .. } => {
            let hint = format!(
                "`ls -ld {}` shows whether it exists and who owns it",
                quote(path)
            );
            (OTHER, hint)
        }
        Error::Line { path, line, .. } => {
            let hint = format!("`sed -i {line}d {}` deletes that line", quote(path));
            (OTHER, hint)
        }
        Error::Json { path, .. } if is_required(path) => {
            let hint = format!(
                "the original {}: the run cannot be read without it",
                quote(path)
            );
            (OTHER, hint)
        }
        Error::Json { path, .. }
        | Error::NotRegular { path, .. }
        | Error::TooLarge { path, .. }
            if run_of(path).is_some() =>
        {
            let hint = format!(
                "restore the original, or move it away: `mv {0} {0}.bad`",
                quote(path)
            );
            (OTHER, hint)
        }
        Error::Lock { path, source } => (OTHER, lock_hint(path, source)),
        _ => return (OTHER, None),
    };
    (code, Some(hint))
}

/// The run folder that a file is in.
fn run_of(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| RunDir::open(path).is_ok())
}

fn is_finished(run: &Path) -> bool {
    read_json::<RunRecord>(run.join("run.json")).is_ok_and(|run| run.test.is_some())
}

/// Whether this command trains.
fn is_training() -> bool {
    let mut words = std::env::args_os().skip(1);
    words.any(|word| word == "train" || word == "resume")
}

/// Whether a run is useless without this file.
fn is_required(path: &Path) -> bool {
    ["corpus.json", "identity.json"]
        .iter()
        .any(|name| path.ends_with(name))
}

/// Hint for a checkpoint that is missing or damaged: the other one, if it can be read, or else to
/// continue training.
fn checkpoint_hint(path: &Path) -> String {
    let others = [("best", "last"), ("last", "best")];
    let other = others.iter().find(|(name, _)| path.ends_with(name));
    let run = path.parent().and_then(Path::parent).unwrap_or(path);
    match other {
        Some((_, other)) if read_checkpoint(path.with_file_name(other)).is_ok() => {
            let (program, run) = (program(), quote(run));
            let eval = format!("`{program} eval {run} --checkpoint {other}`");
            let train = match is_training() {
                true => {
                    format!(", or `{program} train --from {run}@{other}` for a new run from it")
                }
                false => String::new(),
            };
            format!("the other checkpoint, which is intact: {eval}{train}")
        }
        _ if is_finished(run) => {
            "a new run: this one is finished, and has no other checkpoint".to_owned()
        }
        _ => format!("`{} resume {}` trains it", program(), quote(run)),
    }
}

/// Hint if a run folder was deleted or moved: how to continue, as far as that is possible.
fn lost_hint(path: &Path, now: &Whereabouts) -> Option<String> {
    let continues = |path: &Path| {
        let last = path.join("checkpoints/last");
        let from = match exists(&last) {
            Ok(true) => format!("its last checkpoint, {}", quote(&last)),
            _ => "its start, since it has no checkpoint yet".to_owned(),
        };
        format!(
            "`{} resume {}` continues it from {from}",
            program(),
            quote(path)
        )
    };
    match now {
        Whereabouts::MovedTo(path) => Some(continues(path)),
        Whereabouts::Deleted if RunDir::open(path).is_ok() => Some(continues(path)),
        Whereabouts::Deleted if std::env::args_os().any(|word| word == "train") => Some(format!(
            "its checkpoints are gone too; `{}` starts again",
            command_line()
        )),
        Whereabouts::Deleted | Whereabouts::Unknown => {
            Some("the run folder from a backup, or a new run".to_owned())
        }
        Whereabouts::Claimed(_) => Some(format!(
            "the other process continues it; `{} watch {}` follows it. The file system of the folder \
             does not pass locks on to other machines",
            program(),
            quote(path)
        )),
    }
}

/// Hint for a run folder that cannot be locked.
fn lock_hint(path: &Path, error: &io::Error) -> String {
    let parent = path.parent().unwrap_or(path);
    let run = run_of(path).unwrap_or(parent);
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            let copy = run.file_name().unwrap_or_default();
            let copy = std::env::temp_dir().join(copy);
            format!(
                "`cp -r {} {}` copies the run to a disk that accepts writes",
                quote(run),
                quote(&copy)
            )
        }
        io::ErrorKind::PermissionDenied => {
            let [parent, path] = [parent, path].map(quote);
            format!("`ls -ld {parent} {path}` shows who owns them")
        }
        _ => "a run folder on a local disk; some network file systems do not support locks"
            .to_owned(),
    }
}

/// Hint for a file that cannot be written.
fn write_hint(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            return "a folder on a disk that accepts writes".to_owned();
        }
        io::ErrorKind::FileTooLarge => "raise the limit of file sizes, see `ulimit -f`",
        io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull => "free disk space",
        io::ErrorKind::PermissionDenied => "fix the permissions",
        _ => "free disk space or fix the permissions",
    };
    match run_of(path) {
        Some(run) if is_training() && !is_finished(run) => format!(
            "{remedy}, then `{} resume {}` continues the run from its last checkpoint",
            program(),
            quote(run)
        ),
        Some(_) => format!("{remedy}, then repeat `{}`", command_line()),
        None => format!("{remedy}, or choose another folder"),
    }
}
