//! `s2s runs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use s2s_lab::{Filter, ListedRun, find_runs, is_setting, sort_runs, written};
use s2s_runlog::is_folder;
use s2s_viz::Table;

use crate::failure::Usage;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s runs
  s2s runs runs/experiments/default --sort exact_match --descending
  s2s runs --filter status=finished --filter 'exact_match>0.9' --column model.hidden
  s2s runs --filter tag=paper --json

Keys: path, name, tag, status, step, parameters, val_loss, date; exact_match, token_accuracy, loss,
forced_loss (test split), train_secs; and every key of the configuration.";

/// List the runs in a folder and the folders in it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder to search
    #[arg(value_name = "DIR", default_value = "runs")]
    dir: PathBuf,
    /// Only runs that meet a condition: `KEY=VALUE`, `KEY!=VALUE`, `KEY<NUMBER` or `KEY>NUMBER`; may be
    /// repeated
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<String>,
    /// Sort by a key
    #[arg(long, value_name = "KEY", default_value = "path")]
    sort: String,
    /// Sort from high to low
    #[arg(long)]
    descending: bool,
    /// Show one more key; may be repeated
    #[arg(long, value_name = "KEY")]
    column: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let filters: Vec<Filter> = args
        .filter
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()
        .map_err(Usage)?;
    let shown: Vec<&str> = args.column.iter().map(String::as_str).collect();
    let filtered = filters.iter().map(|filter| filter.key.as_str());
    let mut keys: BTreeSet<&str> = shown.iter().copied().chain(filtered).collect();
    keys.insert(&args.sort);
    keys.retain(|key| is_setting(key));
    let dirs = find_runs(existing(&args.dir)?);
    let mut runs: Vec<ListedRun> = dirs.iter().map(|dir| ListedRun::read(dir, &keys)).collect();
    let unknown = |key: &&&str| runs.iter().all(|run| run.value(key).is_none());
    if let Some(key) = keys.iter().find(unknown).filter(|_| !runs.is_empty()) {
        let what = format!("no run in {} has the key {key:?}", args.dir.display());
        return Err(Usage(what).into());
    }
    runs.retain(|run| filters.iter().all(|filter| filter.accepts(run)));
    sort_runs(&mut runs, &args.sort, args.descending);
    if args.json {
        ui.data(&(serde_json::to_string_pretty(&runs)? + "\n"))?;
        return Ok(0);
    }
    if runs.is_empty() {
        ui.message(format!("no such run in {}", args.dir.display()));
        return Ok(0);
    }
    ui.data(&table(&runs, args, &shown).text())?;
    Ok(0)
}

/// A folder to search, which must exist.
pub(crate) fn existing(folder: &Path) -> anyhow::Result<&Path> {
    match is_folder(folder) {
        true => Ok(folder),
        false => {
            let what = format!("there is no folder {}", folder.display());
            Err(Usage(what).into())
        }
    }
}

fn table(runs: &[ListedRun], args: &Args, shown: &[&str]) -> Table {
    let path = |run: &ListedRun| {
        let path = run.path.strip_prefix(&args.dir).unwrap_or(&run.path);
        let path = if path.as_os_str().is_empty() {
            &run.path
        } else {
            path
        };
        path.display().to_string()
    };
    let number =
        |x: Option<f64>, decimals: usize| x.map_or(String::new(), |x| format!("{x:.decimals$}"));
    let test = |run: &ListedRun, value: fn(&s2s_runlog::EvalRecord) -> f64, decimals| {
        number(run.test.as_ref().map(value), decimals)
    };
    let mut table = Table::new().column("run", runs.iter().map(path));
    if runs.iter().any(|run| run.name.is_some()) {
        let names = runs.iter().map(|run| run.name.clone().unwrap_or_default());
        table = table.column("name", names);
    }
    if runs.iter().any(|run| !run.tags.is_empty()) {
        table = table.column("tags", runs.iter().map(|run| run.tags.join(",")));
    }
    table = table
        .column("status", runs.iter().map(|run| &run.status))
        .column("step", runs.iter().map(|run| run.step))
        .column("val loss", runs.iter().map(|run| number(run.val_loss, 4)))
        .column(
            "exact",
            runs.iter().map(|run| test(run, |t| t.exact_match, 4)),
        )
        .column(
            "token",
            runs.iter().map(|run| test(run, |t| t.token_accuracy, 4)),
        )
        .column("secs", runs.iter().map(|run| number(run.elapsed_secs, 1)))
        .column(
            "date",
            runs.iter().map(|run| run.date.clone().unwrap_or_default()),
        );
    for key in shown {
        let cells = runs
            .iter()
            .map(|run| run.value(key).as_ref().map_or(String::new(), written));
        table = table.column(*key, cells);
    }
    table
}
