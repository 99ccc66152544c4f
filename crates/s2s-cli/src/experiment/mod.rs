//! `s2s experiment`.

mod engines;
mod live;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use s2s_lab::{
    Error, Options, Plan, RunCommand, Select, chain, check_unchanged, collect, commands, count,
    run_experiment, status, summary, write_report,
};
use s2s_runlog::write_file;
use s2s_train::{BaseConfig, ConfigError};
use toml::Table;

use self::engines::{LauncherArgs, submit};
use self::live::Live;
use crate::failure::{Hinted, Usage};
use crate::signals::{self, Signals};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s experiment configs/experiments/default.toml
  s2s experiment widths.toml --dry-run            the runs, what each changes, and the time left
  s2s experiment widths.toml --jobs 2 --keep-going
  s2s experiment widths.toml --emit cells.txt && parallel < cells.txt
  s2s experiment widths.toml --launcher slurm --time 2:00:00 && s2s experiment widths.toml --watch

An experiment file:
  title = \"Widths\"
  question = \"Does a wider encoder help?\"
  config = \"configs/tiny.toml\"                 # relative to the working directory
  seeds = 5                                    # or a list
  plots = [\"val_loss\", \"val_exact_match\"]
  table = [\"exact_match\", \"loss\", \"train_secs\"]
  [matrix]                                     # every combination is a cell
  model.hidden = [32, 64]
  attention = [                                # several keys that change together
    { name = \"dot\", model.attention.kind = \"dot\", model.decoder = 64 },
    { name = \"additive\", model.attention.kind = \"additive\" },
  ]
  [[exclude]]                                  # removes cells with all these values
  model.hidden = 64
  model.attention.kind = \"dot\"
  [[include]]                                  # adds a cell
  name = \"small\"
  model.hidden = 8
  [[cell]]                                     # adds a cell, with changes as for --set
  name = \"base\"
  [[compare]]                                  # paired by seed
  metric = \"exact_match\"
  baseline = \"base\"
  [search]                                     # adds cells that are drawn at random
  samples = 20
  [search.space]
  train.learning_rate = { log_uniform = [1e-4, 1e-2] }   # or uniform, or choice
  [halving]                                    # one cell in three is extended to 600 steps; a schedule
                                               # of the whole run spans 600 steps from the start
  steps = [200, 600]
  [budget]                                     # no further run starts when it is spent
  time = \"2h\"                                # wall time, summed over the runs

Output in the folder of the experiment:
  report.html               the cells to sort, filter and draw, in a browser
  report.md report.json     the result
  cells.csv runs.csv        a row for each cell and metric, and for each run
  lengths.csv               results by length, if the file asks for them
  plots/                    curves, and every run as a dot, as SVG and PNG
  <cell>-seed<k>-<hash>/    a run, as `s2s train` writes it; the hash is of its configuration
  logs/<cell>-seed<k>.log   the output of the run
  experiment.toml runs.json the file as it was started, and the numbers of the runs";

/// Train a grid of configurations over several seeds and compare them in a report
///
/// The file lists the configurations (cells), the seeds, and what to plot and tabulate. Each run is
/// a process of its own. Finished runs are skipped and interrupted runs are resumed, so the same
/// command continues an experiment; a run that another process is working on is left to it. Nothing is
/// deleted without --lean. On a terminal, a table shows how far the cells are.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Experiment file, in TOML
    file: PathBuf,
    /// Folder for the runs and the report [default: runs/experiments/NAME, after the file]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    /// Only this run, by its number in --dry-run; writes no report
    #[arg(long, value_name = "NUMBER", conflicts_with = "only")]
    index: Option<usize>,
    /// Start no run; write the report of the runs that are finished
    #[arg(long, conflicts_with_all = ["index", "only"])]
    collect: bool,
    /// Start no run; write a command for each run to a file. Each can be repeated, in any order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["index", "only", "collect"])]
    emit: Option<PathBuf>,
    /// Start no run; print every change of a run's state, until no run is open
    #[arg(long, conflicts_with_all = ["index", "only", "collect", "emit", "dry_run"])]
    watch: bool,
    #[command(flatten)]
    launcher: LauncherArgs,
}

/// How the runs are started.
#[derive(clap::Args)]
pub(crate) struct How {
    /// Runs at a time; a single run uses all cores, parallel runs use one thread each
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
    /// Threads of each run, instead of that; do not change results
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Start no run and write nothing; list the runs, what each changes, their states, and the time left
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only runs whose names match; `*` stands for any characters
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Start the other runs although one has failed
    #[arg(long, conflicts_with = "fail_fast")]
    keep_going: bool,
    /// Start no further run after a failure (the default)
    #[arg(long)]
    fail_fast: bool,
    /// Delete plots, page, TensorBoard log and last checkpoint of each run when it is finished; with
    /// halving, of all runs at the end
    #[arg(long)]
    lean: bool,
    /// Continue although the experiment was changed since it was started
    #[arg(long)]
    accept_changes: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let folder = args.out.clone();
    let folder = folder.unwrap_or_else(|| Plan::default_folder(&args.file));
    if let Some(number) = args.index {
        let plan = Plan::read_run(&args.file, folder, number, &resolver()).map_err(explain)?;
        let select = Select::Index(number);
        return match args.how.dry_run {
            true => list(&plan, &args.how, &select, ui),
            false => train(&plan, &args.how, select, ui),
        };
    }
    let plan = read(&args.file, folder)?;
    if args.collect {
        check(&plan, &args.how)?;
        return report(plan, ui);
    }
    if let Some(file) = &args.emit {
        let s2s = executable()?;
        let lines = commands(&plan, &args.run_command(&s2s)).map_err(explain)?;
        write_file(file, (lines.join("\n") + "\n").as_bytes())?;
        let n_commands = count(lines.len(), "command");
        ui.message(format!("{n_commands} in {}", file.display()));
        return Ok(0);
    }
    if args.watch {
        check(&plan, &args.how)?;
        return watch(&plan, &args.how, ui);
    }
    if let Some(engine) = args.launcher.launcher {
        return submit(&plan, engine, args, ui);
    }
    run_plan(plan, &args.how, ui)
}

impl Args {
    /// How an engine starts the runs.
    fn run_command<'a>(&self, s2s: &'a Path) -> RunCommand<'a> {
        RunCommand {
            s2s,
            accepts_changes: self.how.accept_changes,
            is_lean: self.how.lean,
        }
    }
}

/// Checks that the experiment is the one that was started, unless changes are accepted.
fn check(plan: &Plan, how: &How) -> anyhow::Result<()> {
    match how.accept_changes {
        true => Ok(()),
        false => check_unchanged(plan).map_err(explain),
    }
}

/// The time between two looks at the folders of the runs.
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);

