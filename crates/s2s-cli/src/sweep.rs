//! `s2s sweep`.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use s2s_lab::Sweep;
use s2s_runlog::{create_folder, write_file};

use crate::experiment::{self, How};
use crate::failure::Usage;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s sweep --vary model.hidden=32,64 --seeds 5
  s2s sweep --config configs/tiny.toml --vary model.attention.kind=additive,ntm \\
      --vary model.cell=gru,lstm --seeds 5 --jobs 2 --dry-run

The folder of the runs contains the equivalent experiment.toml, which `s2s experiment` continues.";

/// Train every combination of some keys' values, over several seeds
///
/// The same as `s2s experiment` with a file that has a `[matrix]`; it writes this file too. Repeat the
/// command to continue.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Configuration that all runs start from [default: the built-in one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A key and its values; may be repeated for every combination
    #[arg(long, value_name = "KEY=A,B", required = true)]
    vary: Vec<String>,
    /// Change one key in all runs; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Number of seeds
    #[arg(long, value_name = "N", default_value = "3")]
    seeds: NonZeroU64,
    /// Folder for the runs and the report [default: runs/experiments/NAME, after the keys]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let sweep = Sweep {
        config: args.config.clone(),
        set: args.set.clone(),
        vary: args.vary.clone(),
        n_seeds: args.seeds.get(),
    };
    let text = sweep.experiment_file().map_err(Usage)?;
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => Path::new("runs/experiments").join(sweep.name().map_err(Usage)?),
    };
    // Beside experiment.toml, which is the file as it was started: the check compares the two.
    let file = folder.join("sweep.toml");
    let plan = experiment::parse(&file, text, folder.clone())?;
    if !args.how.dry_run {
        create_folder(&folder)?;
        write_file(&file, plan.text.as_bytes())?;
    }
    experiment::run_plan(plan, &args.how, ui)
}
