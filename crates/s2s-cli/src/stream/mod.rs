//! Lines of input to lines of output, in order and on all threads.
//!
//! ```text
//! input ─> Lines ─> windows of lines ─> work, one window per worker ─> Outputs, in order ─> output
//! ```
//!
//! A window is divided into batches of sources of similar length, which run in parallel too; see
//! [`s2s_train::Predictor`].

mod lines;
mod outputs;
mod pipeline;
mod resumed;

use std::io::{self, IsTerminal, Read};
use std::iter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::Context;
use clap::ValueHint;
use reverse_data::{MAX_LEN, Tokenization, Vocabulary};
use s2s_runlog::{GrowingFile, exists, is_regular, is_same, open_stream};

use self::lines::Lines;
use self::outputs::Sink;
use self::pipeline::in_order;
use self::resumed::Unfinished;
use crate::failure::{Hinted, Usage, memory};
use crate::machine::batch_size;
use crate::shell::command_line_with_flag;
use crate::ui::Ui;

pub(crate) use self::lines::{Line, parse};
pub(crate) use self::outputs::{Done, Outputs, Topic};

/// Maximum bytes per token of a line.
const TOKEN_BYTES: u64 = 16;

/// Batches in a window: enough that a batch has sources of similar length.
const WINDOW: usize = 16;

/// Bytes per batch after which a window takes no further line.
const MAX_BATCH_BYTES: usize = 1 << 16;

/// Per thread, windows that are read ahead and windows that are done but not yet written: enough to keep
/// all threads busy while one works on a long sequence.
const AHEAD: usize = 4;

/// Input and output of lines.
#[derive(clap::Args)]
pub(crate) struct StreamArgs {
    /// Read sequences from a file; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Write the output to a new file instead of to standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Continue an interrupted command: keep the complete lines of --output and start with the first that
    /// is missing. The exit code and the totals are those of the lines that are added
    #[arg(long, requires = "output")]
    resume: bool,
    /// Maximum number of sequences per batch
    #[arg(long, value_name = "N", default_value = "64", value_parser = batch_size())]
    pub(crate) batch_size: NonZeroUsize,
}

/// How many lines are in memory.
#[derive(Clone, Copy)]
pub(crate) enum MemoryGrowth {
    /// What decoding needs grows with the length of a line.
    Linear,
    /// It grows with the square of the length, for so many outputs per line.
    Quadratic(NonZeroUsize),
}

impl StreamArgs {
    /// Does the work for each window of lines and writes the outputs in the order of the input.
    pub(crate) fn run(
        &self,
        input: Input,
        memory: MemoryGrowth,
        threads: usize,
        ui: &Ui,
        work: impl Fn(Vec<Line>) -> anyhow::Result<Outputs> + Sync,
    ) -> anyhow::Result<Done> {
        let reading = || format!("cannot read {}", input.name);
        let (file, unfinished) = self.open_output()?;
        let n_done = unfinished.as_ref().map_or(0, |found| found.n_lines);
        let ahead = AHEAD * threads;
        let (max_lines, max_bytes) = match memory {
            MemoryGrowth::Linear => (WINDOW * self.batch_size.get(), WINDOW * MAX_BATCH_BYTES),
            MemoryGrowth::Quadratic(n_outputs) => {
                let max_bytes = MAX_BATCH_BYTES / 8;
                (self.batch_size.get(), max_bytes / n_outputs.get() + 1)
            }
        };
        let windows = read(input.source, n_done, (max_lines, max_bytes), ahead)?;
        let mut sink = Sink::new(ui, file, unfinished);
        let work = |lines: Window| -> anyhow::Result<Outputs> {
            match lines {
                Window::Lines(lines) => {
                    work(lines).map_err(|error| memory::in_batches(error, self.batch_size))
                }
                Window::Failed(error) => Err(error).with_context(reading),
                Window::TooShort(n_lines) => Err(self.too_short(n_done, n_lines).into()),
            }
        };
        in_order(&windows, ahead, work, |outputs, arrival| {
            sink.write(outputs?, arrival)
        })?;
        sink.finish()
    }

    /// The file for the output, and what it contains already.
    fn open_output(&self) -> anyhow::Result<(Option<GrowingFile>, Option<Unfinished>)> {
        let Some(path) = &self.output else {
            return Ok((None, None));
        };
        if self.file.as_ref().is_some_and(|file| is_same(file, path)) {
            let what = "--file and --output are the same file; choose another --output";
            return Err(Usage(what.to_owned()).into());
        }
        if !exists(path)? {
            let file = GrowingFile::create(path)?;
            file.lock()?;
            return Ok((Some(file), None));
        }
        if !is_regular(path)? {
            return Err(Hinted {
                what: format!(
                    "{} is not a regular file; nothing was changed",
                    path.display()
                ),
                hint: "another --output; without it, the output goes to standard output".to_owned(),
            }
            .into());
        }
        if self.resume {
            let (file, unfinished) = Unfinished::open(path)?;
            return Ok((Some(file), Some(unfinished)));
        }
        Err(Hinted {
            what: format!("{} already exists; nothing was changed", path.display()),
            hint: format!(
                "another --output; if this command was interrupted, `{}` continues it",
                command_line_with_flag("--resume")
            ),
        }
        .into())
    }

