//! The command line of s2s: train, resume, evaluate, predict, plot.
//!
//! ```sh
//! s2s train --run-dir runs/first --set train.max_steps=500    # records, plots and checkpoints in the folder
//! s2s predict runs/first 3 1 4 1 5
//! s2s eval runs/first --lengths 1..20
//! ```
//!
//! `s2s help` lists the commands, and each has examples in its `--help`. A subcommand is a module of its name: it
//! parses its options, calls the libraries, and hands the result to [`ui`]. Everything that a program of your own
//! needs is in those: `s2s-train` to train and to ask, `s2s-lab` for many runs, `s2s-viz` for plots. This crate
//! deliberately exports nothing.
//!
//! Standard output carries data, standard error carries messages; only [`ui`] writes to them.

mod automaton;
mod average;
mod bench;
mod checkpoint;
mod clean;
mod compare;
mod completions;
mod config;
mod dashboard;
mod data;
mod decoding;
mod eval;
mod experiment;
mod export;
mod failure;
mod import;
mod machine;
mod man;
mod page;
mod picture;
mod playground;
mod plot;
mod predict;
mod progress;
mod report;
mod report_file;
mod resume;
mod runs;
mod score;
mod session;
mod shell;
mod signals;
mod stream;
mod sweep;
mod train;
mod ui;
mod usage;
mod watch;

use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Parser, Subcommand};
use s2s_kernels::slices::Team;

use crate::ui::Ui;

/// Allocates weights, gradients and activations in large pages.
#[global_allocator]
static ALLOCATOR: s2s_kernels::LargePages = s2s_kernels::LargePages;

/// Stack size of threads that may hold an autograd graph, for which the system's default is too
/// small.
const STACK_BYTES: usize = s2s_model::REFERENCE_STACK_BYTES;

const EXAMPLES: &str = "\
Examples:
  s2s train                            train with the default configuration
  s2s predict runs/default-seed0 3 1 4 run the trained model
  s2s resume runs/default-seed0        resume after Ctrl-C

Exit codes:
  0  success
  1  other failures, such as an unreadable file or an invalid line of input
  2  invalid usage or configuration
  3  the checkpoint is missing, damaged or does not match the run
  4  training diverged
  5  another process is using the run folder, or the file of --output
  129, 130, 138, 143  stopped by SIGHUP, Ctrl-C, SIGUSR1 or SIGTERM; `resume` continues the run

Environment variables:
  S2S_SIMD  narrower instruction set of the CPU: portable, avx2 or avx512; changes the last digits of
            results (see docs/devices.md)";

/// Train sequence-to-sequence models with attention on synthetic tasks or parallel text
///
/// Results go to standard output, everything else to standard error. Respects NO_COLOR, CLICOLOR
/// and RUST_LOG.
#[derive(Parser)]
#[command(name = "s2s", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    /// More output (-vv for debug)
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Args),
    Resume(resume::Args),
    Watch(watch::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Score(score::Args),
    Average(average::Args),
    Automaton(automaton::Args),
    Plot(plot::Args),
    Report(report_file::Args),
    Playground(playground::Args),
    Export(export::Args),
    Import(import::Args),
    Experiment(experiment::Args),
    Sweep(sweep::Args),
    Runs(runs::Args),
    Compare(compare::Args),
    Clean(clean::Args),
    Config(config::Args),
    Data(data::Args),
    Bench(bench::Args),
    Completions(completions::Args),
    Man(man::Args),
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| usage_error(error).exit());
    if !matches!(cli.command, Command::Experiment(_) | Command::Sweep(_)) {
        remember_cores(); // other processes, perhaps on other machines, inherit the variables of these
    }
    let verbosity = cli.verbose;
    let ui = Ui::start(verbosity);
    let worker = {
        let ui = ui.clone();
        std::thread::Builder::new()
            .name("command".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&cli.command, &ui))
    };
    let result = match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => Err(error.into()),
    };
    let code = result.unwrap_or_else(|error| failure::report(&error, &ui));
    if let Some(mib) = usage::peak_mib().filter(|_| verbosity > 1) {
        ui.message(format!("peak memory {mib:.1} MiB"));
    }
    ExitCode::from(code)
}

/// Counts the cores once. candle reads this variable at every matrix product, and without it all of
/// `/proc/cpuinfo`, which takes most of the time of a small model in tensor operations.
#[expect(unsafe_code, reason = "a variable can be set in no other way")]
fn remember_cores() {
    const VARIABLE: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_none() {
        let cores = Team::<f32>::of_candle().threads().to_string();
        // SAFETY: this is called before the process has a second thread.
        unsafe { std::env::set_var(VARIABLE, cores) };
    }
}

/// A usage error without clap's advice to pass a misspelled option as a value, `-- --option`, which no
/// command accepts.
fn usage_error(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument {
        let is_value = |tip: &StyledStr| tip.to_string().contains("-- -");
        if let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) {
            tips.retain(|tip| !is_value(tip));
            if !tips.is_empty() {
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
            }
        }
    }
    error
}

/// Runs a command and returns its exit code.
fn run(command: &Command, ui: &Ui) -> anyhow::Result<u8> {
    signals::prepare()?;
    s2s_kernels::instruction_set().map_err(failure::Usage)?; // S2S_SIMD may be invalid
    match command {
        Command::Train(args) => train::run(args, ui),
        Command::Resume(args) => resume::run(args, ui),
        Command::Watch(args) => watch::run(args, ui),
        Command::Eval(args) => eval::run(args, ui),
        Command::Predict(args) => predict::run(args, ui),
        Command::Score(args) => score::run(args, ui),
        Command::Average(args) => average::run(args, ui),
        Command::Automaton(args) => automaton::run(args, ui),
        Command::Plot(args) => plot::run(args, ui),
        Command::Report(args) => report_file::run(args, ui),
        Command::Playground(args) => playground::run(args, ui),
        Command::Export(args) => export::run(args, ui),
        Command::Import(args) => import::run(args, ui),
        Command::Experiment(args) => experiment::run(args, ui),
        Command::Sweep(args) => sweep::run(args, ui),
        Command::Runs(args) => runs::run(args, ui),
        Command::Compare(args) => compare::run(args, ui),
        Command::Clean(args) => clean::run(args, ui),
        Command::Config(args) => config::run(args, ui),
        Command::Data(args) => data::run(args, ui),
        Command::Bench(args) => bench::run(args, ui),
        Command::Completions(args) => completions::run(args, ui),
        Command::Man(args) => man::run(args, ui),
    }
}
