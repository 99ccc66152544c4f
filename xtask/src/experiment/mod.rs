//! From a file of `configs/experiments/` to trained runs, figures and a report.
//!
//! ```text
//! NAME.toml ─> Plan ─> Job, one a cell and seed ─> s2s, a process each ─> Outcome ─> Report
//! ```

mod by_length;
pub(crate) mod launch;
mod lengths;
mod markdown;
mod measure;
mod outcome;
mod plan;
mod report;
mod settings;
mod state;
mod summary;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use launch::{Start, Task};
use outcome::Outcome;
use plan::Plan;
use report::Report;
use state::State;

/// Train a grid of runs, evaluate them, and write a report with plots
///
/// Reads configs/experiments/NAME.toml and trains each of its cells once a seed with the release
/// binary, into runs/experiments/NAME/, and evaluates it by length where the file asks for it. Runs that are finished are skipped when it is started
/// again, others are resumed. Nothing is ever deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask experiment              # the default one: about five minutes
  cargo xtask experiment default --jobs 2
  cargo xtask experiment deepmind --jobs 2 --publish

It writes to runs/experiments/NAME/:
  report.md report.json               the result
  lengths.csv                         figures by length over the seeds, if asked for
  plots/                              the curves, as SVG and PNG
  <cell>-seed<k>/                     a run, as `s2s train` leaves it
  logs/<cell>-seed<k>.log             what `s2s` said")]
pub(crate) struct Args {
    /// Name of a file in configs/experiments/, without its ending
    #[arg(default_value = "default")]
    name: String,

    /// Runs at a time; more than one get a thread each, a single one gets them all
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,

    /// Start this `s2s` instead of building one; relative to the top of the repository
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// Also write report and plots to configs/experiments/reports/NAME/, to be committed
    #[arg(long)]
    publish: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let plan = Plan::read(&args.name)?;
    let s2s = match &args.binary {
        Some(path) => path.clone(),
        None => launch::build()?,
    };

    let tasks = still_to_do(&plan, &s2s)?;
    let n_jobs = plan.jobs().len();
    eprintln!(
        "{}: {n_jobs} runs, {} of them finished",
        plan.name,
        n_jobs - tasks.len()
    );
    launch::run_all(&s2s, &tasks, args.jobs)?;

    let read = |job| Outcome::read(job, &plan);
    let outcomes: Result<Vec<Outcome>> = plan.jobs().into_iter().map(read).collect();
    let report = Report::new(plan, outcomes?);
    let path = report.write()?;
    println!("{}", report.summary_table().text());
    for (title, table) in by_length::summaries(&report) {
        println!("{title}\n{}", table.text());
    }
    println!("report: {}", path.display());
    if args.publish {
        println!("published: {}", report.publish()?.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The jobs without a result. All are checked before the first is started, so that a mistake in the
/// last does not cost the time of the others.
fn still_to_do(plan: &Plan, s2s: &Path) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    let mut problems = Vec::new();
    for job in plan.jobs() {
        let wanted = launch::resolve(s2s, &job)?;
        let start = match state::inspect(&job.folder, &wanted) {
            Ok(State::Absent) => Some(Start::Train),
            Ok(State::Unfinished) => Some(Start::Resume),
            Ok(State::Finished) => None,
            Ok(State::Diverged) => continue,
            Err(problem) => {
                problems.push(format!("{problem:#}"));
                continue;
            }
        };
        if start.is_none() && launch::is_newer(s2s, &job) {
            eprintln!(
                "note: {} was finished before s2s was last built; to run it again, remove {}",
                job.name(),
                job.folder.display()
            );
        }
        let mut evaluations = Vec::new();
        for group in plan.lengths_of(&job) {
            match state::is_evaluated(&job.folder, group) {
                Ok(true) => {}
                Ok(false) => evaluations.push(group.clone()),
                Err(problem) => problems.push(format!("{problem:#}")),
            }
        }
        if start.is_some() || !evaluations.is_empty() {
            tasks.push(Task {
                job,
                start,
                evaluations,
            });
        }
    }
    if !problems.is_empty() {
        bail!("nothing was started:\n{}", problems.join("\n"));
    }
    Ok(tasks)
}
