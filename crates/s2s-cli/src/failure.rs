//! Error messages and exit codes.
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
use s2s_model::Misfit;
use s2s_runlog::{
    Error as RunLogError, RunDir, RunRecord, Whereabouts, exists, read_checkpoint, read_json,
};
use s2s_train::{ConfigError, ConfigProblem, DeviceError, Error};
use s2s_viz::clean;
use s2s_weights::Error as WeightsError;

use crate::shell::{command_line, program, quote, quote_text};
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
            report_problem(problem, text, ui);
        }
        let is_resolved = file
            .as_ref()
            .is_some_and(|path| path.ends_with("config.resolved.toml"));
        ui.message(format!(
            "  try: {}",
            if is_resolved { RESTORE } else { START }
        ));
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
        return (USAGE, Some(START.to_owned()));
    }
    if let Some(error) = run_log_error(error) {
        return classify_run_log(error);
    }
    if let Some(result) = error.downcast_ref().and_then(classify_weights) {
        return result;
    }
    match train_error(error) {
        Some(Error::Checkpoint { path, .. }) => {
            let run = path.parent().and_then(Path::parent).unwrap_or(path);
            let config = quote(&run.join("config.resolved.toml"));
            let hint = format!(
                "restore the original {config}, or start a new run; \
                 `s2s eval --allow-nonfinite` accepts values that are not finite"
            );
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
            let hint = match keys.iter().any(|key| key.starts_with("model.")) {
                true => {
                    let config = quote(&run.join("config.resolved.toml"));
                    format!("`s2s train --config {config} {sets}` trains a new run")
                }
                false => format!(
                    "`s2s train --from {} {sets}` starts a new run from the weights of this one",
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
        Some(Error::TooShort { done, .. }) => {
            (USAGE, Some(format!("a number of steps above {done}")))
        }
        Some(Error::Start { .. }) => {
            let hint = "the same values in [model]; without --config, they come from that run";
            (USAGE, Some(hint.to_owned()))
        }
        Some(Error::CorpusMissing { .. }) => {
            let hint = format!(
                "`{} --data PATH` if the files are elsewhere now",
                command_line()
            );
            (OTHER, Some(hint))
        }
        Some(Error::NotText) => (USAGE, Some("the command without --data".to_owned())),
        Some(Error::EndlessSplit { .. }) => (USAGE, Some("--split val or --split test".to_owned())),
        Some(Error::CorpusChanged { .. }) => {
            let hint = "restore the original file, or start a new run; `eval --data` evaluates changed files";
            (OTHER, Some(hint.to_owned()))
        }
        Some(Error::OutOfMemory(_)) => (OTHER, Some(LESS_MEMORY.to_owned())),
        Some(Error::Thread(_)) => (OTHER, Some(FEWER_THREADS.to_owned())),
        Some(Error::Data(error)) => (OTHER, Some(data_hint(error))),
        Some(Error::Diverged { .. }) => {
            let hint =
                "a new run with a lower learning rate, such as --set train.learning_rate=1e-4";
            (DIVERGED, Some(hint.to_owned()))
        }
        _ => (OTHER, error.downcast_ref().and_then(io_hint)),
    }
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

/// Hint if the memory of a GPU is too small.
const LESS_MEMORY: &str = "a new run with a lower train.batch_size or train.eval_batch_size, shorter sequences, or \
     smaller sizes in [model]; a lower --batch-size for `eval` and `predict`; `resume --device cpu` \
     to continue this run from its last checkpoint";

/// Hint for an invalid configuration.
const START: &str = "`s2s config > mine.toml` writes a file to start from";

/// Hint for an invalid configuration in a run folder.
const RESTORE: &str =
    "restore the original config.resolved.toml, or use the version of s2s that created the run";

/// The exit code and the hint of an export or an import.
fn classify_weights(error: &WeightsError) -> Option<(u8, Option<String>)> {
    let (code, hint) = match error {
        WeightsError::NotEmpty { .. } => (
            USAGE,
            "another --to; --overwrite replaces an export that is there".to_owned(),
        ),
        WeightsError::NotAnExport { .. } => (USAGE, "another --to".to_owned()),
        WeightsError::Inexpressible { .. } => (
            OTHER,
            "`s2s_model::save_weights` writes any parameters, for a model.py of your own"
                .to_owned(),
        ),
        WeightsError::Malformed { path, .. } => {
            let hint = format!(
                "write it again in PyTorch 1.6 or later: `torch.save(model.state_dict(), {:?})`",
                path.with_extension("pt").display().to_string()
            );
            (OTHER, hint)
        }
        WeightsError::Code { path, .. } => {
            let hint = format!(
                "save the weights alone: `torch.save(model.state_dict(), {:?})`",
                path.with_extension("pt").display().to_string()
            );
            (OTHER, hint)
        }
        WeightsError::Misfit { misfit, .. } => (USAGE, misfit_hint(misfit)),
        WeightsError::Renames { .. } => (USAGE, "`s2s import --help` shows such a file".to_owned()),
        _ => return None,
    };
    Some((code, Some(hint)))
}

fn misfit_hint(misfit: &Misfit) -> String {
    let shapes = &misfit.reshaped;
    if shapes
        .iter()
        .any(|tensor| tensor.name.contains("embedding"))
    {
        "a --config with data.vocab, or --vocab, of these weights: an embedding has a row for each token, \
         and for PAD, BOS and EOS"
            .to_owned()
    } else if let Some([cell, _]) = misfit.cells {
        format!("--set model.cell={cell}")
    } else if !shapes.is_empty() {
        "a --config with the sizes of these weights in [model]".to_owned()
    } else if !misfit.not_finite.is_empty() {
        "weights from before the training diverged".to_owned()
    } else if misfit.retyped.iter().any(|tensor| !tensor.is_castable) {
        "weights that are floating-point numbers".to_owned()
    } else if misfit.missing.is_empty() && misfit.unexpected.is_empty() {
        format!("`{} --cast` converts the numbers", command_line())
    } else {
        let cast = match misfit.retyped.is_empty() {
            true => "",
            false => "; --cast converts the numbers",
        };
        format!(
            "--rename FILE for other names, see `s2s import --help`; --partial loads the others{cast}"
        )
    }
}

fn classify_run_log(error: &RunLogError) -> (u8, Option<String>) {
    let resume = |path: &Path| format!("`{} resume {}`", program(), quote(path));
    let (code, hint) = match error {
        RunLogError::Exists { path } => {
            let hint = match RunDir::open(path) {
                Ok(_) => format!(
                    "{} to resume that run, or choose another --run-dir",
                    resume(path)
                ),
                Err(_) => "another --run-dir that is empty or does not exist".to_owned(),
            };
            (USAGE, hint)
        }
        RunLogError::NoRun { .. } | RunLogError::NotARun { .. } => {
            let hint = "the folder of a run that `s2s train` created";
            (USAGE, hint.to_owned())
        }
        RunLogError::NoCheckpoint { path } | RunLogError::Damaged { path, .. } => {
            (CHECKPOINT, checkpoint_hint(path))
        }
        RunLogError::Busy { .. } => return (BUSY, None),
        RunLogError::Lost { path, now } => return (OTHER, lost_hint(path, now)),
        RunLogError::Write { path, source } => (OTHER, write_hint(path, source)),
        RunLogError::Read { path, .. } => {
            let hint = format!(
                "`ls -ld {}` shows whether it exists and who owns it",
                quote(path)
            );
            (OTHER, hint)
        }
        RunLogError::Line { path, line, .. } => {
            let hint = format!("`sed -i {line}d {}` deletes that line", quote(path));
            (OTHER, hint)
        }
        RunLogError::Json { path, .. } if is_required(path) => {
            let hint = format!(
                "the original {}: the run cannot be read without it",
                quote(path)
            );
            (OTHER, hint)
        }
        RunLogError::Json { path, .. }
        | RunLogError::NotRegular { path, .. }
        | RunLogError::TooLarge { path, .. } => {
            let hint = format!(
                "restore the original, or move it away: `mv {0} {0}.bad`",
                quote(path)
            );
            (OTHER, hint)
        }
        RunLogError::Lock { path, source } => (OTHER, lock_hint(path, source)),
        _ => return (OTHER, None),
    };
    (code, Some(hint))
}

/// Whether a run is useless without this file.
fn is_required(path: &Path) -> bool {
    ["corpus.json", "identity.json"]
        .iter()
        .any(|name| path.ends_with(name))
}

/// Hint for a checkpoint that is missing or damaged: the other one, if it can be read, or else to
/// continue training.
fn checkpoint_hint(path: &Path) -> String {
    let others = [("best", "last"), ("last", "best")];
    let other = others.iter().find(|(name, _)| path.ends_with(name));
    let run = path.parent().and_then(Path::parent).unwrap_or(path);
    match other {
        Some((_, other)) if read_checkpoint(path.with_file_name(other)).is_ok() => format!(
            "the other checkpoint, which is intact: `{} eval {} --checkpoint {other}`",
            program(),
            quote(run)
        ),
        _ if read_json::<RunRecord>(run.join("run.json")).is_ok_and(|run| run.test.is_some()) => {
            "a new run: this one is finished, and has no other checkpoint".to_owned()
        }
        _ => format!("`{} resume {}` trains it", program(), quote(run)),
    }
}

/// Hint if a run folder was deleted or moved: how to continue, as far as that is possible.
fn lost_hint(path: &Path, now: &Whereabouts) -> Option<String> {
    let continues = |path: &Path| {
        let last = path.join("checkpoints/last");
        let from = match exists(&last) {
            Ok(true) => format!("its last checkpoint, {}", quote(&last)),
            _ => "its start, since it has no checkpoint yet".to_owned(),
        };
        format!(
            "`{} resume {}` continues it from {from}",
            program(),
            quote(path)
        )
    };
    match now {
        Whereabouts::MovedTo(path) => Some(continues(path)),
        Whereabouts::Deleted if RunDir::open(path).is_ok() => Some(continues(path)),
        Whereabouts::Deleted if std::env::args_os().any(|word| word == "train") => Some(format!(
            "its checkpoints are gone too; `{}` starts again",
            command_line()
        )),
        Whereabouts::Deleted | Whereabouts::Unknown => {
            Some("the run folder from a backup, or a new run".to_owned())
        }
        Whereabouts::Claimed(_) => Some(format!(
            "the other process continues it; `{} watch {}` follows it. The file system of the folder \
             does not pass locks on to other machines",
            program(),
            quote(path)
        )),
    }
}

/// Hint for a run folder that cannot be locked.
fn lock_hint(path: &Path, error: &io::Error) -> String {
    let run = path.parent().unwrap_or(path);
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            let copy = run.file_name().unwrap_or_default();
            let copy = std::env::temp_dir().join(copy);
            format!(
                "`cp -r {} {}` copies the run to a disk that accepts writes",
                quote(run),
                quote(&copy)
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("`ls -ld {0} {0}/run.lock` shows who owns them", quote(run))
        }
        _ => "a run folder on a local disk; some network file systems do not support locks"
            .to_owned(),
    }
}

/// Hint for a file that cannot be written.
fn write_hint(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            return "a folder on a disk that accepts writes".to_owned();
        }
        io::ErrorKind::FileTooLarge => "raise the limit of file sizes, see `ulimit -f`",
        io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull => "free disk space",
        io::ErrorKind::PermissionDenied => "fix the permissions",
        _ => "free disk space or fix the permissions",
    };
    match path.ancestors().find(|path| RunDir::open(path).is_ok()) {
        Some(run) => format!(
            "{remedy}, then `{} resume {}` continues the run from its last checkpoint",
            program(),
            quote(run)
        ),
        None => format!("{remedy}, or choose another folder"),
    }
}