/// Prints what changes, until nothing can change any more.
fn watch(plan: &Plan, how: &How, ui: &Ui) -> anyhow::Result<u8> {
    let mut before: Vec<(String, String)> = Vec::new();
    loop {
        let found = status(plan, &Select::All, how.jobs).map_err(explain)?;
        let is_first = before.is_empty();
        let changed = found.states.iter().zip(&before);
        let changed = changed.filter(|(now, before)| now != before);
        let lines: Vec<String> = changed
            .map(|((run, state), _)| format!("{run}: {state}\n"))
            .collect();
        if is_first || !lines.is_empty() {
            ui.data(&format!("{}{}\n", lines.concat(), found.summary))?;
        }
        if found.is_settled {
            return Ok(0);
        }
        before = found.states;
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// Reads an experiment file and resolves its cells.
fn read(file: &Path, folder: PathBuf) -> anyhow::Result<Plan> {
    Plan::read(file, folder, &resolver()).map_err(explain)
}

/// An experiment file with this text, which may not exist yet.
pub(crate) fn parse(file: &Path, text: String, folder: PathBuf) -> anyhow::Result<Plan> {
    Plan::parse(file, text, folder, &resolver()).map_err(explain)
}

/// What a run would write to config.resolved.toml. Each configuration file is read once.
fn resolver() -> impl Fn(Option<&Path>, &[String]) -> Result<Table, String> + Sync {
    let bases: Mutex<HashMap<Option<PathBuf>, Arc<BaseConfig>>> = Mutex::default();
    let base = move |path: Option<&Path>| -> Result<_, ConfigError> {
        let mut bases = bases.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match bases.entry(path.map(Path::to_owned)) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => entry.insert(Arc::new(BaseConfig::read(path)?)).clone(),
        })
    };
    move |path, sets| {
        let config = base(path).and_then(|base| base.with(sets));
        let table = config.and_then(|config| config.to_table());
        table.map_err(|error| error.to_string())
    }
}

