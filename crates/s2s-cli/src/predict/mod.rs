//! `s2s predict`.
//!
//! ```text
//! input ─> Lines ─> batches of lines ─> Predictor, one batch per worker ─> Outputs, in order ─> output
//! ```

mod answer;
mod lines;
mod out;
mod pipeline;
mod sequence;

use std::io::{self, Cursor, IsTerminal, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::Context;
use clap::ValueHint;
use reverse_data::{MAX_LEN, Tokenization, Vocabulary};
use s2s_runlog::open_stream;

use self::answer::{Outputs, Part, Predictor};
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
  s2s predict runs/default-seed0 3 1 4 1 5 --out attention.gif
  s2s predict runs/default-seed0 --json < sequences.txt > answers.jsonl
  s2s predict runs/dates-seed0 'March 3, 2024'";

/// Maximum bytes per token of a line.
const TOKEN_BYTES: u64 = 16;

/// Bytes after which a batch takes no further line.
const MAX_BATCH_BYTES: usize = 1 << 16;
/// The same with --attention, whose memory grows with the square of the length.
const MAX_BATCH_BYTES_WITH_WEIGHTS: usize = 1 << 13;

/// Per thread, batches that are read ahead and batches that are decoded but not yet written: enough
/// to keep all threads busy while one decodes a long batch.
const AHEAD: usize = 4;

/// Run a trained model on your input
///
/// Reads one sequence from the arguments, or one per line from a file or standard input. Tokens are
/// separated by spaces or commas; a model of text reads lines of text, in which unknown tokens become
/// `<unk>`. Prints one line per sequence, in order and as soon as possible, decoding many lines at
/// once on all threads. For an invalid line, prints an empty line (with --json, a line with the
/// error) and a message; the exit code is then 1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// The sequence [default: read sequences from standard input]
    #[arg(value_name = "TOKENS", allow_negative_numbers = true)]
    tokens: Vec<String>,
    /// Read sequences from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "tokens")]
    file: Option<PathBuf>,
    /// Maximum number of sequences per batch
    #[arg(long, value_name = "N", default_value = "64", value_parser = batch_size())]
    batch_size: NonZeroUsize,
    /// Print JSON lines: source, prediction, log_prob, the probability of each token, and whether
    /// decoding stopped at EOS
    #[arg(long)]
    json: bool,
    /// Draw the attention weights on standard error; with --json, add them to the output, a row per
    /// predicted token and one for EOS
    #[arg(long)]
    attention: bool,
    /// Write the attention of the sequence as a picture or a page: .svg, .png, .gif (token by token) or
    /// .html
    #[arg(long, value_name = "FILE", requires = "tokens", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Let --out replace a file
    #[arg(long, requires = "out")]
    force: bool,
    /// Stop at the correct output length instead of at EOS
    #[arg(long)]
    oracle_length: bool,
    /// Maximum number of output tokens, EOS included [default: from the lengths in training]
    #[arg(long, value_name = "N", conflicts_with = "oracle_length")]
    max_len: Option<NonZeroUsize>,
    /// Replace each `<unk>` in the output by the source word with the greatest attention weight
    #[arg(long)]
    replace_unknown: bool,
}

impl Args {
    /// Whether decoding returns attention weights.
    fn with_weights(&self) -> bool {
        self.attention || self.out.is_some() || self.replace_unknown
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    if let Some(path) = &args.out {
        out::check(path, args.force)?;
    }
    let mut loaded = args.checkpoint.load()?;
    for (option, is_set) in [
        ("--attention", args.attention),
        ("--out", args.out.is_some()),
        ("--replace-unknown", args.replace_unknown),
    ] {
        if is_set && !loaded.model.has_attention() {
            return Err(Usage(format!("this model has no attention; remove {option}")).into());
        }
    }
    if args.replace_unknown && loaded.codec.vocabulary.unknown().is_none() {
        let what = "symbols that are numbers are never unknown; remove --replace-unknown";
        return Err(Usage(what.to_owned()).into());
    }
    if args.oracle_length && loaded.config.data.is_text() {
        let what = "the correct output length is not known for text; remove --oracle-length";
        return Err(Usage(what.to_owned()).into());
    }
    let ahead = AHEAD * loaded.runtime.threads;
    loaded.model.set_threads(1); // per batch; as many batches run in parallel as there are threads
    let name = match &args.file {
        Some(path) => path.display().to_string(),
        None => "standard input".to_owned(),
    };
    let reading = || format!("cannot read {name}");
    let input = open(args, &loaded.codec.vocabulary, ui)?;
    let batches = read(input, args, ahead)?;

    let predictor = Predictor::new(&loaded, args, ui)?;
    let work = |lines: io::Result<Vec<Line>>| predictor.predict(lines.with_context(reading)?);
    let (mut has_invalid, mut has_first) = (false, false);
    in_order(&batches, ahead, work, |outputs: anyhow::Result<Outputs>| {
        let outputs = outputs?;
        has_invalid |= outputs.has_invalid;
        outputs.parts.iter().try_for_each(|part| match part {
            Part::Data(text) => ui.data(text),
            Part::Message(text) => {
                ui.message(text);
                Ok(())
            }
            Part::FirstMessage(text) => {
                if !std::mem::replace(&mut has_first, true) {
                    ui.message(text);
                }
                Ok(())
            }
            Part::Drawing(text) => {
                ui.styled(text);
                Ok(())
            }
        })
    })?;
    Ok(u8::from(has_invalid))
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
    Ok(Box::new(io::stdin()))
}

/// Reads up to `ahead` batches of lines in advance, until the input ends or fails or the receiver
/// is dropped.
///
/// The thread is detached because it may block on input that is no longer needed; it ends with the
/// process at the latest.
fn read(
    input: Box<dyn Read + Send>,
    args: &Args,
    ahead: usize,
) -> io::Result<Receiver<io::Result<Vec<Line>>>> {
    let max_lines = args.batch_size.get();
    let max_bytes = match args.with_weights() {
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
