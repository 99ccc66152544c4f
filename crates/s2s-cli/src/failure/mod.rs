//! Error messages and exit codes.
//!
//! ```text
//! error: what went wrong
//!   caused by: why
//!   try: what to type next
//! ```

mod data;
pub(crate) mod memory;
mod problem;
mod run_log;
mod weights;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use s2s_runlog::{CorpusRecord, Error as RunLogError, exists, read_json};
use s2s_train::{ConfigError, DeviceError, Error, load_config};
use s2s_weights::Error as WeightsError;

use self::run_log::classify_run_log;
use self::weights::classify_weights;

use crate::config::text_places;
use crate::shell::{
    command_line, command_line_with, command_line_with_flag, program, quote, quote_text,
};
use crate::ui::Ui;

const OTHER: u8 = 1;
const USAGE: u8 = 2;
const CHECKPOINT: u8 = 3;
const DIVERGED: u8 = 4;
const BUSY: u8 = 5;

/// A usage error that is detected after the arguments are parsed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// An error with a hint.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Hinted {
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// Prints an error and returns its exit code. A closed pipe on standard output is not an error.
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
            problem::report(problem, text, ui);
        }
        let is_resolved = file
            .as_ref()
            .is_some_and(|path| path.ends_with("config.resolved.toml"));
        // Some problems name their remedy.
        let has_remedy = problems.iter().all(|problem| problem.help.is_some());
        if is_resolved || !has_remedy {
            let hint = match is_resolved {
                true => RESTORE.to_owned(),
                false => start(),
            };
            ui.message(format!("  try: {hint}"));
        }
        return USAGE;
    }
    let (code, hint) = classify(error);
    let mut lines = error.to_string();
    for cause in error.chain().skip(1) {
        lines += &format!("\n  caused by: {cause}");
    }
    if let Some(hint) = hint {
        lines += &format!("\n  try: {hint}");
    }
    ui.error(lines);
    code
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io: Option<&io::Error> = error.downcast_ref();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn train_error(error: &anyhow::Error) -> Option<&Error> {
    match error.downcast_ref() {
        Some(WeightsError::Train(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn config_error(error: &anyhow::Error) -> Option<&ConfigError> {
    match train_error(error) {
        Some(Error::Config(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn device_error(error: &anyhow::Error) -> Option<&DeviceError> {
    match error.downcast_ref() {
        Some(Error::Device(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn run_log_error(error: &anyhow::Error) -> Option<&RunLogError> {
    match (train_error(error), error.downcast_ref()) {
        (Some(Error::RunLog(error)), _) | (_, Some(WeightsError::RunLog(error))) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// The exit code of an error, and a hint if its message does not contain one.
fn classify(error: &anyhow::Error) -> (u8, Option<String>) {
    if error.is::<Usage>() {
        return (USAGE, None);
    }
    if let Some(error) = error.downcast_ref::<Hinted>() {
        return (OTHER, Some(error.hint.clone()));
    }
    if let Some(error) = device_error(error) {
        return (USAGE, Some(error.remedy().to_owned()));
    }
    if config_error(error).is_some() {
        return (USAGE, Some(start()));
    }
    if let Some(error) = run_log_error(error) {
        return classify_run_log(error);
    }
    if let Some(result) = error.downcast_ref().and_then(classify_weights) {
        return result;
    }
    match train_error(error) {
        Some(Error::Checkpoint { path, reason }) => {
            let run = path.parent().and_then(Path::parent).unwrap_or(path);
            let hint = match reason.contains("not finite") {
                true => format!(
                    "`{} eval {} --allow-nonfinite` shows what can be measured, or start a new run",
                    program(),
                    quote(path)
                ),
                false => format!(
                    "restore the original {}, or start a new run",
                    quote(&run.join("config.resolved.toml"))
                ),
            };
            (CHECKPOINT, Some(hint))
        }
        Some(Error::VocabularyFile(_)) => {
            let hint = "set data.vocab_file to a file with one token per line, or remove it to use \
                        the tokens of the training files";
            (OTHER, Some(hint.to_owned()))
        }
        Some(Error::Corpus(_)) => {
            let hint = "set data.file to a table of pairs, or data.folder to a folder with train.src, \
                        train.trg, dev.src, dev.trg, test.src and test.trg; `s2s data export` writes \
                        an example";
            (OTHER, Some(hint.to_owned()))
        }
        Some(Error::Compressed { path, .. }) => {
            let hint = format!("`gzip -t {}` tests the file", quote(path));
            (OTHER, Some(hint))
        }
        Some(Error::AllDropped { .. }) => {
            let hint = "raise these limits, or remove them for no limit";
            (USAGE, Some(hint.to_owned()))
        }
        Some(Error::Unchangeable { run, keys, sets }) => {
            let sets = sets.iter().map(|set| format!("--set {}", quote_text(set)));
            let sets = sets.collect::<Vec<_>>().join(" ");
            let program = program();
            let hint = match keys.iter().any(|key| key.starts_with("model.")) {
                true => {
                    let config = quote(&run.join("config.resolved.toml"));
                    let text = text_set(run);
                    format!("`{program} train --config {config} {sets}{text}` trains a new run")
                }
                false => format!(
                    "`{program} train --from {} {sets}` starts a new run from the weights of this one",
                    quote(run)
                ),
            };
            (USAGE, Some(hint))
        }
        Some(Error::ScheduleLength { schedule, .. }) => {
            let hint = format!(
                "`{0} --keep-schedule` keeps its final value for the new steps; \
                 `{0} --set {schedule}` stretches it over the new length",
                command_line()
            );
            (USAGE, Some(hint))
        }
        Some(Error::EndedFirst { sets, .. }) => {
            let sets = sets.iter().map(|set| format!(" --set {}", quote_text(set)));
            let hint = format!(
                "`{}{}` removes that limit",
                command_line(),
                sets.collect::<String>()
            );
            (USAGE, Some(hint))
        }
        Some(Error::TooShort { done, .. }) => {
            (USAGE, Some(format!("a number of steps above {done}")))
        }
        Some(Error::Start { .. }) => {
            let hint = "the same values in [model]; without --config, they come from that run";
            (USAGE, Some(hint.to_owned()))
        }
        Some(Error::CorpusMissing { run, .. }) => {
            let command = match std::env::args_os()
                .nth(1)
                .is_some_and(|word| word == "train")
            {
                true => command_line_with_flag(&format!("--set {}=PATH", text_key(run))),
                false => command_line_with("--data", "PATH"),
            };
            let hint = format!("`{command}` if the files are elsewhere now");
            (OTHER, Some(hint))
        }
        Some(Error::NotText) => (USAGE, Some("the command without --data".to_owned())),
        Some(Error::EndlessSplit { .. }) => (USAGE, Some("--split val or --split test".to_owned())),
        Some(Error::CorpusChanged { .. }) => {
            let hint = "restore the original file, or start a new run; `eval --data` evaluates changed files";
            (OTHER, Some(hint.to_owned()))
        }
        Some(Error::OutOfMemory { .. }) => (OTHER, Some(memory::on_cpu())),
        Some(Error::Thread(_)) => (OTHER, Some(FEWER_THREADS.to_owned())),
        Some(Error::Data(error)) => (OTHER, data::hint(error)),
        Some(Error::Diverged { .. }) => {
            let hint =
                "a new run with a lower learning rate, such as --set train.learning_rate=1e-4";
            (DIVERGED, Some(hint.to_owned()))
        }
        _ => (OTHER, error.downcast_ref().and_then(io_hint)),
    }
}

/// The key of the path of a run's text.
fn text_key(run: &Path) -> &'static str {
    let config = load_config(Some(&run.join("config.resolved.toml")), &[]);
    match config.is_ok_and(|config| config.data.file.as_os_str().is_empty()) {
        true => "data.folder",
        false => "data.file",
    }
}

/// The option with the absolute path of a run's text, if its configuration has a path relative to the folder in
/// which the run was started.
fn text_set(run: &Path) -> String {
    let config = load_config(Some(&run.join("config.resolved.toml")), &[]);
    let record = read_json::<CorpusRecord>(run.join("corpus.json"));
    let (Ok(config), Ok(record)) = (config, record) else {
        return String::new();
    };
    let sets = text_places(&config.data, &record).into_iter();
    sets.map(|set| format!(" --set {}", quote_text(&set)))
        .collect()
}

/// Hint for a failed read of the input or write to standard output.
fn io_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "free disk space, or redirect the output to another disk",
        io::ErrorKind::FileTooLarge => "a higher limit of file sizes: see `ulimit -f`",
        io::ErrorKind::IsADirectory => "the path of a regular file",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Hint if the system cannot start more threads.
pub(crate) const FEWER_THREADS: &str = "fewer --threads: each one reserves 256 MiB of address space (see `ulimit -v`) and counts \
     toward the limit of `ulimit -u`";

/// Hint for an invalid configuration.
fn start() -> String {
    let path = unused(Path::new("mine.toml"));
    format!(
        "`s2s config > {}` writes a file to start from",
        quote(&path)
    )
}

/// This path, or else the first of `2-NAME`, `3-NAME`, ... at which there is no file: a hint must not overwrite one.
fn unused(path: &Path) -> PathBuf {
    let numbered = (2..).map(|n| prefixed(path, &format!("{n}-")));
    let mut paths = std::iter::once(path.to_owned()).chain(numbered);
    let is_unused = |path: &PathBuf| !exists(path).unwrap_or(false);
    paths.find(is_unused).expect("the names do not end")
}

/// The path with a prefix before its name.
fn prefixed(path: &Path, prefix: &str) -> PathBuf {
    let mut name = OsString::from(prefix);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// Hint for an invalid configuration in a run folder.
const RESTORE: &str =
    "restore the original config.resolved.toml, or use the version of s2s that created the run";