/// Trains the runs of a plan, or lists them, and writes the report.
pub(crate) fn run_plan(plan: Plan, how: &How, ui: &Ui) -> anyhow::Result<u8> {
    let select = how.only.clone().map_or(Select::All, Select::Only);
    if how.dry_run {
        return list(&plan, how, &select, ui);
    }
    let result = train(&plan, how, select, ui);
    let is_stopped = matches!(result, Ok(code) if code != 0);
    if !is_stopped && (result.is_ok() || how.keep_going) {
        let reported = report(plan, ui);
        return result.and(reported);
    }
    result
}

/// Lists runs and their states.
fn list(plan: &Plan, how: &How, select: &Select, ui: &Ui) -> anyhow::Result<u8> {
    if let Err(error) = check(plan, how) {
        ui.warning(error);
    }
    let found = status(plan, select, how.jobs).map_err(explain)?;
    ui.data(&format!("{}\n{}\n", found.table.text(), found.summary))?;
    Ok(0)
}

fn train(plan: &Plan, how: &How, select: Select, ui: &Ui) -> anyhow::Result<u8> {
    let s2s = executable()?;
    let signals = Signals::catch(ui)?;
    let options = Options {
        s2s: &s2s,
        parallel: how.jobs,
        threads: how.threads,
        select: select.clone(),
        keeps_going: how.keep_going,
        accepts_changes: how.accept_changes,
        is_lean: how.lean,
        signal: Some(signals::received()),
    };
    let live = Live::new(plan, select, how.jobs, ui);
    let result = live.while_shown(|| run_experiment(plan, &options, &|event| live.show(event)));
    match result {
        Err(Error::Interrupted { .. }) => {
            ui.message("stopped; the runs are saved, and the same command resumes them");
            Ok(signals.exit_code())
        }
        result => result.map(|()| 0).map_err(explain),
    }
}

fn report(plan: Plan, ui: &Ui) -> anyhow::Result<u8> {
    let report = collect(plan).map_err(explain)?;
    let path = write_report(&report).map_err(explain)?;
    for (job, reason) in &report.damaged {
        ui.warning(format!(
            "{} is left out of the report: {reason}\n  try: move {} away, then the same experiment \
             trains this run again",
            job.name(),
            job.folder.display()
        ));
    }
    match report.pending.len() {
        0 => {}
        1 => ui.warning("1 run is not finished"),
        n => ui.warning(format!("{n} runs are not finished")),
    }
    ui.data(&format!(
        "{}\nreport: {}\n",
        summary(&report),
        path.display()
    ))?;
    Ok(0)
}

fn executable() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the executable of this process")
}

/// The exit code and the hint of an experiment's error.
pub(crate) fn explain(error: s2s_lab::Error) -> anyhow::Error {
    match (error.is_usage(), error.hint()) {
        (true, _) => Usage(error.to_string()).into(),
        (false, Some(hint)) => Hinted {
            what: chain(&error),
            hint: hint.to_owned(),
        }
        .into(),
        (false, None) => error.into(),
    }
}
