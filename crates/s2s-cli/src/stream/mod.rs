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

use std::io::{self, Cursor, IsTerminal, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::Context;
use clap::ValueHint;
use reverse_data::{MAX_LEN, Tokenization, Vocabulary};
use s2s_runlog::{GrowingFile, exists, open_stream};

use self::lines::Lines;
use self::outputs::Sink;
use self::pipeline::in_order;
use crate::failure::{Hinted, memory};
use crate::machine::batch_size;
use crate::shell::command_line;
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
    /// is missing
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
        let (file, n_done) = self.open_output()?;
        let ahead = AHEAD * threads;
        let (max_lines, max_bytes) = match memory {
            MemoryGrowth::Linear => (WINDOW * self.batch_size.get(), WINDOW * MAX_BATCH_BYTES),
            MemoryGrowth::Quadratic(n_outputs) => {
                let max_bytes = MAX_BATCH_BYTES / 8;
                (self.batch_size.get(), max_bytes / n_outputs.get() + 1)
            }
        };
        let windows = read(input.stream, n_done, (max_lines, max_bytes), ahead)?;
        let mut sink = Sink::new(ui, file);
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

    /// The file for the output, and how many lines it has.
    fn open_output(&self) -> anyhow::Result<(Option<GrowingFile>, u64)> {
        let Some(path) = &self.output else {
            return Ok((None, 0));
        };
        if !exists(path)? {
            return Ok((Some(GrowingFile::create(path)?), 0));
        }
        if self.resume {
            let (file, n_lines) = GrowingFile::resume(path)?;
            return Ok((Some(file), n_lines));
        }
        Err(Hinted {
            what: format!("{} already exists; nothing was changed", path.display()),
            hint: format!(
                "`{} --resume` continues it after its last complete line; or another --output",
                command_line()
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
    stream: Box<dyn Read + Send>,
}

impl Input {
    /// The words of a command line as a single line.
    pub(crate) fn of_words(words: &[String]) -> Self {
        Self {
            name: "the arguments".to_owned(),
            stream: Box::new(Cursor::new(words.join(" ") + "\n")),
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
                stream: Box::new(open_stream(path)?),
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
            stream: Box::new(io::stdin()),
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

/// Reads up to `ahead` windows of lines in advance, after the first `n_skipped` lines, until the input ends
/// or fails or the receiver is dropped.
///
/// The thread is detached because it may block on input that is no longer needed; it ends with the
/// process at the latest.
fn read(
    input: Box<dyn Read + Send>,
    n_skipped: u64,
    (max_lines, max_bytes): (usize, usize),
    ahead: usize,
) -> io::Result<Receiver<Window>> {
    let (sender, windows) = sync_channel(ahead);
    thread::Builder::new().spawn(move || {
        let mut lines = Lines::new(input, MAX_LEN as u64 * TOKEN_BYTES);
        match lines.skip(n_skipped) {
            Ok(n_lines) if n_lines == n_skipped => {}
            Ok(n_lines) => return sender.send(Window::TooShort(n_lines)).unwrap_or_default(),
            Err(error) => return sender.send(Window::Failed(error)).unwrap_or_default(),
        }
        loop {
            let window = match lines.next_batch(max_lines, max_bytes) {
                Ok(lines) if lines.is_empty() => return,
                Ok(lines) => Window::Lines(lines),
                Err(error) => Window::Failed(error),
            };
            let is_last = matches!(window, Window::Failed(_));
            if sender.send(window).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(windows)
}
