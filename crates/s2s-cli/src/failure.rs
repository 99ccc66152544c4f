//! What a failed command says, and the exit code it ends with.
//!
//! ```text
//! error: what went wrong
//!   caused by: why
//!   try: what to type next
//! ```

use std::io;
use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme, NamedSource, SourceSpan};
use reverse_data::Error as DataError;
use s2s_runlog::{Error as RunLogError, RunDir};
use s2s_train::{ConfigError, ConfigProblem, DeviceError, Error};

use crate::shell::{program, quote};
use crate::ui::Ui;

const OTHER: u8 = 1;
const USAGE: u8 = 2;
const CHECKPOINT: u8 = 3;
const DIVERGED: u8 = 4;
const BUSY: u8 = 5;

/// Wrong usage that only shows once a command runs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Something that cannot be done yet, and what to do before.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Stuck {
    pub(crate) what: String,
    pub(crate) next: String,
}

/// Shows an error, and returns the exit code of its kind.
///
/// That nobody reads any further is no failure.
pub(crate) fn report(error: &anyhow::Error, ui: &Ui) -> u8 {
    if is_closed_pipe(error) {
        return 0;
    }
    if let Some(ConfigError::Invalid {
        file,
        text,
        problems,
    }) = config_error(error)
    {
        for problem in problems {
            ui.talk(invalid(problem, text, ui));
        }
        let is_of_run = file
            .as_ref()
            .is_some_and(|path| path.ends_with("config.resolved.toml"));
        ui.talk(format!(
            "  try: {}",
            if is_of_run { RESTORE } else { START }
        ));
        return USAGE;
    }
    let (code, hint) = judge(error);
    let label = console::style("error").red().bold().for_stderr();
    let mut lines = format!("{label}: {error}");
    for cause in error.chain().skip(1) {
        lines += &format!("\n  caused by: {cause}");
    }
    if let Some(hint) = hint {
        lines += &format!("\n  try: {hint}");
    }
    ui.talk(lines);
    code
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io: Option<&io::Error> = error.downcast_ref();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn config_error(error: &anyhow::Error) -> Option<&ConfigError> {
    match error.downcast_ref() {
        Some(Error::Config(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn run_log_error(error: &anyhow::Error) -> Option<&RunLogError> {
    match error.downcast_ref() {
        Some(Error::RunLog(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// The exit code of an error, and what to do about it where its message does not say.
fn judge(error: &anyhow::Error) -> (u8, Option<String>) {
    if error.is::<Usage>() {
        return (USAGE, None);
    }
    if let Some(stuck) = error.downcast_ref::<Stuck>() {
        return (OTHER, Some(stuck.next.clone()));
    }
    if let Some(error) = error.downcast_ref::<DeviceError>() {
        return (USAGE, Some(error.remedy().to_owned()));
    }
    if config_error(error).is_some() {
        return (USAGE, Some(START.to_owned()));
    }
    if let Some(error) = run_log_error(error) {
        return judge_run_log(error);
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Checkpoint { path, .. }) => {
            let run = path.parent().and_then(Path::parent).unwrap_or(path);
            let config = quote(&run.join("config.resolved.toml"));
            let hint = format!(
                "restore {config}, if it is another than the run was made with, or train anew in \
                 another folder; `s2s eval --allow-nonfinite` takes numbers that are not finite"
            );
            (CHECKPOINT, Some(hint))
        }
        Some(Error::Corpus(_)) => {
            let hint = "a folder with train.src, train.trg, dev.src, dev.trg, test.src and test.trg, \
                        such as `s2s data export` writes";
            (OTHER, Some(hint.to_owned()))
        }
        Some(Error::CorpusChanged { .. }) => {
            let hint = "put the file back as it was, or train anew in another folder";
            (OTHER, Some(hint.to_owned()))
        }
        Some(Error::OutOfMemory(_)) => (OTHER, Some(LESS_MEMORY.to_owned())),
        Some(Error::Thread(_)) => (OTHER, Some(FEWER_THREADS.to_owned())),
        Some(Error::Data(error)) => (OTHER, Some(judge_data(error))),
        Some(Error::Diverged { .. }) => {
            let hint = "another run with a lower rate, such as --set train.learning_rate=1e-4";
            (DIVERGED, Some(hint.to_owned()))
        }
        _ => (
            OTHER,
            Some("the same command with -v, which says more".to_owned()),
        ),
    }
}

/// What to do where the system gives no more of them.
pub(crate) const FEWER_THREADS: &str = "fewer --threads: each reserves 256 MiB of the addresses that `ulimit -v` allows, and counts for \
     `ulimit -u`";

/// What to do where the memory of a GPU is too small.
const LESS_MEMORY: &str = "a new run with a lower train.batch_size, train.eval_batch_size or data.max_len, or with \
     smaller sizes in [model]; `eval` and `predict` take --batch-size; `resume --device cpu` \
     continues this run from its last checkpoint";

/// Where a configuration begins.
const START: &str = "`s2s config > mine.toml` writes a file to start from";

/// What to do about one that a run keeps.
const RESTORE: &str = "put back the file that the run was made with, or use the s2s that made it";

fn judge_run_log(error: &RunLogError) -> (u8, Option<String>) {
    let resume = |path: &Path| format!("`{} resume {}`", program(), quote(path));
    let (code, hint) = match error {
        RunLogError::Exists { path } => {
            let hint = match RunDir::open(path) {
                Ok(_) => format!(
                    "{} to go on with its run, or another --run-dir",
                    resume(path)
                ),
                Err(_) => "another --run-dir, which is empty or does not exist".to_owned(),
            };
            (USAGE, hint)
        }
        RunLogError::NoRun { .. } | RunLogError::NotARun { .. } => {
            let hint = "give a folder that `s2s train` made, or make one with --run-dir";
            (USAGE, hint.to_owned())
        }
        RunLogError::NoCheckpoint { .. } => {
            let hint = "`s2s resume` if the run has not ended yet, or train anew in another folder";
            (CHECKPOINT, hint.to_owned())
        }
        RunLogError::Damaged { .. } => {
            let hint = "`eval` and `predict` take --checkpoint best or --checkpoint last";
            (CHECKPOINT, hint.to_owned())
        }
        RunLogError::Busy { .. } => return (BUSY, None),
        RunLogError::Write { .. } => {
            let hint = "make it writable, or make room; `s2s resume` then goes on with a run from \
                        its last checkpoint";
            (OTHER, hint.to_owned())
        }
        RunLogError::Read { path, .. } => {
            let hint = format!(
                "`ls -ld {}` shows whether it is there, and to whom",
                quote(path)
            );
            (OTHER, hint)
        }
        RunLogError::Line { path, line, .. } => {
            let hint = format!("`sed -i {line}d {}` leaves that line out", quote(path));
            (OTHER, hint)
        }
        RunLogError::Json { path, .. }
        | RunLogError::NotRegular { path, .. }
        | RunLogError::TooLarge { path, .. } => {
            let hint = format!(
                "put back what stood there, or move it away: `mv {0} {0}.bad`",
                quote(path)
            );
            (OTHER, hint)
        }
        RunLogError::Lock { .. } => {
            let hint =
                "a --run-dir on a disk of this machine: not every network file system has locks";
            (OTHER, hint.to_owned())
        }
        _ => (
            OTHER,
            "the same command with -v, which says more".to_owned(),
        ),
    };
    (code, Some(hint))
}

/// What to do about a text that cannot be learned from.
fn judge_data(error: &DataError) -> String {
    match error {
        DataError::Line { path, line, .. } => {
            format!("`sed -n {line}p {}` shows the line", quote(path))
        }
        DataError::NumberOfLines { path, .. } => format!("`wc -l {}` counts them", quote(path)),
        DataError::LineCounts {
            source_path,
            target_path,
            ..
        } => format!(
            "`paste {} {}` shows where they part",
            quote(source_path),
            quote(target_path)
        ),
        _ => START.to_owned(),
    }
}

/// One thing that is wrong with a configuration: with the lines around it on a terminal, and on
/// one line elsewhere.
fn invalid(problem: &ConfigProblem, text: &str, ui: &Ui) -> String {
    let plain = || format!("error: {problem}");
    let (s2s_train::Origin::File(path), Some(span)) = (&problem.origin, &problem.span) else {
        return plain();
    };
    if !ui.is_watched() {
        return plain();
    }
    let diagnostic = Diagnostic {
        message: problem.message.clone(),
        text: NamedSource::new(path.display().to_string(), text.to_owned()),
        span: span.clone().into(),
        help: problem.help.clone(),
    };
    let theme = if console::colors_enabled_stderr() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut lines = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(ui.width());
    match handler.render_report(&mut lines, &diagnostic) {
        Ok(()) => lines,
        Err(_) => plain(),
    }
}

/// A problem as miette wants it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
struct Diagnostic {
    message: String,
    #[source_code]
    text: NamedSource<String>,
    #[label("here")]
    span: SourceSpan,
    #[help]
    help: Option<String>,
}
