//! `s2s score`.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueHint;
use reverse_data::Vocabulary;
use s2s_model::{NonFinite, Scored, Seq2Seq};
use s2s_train::{Predictor, Sequence};
use serde::Serialize;

use crate::checkpoint::CheckpointArgs;
use crate::stream::{Input, Line, Memory, Outputs, StreamArgs, parse};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  printf '3 1 4\\t4 1 3\\n' | s2s score runs/default-seed0
  s2s score runs/dates-seed0 --file dates.tsv --json > scores.jsonl";

/// Measure how probable a trained model finds given outputs
///
/// Reads pairs from a file or standard input: a source, a tab and a target. Prints a line for each: the
/// log-probability of the target in nats, EOS included; the perplexity per token; and the greatest rank of a
/// token among all tokens of its step, which is 1 if greedy decoding returns this target. The totals go to
/// standard error. For an invalid line, prints an empty line (with --json, a line with the error) and a
/// message; the exit code is then 1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// Print JSON lines: source, target, log_prob, perplexity, and the log-probability and rank of each token
    /// and of EOS
    #[arg(long)]
    json: bool,
    /// Average the probabilities with those of another run that was trained on the same data; may be
    /// repeated
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    ensemble: Vec<PathBuf>,
}

/// A line of output with --json.
#[derive(Serialize)]
#[serde(untagged)]
enum Record<'a> {
    Scored {
        source: &'a [String],
        target: &'a [String],
        log_prob: f64,
        perplexity: f64,
        log_probs: &'a [f32],
        ranks: &'a [usize],
    },
    Invalid {
        line: u64,
        error: &'a str,
    },
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let (loaded, others) = args
        .checkpoint
        .load_ensemble(&args.ensemble, NonFinite::Reject, ui)?;
    let trained = &loaded.trained;
    let models: Vec<&Seq2Seq> = [&trained.model].into_iter().chain(&others).collect();
    let predictor = Predictor::new(&trained.codec, &models)?;
    let vocabulary = &trained.codec.vocabulary;
    let scorer = Scorer {
        predictor: predictor.with_batch_size(args.stream.batch_size),
        vocabulary,
        args,
    };
    let input = Input::open(args.stream.file.as_deref(), vocabulary, ui)?;
    let threads = loaded.runtime.threads;
    let done = args
        .stream
        .run(input, Memory::Linear, threads, ui, |lines| {
            scorer.score(lines)
        })?;
    if let Some(summary) = done.totals.summary() {
        ui.message(summary);
    }
    Ok(done.exit_code())
}

struct Scorer<'a> {
    predictor: Predictor<'a>,
    vocabulary: &'a Vocabulary,
    args: &'a Args,
}

/// A line of input.
struct Pair {
    source: Sequence,
    target: Sequence,
}

impl Scorer<'_> {
    fn score(&self, lines: Vec<Line>) -> Result<Outputs> {
        let pairs: Vec<(u64, Result<Pair, String>)> = lines
            .into_iter()
            .map(|(number, line)| (number, self.parse(line)))
            .collect();
        let valid = pairs.iter().filter_map(|(_, pair)| pair.as_ref().ok());
        let valid = valid.map(|pair| (&pair.source, &pair.target));
        let mut scored = self.predictor.score(&Vec::from_iter(valid))?.into_iter();
        let mut outputs = Outputs::default();
        for (number, pair) in &pairs {
            match pair {
                Ok(pair) => {
                    let scored = scored.next().expect("each pair is scored");
                    self.write(pair, &scored, &mut outputs)?;
                }
                Err(error) => {
                    let json = Record::Invalid {
                        line: *number,
                        error,
                    };
                    outputs.data(&match self.args.json {
                        true => serde_json::to_string(&json)?,
                        false => String::new(),
                    });
                    outputs.invalid(format!("error: line {number}: {error}"));
                }
            }
        }
        Ok(outputs)
    }

    fn parse(&self, line: Result<Vec<u8>, u64>) -> Result<Pair, String> {
        let max = self.predictor.max_len();
        let of = |part| {
            parse(Ok(part), max, "split the line", |text| {
                Sequence::parse(text, self.vocabulary, max)
            })
        };
        let line = match line {
            Ok(line) => line,
            Err(n_bytes) => return Err(format!("too long: {n_bytes} bytes")),
        };
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
            return Err("no tab between a source and a target".to_owned());
        };
        Ok(Pair {
            source: of(line[..tab].to_vec()).map_err(|error| format!("source: {error}"))?,
            target: of(line[tab + 1..].to_vec()).map_err(|error| format!("target: {error}"))?,
        })
    }

    fn write(&self, pair: &Pair, scored: &Scored, outputs: &mut Outputs) -> Result<()> {
        let (log_prob, perplexity) = (scored.log_prob(), scored.perplexity());
        outputs.data(&match self.args.json {
            true => serde_json::to_string(&Record::Scored {
                source: &pair.source.texts,
                target: &pair.target.texts,
                log_prob,
                perplexity,
                log_probs: &scored.log_probs,
                ranks: &scored.ranks,
            })?,
            false => {
                let greatest = scored.ranks.iter().max().copied().unwrap_or(0);
                format!("{log_prob:.4}\t{perplexity:.4}\t{greatest}")
            }
        });
        outputs.score(scored);
        Ok(())
    }
}
