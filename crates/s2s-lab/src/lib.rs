//! Experiments with many runs: train a grid of configurations over several seeds, evaluate the runs,
//! and compare them in a report.
//!
//! ```text
//! FILE.toml ─> Plan ─> Job (one per cell and seed) ─> s2s (one process per job) ─> Outcome ─> Report
//! ```
//!
//! `s2s experiment FILE` and `cargo xtask experiment NAME` are thin wrappers around [`run_experiment`]:
//!
//! ```no_run
//! use std::num::NonZeroUsize;
//! use std::path::Path;
//!
//! let plan = s2s_lab::Plan::read("widths.toml", "runs/experiments/widths")?;
//! let report = s2s_lab::run_experiment(plan, Path::new("s2s"), NonZeroUsize::MIN, &|event| {
//!     eprintln!("{event}");
//! })?;
//! println!("{}", s2s_lab::summary(&report));
//! println!("report: {}", s2s_lab::write_report(&report)?.display());
//! # Ok::<(), s2s_lab::Error>(())
//! ```
//!
//! Finished runs are skipped and interrupted runs are resumed, so the same call continues an
//! experiment after a failure. Nothing is ever deleted.
//!
//! This crate starts `s2s` as a process and reads the run directories that it writes. It does not link
//! the model or the trainer, it does not print, and it does not interpret a configuration: `s2s config`
//! validates it.

mod compare;
mod date;
mod error;
mod event;
mod experiment;
mod launch;
mod lengths;
mod measure;
mod outcome;
mod pattern;
mod plan;
pub mod process;
mod render;
mod report;
mod settings;
mod state;
pub mod statistics;

pub use compare::{Compare, Difference};
pub use date::utc_date;
pub use error::{Error, Result};
pub use event::{Event, Task};
pub use experiment::run_experiment;
pub use lengths::{LengthGroup, Published};
pub use measure::{Curve, Metric};
pub use outcome::{LengthOutcome, Outcome};
pub use plan::{Cell, Experiment, Job, Plan};
pub use render::{publish_report, summary, write_report};
pub use report::Report;
pub use settings::Settings;
