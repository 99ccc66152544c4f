//! Many runs, and the checks of the repository.
//!
//! It links no candle, so that it builds in seconds; training is left to the release `s2s`, which
//! it starts as a process for each run.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for the terminal: results on stdout, talk on stderr"
)]

mod bench;
mod bless;
mod ci;
mod experiment;
mod fuzz;
mod torture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fmt};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Many runs, and the checks of the repository.
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
    });
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        match error.is::<Usage>() {
            true => ExitCode::from(2),
            false => ExitCode::FAILURE,
        }
    })
}

/// Every path below is relative to the top of the repository, wherever the command was given.
fn enter_repository() -> Result<()> {
    // Cargo says where it found this package; the fallback serves a binary started by hand.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let top = package.parent().unwrap_or(Path::new("."));
    env::set_current_dir(top).with_context(|| format!("entering {}", top.display()))
}

/// What was asked for cannot be done: the command or a file has to change. Exit code 2, as clap's.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}
