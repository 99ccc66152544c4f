//! `s2s experiment`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use s2s_lab::{Plan, run_experiment, summary, write_report};

use crate::failure::{Hinted, Usage};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s experiment configs/experiments/default.toml
  s2s experiment widths.toml --jobs 2 --out runs/widths

An experiment file:
  title = \"Widths\"
  question = \"Does a wider encoder help?\"
  config = \"configs/tiny.toml\"                 # relative to the working directory
  seeds = [0, 1]
  plots = [\"val_loss\", \"val_exact_match\"]
  table = [\"exact_match\", \"loss\", \"train_secs\"]
  [[cell]]
  name = \"base\"
  [[cell]]
  name = \"wide\"
  set = [\"model.hidden=32\", \"model.decoder=64\"]

Output in the folder of the experiment:
  report.md report.json     the result
  lengths.csv               results by length, if the file asks for them
  plots/                    the curves, as SVG and PNG
  <cell>-seed<k>/           a run, as `s2s train` writes it
  logs/<cell>-seed<k>.log   the output of the run";

/// Train a grid of configurations over several seeds and compare them in a report
///
/// The file lists the configurations (cells), the seeds, and what to plot and tabulate. Each run is
/// a process of its own. Finished runs are skipped and interrupted runs are resumed, so the same
/// command continues an experiment. Nothing is ever deleted.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Experiment file, in TOML
    file: PathBuf,
    /// Folder for the runs and the report [default: runs/experiments/NAME, after the file]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Runs at a time; a single run uses all cores, parallel runs use one thread each
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let folder = args.out.clone();
    let folder = folder.unwrap_or_else(|| Plan::default_folder(&args.file));
    let plan = Plan::read(&args.file, folder).map_err(explain)?;
    let s2s = std::env::current_exe().context("cannot find the executable of this process")?;
    let report =
        run_experiment(plan, &s2s, args.jobs, &|event| ui.message(event)).map_err(explain)?;
    let path = write_report(&report).map_err(explain)?;
    ui.data(&format!(
        "{}\nreport: {}\n",
        summary(&report),
        path.display()
    ))?;
    Ok(0)
}

/// The exit code and the hint of an experiment's error.
fn explain(error: s2s_lab::Error) -> anyhow::Error {
    match (error.is_usage(), error.hint()) {
        (true, _) => Usage(error.to_string()).into(),
        (false, Some(hint)) => Hinted {
            what: error.to_string(),
            hint: hint.to_owned(),
        }
        .into(),
        (false, None) => error.into(),
    }
}
