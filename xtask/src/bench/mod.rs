//! Benchmarks.
//!
//! ```text
//! race      CONTESTS: ours, rivals, rivals, ours, ... one process each ─> Line ─> Measured ─> table
//! scaling   AXES: one size at a time ─> time compared with the cost model ─> table, plot
//! overhead  CASES: one short run each ─> shares of its time ─> table
//! ```

mod contest;
mod overhead;
mod process;
mod race;
mod scaling;
pub(crate) mod setting;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use s2s_runlog::write_file;
use serde::Serialize;

use self::contest::CONTESTS;
use self::process::Programs;
use crate::release;

/// Compare training steps and decoding with other implementations and with the cost model
///
/// The others are the reference path on candle's operators and, with --torch and --jax, PyTorch and JAX
/// with the same model. They run on one pinned thread; the table has the median processor time of all rounds. Two
/// threads are compared with one by wall time, which needs an idle machine. `scaling` compares the
/// time of a step with the cost model while one size grows; `overhead` measures the time that a run
/// spends outside the model. Both exit with 1 if their bound is exceeded.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench
  cargo xtask bench --torch .venv/bin/python      # scripts/torch_peer.py lists its requirements
  cargo xtask bench --torch .venv/bin/python --jax .venv/bin/python --only notebook-beam
  cargo xtask bench --only notebook-step --n 3
  cargo xtask bench --only scaling --only overhead

Output in runs/bench: speed, scaling and overhead as .md and .json, scaling.svg and scaling.png.")]
pub(crate) struct Args {
    /// A Python with PyTorch, to compare with
    #[arg(long, value_name = "PYTHON")]
    torch: Option<PathBuf>,

    /// A Python with JAX, to compare with
    #[arg(long, value_name = "PYTHON")]
    jax: Option<PathBuf>,

    /// Measure only this; may be repeated
    #[arg(long, value_name = "NAME", value_parser = names())]
    only: Vec<String>,

    /// Iterations per process; ten times as many for single sequences
    #[arg(long, value_name = "N", default_value = "5")]
    n: NonZeroUsize,

    /// Processes per contestant
    #[arg(long, value_name = "N", default_value = "3")]
    rounds: NonZeroUsize,
}

const SCALING: &str = "scaling";
const OVERHEAD: &str = "overhead";

const FOLDER: &str = "runs/bench";

fn names() -> Vec<&'static str> {
    let contests = CONTESTS.iter().map(|contest| contest.name);
    contests.chain([SCALING, OVERHEAD]).collect()
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let programs = Programs::find(release::build()?, args.torch.clone(), args.jax.clone());
    fs::create_dir_all(FOLDER).with_context(|| format!("creating {FOLDER}"))?;
    let mut is_good = true;
    race(args, &programs)?;
    if args.wants(SCALING) {
        is_good &= scaling(args, &programs)?;
    }
    if args.wants(OVERHEAD) {
        is_good &= overhead(&programs)?;
    }
    Ok(match is_good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn race(args: &Args, programs: &Programs) -> Result<()> {
    let wanted: Vec<_> = CONTESTS
        .iter()
        .filter(|contest| args.wants(contest.name))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let before = setting::load();
    let mut outcomes = Vec::new();
    for contest in wanted {
        outcomes.extend(race::run(
            contest,
            programs,
            args.rounds.get(),
            args.n.get(),
        )?);
    }
    if outcomes.is_empty() {
        bail!("these contests are against PyTorch and JAX; add --torch PYTHON or --jax PYTHON");
    }
    let setting = setting::line(programs, &before)?;
    write("speed", &race::page(&outcomes, &setting), &outcomes)
}

fn scaling(args: &Args, programs: &Programs) -> Result<bool> {
    let before = setting::load();
    let curves = scaling::measure(programs, args.n.get())?;
    let setting = setting::line(programs, &before)?;
    let figure = scaling::plot(&curves).draw()?;
    let folder = Path::new(FOLDER);
    write_file(folder.join("scaling.svg"), figure.svg().as_bytes())?;
    write_file(folder.join("scaling.png"), &figure.png().bytes)?;
    write(SCALING, &scaling::page(&curves, &setting), &curves)?;
    Ok(curves.iter().all(scaling::Curve::is_as_predicted))
}

fn overhead(programs: &Programs) -> Result<bool> {
    let before = setting::load();
    let spent = overhead::measure(programs, Path::new(FOLDER))?;
    let setting = setting::line(programs, &before)?;
    write(OVERHEAD, &overhead::page(&spent, &setting), &spent)?;
    Ok(spent.iter().all(overhead::Spent::is_within_bound))
}

/// Prints a page, and writes it and its numbers.
fn write(name: &str, page: &str, numbers: &impl Serialize) -> Result<()> {
    let path = Path::new(FOLDER).join(name);
    let json = serde_json::to_string_pretty(numbers)? + "\n";
    write_file(path.with_extension("json"), json.as_bytes())?;
    write_file(path.with_extension("md"), page.as_bytes())?;
    println!("{page}");
    eprintln!("written: {}", path.with_extension("md").display());
    Ok(())
}
