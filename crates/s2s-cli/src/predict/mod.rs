//! `s2s predict`.

mod lines;

use std::fs::File;
use std::io::{self, Cursor, IsTerminal, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueHint;
use reverse_data::{Example, MAX_LEN, Token, Vocabulary, mark_source};
use s2s_model::{Decoded, Greedy, Source, Stop};
use s2s_train::attention_record;
use s2s_viz::{Ink, terminal_heatmap};
use serde::{Serialize, Serializer};

use self::lines::Lines;
use crate::checkpoint::{CheckpointArgs, Loaded};
use crate::failure::Usage;
use crate::machine::batch_size;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s predict runs/default-seed0 3 1 4 1 5
  s2s predict runs/default-seed0 --attention 3,1,4,1,5
  s2s predict runs/default-seed0 --json < sequences.txt > answers.jsonl";

/// Sequences longer than this have more weights than anybody looks at.
const MAX_LEN_WITH_WEIGHTS: usize = 1024;

/// Tokens of a batch, padding included: more do not make it faster, only larger.
const MAX_BATCH_TOKENS: usize = 1 << 16;

/// Bytes for a token on a line, more than any has.
const TOKEN_BYTES: u64 = 16;

/// Characters of a message: it may quote what it complains of.
const MAX_MESSAGE: usize = 200;

/// Ask a trained model
///
/// Reads one sequence from the arguments, or one a line from a file or standard input, its tokens
/// separated by spaces or commas (of a model of text, by spaces alone; words that it does not know are
/// read as the unknown word). Answers each with a line, in order and as soon as it can. A line
/// that cannot be read is answered with an empty one (with --json, by one that says why) and a
/// message; the exit code is then 1.
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
    /// Sequences at a time at most
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

/// A line of output with --json.
#[derive(Serialize)]
#[serde(untagged)]
enum Record<'a> {
    Answer {
        source: Words<'a>,
        prediction: Words<'a>,
        log_prob: f64,
        stopped: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        weights: Option<&'a [Vec<f32>]>,
    },
    Refused {
        line: u64,
        error: &'a str,
    },
}

/// Tokens as JSON: numbers where symbols are numbers, and else words.
struct Words<'a>(&'a Vocabulary, &'a [Token]);

impl Serialize for Words<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(vocabulary, tokens) = self;
        match vocabulary.unknown() {
            None => tokens.serialize(serializer),
            Some(_) => serializer.collect_seq(tokens.iter().map(|token| vocabulary.text(*token))),
        }
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let loaded = args.checkpoint.load()?;
    if args.attention && !loaded.model.has_attention() {
        let what = "this model has no attention to show; leave --attention out";
        return Err(Usage(what.to_owned()).into());
    }
    if args.oracle_length && loaded.config.data.is_text() {
        let what = "the length of an answer is not known to a model of text; leave --oracle-length \
                    out";
        return Err(Usage(what.to_owned()).into());
    }
    let vocabulary = &loaded.vocabulary;
    let name = match &args.file {
        Some(path) => path.display().to_string(),
        None => "standard input".to_owned(),
    };
    let reading = || format!("cannot read {name}");
    let input = open(args, vocabulary, ui).with_context(reading)?;
    let mut lines = Lines::new(input, MAX_LEN as u64 * TOKEN_BYTES);

    let mut greedy = Greedy::new(&loaded.model).map_err(s2s_train::Error::from)?;
    let mut is_refused = false;
    loop {
        let batch = lines
            .next_batch(args.batch_size.get())
            .with_context(reading)?;
        if batch.is_empty() {
            return Ok(u8::from(is_refused));
        }
        let parsed: Vec<(u64, Result<Vec<Token>, String>)> = batch
            .into_iter()
            .map(|(number, line)| (number, parse(line, vocabulary, args.attention)))
            .collect();
        let sources: Vec<&[Token]> = parsed
            .iter()
            .filter_map(|(_, source)| source.as_deref().ok())
            .collect();
        let mut decoded = decode(&mut greedy, &loaded, &sources, args)?.into_iter();
        for (number, source) in &parsed {
            match source {
                Ok(source) => {
                    warn_of_unknown(*number, source, vocabulary, args, ui);
                    let decoded = decoded.next().expect("each source is decoded");
                    answer(source, decoded, &loaded, args, ui)?;
                }
                Err(error) => {
                    is_refused = true;
                    refuse(*number, error, args, ui)?;
                }
            }
        }
    }
}