/// Hint for invalid data.
fn data_hint(error: &DataError) -> String {
    match error {
        DataError::Line { path, line, .. } => {
            format!("`sed -n {line}p {}` shows the line", quote(path))
        }
        DataError::NumberOfLines { path, .. } => {
            format!("`wc -l {}` counts the lines", quote(path))
        }
        DataError::LineCounts {
            source_path,
            target_path,
            ..
        } => format!(
            "`paste {} {}` shows where the files differ",
            quote(source_path),
            quote(target_path)
        ),
        DataError::EmptySplit { .. } => {
            "--set data.split=[0.6,0.2,0.2], or a table with more pairs".to_owned()
        }
        DataError::NoColumn { path, .. } => {
            let path = quote(path);
            match path.ends_with(".gz") {
                true => format!("`gzip -dc {path} | head -n 1` shows the header"),
                false => format!("`head -n 1 {path}` shows the header"),
            }
        }
        _ => START.to_owned(),
    }
}

/// Prints a configuration problem: with the surrounding lines on a terminal, otherwise on one line.
fn report_problem(problem: &ConfigProblem, text: &str, ui: &Ui) {
    let shown = ui
        .is_terminal()
        .then(|| with_lines(problem, text, ui))
        .flatten();
    match shown {
        Some(lines) => ui.styled(lines),
        None => ui.message(format!("error: {problem}")),
    }
}

/// A problem of a file with the surrounding lines.
fn with_lines(problem: &ConfigProblem, text: &str, ui: &Ui) -> Option<String> {
    let s2s_train::Origin::File(path) = &problem.origin else {
        return None;
    };
    let diagnostic = Diagnostic {
        message: clean(&problem.message),
        text: NamedSource::new(clean(&path.display().to_string()), visible(text)),
        span: problem.span.clone()?.into(),
        help: problem.help.as_deref().map(clean),
    };
    let theme = if console::colors_enabled_stderr() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut lines = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(ui.width());
    handler.render_report(&mut lines, &diagnostic).ok()?;
    Some(lines)
}

/// The text without control characters other than white space, each byte in its place.
fn visible(text: &str) -> String {
    let shown = |c: char| match clean(c.encode_utf8(&mut [0; 4])) {
        same if c.is_whitespace() || same.starts_with(c) => c.to_string(),
        _ => "?".repeat(c.len_utf8()),
    };
    text.chars().map(shown).collect()
}

/// A configuration problem in the form that miette renders.
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
