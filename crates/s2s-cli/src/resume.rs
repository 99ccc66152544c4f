//! `s2s resume`.

use std::path::PathBuf;

use s2s_runlog::{RunDir, RunRecord, read_json};
use s2s_train::Run;

use crate::machine::MachineArgs;
use crate::ui::Ui;
use crate::{page, picture, report, session};

const EXAMPLES: &str = "\
Example:
  s2s resume runs/default-seed0";

/// Resume an interrupted run
///
/// A resumed run ends with the same bytes as an uninterrupted one. Steps after the last checkpoint
/// are repeated. For a finished run, prints its report.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let dir = RunDir::open(&args.dir)?;
    if let Some(record) = finished(&dir) {
        // The process may have been killed before these were written.
        if let Err(error) = picture::draw(&dir) {
            ui.message(format!("warning: plots are missing: {error:#}"));
        }
        if let Err(error) = page::write(&dir) {
            ui.message(format!("warning: report.html is missing: {error:#}"));
        }
        session::warn_degraded(&record, ui);
        ui.message(format!("run {} is already finished", dir.path().display()));
        ui.data(&report::of(&dir, &record)?)?;
        return Ok(0);
    }
    let runtime = args.machine.runtime()?;
    let run = Run::resume(&args.dir, &runtime)?;
    for reason in run.rejected() {
        ui.message(format!("warning: {reason}; resuming from another copy"));
    }
    session::run(run, &runtime, ui)
}

/// The record of the run if it is finished. An unreadable record counts as unfinished and is
/// rewritten.
fn finished(dir: &RunDir) -> Option<RunRecord> {
    let record: RunRecord = read_json(dir.run()).ok()?;
    record.test.is_some().then_some(record)
}
