//! `s2s train`.

use std::path::{Path, PathBuf};

use s2s_runlog::{Error as RunLogError, exists};
use s2s_train::{Error, ExperimentConfig, Result, Run, Runtime};

use crate::config::ConfigArgs;
use crate::machine::MachineArgs;
use crate::session;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s train
  s2s train --config configs/tiny.toml --run-dir runs/first
  s2s train --seed 1 --set model.hidden=128 --set train.teacher_forcing.ratio=1.0";

/// Train a model
///
/// Writes configuration, metrics, TensorBoard log, checkpoints and plots to the run folder. Ctrl-C
/// saves and stops; `s2s resume` then continues to the same bytes as an uninterrupted run. The
/// final report goes to standard output.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Run folder; must be new or empty [default: an unused name in runs/]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let config = args.config.load()?;
    let given = args.config.given()?;
    let runtime = args.machine.runtime()?;
    let run = match &args.run_dir {
        Some(dir) => Run::create(dir, config, &given, &runtime)?,
        None => create_named(args.config.config.as_deref(), config, &given, &runtime)?,
    };
    session::run(run, &runtime, ui)
}

/// Creates a run with the first unused name of `runs/tiny-seed0`, `runs/tiny-seed0-2` and so on.
fn create_named(
    file: Option<&Path>,
    config: ExperimentConfig,
    given: &str,
    runtime: &Runtime,
) -> Result<Run> {
    let stem = file.and_then(Path::file_stem).unwrap_or("default".as_ref());
    let name = format!("{}-seed{}", stem.to_string_lossy(), config.seed);
    let mut path = Path::new("runs").join(&name);
    let mut number = 1;
    loop {
        if !exists(&path)? {
            match Run::create(&path, config.clone(), given, runtime) {
                // Another process has just taken this name.
                Err(Error::RunLog(RunLogError::Exists { .. } | RunLogError::Busy { .. })) => {}
                result => return result,
            }
        }
        number += 1;
        path.set_file_name(format!("{name}-{number}"));
    }
}
