//! Options that choose how outputs are generated.

use std::num::NonZeroUsize;

use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use reverse_data::{Token, Vocabulary};
use s2s_model::{Beam, Constraints, LengthPenalty, Sampling, Stop, Stopping};
use s2s_train::Decoding;

use crate::failure::Usage;

/// Beam search, in every command that decodes.
#[derive(clap::Args)]
#[command(next_help_heading = "Beam search")]
pub(crate) struct BeamArgs {
    /// Search for the most probable output with N hypotheses per sequence; 1 is greedy decoding
    #[arg(long, value_name = "N", value_parser = above_zero())]
    beam: Option<NonZeroUsize>,
    /// Rank outputs by log-probability (none), by its mean per token (average), or by log-probability
    /// divided by ((5 + length) / 6)^ALPHA [default: none]
    #[arg(long, value_name = "none|average|ALPHA", requires = "beam", value_parser = length_penalty)]
    length_penalty: Option<LengthPenalty>,
    /// End the search when no hypothesis can win any more (exact), or when as many outputs have ended as the
    /// beam is wide (heuristic) [default: exact]
    #[arg(
        long,
        value_name = "HOW",
        requires = "beam",
        value_parser = PossibleValuesParser::new(["exact", "heuristic"]).map(|name| stopping(&name))
    )]
    early_stopping: Option<Stopping>,
}

impl BeamArgs {
    pub(crate) fn is_set(&self) -> bool {
        self.beam.is_some()
    }

    /// The beam, if there is one.
    pub(crate) fn beam(
        &self,
        n_best: NonZeroUsize,
        constraints: Constraints,
        vocabulary: &Vocabulary,
    ) -> Result<Option<Beam>, Usage> {
        let Some(width) = self.beam else {
            return Ok(None);
        };
        let size = vocabulary.size();
        if width.get() > size {
            return Err(Usage(format!(
                "--beam {width} is wider than the vocabulary, which has {size} tokens; use --beam {size} or \
                 less"
            )));
        }
        if n_best > width {
            return Err(Usage(format!(
                "--n-best {n_best} needs a beam that is as wide; use --beam {n_best} or a lower --n-best"
            )));
        }
        Ok(Some(Beam {
            n_best,
            length_penalty: self.length_penalty.unwrap_or_default(),
            stopping: self.early_stopping.unwrap_or_default(),
            constraints,
            ..Beam::new(width.get())
        }))
    }
}

/// How `predict` generates outputs.
#[derive(clap::Args)]
pub(crate) struct DecodingArgs {
    #[command(flatten)]
    beam: BeamArgs,
    /// Print the N best outputs: in text separated by tabs, in JSON as a list
    #[arg(long, value_name = "N", requires = "beam", help_heading = "Beam search", value_parser = above_zero())]
    n_best: Option<NonZeroUsize>,
    /// Draw outputs at random instead of taking the most probable tokens
    #[arg(
        long,
        conflicts_with_all = ["beam", "n_best", "length_penalty", "early_stopping"],
        help_heading = "Sampling"
    )]
    sample: bool,
    /// Draw N outputs per sequence: in text separated by tabs, in JSON as a list
    #[arg(long, value_name = "N", requires = "sample", help_heading = "Sampling", value_parser = above_zero())]
    draws: Option<NonZeroUsize>,
    /// Seed of the draws; an output depends on the seed, its line number and the number of its draw
    /// [default: 0]
    #[arg(long, value_name = "N", requires = "sample", help_heading = "Sampling")]
    seed: Option<u64>,
    /// Divide the logits by T before drawing [default: 1]
    #[arg(long, value_name = "T", requires = "sample", help_heading = "Sampling", value_parser = temperature)]
    temperature: Option<f64>,
    /// Draw from the K most probable tokens
    #[arg(long, value_name = "K", requires = "sample", help_heading = "Sampling", value_parser = above_zero())]
    top_k: Option<NonZeroUsize>,
    /// Draw from the most probable tokens that together have probability P
    #[arg(long, value_name = "P", requires = "sample", help_heading = "Sampling", value_parser = top_p)]
    top_p: Option<f64>,
    /// Draw from tokens with at least P times the greatest probability
    #[arg(long, value_name = "P", requires = "sample", help_heading = "Sampling", value_parser = min_p)]
    min_p: Option<f64>,
    /// Begin every output with these tokens
    #[arg(long, value_name = "TOKENS", help_heading = "Constraints")]
    prefix: Option<String>,
    /// Allow no other tokens after the prefix
    #[arg(long, value_name = "TOKENS", help_heading = "Constraints")]
    allow: Option<String>,
    /// Minimum number of output tokens before EOS
    #[arg(long, value_name = "N", help_heading = "Constraints")]
    min_len: Option<usize>,
    /// Make tokens that the output contains less likely: above 1, divide or multiply their logits
    #[arg(long, value_name = "X", help_heading = "Constraints", value_parser = repetition_penalty)]
    repetition_penalty: Option<f32>,
    /// Do not repeat any N tokens in a row
    #[arg(long, value_name = "N", help_heading = "Constraints", value_parser = above_zero())]
    no_repeat_ngram: Option<NonZeroUsize>,
}

impl DecodingArgs {
    /// Whether a line may have several outputs.
    pub(crate) fn is_list(&self) -> bool {
        self.n_best.or(self.draws).is_some()
    }

