//! `s2s predict`.
//!
//! ```text
//! input ─> Lines ─> batches of lines ─> Oracle, one batch a worker ─> Answers, in order ─> output
//! ```

mod answer;
mod lines;
mod pipeline;
mod sequence;

use std::io::{self, Cursor, IsTerminal, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::Context;
use clap::ValueHint;
use reverse_data::{MAX_LEN, Vocabulary};
use s2s_runlog::open_stream;

use self::answer::{Answers, Oracle, Said};
use self::lines::{Line, Lines};
use self::pipeline::in_order;
use crate::checkpoint::CheckpointArgs;
use crate::failure::Usage;
use crate::machine::batch_size;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s predict runs/default-seed0 3 1 4 1 5
  s2s predict runs/default-seed0 --attention 3,1,4,1,5
  s2s predict runs/default-seed0 --json < sequences.txt > answers.jsonl";

/// Bytes for a token on a line, more than any has.
const TOKEN_BYTES: u64 = 16;

/// Bytes of lines after which a batch takes no further one.
const MAX_BATCH_BYTES: usize = 1 << 16;
/// The same where weights are kept: they take memory in the square of a line's length.
const MAX_BATCH_BYTES_WITH_WEIGHTS: usize = 1 << 13;

/// Batches that are read ahead, and batches that are answered but not yet written, for each thread:
/// so many short ones keep the others busy while one of them is at a long one.
const AHEAD: usize = 4;

/// Ask a trained model
///
/// Reads one sequence from the arguments, or one a line from a file or standard input, its tokens
/// separated by spaces or commas (of a model of text, by spaces alone; words that it does not know are
/// read as the unknown word). Answers each with a line, in order and as soon as it can; many lines at a time, on
/// all threads. A line that cannot be read is answered with an empty one (with --json, by one that
/// says why) and a message; the exit code is then 1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// The sequence; without any, standard input is read
    #[arg(value_name = "TOKENS", allow_negative_numbers = true)]
    tokens: Vec<String>,
    /// Reads sequences from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "tokens")]
    file: Option<PathBuf>,
    /// Sequences at a time at most, for each thread
    #[arg(long, value_name = "N", default_value = "64", value_parser = batch_size())]
    batch_size: NonZeroUsize,
    /// Print a line of JSON each: source, prediction, log_prob, and whether it stopped by itself
    #[arg(long)]
    json: bool,
    /// Add attention weights to the JSON, a row for each predicted token and one for the end; or
    /// else draw them on standard error
    #[arg(long)]
    attention: bool,
    /// Tell the model how long the answer is, instead of letting it stop by itself
    #[arg(long)]
    oracle_length: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let mut loaded = args.checkpoint.load()?;
    if args.attention && !loaded.model.has_attention() {
        let what = "this model has no attention to show; leave --attention out";
        return Err(Usage(what.to_owned()).into());
    }
    if args.oracle_length && loaded.config.data.is_text() {
        let what = "the length of an answer is not known to a model of text; leave --oracle-length \
                    out";
        return Err(Usage(what.to_owned()).into());
    }
    let ahead = AHEAD * loaded.runtime.threads;
    loaded.model.set_threads(1); // of each batch: there are as many batches at once as threads
    let name = match &args.file {
        Some(path) => path.display().to_string(),
        None => "standard input".to_owned(),
    };
    let reading = || format!("cannot read {name}");
    let input = open(args, &loaded.vocabulary, ui)?;
    let batches = read(input, args, ahead)?;

    let oracle = Oracle::new(&loaded, args, ui)?;
    let work = |lines: io::Result<Vec<Line>>| oracle.answer(lines.with_context(reading)?);
    let mut is_refused = false;
    in_order(&batches, ahead, work, |answers: anyhow::Result<Answers>| {
        let answers = answers?;
        is_refused |= answers.is_refused;
        answers.said.iter().try_for_each(|said| match said {
            Said::Data(text) => ui.data(text),
            Said::Talk(text) => {
                ui.talk(text);
                Ok(())
            }
        })
    })?;
    Ok(u8::from(is_refused))
}

fn open(args: &Args, vocabulary: &Vocabulary, ui: &Ui) -> s2s_runlog::Result<Box<dyn Read + Send>> {
    if !args.tokens.is_empty() {
        let line = args.tokens.join(" ") + "\n";
        return Ok(Box::new(Cursor::new(line)));
    }
    if let Some(path) = &args.file {
        return Ok(Box::new(open_stream(path)?));
    }
    if io::stdin().is_terminal() {
        let what = match vocabulary.unknown() {
            None => format!("symbols from 1 to {}", vocabulary.n_symbols()),
            Some(_) => "words".to_owned(),
        };
        ui.talk(format!("type {what} with spaces between them; Ctrl-D ends"));
    }
    Ok(Box::new(io::stdin()))
}

/// Reads batches of lines, `ahead` of them, until the input ends or fails or nobody wants more.
///
/// Its thread is left alone, since it may wait for input that nobody needs any more: it ends with
/// the process at the latest.
fn read(
    input: Box<dyn Read + Send>,
    args: &Args,
    ahead: usize,
) -> io::Result<Receiver<io::Result<Vec<Line>>>> {
    let max_lines = args.batch_size.get();
    let max_bytes = match args.attention {
        true => MAX_BATCH_BYTES_WITH_WEIGHTS,
        false => MAX_BATCH_BYTES,
    };
    let (sender, batches) = sync_channel(ahead);
    thread::Builder::new().spawn(move || {
        let mut lines = Lines::new(input, MAX_LEN as u64 * TOKEN_BYTES);
        loop {
            let batch = match lines.next_batch(max_lines, max_bytes) {
                Ok(batch) if batch.is_empty() => return,
                batch => batch,
            };
            let is_failed = batch.is_err();
            if sender.send(batch).is_err() || is_failed {
                return;
            }
        }
    })?;
    Ok(batches)
}
