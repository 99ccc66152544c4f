//! The run directory: what stands in it, and the safe writing and reading of it.
//!
//! ```
//! use s2s_runlog::{CheckpointName, JsonLines, RunDir, TimingRecord, read_checkpoint, read_lines, write_checkpoint};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let run = RunDir::create(folder.path().join("first"))?;
//! let _lock = run.lock()?; // another process is refused, and told who holds the run
//!
//! let mut timing = JsonLines::create(run.timing())?;
//! let record = TimingRecord { step: 1, elapsed_secs: 0.5, train_secs: 0.4, eval_secs: 0.1, tokens_per_second: 9e4 };
//! timing.append(&record)?;
//! timing.sync()?; // lines first, then the checkpoint that counts on them
//!
//! let last = run.checkpoint(CheckpointName::Last);
//! write_checkpoint(&last, &[("params.safetensors", b"...".as_slice())])?;
//!
//! assert_eq!(read_lines::<TimingRecord>(run.timing())?, [record]);
//! assert_eq!(read_checkpoint(&last)?.file("params.safetensors")?, b"...");
//! # Ok(())
//! # }
//! ```
//!
//! Whatever stands under its final name is whole: a file or a checkpoint is written under another
//! name, made durable, and then renamed. A checkpoint's every byte is covered by a SHA-256, and
//! reading one neither waits on a FIFO, nor follows a symbolic link, nor takes more memory than the
//! files are large.
//!
//! What it does not do: it knows no tensors (a checkpoint's files are bytes), no configuration (their
//! formats are the trainer's), and it decides nothing. It does not guard against somebody who
//! rewrites a checkpoint together with its hashes, and it does not keep two writers apart unless
//! both take the [`RunLock`].

mod atomic;
mod draft;
mod error;
mod fs;
mod interval;
mod layout;
mod lengths;
mod manifest;
#[cfg(all(test, target_os = "linux"))]
mod power_loss;
mod read;
mod record;
mod write;

pub use draft::Draft;
pub use error::{Damage, Error, Result};
pub use interval::wilson;
pub use layout::{CheckpointName, RunDir, RunLock};
pub use lengths::{
    DecodingMode, LengthRange, LengthRecord, LengthSums, LengthTiming, Lengths, LengthsError,
    LengthsMean, LengthsRecord, LengthsRequest, MAX_LENGTH, Protocol,
};
pub use read::{
    Checkpoint, behind_links, list_folder, open_stream, read_checkpoint, read_file, read_json,
    read_lines, system_file,
};
pub use record::{
    AttentionRecord, CorpusFile, CorpusRecord, Environment, EvalRecord, LogFailure, MetricsRecord,
    RunRecord, RunStatus, TimingRecord,
};
pub use write::{
    GrowingFile, JsonLines, settle_checkpoint, write_checkpoint, write_csv, write_file, write_json,
};

/// The files of one checkpoint together may not be larger: 16 GiB.
pub const MAX_CHECKPOINT_BYTES: u64 = 16 << 30;

/// A file of records may not be larger: 1 GiB.
pub const MAX_RECORDS_BYTES: u64 = 1 << 30;
