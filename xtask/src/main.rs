//! The tasks of the repository: checks, golden files, benchmarks, comparisons, fault injection, fuzzing, and a thin
//! entry to the experiments of `s2s-lab`.
//!
//! It does not link candle, so that it builds in seconds. It runs the release binary of `s2s` as a
//! process.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a terminal tool: results on stdout, progress and errors on stderr"
)]

mod bench;
mod bless;
mod browser_test;
mod ci;
mod cluster_test;
mod docs;
mod experiment;
mod fuzz;
mod release;
mod reproduce;
mod scale;
mod side_by_side;
mod torture;
mod wheel;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// The tasks of the repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Ci(ci::Args),
    Experiment(experiment::Args),
    Bench(bench::Args),
    Torture(torture::Args),
    Fuzz(fuzz::Args),
    Bless(bless::Args),
    BrowserTest(browser_test::Args),
    Docs(docs::Args),
    Reproduce(reproduce::Args),
    Scale(scale::Args),
    SideBySide(side_by_side::Args),
    ClusterTest(cluster_test::Args),
    Wheel(wheel::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = enter_repository().and_then(|()| match args.task {
        Task::Ci(args) => ci::run(&args),
        Task::Experiment(args) => experiment::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Torture(args) => torture::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Bless(args) => bless::run(&args),
        Task::BrowserTest(args) => browser_test::run(&args),
        Task::Docs(args) => docs::run(&args),
        Task::Reproduce(args) => reproduce::run(&args),
        Task::Scale(args) => scale::run(&args),
        Task::SideBySide(args) => side_by_side::run(&args),
        Task::ClusterTest(args) => cluster_test::run(&args),
        Task::Wheel(args) => wheel::run(&args),
    });
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        let engine: Option<&s2s_lab::Error> = error.downcast_ref();
        if let Some(hint) = engine.and_then(s2s_lab::Error::hint) {
            eprintln!("  try: {hint}");
        }
        match error.is::<Usage>() || engine.is_some_and(s2s_lab::Error::is_usage) {
            true => ExitCode::from(2),
            false => ExitCode::FAILURE,
        }
    })
}

/// All paths in this crate are relative to the top of the repository, whatever the working directory
/// of the command.
fn enter_repository() -> Result<()> {
    // `cargo xtask` sets the variable; the fallback is for a binary that is started directly.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let top = package.parent().unwrap_or(Path::new("."));
    env::set_current_dir(top).with_context(|| format!("entering {}", top.display()))
}

/// The command line or a file must change. Exit code 2, like clap's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);
