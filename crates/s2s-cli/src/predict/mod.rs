//! `s2s predict`.

mod answer;
mod out;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueHint;
use s2s_model::{NonFinite, Seq2Seq};

use self::answer::Answers;
use crate::checkpoint::CheckpointArgs;
use crate::decoding::{DecodingArgs, above_zero};
use crate::failure::Usage;
use crate::stream::{Input, MemoryGrowth, StreamArgs};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s predict runs/default-seed0 3 1 4 1 5
  s2s predict runs/default-seed0@last 3 1 4 1 5
  s2s predict runs/default-seed0 --attention 3,1,4,1,5
  s2s predict runs/default-seed0 3 1 4 1 5 --out attention.gif
  s2s predict runs/default-seed0 --json < sequences.txt > answers.jsonl
  s2s predict runs/default-seed0 --file sequences.txt --output answers.txt --resume
  s2s predict runs/default-seed0 --beam 5 --n-best 3 3 1 4 1 5
  s2s predict runs/default-seed0 --sample --temperature 2 --draws 3 3 1 4 1 5
  s2s predict runs/default-seed0 --ensemble runs/default-seed1 --ensemble runs/default-seed2 3 1 4
  s2s predict runs/dates-seed0 'March 3, 2024'";

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
    #[command(flatten)]
    stream: StreamArgs,
    /// Print JSON lines: source, prediction, log_prob, the probability of each token, and whether
    /// decoding stopped at EOS; with --n-best or --draws, a list of predictions
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
    /// Stop at the correct output length instead of at EOS, which has probability 0
    #[arg(long, conflicts_with = "min_len")]
    oracle_length: bool,
    /// Maximum number of output tokens, EOS included [default: from the lengths in training]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "oracle_length",
        value_parser = above_zero()
    )]
    max_len: Option<NonZeroUsize>,
    /// Replace each `<unk>` in the output by the source word with the greatest attention weight
    #[arg(long)]
    replace_unknown: bool,
    /// Average the probabilities with those of another run that was trained on the same data; may be
    /// repeated
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    ensemble: Vec<PathBuf>,
    #[command(flatten)]
    decoding: DecodingArgs,
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
    if args.stream.file.is_some() && !args.tokens.is_empty() {
        return Err(Usage("--file and a sequence are given; remove one".to_owned()).into());
    }
    let (loaded, others) = args
        .checkpoint
        .load_ensemble(&args.ensemble, NonFinite::Reject, ui)?;
    let trained = &loaded.trained;
    let has_attention = |model: &Seq2Seq| model.has_attention();
    for (option, is_set) in [
        ("--attention", args.attention),
        ("--out", args.out.is_some()),
        ("--replace-unknown", args.replace_unknown),
    ] {
        if is_set && !has_attention(&trained.model) && !others.iter().any(has_attention) {
            return Err(Usage(format!("this model has no attention; remove {option}")).into());
        }
    }
    if args.replace_unknown && trained.codec.vocabulary.unknown().is_none() {
        let what = "symbols that are numbers are never unknown; remove --replace-unknown";
        return Err(Usage(what.to_owned()).into());
    }
    if args.oracle_length && trained.config.data.is_text() {
        let what = "the correct output length is not known for text; remove --oracle-length";
        return Err(Usage(what.to_owned()).into());
    }
    let answers = Answers::new(&loaded, &others, args, ui)?;
    let input = match args.tokens.is_empty() {
        true => Input::open(args.stream.file.as_deref(), &trained.codec.vocabulary, ui)?,
        false => Input::of_words(&args.tokens),
    };
    let memory = match args.with_weights() {
        true => MemoryGrowth::Quadratic(args.decoding.n_rows()),
        false => MemoryGrowth::Linear,
    };
    let threads = loaded.runtime.threads;
    let done = args
        .stream
        .run(input, memory, threads, ui, |lines| answers.of(lines))?;
    Ok(done.exit_code())
}
