//! `s2s experiment`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use s2s_lab::{
    HyperQueue, Options, Plan, Select, Slurm, collect, commands, run_experiment, status, summary,
    write_report,
};
use s2s_runlog::write_file;
use s2s_train::{BaseConfig, ConfigError};
use toml::Table;

use crate::failure::{Hinted, Usage};
use crate::shell::{program, quote, quote_text};
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
  [halving]                                    # one cell in three is extended to 600 steps
  steps = [200, 600]
  [budget]                                     # no further run starts when it is spent
  time = \"2h\"

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
/// deleted without --lean.
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

/// Which engine starts the runs.
#[derive(clap::Args)]
struct LauncherArgs {
    /// Submit the runs to an engine instead of starting them; with --dry-run, print what it would get
    #[arg(long, value_name = "ENGINE", conflicts_with_all = ["index", "only", "collect", "emit"])]
    launcher: Option<Engine>,
    /// SLURM partition
    #[arg(long, value_name = "NAME", requires = "launcher")]
    partition: Option<String>,
    /// Time limit of a run, such as 2:00:00 (SLURM: a run is saved and requeued a minute before) or 2h
    /// (HyperQueue: a run is stopped)
    #[arg(long, value_name = "TIME", requires = "launcher")]
    time: Option<String>,
    /// SLURM: runs at a time
    #[arg(long, value_name = "N", requires = "launcher")]
    max_parallel: Option<usize>,
    /// HyperQueue: CPUs of a run [default: 1]
    #[arg(long, value_name = "N", requires = "launcher")]
    cpus: Option<NonZeroUsize>,
    /// One more option of sbatch, such as --sbatch=--account=me; may be repeated
    #[arg(
        long,
        value_name = "OPTION",
        requires = "launcher",
        allow_hyphen_values = true
    )]
    sbatch: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Engine {
    /// SLURM: job arrays
    Slurm,
    /// HyperQueue: a job file
    Hq,
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
    /// Start no run; list the runs, what each changes, their states, and the time left
    #[arg(long)]
    dry_run: bool,
    /// Only runs whose names match; `*` stands for any characters
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Start the other runs although one has failed
    #[arg(long, conflicts_with = "fail_fast")]
    keep_going: bool,
    /// Start no further run after a failure (the default)
    #[arg(long)]
    fail_fast: bool,
    /// Delete plots, page, TensorBoard log and last checkpoint of each run when it is finished
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
        return train(&plan, &args.how, Select::Index(number), ui);
    }
    let plan = read(&args.file, folder)?;
    if args.collect {
        return report(plan, ui);
    }
    if let Some(file) = &args.emit {
        let s2s = executable()?;
        let lines = commands(&plan, &s2s, args.how.accept_changes).map_err(explain)?;
        write_file(file, (lines.join("\n") + "\n").as_bytes())?;
        ui.message(format!("{} commands in {}", lines.len(), file.display()));
        return Ok(0);
    }
    if args.watch {
        return watch(&plan, ui);
    }
    if let Some(engine) = args.launcher.launcher {
        return submit(&plan, engine, args, ui);
    }
    run_plan(plan, &args.how, ui)
}

/// The time between two looks at the folders of the runs.
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);

