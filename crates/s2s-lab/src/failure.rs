//! Why runs failed, for whoever looks later: a file for each run in `logs/`.

use std::path::PathBuf;

use s2s_runlog::{read_file, write_file};

use crate::cell::Job;
use crate::{Error, Result};

const MAX_BYTES: u64 = 1 << 16;

/// The file with the reason of a run's last failure; empty if it was started again since.
fn path(job: &Job) -> PathBuf {
    let logs = job.folder.with_file_name("logs");
    logs.join(format!("{}.failure", job.name()))
}

/// Forgets the last failure.
pub(crate) fn clear(job: &Job) -> Result<()> {
    Ok(write_file(path(job), b"")?)
}

/// Records a failure. It is reported in any case, so an error of the file changes nothing.
pub(crate) fn record(job: &Job, error: &Error) {
    let reason = match error {
        Error::Run { reason, status, .. } => match reason {
            Some(reason) => format!("{reason} ({status})"),
            None => status.to_string(),
        },
        error => error.to_string(),
    };
    let _ = write_file(path(job), reason.as_bytes());
}

/// The reason of the last failure.
pub(crate) fn read(job: &Job) -> Option<String> {
    let bytes = read_file(path(job), MAX_BYTES).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
