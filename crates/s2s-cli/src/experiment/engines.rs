//! Submission to an engine: SLURM or HyperQueue.

use std::num::NonZeroUsize;

use s2s_lab::{HyperQueue, Plan, RunCommand, Slurm};

use super::{Args, executable, explain};
use crate::failure::Usage;
use crate::shell::{program, quote, quote_text};
use crate::ui::Ui;

/// Which engine starts the runs.
#[derive(clap::Args)]
pub(super) struct LauncherArgs {
    /// Submit the runs to an engine instead of starting them; with --dry-run, print what it would get
    #[arg(long, value_name = "ENGINE", conflicts_with_all = ["index", "only", "collect", "emit"])]
    pub(super) launcher: Option<Engine>,
    /// SLURM partition
    #[arg(long, value_name = "NAME", requires = "launcher")]
    partition: Option<String>,
    /// Time limit of a run, such as 2:00:00 (SLURM: a run is saved and requeued a minute before) or 2h
    /// (HyperQueue: a run is stopped)
    #[arg(long, value_name = "TIME", requires = "launcher")]
    time: Option<String>,
    /// SLURM: runs at a time
    #[arg(long, value_name = "N", requires = "launcher")]
    max_parallel: Option<NonZeroUsize>,
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
pub(super) enum Engine {
    /// SLURM: job arrays
    Slurm,
    /// HyperQueue: a job file
    Hq,
}

/// Submits the runs, or prints what would be submitted.
pub(super) fn submit(plan: &Plan, engine: Engine, args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let s2s = executable()?;
    let command = args.run_command(&s2s);
    let submitted = match engine {
        Engine::Slurm => to_slurm(plan, &command, args, ui)?,
        Engine::Hq => to_hq(plan, &command, args, ui)?,
    };
    let Some(jobs) = submitted else {
        return Ok(0);
    };
    match jobs.is_empty() {
        true => ui.message("every run is finished or in the queue; nothing was submitted"),
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
fn to_slurm(
    plan: &Plan,
    command: &RunCommand<'_>,
    args: &Args,
    ui: &Ui,
) -> anyhow::Result<Option<Vec<String>>> {
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
    if !args.how.dry_run {
        let jobs = slurm.submit(plan, command).map_err(explain)?;
        return Ok(Some(jobs));
    }
    let (script, commands) = slurm.plan(plan, command).map_err(explain)?;
    let commands = commands.iter().map(|words| line(words));
    ui.data(&format!("{script}\n{}", commands.collect::<String>()))?;
    Ok(None)
}

/// As [`to_slurm`].
fn to_hq(
    plan: &Plan,
    command: &RunCommand<'_>,
    args: &Args,
    ui: &Ui,
) -> anyhow::Result<Option<Vec<String>>> {
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
    if !args.how.dry_run {
        let job = hq.submit(plan, command).map_err(explain)?;
        return Ok(Some(job.into_iter().collect()));
    }
    if let Some((file, command)) = hq.plan(plan, command).map_err(explain)? {
        ui.data(&format!("{file}\n{}", line(&command)))?;
    }
    Ok(None)
}

/// Words as a line of a shell.
fn line(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote_text(word)).collect();
    words.join(" ") + "\n"
}