    /// Outputs per line.
    pub(crate) fn n_outputs(&self) -> NonZeroUsize {
        self.n_best.or(self.draws).unwrap_or(NonZeroUsize::MIN)
    }

    /// Rows per line that are decoded together.
    pub(crate) fn n_rows(&self) -> NonZeroUsize {
        self.beam.beam.unwrap_or(self.n_outputs())
    }

    /// The way of decoding, for outputs that end at `stop`.
    pub(crate) fn decoding(&self, stop: Stop, vocabulary: &Vocabulary) -> Result<Decoding, Usage> {
        let constraints = self.constraints(stop, vocabulary)?;
        if self.sample {
            let default = Sampling::default();
            return Ok(Decoding::Sampling(Sampling {
                draws: self.n_outputs(),
                seed: self.seed.unwrap_or(default.seed),
                temperature: self.temperature.unwrap_or(default.temperature),
                top_k: self.top_k,
                top_p: self.top_p.unwrap_or(default.top_p),
                min_p: self.min_p.unwrap_or(default.min_p),
                constraints,
            }));
        }
        let n_best = self.n_outputs();
        if let Some(beam) = self.beam.beam(n_best, constraints.clone(), vocabulary)? {
            return Ok(Decoding::Beam(beam));
        }
        let free = Constraints {
            stop,
            ..Constraints::default()
        };
        Ok(match constraints == free {
            true => Decoding::Greedy(stop),
            false => Decoding::Beam(Beam {
                constraints,
                ..Beam::new(1)
            }),
        })
    }

    fn constraints(&self, stop: Stop, vocabulary: &Vocabulary) -> Result<Constraints, Usage> {
        let tokens = |option: &str, text: &Option<String>| match text {
            Some(text) => parse(option, text, vocabulary),
            None => Ok(Vec::new()),
        };
        let constraints = Constraints {
            stop,
            min_len: self.min_len.unwrap_or(0),
            prefix: tokens("--prefix", &self.prefix)?,
            allowed: tokens("--allow", &self.allow)?,
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            no_repeat_ngram: self.no_repeat_ngram.map_or(0, NonZeroUsize::get),
        };
        if let Stop::AtEos(limit) = stop {
            let limit = limit.tokens(1); // of the shortest source
            let n_prefix = constraints.prefix.len();
            if n_prefix > limit {
                return Err(Usage(format!(
                    "--prefix has {n_prefix} tokens, but the output may have only {limit}; use a shorter \
                     prefix or --max-len {}",
                    n_prefix + 1
                )));
            }
            let min_len = constraints.min_len;
            if min_len >= limit {
                return Err(Usage(format!(
                    "--min-len {min_len} and EOS exceed the maximum of {limit} output tokens; use a lower \
                     --min-len or --max-len {}",
                    min_len + 1
                )));
            }
        }
        Ok(constraints)
    }
}

/// The tokens of an option's value.
fn parse(option: &str, text: &str, vocabulary: &Vocabulary) -> Result<Vec<Token>, Usage> {
    let parts = vocabulary.split(text);
    let parsed = parts.iter().map(|part| match vocabulary.parse(part) {
        Ok(token) if vocabulary.unknown() == Some(token) => Err(Usage(format!(
            "{option}: {part:?} is not in the vocabulary"
        ))),
        Ok(token) => Ok(token),
        Err(error) => Err(Usage(format!("{option}: {error}"))),
    });
    let tokens: Vec<Token> = parsed.collect::<Result<_, _>>()?;
    match tokens.is_empty() {
        true => Err(Usage(format!("{option} has no tokens; remove it"))),
        false => Ok(tokens),
    }
}

pub(crate) fn above_zero() -> impl TypedValueParser<Value = NonZeroUsize> {
    RangedU64ValueParser::<usize>::new()
        .range(1..=1 << 20)
        .try_map(NonZeroUsize::try_from)
}

fn stopping(name: &str) -> Stopping {
    match name {
        "heuristic" => Stopping::Heuristic,
        _ => Stopping::Exact,
    }
}

fn length_penalty(text: &str) -> Result<LengthPenalty, String> {
    match text {
        "none" => Ok(LengthPenalty::None),
        "average" => Ok(LengthPenalty::Average),
        _ => match number(text) {
            Ok(alpha) => Ok(LengthPenalty::Gnmt(alpha)),
            Err(_) => Err("must be none, average or a number".to_owned()),
        },
    }
}

/// A finite number.
fn number(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "must be a number".to_owned())
}

fn temperature(text: &str) -> Result<f64, String> {
    let of_zero = "must be above 0; without --sample, decoding takes the most probable tokens";
    number(text).and_then(|number| match number > 0.0 {
        true => Ok(number),
        false => Err(of_zero.to_owned()),
    })
}

fn top_p(text: &str) -> Result<f64, String> {
    let number = number(text).ok().filter(|p| *p > 0.0 && *p <= 1.0);
    number.ok_or_else(|| "must be a number above 0 and at most 1".to_owned())
}

fn min_p(text: &str) -> Result<f64, String> {
    let number = number(text).ok().filter(|p| (0.0..=1.0).contains(p));
    number.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

fn repetition_penalty(text: &str) -> Result<f32, String> {
    let number = number(text).ok().map(|number| number as f32);
    let number = number.filter(|penalty| *penalty > 0.0 && penalty.is_finite());
    number.ok_or_else(|| "must be a number above 0".to_owned())
}