fn open(args: &Args, vocabulary: &Vocabulary, ui: &Ui) -> io::Result<Box<dyn Read>> {
    if !args.tokens.is_empty() {
        let line = args.tokens.join(" ") + "\n";
        return Ok(Box::new(Cursor::new(line)));
    }
    if let Some(path) = &args.file {
        return Ok(Box::new(File::open(path)?));
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

/// The sequence of a line.
fn parse(
    line: Option<Vec<u8>>,
    vocabulary: &Vocabulary,
    with_weights: bool,
) -> Result<Vec<Token>, String> {
    let max = if with_weights {
        MAX_LEN_WITH_WEIGHTS
    } else {
        MAX_LEN
    };
    let too_long = || format!("too long: at most {max} tokens are read");
    let line = line.ok_or_else(too_long)?;
    let text = str::from_utf8(&line).map_err(|_| "not valid UTF-8")?;
    // A comma may be a word.
    let is_number = vocabulary.unknown().is_none();
    let words = text.split(|c: char| is_number && c == ',' || c.is_whitespace());
    let tokens: Vec<Token> = words
        .filter(|word| !word.is_empty())
        .map(|word| vocabulary.parse(word))
        .collect::<Result<_, _>>()
        .map_err(|error| {
            error
                .to_string()
                .chars()
                .take(MAX_MESSAGE)
                .collect::<String>()
        })?;
    match tokens.len() {
        0 => Err("no tokens".to_owned()),
        len if len > max => Err(too_long()),
        _ => Ok(tokens),
    }
}

/// What the model says to each source.
fn decode(
    greedy: &mut Greedy<'_>,
    loaded: &Loaded,
    sources: &[&[Token]],
    args: &Args,
) -> s2s_train::Result<Vec<Decoded>> {
    let model = &loaded.model;
    let has_markers = loaded.config.data.source_markers;
    let stop = if args.oracle_length {
        Stop::AtSourceLength {
            n_markers: if has_markers { 2 } else { 0 },
            growth: loaded.config.data.task().growth(),
        }
    } else {
        Stop::AtEos
    };
    let mut all = Vec::with_capacity(sources.len());
    let mut rest = sources;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(n_together(rest));
        let read: Vec<Vec<Token>> = batch
            .iter()
            .map(|source| match has_markers {
                true => mark_source(source, &loaded.vocabulary),
                false => source.to_vec(),
            })
            .collect();
        let dtype = model.params().dtype();
        let source = Source::new(&read, model.tokens(), dtype, &loaded.place.device)?;
        all.extend(greedy.decode(&source, stop, args.attention)?);
        rest = later;
    }
    Ok(all)
}

/// How many of the sources make a batch.
fn n_together(sources: &[&[Token]]) -> usize {
    let mut longest = 0;
    let fits = |(index, source): &(usize, &&[Token])| {
        longest = longest.max(source.len());
        (index + 1) * longest <= MAX_BATCH_TOKENS
    };
    sources.iter().enumerate().take_while(fits).count().max(1)
}

fn answer(
    source: &[Token],
    decoded: Decoded,
    loaded: &Loaded,
    args: &Args,
    ui: &Ui,
) -> anyhow::Result<()> {
    if args.json {
        return print(
            ui,
            &Record::Answer {
                source: Words(&loaded.vocabulary, source),
                prediction: Words(&loaded.vocabulary, &decoded.tokens),
                log_prob: decoded.log_prob(),
                stopped: decoded.stopped,
                weights: args.attention.then_some(&decoded.weights),
            },
        );
    }
    let text = |token: &Token| loaded.vocabulary.text(*token);
    let words: Vec<String> = decoded.tokens.iter().map(text).collect();
    ui.data(&(words.join(" ") + "\n"))?;
    if args.attention {
        draw(source, decoded, loaded, ui);
    }
    Ok(())
}

/// Says how many tokens of a line are read as the unknown word.
fn warn_of_unknown(line: u64, source: &[Token], vocabulary: &Vocabulary, args: &Args, ui: &Ui) {
    let is_unknown = |token: &&Token| vocabulary.unknown() == Some(**token);
    let n_unknown = source.iter().filter(is_unknown).count();
    if n_unknown > 0 {
        let place = place(line, args);
        ui.talk(format!(
            "warning: {place}{n_unknown} unknown to the model, read as <unk>"
        ));
    }
}

fn refuse(line: u64, error: &str, args: &Args, ui: &Ui) -> anyhow::Result<()> {
    if args.json {
        print(ui, &Record::Refused { line, error })?;
    } else {
        ui.data("\n")?;
    }
    ui.talk(format!("error: {}{error}", place(line, args)));
    Ok(())
}

/// Which line a message is about, unless there is only one: the arguments.
fn place(line: u64, args: &Args) -> String {
    if args.tokens.is_empty() {
        format!("line {line}: ")
    } else {
        String::new()
    }
}

fn print(ui: &Ui, record: &Record<'_>) -> anyhow::Result<()> {
    ui.data(&(serde_json::to_string(record)? + "\n"))
}

/// Draws the attention, with what the task would not have answered marked; nobody knows that of a
/// text.
fn draw(source: &[Token], decoded: Decoded, loaded: &Loaded, ui: &Ui) {
    let data = &loaded.config.data;
    let example = Example {
        source: source.to_vec(),
        target: if data.is_text() {
            decoded.tokens.clone()
        } else {
            data.task().target(source)
        },
    };
    let (vocabulary, markers) = (&loaded.vocabulary, data.source_markers);
    let record = attention_record(decoded, &example, vocabulary, markers, loaded.step);
    let ink = if console::colors_enabled_stderr() {
        Ink::Color
    } else {
        Ink::Plain
    };
    match terminal_heatmap(&record, ui.width(), ink) {
        Ok(lines) => ui.talk(lines.trim_end()),
        Err(error) => ui.talk(format!("the attention cannot be drawn: {error}")),
    }
}