    fn too_short(&self, n_done: u64, n_lines: u64) -> Hinted {
        let path = self.output.as_deref().unwrap_or(Path::new(""));
        Hinted {
            what: format!(
                "{} has {n_done} lines already, but the input has only {n_lines}; nothing was changed",
                path.display()
            ),
            hint: "the input of the interrupted command, or another --output".to_owned(),
        }
    }
}

/// Sequences to read.
pub(crate) struct Input {
    name: String,
    source: Source,
}

/// Where sequences come from.
enum Source {
    /// A single one, which may contain line breaks.
    Sequence(String),
    Lines(Box<dyn Read + Send>),
}

impl Input {
    /// The words of a command line as a single sequence.
    pub(crate) fn of_words(words: &[String]) -> Self {
        Self {
            name: "the arguments".to_owned(),
            source: Source::Sequence(words.join(" ")),
        }
    }

    /// A file, or standard input, which is also called `-`.
    pub(crate) fn open(
        file: Option<&Path>,
        vocabulary: &Vocabulary,
        ui: &Ui,
    ) -> s2s_runlog::Result<Self> {
        if let Some(path) = file.filter(|path| path.as_os_str() != "-") {
            return Ok(Self {
                name: path.display().to_string(),
                source: Source::Lines(Box::new(open_stream(path)?)),
            });
        }
        if io::stdin().is_terminal() {
            let what = match vocabulary.tokenization() {
                None => format!(
                    "symbols from 1 to {}, separated by spaces",
                    vocabulary.n_symbols()
                ),
                Some(Tokenization::Words) => "words, separated by spaces".to_owned(),
                Some(Tokenization::Chars | Tokenization::Bytes) => "lines of text".to_owned(),
            };
            ui.message(format!("type {what}; press Ctrl-D to end"));
        }
        Ok(Self {
            name: "standard input".to_owned(),
            source: Source::Lines(Box::new(io::stdin())),
        })
    }
}

/// The warning about tokens of a line that are not in the vocabulary, which may be repeated; none if there are
/// no such tokens.
pub(crate) fn unknown_warning(line: u64, unknown: &[&str]) -> Option<String> {
    const MAX_SHOWN: usize = 10;
    let mut words: Vec<&str> = Vec::new();
    for word in unknown {
        if !words.contains(word) {
            words.push(word);
        }
    }
    let shown = words.iter().take(MAX_SHOWN).map(|word| format!("{word:?}"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let were = match words.len() {
        0 => return None,
        1 => "token is not in the vocabulary and was",
        _ => "tokens are not in the vocabulary and were",
    };
    let more = if words.len() > MAX_SHOWN { ", ..." } else { "" };
    let n = words.len();
    Some(format!(
        "line {line}: {n} {were} replaced by <unk>: {shown}{more}"
    ))
}

/// The result of reading some lines.
enum Window {
    Lines(Vec<Line>),
    Failed(io::Error),
    /// The input has only so many lines, fewer than were to be skipped.
    TooShort(u64),
}

/// Reads up to `ahead` windows of lines in advance, until the input ends or fails or the receiver is dropped.
/// Of the first `n_done` lines, only the last is read, in a window of its own.
///
/// The thread is detached because it may block on input that is no longer needed; it ends with the
/// process at the latest.
fn read(
    source: Source,
    n_done: u64,
    (max_lines, max_bytes): (usize, usize),
    ahead: usize,
) -> io::Result<Receiver<Window>> {
    let (sender, windows) = sync_channel(ahead);
    thread::Builder::new().spawn(move || {
        let input = match source {
            Source::Sequence(line) if n_done < 2 => {
                let window = Window::Lines(vec![(1, Ok(line.into_bytes()))]);
                return sender.send(window).unwrap_or_default();
            }
            Source::Sequence(_) => return sender.send(Window::TooShort(1)).unwrap_or_default(),
            Source::Lines(input) => input,
        };
        let mut lines = Lines::new(input, MAX_LEN as u64 * TOKEN_BYTES);
        let first = match n_done {
            0 => None,
            _ => Some(match lines.skip(n_done - 1) {
                Ok(n_lines) if n_lines < n_done - 1 => Window::TooShort(n_lines),
                Ok(n_lines) => match lines.next_batch(1, max_bytes) {
                    Ok(lines) if lines.is_empty() => Window::TooShort(n_lines),
                    Ok(lines) => Window::Lines(lines),
                    Err(error) => Window::Failed(error),
                },
                Err(error) => Window::Failed(error),
            }),
        };
        let further = iter::from_fn(|| match lines.next_batch(max_lines, max_bytes) {
            Ok(lines) if lines.is_empty() => None,
            Ok(lines) => Some(Window::Lines(lines)),
            Err(error) => Some(Window::Failed(error)),
        });
        for window in first.into_iter().chain(further) {
            let is_last = !matches!(window, Window::Lines(_));
            if sender.send(window).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(windows)
}
