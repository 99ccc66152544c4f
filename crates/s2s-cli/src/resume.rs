//! `s2s resume`.

use std::path::PathBuf;

use s2s_runlog::{RunDir, RunRecord, read_json};
use s2s_train::Run;

use crate::machine::MachineArgs;
use crate::ui::Ui;
use crate::{picture, report, session};

const EXAMPLES: &str = "\
Example:
  s2s resume runs/default-seed0";

/// Go on with a run that was stopped, or show the report of one that is finished
///
/// A resumed run ends with the very bytes of an uninterrupted one. Steps after the last checkpoint
/// are done again.
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
        // It may have been stopped between its last record and the last of its plots.
        if let Err(error) = picture::draw(&dir) {
            ui.talk(format!("warning: plots are missing: {error:#}"));
        }
        session::tell_failures(&record, ui);
        ui.talk(format!(
            "run {} is finished: nothing to resume",
            dir.path().display()
        ));
        ui.data(&report::of(&dir, &record)?)?;
        return Ok(0);
    }
    let runtime = args.machine.runtime()?;
    let run = Run::resume(&args.dir, &runtime)?;
    for reason in run.passed_over() {
        ui.talk(format!("passed over: {reason}"));
    }
    session::run(run, &runtime, ui)
}

/// What became of the run, if it came to its end. A record that cannot be read is written anew.
fn finished(dir: &RunDir) -> Option<RunRecord> {
    let record: RunRecord = read_json(dir.run()).ok()?;
    record.test.is_some().then_some(record)
}
