//! `s2s score`.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueHint;
use reverse_data::{Sequence, Token, Vocabulary};
use s2s_model::{NonFinite, Scored, Seq2Seq};
use s2s_train::Predictor;
use serde::Serialize;

use crate::checkpoint::CheckpointArgs;
use crate::stream::{
    Input, Line, MemoryGrowth, Outputs, StreamArgs, Topic, parse, unknown_warning,
};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  printf '3 1 4\\t4 1 3\\n' | s2s score runs/default-seed0
  s2s score runs/dates-seed0 --file dates.tsv --json > scores.jsonl";

/// Measure how probable a trained model finds given outputs
///
/// Reads pairs from a file or standard input: a source, a tab and a target. Prints a line for each: the
/// log-probability of the target in nats, EOS included; the perplexity per token; and the greatest rank of a
/// token among all tokens of its step, which is 1 if greedy decoding returns this target. A token that is not
/// in the vocabulary has no rank (`-`), since no output can contain it; its log-probability is that of
/// `<unk>`. The totals go to standard error. For an invalid line, prints an empty line (with --json, a line with the error) and a
/// message; the exit code is then 1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// Print JSON lines: source, target, log_prob, perplexity, the number of unknown target tokens, and the
    /// log-probability and rank of each token and of EOS
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
        /// Number of target tokens that are not in the vocabulary.
        unknown: usize,
        log_probs: &'a [f32],
        /// `None` for these tokens.
        ranks: &'a [Option<usize>],
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
        .run(input, MemoryGrowth::Linear, threads, ui, |lines| {
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
                    self.warn(*number, pair, &mut outputs);
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

    /// Warns about tokens that are not in the vocabulary.
    fn warn(&self, line: u64, pair: &Pair, outputs: &mut Outputs) {
        let sides = [&pair.source, &pair.target];
        let unknown = sides.map(|side| side.unknown(self.vocabulary)).concat();
        let n_read = sides.iter().map(|side| side.tokens.len()).sum();
        outputs.count(n_read, unknown.len());
        if let Some(warning) = unknown_warning(line, &unknown) {
            outputs.warning(Topic::Unknown, warning);
        }
    }

    fn write(&self, pair: &Pair, scored: &Scored, outputs: &mut Outputs) -> Result<()> {
        let (log_prob, perplexity) = (scored.log_prob(), scored.perplexity());
        let is_known = |token: &Token| self.vocabulary.unknown() != Some(*token);
        let is_known = pair.target.tokens.iter().map(is_known).chain([true]); // EOS
        let ranks = scored.ranks.iter().zip(is_known);
        let ranks = ranks.map(|(rank, is_known)| is_known.then_some(*rank));
        let ranks: Vec<Option<usize>> = ranks.collect();
        outputs.data(&match self.args.json {
            true => serde_json::to_string(&Record::Scored {
                source: &pair.source.texts,
                target: &pair.target.texts,
                log_prob,
                perplexity,
                unknown: ranks.iter().filter(|rank| rank.is_none()).count(),
                log_probs: &scored.log_probs,
                ranks: &ranks,
            })?,
            false => {
                let ranks: Option<Vec<usize>> = ranks.iter().copied().collect();
                let greatest = ranks.and_then(|ranks| ranks.into_iter().max());
                let greatest = greatest.map_or("-".to_owned(), |rank| rank.to_string());
                format!("{log_prob:.4}\t{perplexity:.4}\t{greatest}")
            }
        });
        outputs.score(scored, &ranks);
        Ok(())
    }
}
