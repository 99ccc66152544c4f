//! `s2s resume`.

use std::path::{Path, PathBuf};

use s2s_runlog::{RunDir, RunRecord, read_json};
use s2s_train::{Change, Run, Work, check_unchanged, load_config};

use crate::machine::MachineArgs;
use crate::session::{self, LogArgs};
use crate::ui::Ui;
use crate::{page, picture};

const EXAMPLES: &str = "\
Examples:
  s2s resume runs/default-seed0
  s2s resume runs/default-seed0 --set train.epochs=6 --set train.schedule.kind=cosine
  s2s resume runs/default-seed0 --set train.epochs=6 --keep-schedule";

/// Resume an interrupted run, or extend a finished one
///
/// A resumed run ends with the same bytes as an uninterrupted one. Steps after the last checkpoint
/// are repeated. For a finished run, prints its report.
///
/// With --set, the run continues with a changed configuration, even if it is finished: keys of
/// `[train]` except batch_size, accumulation_steps and optimizer. If its number of steps changes and a
/// schedule spans the whole run, choose: --keep-schedule keeps the length of the schedule, so that the
/// learning rate stays at its final value; setting the schedule, even to itself, stretches it over the
/// new length.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Change one key, such as train.epochs=20; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Keep the length of schedules that span the whole run
    #[arg(long, requires = "set")]
    keep_schedule: bool,
    /// Where the text of the run is if it has moved: a folder, or a table. The run does not keep it
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let dir = RunDir::open(&args.dir)?;
    let change = Change {
        sets: &args.set,
        keeps_schedule: args.keep_schedule,
    };
    let change = (!args.set.is_empty()).then_some(change);
    let location = args.data.as_deref();
    run_dir(&dir, change, location, &args.log, &args.machine, ui)
}

/// Resumes a run, or prints its report if it is finished and does not change.
pub(crate) fn run_dir(
    dir: &RunDir,
    change: Option<Change<'_>>,
    location: Option<&Path>,
    log: &LogArgs,
    machine: &MachineArgs,
    ui: &Ui,
) -> anyhow::Result<u8> {
    if change.is_none()
        && let Some(record) = finished(dir)
    {
        check_unchanged(dir)?;
        machine.check()?;
        // The process may have been killed before these were written.
        if let Err(error) = picture::draw(dir) {
            ui.warning(format!("plots are missing: {error:#}"));
        }
        if let Err(error) = page::write(dir) {
            ui.message(format!("warning: report.html is missing: {error:#}"));
        }
        session::warn_degraded(&record, ui);
        ui.message(format!("run {} is already finished", dir.path().display()));
        session::report_outcome(dir, &record, log, ui)?;
        return Ok(0);
    }
    let config = || Ok(load_config(Some(&dir.resolved_config()), &[])?);
    let runtime = machine.runtime(Work::Train, config, ui)?;
    let run = match change {
        Some(change) => Run::resume_changed(dir.path(), &change, location, &runtime)?,
        None => Run::resume_at(dir.path(), location, &runtime)?,
    };
    for reason in run.rejected() {
        ui.warning(format!("{reason}; resuming from another copy"));
    }
    session::run(run, &runtime, location, log, ui)
}

/// The record of the run if it is finished. An unreadable record counts as unfinished and is
/// rewritten.
fn finished(dir: &RunDir) -> Option<RunRecord> {
    let record: RunRecord = read_json(dir.run()).ok()?;
    record.test.is_some().then_some(record)
}
