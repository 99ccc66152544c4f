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
//! use s2s_lab::{Options, Plan, Select, collect, resolve_with, run_experiment};
//!
//! let s2s = Path::new("s2s");
//! let plan = Plan::read("widths.toml", "runs/experiments/widths", &resolve_with(s2s))?;
//! let options = Options {
//!     s2s,
//!     parallel: NonZeroUsize::MIN,
//!     threads: None,
//!     select: Select::All,
//!     keeps_going: false,
//!     accepts_changes: false,
//!     is_lean: false,
//! };
//! run_experiment(&plan, &options, &|event| eprintln!("{event}"))?;
//! let report = collect(plan)?;
//! println!("{}", s2s_lab::summary(&report));
//! println!("report: {}", s2s_lab::write_report(&report)?.display());
//! # Ok::<(), s2s_lab::Error>(())
//! ```
//!
//! Finished runs are skipped and interrupted runs are resumed, so the same call continues an
//! experiment after a failure. Nothing is deleted, unless finished runs are to be lean.
//!
//! This crate starts `s2s` as a process and reads the run directories that it writes. It does not link
//! the model or the trainer, it does not print, and it does not interpret a configuration: `s2s config`
//! validates it.

mod budget;
mod compare;
mod date;
mod emit;
mod error;
mod event;
mod experiment;
mod grid;
mod halving;
mod hq;
mod identity;
mod launch;
mod lengths;
mod measure;
mod outcome;
mod parallel;
mod pattern;
mod plan;
pub mod process;
mod render;
mod report;
mod runs;
mod search;
mod settings;
mod side_by_side;
mod slurm;
mod started;
mod state;
pub mod statistics;
mod status;
mod sweep;

pub use budget::Budget;
pub use compare::{Compare, Difference};
pub use date::utc_date;
pub use emit::commands;
pub use error::{Error, Result};
pub use event::{Event, Task};
pub use experiment::{Options, Select, collect, run_experiment};
pub use halving::Halving;
pub use hq::HyperQueue;
pub use launch::resolve_with;
pub use lengths::{LengthGroup, Published};
pub use measure::{Curve, Metric};
pub use outcome::{LengthOutcome, Outcome};
pub use plan::{Cell, Experiment, Job, Plan, Resolve};
pub use render::{publish_report, summary, write_report};
pub use report::Report;
pub use runs::{Filter, ListedRun, find_runs, is_setting, sort_runs, written};
pub use settings::Settings;
pub use side_by_side::{SideBySide, SideBySideRow};
pub use slurm::Slurm;
pub use status::{Status, status};
pub use sweep::Sweep;
