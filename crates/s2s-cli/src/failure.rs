//! What a failed command says, and the exit code it ends with.
//!
//! ```text
//! error: what went wrong
//!   caused by: why
//!   try: what to type next
//! ```

use std::io;

use miette::{GraphicalReportHandler, GraphicalTheme, NamedSource, SourceSpan};
use s2s_runlog::{Error as RunLogError, RunDir};
use s2s_train::{ConfigError, ConfigProblem, Error};

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

/// Shows an error, and returns the exit code of its kind.
///
/// That nobody reads any further is no failure.
pub(crate) fn report(error: &anyhow::Error, ui: &Ui) -> u8 {
    if is_closed_pipe(error) {
        return 0;
    }
    if let Some(ConfigError::Invalid { text, problems, .. }) = config_error(error) {
        for problem in problems {
            ui.talk(invalid(problem, text, ui));
        }
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
fn judge(error: &anyhow::Error) -> (u8, Option<&'static str>) {
    if error.is::<Usage>() {
        return (USAGE, None);
    }
    if config_error(error).is_some() {
        let hint = "`s2s config > mine.toml` writes a file to start from";
        return (USAGE, Some(hint));
    }
    match run_log_error(error) {
        Some(RunLogError::Exists { path }) => {
            let hint = match RunDir::open(path) {
                Ok(_) => {
                    "`s2s resume` with this folder to go on with its run, or another --run-dir"
                }
                Err(_) => "another --run-dir, which is empty or does not exist",
            };
            return (USAGE, Some(hint));
        }
        Some(RunLogError::NoRun { .. } | RunLogError::NotARun { .. }) => {
            let hint = "give a folder that `s2s train` made, or make one with --run-dir";
            return (USAGE, Some(hint));
        }
        Some(RunLogError::NoCheckpoint { .. }) => {
            let hint = "`s2s resume` if the run has not ended yet, or train anew in another folder";
            return (CHECKPOINT, Some(hint));
        }
        Some(RunLogError::Damaged { .. }) => {
            let hint = "`eval` and `predict` take --checkpoint best or --checkpoint last";
            return (CHECKPOINT, Some(hint));
        }
        Some(RunLogError::Busy { .. }) => return (BUSY, None),
        Some(RunLogError::Write { .. }) => {
            let hint = "make it writable, or make room; `s2s resume` then goes on with a run from \
                        its last checkpoint";
            return (OTHER, Some(hint));
        }
        _ => {}
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Checkpoint { .. }) => {
            let hint = "restore the config.resolved.toml that the run was made with";
            (CHECKPOINT, Some(hint))
        }
        Some(Error::Corpus(_)) => {
            let hint = "a folder with train.src, train.trg, dev.src, dev.trg, test.src and test.trg, \
                        such as `s2s data export` writes";
            (OTHER, Some(hint))
        }
        Some(Error::CorpusChanged { .. }) => {
            let hint = "put the file back as it was, or train anew in another folder";
            (OTHER, Some(hint))
        }
        Some(Error::Diverged { .. }) => {
            let hint = "another run with a lower rate, such as --set train.learning_rate=1e-4";
            (DIVERGED, Some(hint))
        }
        _ => (OTHER, None),
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
