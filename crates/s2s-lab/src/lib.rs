//! Experiments with many runs: train a grid of configurations over several seeds, evaluate the runs,
//! and compare them in a report.
//!
//! ```text
//! FILE.toml ─> Plan ─> Job (one per cell and seed) ─> s2s (one process per job) ─> Outcome ─> Report
//! ```
//!
//! An experiment file ([`Experiment`]) lists *cells*, the configurations to compare, and seeds. A [`Job`] is
//! one cell with one seed: one process of `s2s` trains it in a run folder of its own. A [`Plan`] is the file
//! with the folder for its runs. [`run_experiment`] does what is left to do, [`collect`] reads the results,
//! and [`write_report`] writes tables and plots:
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
//!     signal: None,
//! };
//! run_experiment(&plan, &options, &|event| eprintln!("{event}"))?;
//! let report = collect(plan)?;
//! println!("{}", s2s_lab::summary(&report));
//! println!("report: {}", s2s_lab::write_report(&report)?.display());
//! # Ok::<(), s2s_lab::Error>(())
//! ```
//!
//! Finished runs are skipped and interrupted runs are resumed, so the same call continues an
//! experiment after a failure. Nothing is deleted, unless [`Options::is_lean`] is set.
//!
//! [`Slurm`], [`HyperQueue`] and [`commands`] give the runs to another program that starts them; [`status()`]
//! shows how far they are. [`find_runs`] and [`SideBySide`] are for runs of any origin.
//!
//! This crate starts `s2s` as a process and reads the run directories that it writes. It does not link
//! the model or the trainer, it does not print, and it does not interpret a configuration: `s2s config`
//! validates it.

mod budget;
mod cell;
mod compare;
mod comparison;
mod cost;
mod date;
mod emit;
mod error;
mod event;
mod experiment;
mod failure;
mod grid;
mod halving;
mod hq;
mod identity;
mod launch;
mod lengths;
mod measure;
mod options;
mod outcome;
mod parallel;
mod pattern;
mod plan;
pub mod process;
mod record;
mod render;
mod report;
mod rungs;
mod runs;
mod search;
mod select;
mod settings;
mod side_by_side;
mod slurm;
mod started;
mod state;
pub mod statistics;
mod status;
mod submitted;
mod sweep;

pub use budget::Budget;
pub use cell::{Cell, Job};
pub use compare::Difference;
pub use comparison::Compare;
pub use date::utc_date;
pub use emit::{RunCommand, commands};
pub use error::{Error, Result, chain};
pub use event::{Event, RunPosition, count, duration};
pub use experiment::{collect, run_experiment};
pub use halving::Halving;
pub use hq::HyperQueue;
pub use launch::{FORWARDED_SIGNALS, resolve_with};
pub use lengths::{DecodingModes, LengthGroup, Published};
pub use measure::{Curve, Metric};
pub use options::Options;
pub use outcome::{LengthOutcome, Outcome};
pub use plan::{Experiment, Plan, Resolve};
pub use render::{publish_report, summary, write_report};
pub use report::Report;
pub use runs::{Filter, ListedRun, find_runs, is_setting, sort_runs, written};
pub use select::Select;
pub use settings::Settings;
pub use side_by_side::{SideBySide, SideBySideRow};
pub use slurm::Slurm;
pub use started::check_unchanged;
pub use status::{CellStatus, Status, status};
pub use sweep::Sweep;
