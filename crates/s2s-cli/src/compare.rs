//! `s2s compare`.

use std::path::{Path, PathBuf};

use s2s_lab::SideBySide;
use s2s_runlog::{RunDir, write_file};

use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s compare runs/default-seed0 runs/default-seed1
  s2s compare runs/experiments/widths/*-seed0-* --csv > widths.csv
  s2s compare runs/experiments/widths/*-seed* --html widths.html
  s2s report runs/default-seed0 runs/default-seed1     their curves, in one page";

/// Compare runs: what differs in their configurations, their results and their times
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run folders
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    runs: Vec<PathBuf>,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page instead, with the runs to sort and filter, and their curves
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "json"])]
    html: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let dirs = args.runs.iter().map(RunDir::open);
    let dirs: Vec<RunDir> = dirs.collect::<Result<_, _>>()?;
    let all = SideBySide::read(&dirs).map_err(anyhow::Error::msg)?;
    if let Some(file) = &args.html {
        let page = all.page(file.parent().unwrap_or(Path::new("")));
        write_file(file, page.html().as_bytes())?;
        ui.message(format!("page: {}", file.display()));
        return Ok(0);
    }
    ui.data(&match (args.csv, args.json) {
        (true, _) => all.csv(),
        (_, true) => serde_json::to_string_pretty(&all)? + "\n",
        _ => all.text(),
    })?;
    Ok(0)
}
