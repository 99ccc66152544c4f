//! `s2s watch`.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use s2s_runlog::{
    EvalRecord, MetricsRecord, RunDir, RunRecord, RunStatus, TimingRecord, modified, read_json,
};
use s2s_train::{check_unchanged, load_config};

use crate::dashboard::{self, Dashboard, Quit, Shown};
use crate::picture::records;
use crate::shell::{program, quote};
use crate::signals::{self, Signals};
use crate::ui::Ui;
use crate::{progress, report};

const EXAMPLES: &str = "\
Examples:
  s2s watch runs/default-seed0
  s2s watch runs/default-seed0 --plain > report.txt";

/// Time between two looks at the records.
const TICK: Duration = Duration::from_millis(250);

/// Watch a run that another process trains
///
/// Shows the dashboard of `train` until the run ends, then its report. `q` or Ctrl-C stop watching; the
/// run goes on. For a run that has ended, prints its last frame and its report.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of the run
    #[arg(value_name = "RUN")]
    dir: PathBuf,
    /// Print a line per evaluation instead of showing a dashboard
    #[arg(long)]
    plain: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let dir = RunDir::open(&args.dir)?;
    check_unchanged(&dir)?;
    let signals = Signals::catch(ui)?;
    let has_screen = !args.plain && dashboard::is_possible(ui);
    if has_ended(&dir)? {
        match has_screen {
            true => dashboard::print(ui, &Shown::of(&dir, total_steps(&dir), u64::MAX)),
            false => Lines::start(ui).print(&dir)?,
        }
        return conclude(&dir, ui);
    }
    let is_done = match has_screen {
        true => watch_screen(&dir, ui)?,
        false => watch_lines(&dir, ui)?,
    };
    match (is_done, signals::is_received()) {
        (true, _) => conclude(&dir, ui),
        (false, true) => Ok(signals.exit_code()),
        (false, false) => Ok(0),
    }
}

/// Shows the run until it ends. Returns `false` if the user stops it before.
fn watch_screen(dir: &RunDir, ui: &Ui) -> anyhow::Result<bool> {
    let shown = || Shown::of(dir, total_steps(dir), u64::MAX);
    let mut seen = times(dir);
    let dashboard = Dashboard::start(ui, shown(), Quit::Leave)?;
    loop {
        let is_done = has_ended(dir)?;
        let found = times(dir);
        if is_done || found != seen {
            dashboard.replace(shown());
            seen = found;
        }
        if is_done || dashboard.is_ended() {
            return Ok(is_done);
        }
        sleep(TICK);
    }
}

/// Prints each evaluation until the run ends. Returns `false` after a signal.
fn watch_lines(dir: &RunDir, ui: &Ui) -> anyhow::Result<bool> {
    let mut lines = Lines::start(ui);
    loop {
        let is_done = has_ended(dir)?;
        lines.print(dir)?;
        if is_done || signals::is_received() {
            return Ok(is_done);
        }
        sleep(TICK);
    }
}

/// Evaluations as lines, as in training.
struct Lines<'a> {
    ui: &'a Ui,
    last: Option<u64>, // the step of the last line
}

impl<'a> Lines<'a> {
    fn start(ui: &'a Ui) -> Self {
        ui.message(progress::titles());
        Self { ui, last: None }
    }

    /// Prints the evaluations after the last line.
    fn print(&mut self, dir: &RunDir) -> anyhow::Result<()> {
        let start: Option<EvalRecord> = read_json(dir.initial()).ok();
        if let Some(start) = start.filter(|_| self.last.is_none()) {
            self.ui.message(progress::start_line(&start));
            self.last = Some(0);
        }
        let timings: Vec<TimingRecord> = records(dir.timing()).unwrap_or_default();
        for metrics in records::<MetricsRecord>(dir.metrics())? {
            if self.last.is_none_or(|last| metrics.step > last) {
                let timing = timings.iter().find(|timing| timing.step == metrics.step);
                self.ui.message(progress::eval_line(&metrics, timing));
                self.last = Some(metrics.step);
            }
        }
        Ok(())
    }
}

/// Whether no process writes to the run any more. An error if its folder is gone.
fn has_ended(dir: &RunDir) -> anyhow::Result<bool> {
    RunDir::open(dir.path())?;
    Ok(!dir.is_locked()?)
}

/// Prints the report of a run that has ended, or how it can be resumed.
fn conclude(dir: &RunDir, ui: &Ui) -> anyhow::Result<u8> {
    let record: Option<RunRecord> = read_json(dir.run()).ok();
    let step = record.as_ref().map_or(0, |record| record.step);
    let what = match record.as_ref().map(|record| record.status) {
        Some(RunStatus::Finished | RunStatus::StoppedEarly | RunStatus::TargetReached) => {
            if let Some(record) = &record {
                ui.report(&report::of(dir, record)?)?;
            }
            return Ok(0);
        }
        Some(RunStatus::Diverged) => format!("diverged at step {step}"),
        Some(RunStatus::Interrupted) => format!("was interrupted at step {step}"),
        Some(RunStatus::Running) | None => "is not finished, and no process trains it".to_owned(),
    };
    let path = dir.path();
    ui.message(format!("run {} {what}", path.display()));
    if record.is_none_or(|record| record.status != RunStatus::Diverged) {
        ui.message(format!(
            "to resume:\n  {} resume {}",
            program(),
            quote(path)
        ));
    }
    Ok(0)
}

/// Steps of the whole run, if they are known: those of text follow from its first evaluation.
fn total_steps(dir: &RunDir) -> Option<u64> {
    let config = load_config(Some(&dir.resolved_config()), &[]).ok()?;
    let metrics: Vec<MetricsRecord> = records(dir.metrics()).unwrap_or_default();
    let of_metrics = metrics.iter().find_map(|metrics| {
        let epoch = metrics.epoch.filter(|epoch| *epoch > 0.0)?;
        Some((metrics.step as f64 / epoch).round() as u64)
    });
    let n_train = Some(config.data.train_samples).filter(|n| *n > 0 && !config.data.is_text());
    let of_data = n_train.map(|n| n.div_ceil(config.train.batch_size.get() as u64));
    let steps_per_epoch = of_metrics.or(of_data);
    let total = config.total_steps(steps_per_epoch);
    (total < u64::MAX).then_some(total)
}

/// When the records of a run were last written.
fn times(dir: &RunDir) -> [Option<SystemTime>; 6] {
    [
        dir.steps(),
        dir.metrics(),
        dir.attention(),
        dir.wrong(),
        dir.initial(),
        dir.run(),
    ]
    .map(modified)
}