/// Prints what changes, until nothing can change any more.
fn watch(plan: &Plan, ui: &Ui) -> anyhow::Result<u8> {
    let mut before: Vec<(String, String)> = Vec::new();
    loop {
        let found = status(plan).map_err(explain)?;
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

/// Submits the runs, or prints what would be submitted.
fn submit(plan: &Plan, engine: Engine, args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let s2s = executable()?;
    let submitted = match engine {
        Engine::Slurm => to_slurm(plan, &s2s, args, ui)?,
        Engine::Hq => to_hq(plan, &s2s, args, ui)?,
    };
    let Some(jobs) = submitted else {
        return Ok(0);
    };
    match jobs.is_empty() {
        true => ui.message("every run is finished; nothing was submitted"),
        false => ui.message(format!("submitted: {}", jobs.join(", "))),
    }
    let out = args
        .out
        .as_deref()
        .map_or_else(String::new, |out| format!(" --out {}", quote(out)));
    let experiment = format!("{} experiment {}{out}", program(), quote(&args.file));
    ui.message(format!(
        "to see what is left:\n  {experiment} --dry-run\nto follow it:\n  {experiment} --watch\n\
         to write the report:\n  {experiment} --collect"
    ));
    Ok(0)
}

/// The numbers of the jobs; `None` if they were only printed.
fn to_slurm(plan: &Plan, s2s: &Path, args: &Args, ui: &Ui) -> anyhow::Result<Option<Vec<String>>> {
    let launcher = &args.launcher;
    if launcher.cpus.is_some() {
        let problem = "--cpus is for HyperQueue; for SLURM, use --sbatch=--cpus-per-task=N";
        return Err(Usage(problem.to_owned()).into());
    }
    let slurm = Slurm {
        partition: launcher.partition.clone(),
        time: launcher.time.clone(),
        max_parallel: launcher.max_parallel,
        options: launcher.sbatch.clone(),
    };
    let accepts_changes = args.how.accept_changes;
    if !args.how.dry_run {
        let jobs = slurm.submit(plan, s2s, accepts_changes).map_err(explain)?;
        return Ok(Some(jobs));
    }
    let (script, commands) = slurm.plan(plan, s2s, accepts_changes).map_err(explain)?;
    let commands = commands.iter().map(|words| line(words));
    ui.data(&format!("{script}\n{}", commands.collect::<String>()))?;
    Ok(None)
}

/// As [`to_slurm`].
fn to_hq(plan: &Plan, s2s: &Path, args: &Args, ui: &Ui) -> anyhow::Result<Option<Vec<String>>> {
    let launcher = &args.launcher;
    if launcher.partition.is_some()
        || launcher.max_parallel.is_some()
        || !launcher.sbatch.is_empty()
    {
        let problem = "--partition, --max-parallel and --sbatch are for SLURM; the workers of \
                       HyperQueue decide where tasks run";
        return Err(Usage(problem.to_owned()).into());
    }
    let hq = HyperQueue {
        cpus: launcher.cpus.map(NonZeroUsize::get),
        time: launcher.time.clone(),
    };
    let accepts_changes = args.how.accept_changes;
    if !args.how.dry_run {
        let job = hq.submit(plan, s2s, accepts_changes).map_err(explain)?;
        return Ok(Some(job.into_iter().collect()));
    }
    if let Some((file, command)) = hq.plan(plan, s2s, accepts_changes).map_err(explain)? {
        ui.data(&format!("{file}\n{}", line(&command)))?;
    }
    Ok(None)
}

/// Words as a line of a shell.
fn line(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote_text(word)).collect();
    words.join(" ") + "\n"
}

/// Reads an experiment file and resolves its cells.
pub(crate) fn read(file: &Path, folder: PathBuf) -> anyhow::Result<Plan> {
    Plan::read(file, folder, &resolver()).map_err(explain)
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
    if how.dry_run {
        let found = status(&plan).map_err(explain)?;
        ui.data(&format!("{}\n{}\n", found.table.text(), found.summary))?;
        return Ok(0);
    }
    let select = how.only.clone().map_or(Select::All, Select::Only);
    let result = train(&plan, how, select, ui);
    if result.is_ok() || how.keep_going {
        let reported = report(plan, ui);
        return result.and(reported);
    }
    result
}

fn train(plan: &Plan, how: &How, select: Select, ui: &Ui) -> anyhow::Result<u8> {
    let s2s = executable()?;
    let options = Options {
        s2s: &s2s,
        parallel: how.jobs,
        threads: how.threads,
        select,
        keeps_going: how.keep_going,
        accepts_changes: how.accept_changes,
        is_lean: how.lean,
    };
    run_experiment(plan, &options, &|event| ui.message(event)).map_err(explain)?;
    Ok(0)
}

fn report(plan: Plan, ui: &Ui) -> anyhow::Result<u8> {
    let report = collect(plan).map_err(explain)?;
    let path = write_report(&report).map_err(explain)?;
    if !report.pending.is_empty() {
        ui.warning(format!("{} runs are not finished", report.pending.len()));
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
            what: error.to_string(),
            hint: hint.to_owned(),
        }
        .into(),
        (false, None) => error.into(),
    }
}
