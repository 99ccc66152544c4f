//! `s2s clean`.

use std::path::PathBuf;

use s2s_lab::{count, find_runs};
use s2s_runlog::{Part, RunDir, RunRecord, read_json};
use s2s_viz::Table;

use crate::runs::existing;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s clean                                       what uses the space; deletes nothing
  s2s clean runs/experiments/widths --delete plots,page,events
  s2s clean runs/old --delete last                the runs can then not be resumed or extended";

/// Show what uses disk space in a folder of runs, and delete what --delete names
///
/// Without --delete, nothing is deleted. Runs that are not finished, or that a process is using, are
/// never touched. Configuration, metrics and results always stay.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder to search
    #[arg(value_name = "DIR", default_value = "runs")]
    dir: PathBuf,
    /// Parts to delete: plots, page, events, last, best
    #[arg(long, value_name = "PART,...", value_delimiter = ',', value_parser = parse)]
    delete: Vec<Part>,
}

fn parse(text: &str) -> Result<Part, String> {
    let found = Part::ALL.into_iter().find(|part| part.name() == text);
    let names = Part::ALL.map(Part::name).join(", ");
    found.ok_or_else(|| format!("expected one of {names}"))
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let runs = find_runs(existing(&args.dir)?);
    if args.delete.is_empty() {
        return show(&runs, ui);
    }
    let (mut n_cleaned, mut freed) = (0, 0);
    for run in &runs {
        match clean(run, &args.delete) {
            Ok(bytes) => {
                n_cleaned += usize::from(bytes > 0);
                freed += bytes;
            }
            Err(error) => ui.warning(format!("{} is kept: {error:#}", run.path().display())),
        }
    }
    ui.message(format!(
        "deleted {} in {n_cleaned} of {}",
        mib(freed),
        count(runs.len(), "run")
    ));
    Ok(0)
}

/// Deletes parts of a finished run and returns their size.
fn clean(run: &RunDir, parts: &[Part]) -> anyhow::Result<u64> {
    let record: Option<RunRecord> = read_json(run.run()).ok();
    if record.and_then(|record| record.test).is_none() {
        anyhow::bail!("it is not finished");
    }
    let lock = run.lock()?;
    let mut bytes = 0;
    for part in parts {
        bytes += run.size_of(*part)?;
        run.remove(*part, &lock)?;
    }
    Ok(bytes)
}

fn show(runs: &[RunDir], ui: &Ui) -> anyhow::Result<u8> {
    let mut sizes = Vec::new();
    for part in Part::ALL {
        let all = runs.iter().map(|run| run.size_of(part));
        sizes.push(all.sum::<Result<u64, _>>()?);
    }
    let total = runs.iter().map(RunDir::size).sum::<Result<u64, _>>()?;
    let rest = total.saturating_sub(sizes.iter().sum());
    let names = Part::ALL.map(Part::name).into_iter();
    let losses = Part::ALL.map(Part::loss).into_iter();
    let table = Table::new()
        .column("part", names.chain(["records", "all"]))
        .column(
            "size",
            sizes.iter().chain(&[rest, total]).map(|bytes| mib(*bytes)),
        )
        .column("lost without it", losses.chain(["never deleted", ""]));
    ui.data(&format!("{}\n{}", count(runs.len(), "run"), table.text()))?;
    Ok(0)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
