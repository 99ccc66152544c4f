//! `s2s score`.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueHint;
use reverse_data::MAX_LEN;
use s2s_model::{Generator, MAX_REFERENCE_LEN, Scored, Seq2Seq, Source};
use serde::Serialize;

use crate::checkpoint::{CheckpointArgs, Loaded};
use crate::decoding::Generators;
use crate::stream::{Input, Line, Memory, Outputs, Parsed, StreamArgs, in_batches, parse};
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
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
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
    let (mut loaded, mut others) = args.checkpoint.load_ensemble(&args.ensemble, ui)?;
    // Per batch; as many batches run in parallel as there are threads.
    loaded.model.set_threads(1);
    others.iter_mut().for_each(|model| model.set_threads(1));
    let models: Vec<&Seq2Seq> = [&loaded.model].into_iter().chain(&others).collect();
    let scorer = Scorer {
        loaded: &loaded,
        args,
        generators: Generators::new(Generator::ensemble(&models)?),
    };
    let vocabulary = &loaded.codec.vocabulary;
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
    loaded: &'a Loaded,
    args: &'a Args,
    generators: Generators<'a>,
}

/// A line of input.
struct Pair {
    source: Parsed,
    target: Parsed,
}

impl Scorer<'_> {
    fn score(&self, lines: Vec<Line>) -> Result<Outputs> {
        let pairs: Vec<(u64, Result<Pair, String>)> = lines
            .into_iter()
            .map(|(number, line)| (number, self.parse(line)))
            .collect();
        let valid: Vec<&Pair> = pairs.iter().filter_map(|(_, p)| p.as_ref().ok()).collect();
        let mut scored = self.scores(&valid)?.into_iter();
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
        let max = match self.loaded.model.is_fused() {
            true => MAX_LEN,
            false => MAX_REFERENCE_LEN - 2, // without its markers
        };
        let vocabulary = &self.loaded.codec.vocabulary;
        let of = |part| parse(part, vocabulary, max, "split the line");
        let line = match line {
            Ok(line) => line,
            Err(n_bytes) => return Err(format!("too long: {n_bytes} bytes")),
        };
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
            return Err("no tab between a source and a target".to_owned());
        };
        Ok(Pair {
            source: of(Ok(line[..tab].to_vec())).map_err(|error| format!("source: {error}"))?,
            target: of(Ok(line[tab + 1..].to_vec())).map_err(|error| format!("target: {error}"))?,
        })
    }

    fn scores(&self, pairs: &[&Pair]) -> s2s_train::Result<Vec<Scored>> {
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.source.tokens.len()).collect();
        in_batches(&lengths, self.args.stream.batch_size, |batch| {
            let codec = &self.loaded.codec;
            let (mut inputs, mut targets) = (Vec::new(), Vec::new());
            for pair in batch.iter().map(|&index| pairs[index]) {
                inputs.push(codec.model_input(&pair.source.tokens));
                targets.push(pair.target.tokens.clone());
            }
            let source = Source::new(&inputs, self.loaded.model.tokens())?;
            Ok(self
                .generators
                .with(|generator| generator.score(&source, &targets))?)
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
