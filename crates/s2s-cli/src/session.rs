//! Training from an open run to its report, shared by `train` and `resume`.

use std::num::NonZeroU64;
use std::path::Path;

use reverse_data::{SplitReport, Vocabulary};
use s2s_runlog::{LogFailure, RunDir, RunRecord, RunStatus};
use s2s_train::{ExperimentConfig, Observer, Run, Runtime};
use serde::Serialize;

use crate::dashboard::{self, Dashboard, Quit, Shown};
use crate::failure::memory;
use crate::progress::Progress;
use crate::shell::{program, quote};
use crate::signals::Signals;
use crate::ui::Ui;
use crate::{eval, page, picture, report};

/// How training is recorded and displayed.
#[derive(clap::Args)]
pub(crate) struct LogArgs {
    /// Steps between two lines of steps.jsonl; does not affect results
    #[arg(long, value_name = "N", default_value = "10")]
    log_every: NonZeroU64,
    /// Print a line per evaluation instead of showing a dashboard
    #[arg(long)]
    plain: bool,
    /// Print the outcome as one line of JSON instead of a report: run_dir and the content of run.json
    #[arg(long)]
    json: bool,
}

/// Trains to the end or until a signal, and reports the outcome. `location` is where the text is if it has
/// moved. Returns the exit code.
pub(crate) fn run(
    mut run: Run,
    runtime: &Runtime,
    location: Option<&Path>,
    log: &LogArgs,
    ui: &Ui,
) -> anyhow::Result<u8> {
    run.log_every(log.log_every);
    let mut signals = Signals::catch(ui)?;
    let report = run.trainer().data().source.report();
    ui.message(header(&run, runtime, location, &report));
    for warning in report.warnings() {
        ui.warning(&warning);
    }
    let total = run.trainer().total_steps();
    let mut progress = start_display(&run, log, ui);
    let result = run.train(&mut [&mut *progress, &mut signals], picture::attention);
    drop(progress);
    let dir = run.dir();
    let mut record = result.map_err(|error| {
        let config = run.trainer().config();
        memory::in_run(error.into(), dir, config, runtime, location)
    })?;

    if record.status != RunStatus::Interrupted {
        type Write = fn(&RunDir) -> anyhow::Result<()>;
        let files: [(&str, Write); 2] = [("plots", picture::draw), ("report.html", page::write)];
        for (log, write) in files {
            run.lock().check()?;
            if let Err(error) = write(dir) {
                let (log, step) = (log.to_owned(), record.step);
                let reason = format!("{error:#}");
                run.note_failure(&mut record, LogFailure { log, step, reason })?;
            }
        }
    }
    warn_degraded(&record, ui);
    if record.status == RunStatus::Interrupted {
        ui.message(format!(
            "saved at step {} of {total}; to resume:\n  {} resume {}{}",
            record.step,
            program(),
            quote(dir.path()),
            location.map_or(String::new(), |path| format!(" --data {}", quote(path))),
        ));
        if log.json {
            report_outcome(dir, &record, log, ui)?;
        }
        return Ok(signals.exit_code());
    }
    report_outcome(dir, &record, log, ui)?;
    Ok(0)
}

/// A line of output with --json.
#[derive(Serialize)]
struct Outcome<'a> {
    run_dir: String,
    #[serde(flatten)]
    record: &'a RunRecord,
}

/// Prints how a run ended.
pub(crate) fn report_outcome(
    dir: &RunDir,
    record: &RunRecord,
    log: &LogArgs,
    ui: &Ui,
) -> anyhow::Result<()> {
    if let Some(test) = &record.test {
        eval::warn_truncated(test, ui);
    }
    if !log.json {
        return ui.report(&report::of(dir, record)?);
    }
    let run_dir = dir.path().display().to_string();
    let outcome = serde_json::to_string(&Outcome { run_dir, record })?;
    ui.data(&format!("{outcome}\n"))
}

fn start_display<'a>(run: &Run, log: &LogArgs, ui: &'a Ui) -> Box<dyn Observer + 'a> {
    let (done, total) = (run.trainer().state().step, run.trainer().total_steps());
    if !log.plain && dashboard::is_possible(ui) {
        let shown = Shown {
            status: String::new(),
            elapsed_secs: None,
            ..Shown::of(run.dir(), Some(total), done)
        };
        if let Ok(dashboard) = Dashboard::start(ui, shown, Quit::Interrupt) {
            return Box::new(dashboard);
        }
    }
    Box::new(Progress::start(ui, done, total))
}

/// Warns about logs or plots that are incomplete.
pub(crate) fn warn_degraded(record: &RunRecord, ui: &Ui) {
    for LogFailure { log, step, reason } in &record.degraded {
        ui.warning(format!(
            "{log}: incomplete since step {step}; the run itself is not affected\n  \
             caused by: {reason}"
        ));
    }
}

/// The lines that describe a run when training starts.
fn header(run: &Run, runtime: &Runtime, location: Option<&Path>, report: &SplitReport) -> String {
    let trainer = run.trainer();
    let (config, step) = (trainer.config(), trainer.state().step);
    let from = match step {
        0 => String::new(),
        step => format!(", resumed at step {step}"),
    };
    let vocabulary = &trainer.codec().vocabulary;
    format!(
        "run     {}{from}\n\
         data    {}, seed {}\n\
         {}\n\
         model   {} parameters\n\
         device  {}, {} kernels, {}",
        run.dir().path().display(),
        describe_data(config, location, vocabulary),
        config.seed,
        indent(&report.to_string()),
        trainer.model().params().n_elements(),
        runtime.device_name,
        trainer.model().kernels_name(),
        match runtime.threads {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        },
    )
}

/// Describes the data.
fn describe_data(
    config: &ExperimentConfig,
    location: Option<&Path>,
    vocabulary: &Vocabulary,
) -> String {
    let data = &config.data;
    if data.is_text() {
        let path = location.unwrap_or(data.text_path()).display();
        let n_words = vocabulary.words().count();
        return format!("{path}, {n_words} {}", data.tokens.name());
    }
    let n_symbols = vocabulary.n_symbols();
    match (data.min_len, data.max_len) {
        (min, max) if min == max => format!("symbols 1 to {n_symbols}, length {min}"),
        (min, max) => format!("symbols 1 to {n_symbols}, lengths {min} to {max}"),
    }
}

fn indent(lines: &str) -> String {
    let lines: Vec<String> = lines
        .lines()
        .map(|line| format!("        {line}"))
        .collect();
    lines.join("\n")
}
