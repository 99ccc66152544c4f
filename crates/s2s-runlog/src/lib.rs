//! The run directory: its files, their formats, and safe reading and writing.
//!
//! A run is one training of a model. All its files are in one folder; [`RunDir`] describes them and returns
//! their paths. Most are JSON: one record per file ([`read_json`]) or one record per line ([`read_lines`]).
//!
//! ```no_run
//! use s2s_runlog::{MetricsRecord, RunDir, RunRecord, read_json, read_lines};
//!
//! # fn main() -> s2s_runlog::Result<()> {
//! let run = RunDir::open("runs/default-seed0")?;
//! let result: RunRecord = read_json(run.run())?;
//! let metrics: Vec<MetricsRecord> = read_lines(run.metrics())?;
//! println!("{} at step {}, {} evaluations", result.status.name(), result.step, metrics.len());
//! # Ok(())
//! # }
//! ```
//!
//! A process that writes to a run holds its lock:
//!
//! ```
//! use s2s_runlog::{
//!     CheckpointName, JsonLines, RunDir, TimingRecord, read_checkpoint, read_lines, write_checkpoint,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let run = RunDir::create(folder.path().join("first"))?;
//! let _lock = run.lock()?; // a second process gets an error that names this one
//!
//! let mut timing = JsonLines::create(run.timing())?;
//! let record = TimingRecord {
//!     step: 1,
//!     elapsed_secs: 0.5,
//!     train_secs: 0.4,
//!     eval_secs: 0.1,
//!     tokens_per_second: 9e4,
//! };
//! timing.append(&record)?;
//! timing.sync()?; // before the checkpoint of the same step
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
//! In all records, losses are in nats per token, accuracies and other shares are in `[0, 1]`, and times are
//! wall times in seconds. Numbers are finite and keep every bit when they are written and read again. Wall
//! times, throughputs, [`Environment`] and [`Identity`] differ between two runs of the same configuration and
//! seed.
//!
//! A file under its final name is always complete: files and checkpoints are written under a
//! temporary name, made durable, and then renamed. SHA-256 hashes cover every byte of a checkpoint.
//! Reading a run never blocks on a FIFO, never follows a symbolic link, and uses no more memory than
//! the files are large. Files that a user names may be of any kind ([`read_input`], [`open_stream`]).
//!
//! This crate deliberately does not know tensors (checkpoint files are bytes) or configurations (they
//! are text). It does not detect a checkpoint that was modified together with its hashes, and it does
//! not separate two writers unless both take the [`RunLock`].

mod atomic;
mod draft;
mod error;
mod failures;
mod fs;
mod interval;
mod layout;
mod lengths;
mod lock;
mod manifest;
mod parts;
#[cfg(all(test, target_os = "linux"))]
mod power_loss;
mod read;
mod record;
mod write;

pub use draft::Draft;
pub use error::{Damage, Error, Result, Whereabouts};
pub use failures::{
    Confusion, FailuresRecord, LengthCounts, PositionCounts, WrongOutput, WrongRecord,
};
pub use interval::wilson;
pub use layout::{CheckpointName, LATER_KEYS, RunDir, RunStart};
pub use lengths::{
    DecodingMode, LengthRange, LengthRecord, LengthSums, LengthTiming, Lengths, LengthsError,
    LengthsMean, LengthsRecord, LengthsRequest, MAX_LENGTH, Protocol,
};
pub use lock::RunLock;
pub use manifest::hex;
pub use parts::Part;
pub use read::{
    Checkpoint, exists, is_folder, is_regular, is_same, list_folder, modified, open_stream,
    read_checkpoint, read_file, read_input, read_json, read_lines, system_file,
};
pub use record::{
    AttemptRecord, AttentionRecord, BOS, ConfigChange, CorpusFile, CorpusRecord, EOS, Environment,
    EvalRecord, Identity, LogFailure, MetricsRecord, NBest, Parent, Processor, RunRecord,
    RunStatus, StepMetrics, TextScores, TimingRecord,
};
pub use write::{
    GrowingFile, JsonLines, Resumed, create_folder, open_log, remove_file, settle_checkpoint,
    write_checkpoint, write_csv, write_file, write_json,
};

/// Maximum size of all files of one checkpoint together: 16 GiB.
const MAX_CHECKPOINT_BYTES: u64 = 16 << 30;

/// Maximum size of a file of records: 1 GiB.
const MAX_RECORDS_BYTES: u64 = 1 << 30;
