//! The experiments of `configs/experiments/`, by name. The engine is `s2s-lab`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use s2s_lab::{
    Options, Plan, Select, collect, publish_report, resolve_with, run_experiment, summary,
    write_report,
};
use s2s_runlog::list_folder;

use crate::{Usage, release};

const FOLDER: &str = "configs/experiments";

/// Train a grid of runs, evaluate them, and write a report with plots
///
/// The same as `s2s experiment configs/experiments/NAME.toml` with the release binary, which is built
/// first. Finished runs are skipped and interrupted runs are resumed. Nothing is ever deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask experiment              # the default one: about five minutes
  cargo xtask experiment default --jobs 2
  cargo xtask experiment deepmind --jobs 2 --publish

Output in runs/experiments/NAME/:
  report.md report.json               the result
  cells.csv runs.csv                  a row for each cell and metric, and for each run
  lengths.csv                         results by length, if there are evaluations by length
  plots/                              the curves, as SVG and PNG
  <cell>-seed<k>-<hash>/              a run, as `s2s train` writes it
  logs/<cell>-seed<k>.log             the output of `s2s`")]
pub(crate) struct Args {
    /// Name of a file in configs/experiments/, without its extension
    #[arg(default_value = "default")]
    name: String,

    /// Runs at a time; a single run uses all cores, parallel runs use one thread each
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,

    /// Use this `s2s` instead of building one; relative to the top of the repository
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// Continue although the experiment file was changed since it was started
    #[arg(long)]
    accept_changes: bool,

    /// Also write report and plots to configs/experiments/reports/NAME/, to be committed
    #[arg(long)]
    publish: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let path = find(Path::new(FOLDER), &args.name)?;
    let folder = Plan::default_folder(&path);
    let s2s = match &args.binary {
        Some(path) => path.clone(),
        None => release::build()?,
    };
    let plan = Plan::read(path, folder, &resolve_with(&s2s))?;
    let options = Options {
        s2s: &s2s,
        parallel: args.jobs,
        threads: None,
        select: Select::All,
        keeps_going: false,
        accepts_changes: args.accept_changes,
        is_lean: false,
        signal: None,
    };
    run_experiment(&plan, &options, &|event| eprintln!("{event}"))?;
    let report = collect(plan)?;
    println!("{}", summary(&report));
    println!("report: {}", write_report(&report)?.display());
    if args.publish {
        let folder = Path::new(FOLDER).join("reports").join(&args.name);
        let path = publish_report(&report, &folder)?;
        println!("published: {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of an experiment.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let files = list_folder(folder)?;
    let names = files.iter().filter_map(|file| file.to_str());
    let names: Vec<&str> = names
        .filter_map(|file| file.strip_suffix(".toml"))
        .collect();
    if names.contains(&name) {
        return Ok(folder.join(format!("{name}.toml")));
    }
    let (folder, names) = (folder.display(), names.join(", "));
    let message = format!("there is no experiment {name:?}\nin {folder}/: {names}");
    Err(Usage(message).into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_error_for_an_unknown_name_lists_the_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["default.toml", "lengths.toml", "notes.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let message = find(folder.path(), "x").unwrap_err().to_string();
        assert!(message.ends_with(": default, lengths"), "{message}");
    }
}
