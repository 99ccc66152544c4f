//! Decodes lines of input and formats the output.

use anyhow::Result;
use reverse_data::{Example, MAX_LEN, Token};
use s2s_model::{Decoded, Generator, MAX_REFERENCE_LEN, OutputLimit, Seq2Seq, Source, Stop};
use s2s_runlog::AttentionRecord;
use s2s_train::attention_record;
use s2s_viz::terminal_heatmap;
use serde::Serialize;

use super::{Args, out};
use crate::checkpoint::Loaded;
use crate::decoding::{Decoding, Generators};
use crate::stream::{Line, Outputs, Parsed, in_batches, parse};
use crate::ui::Ui;

/// Maximum length with --attention: the weights grow with the square of the length.
const MAX_LEN_WITH_WEIGHTS: usize = 1024;

/// A line of output with --json.
#[derive(Serialize)]
#[serde(untagged)]
enum Record<'a> {
    Single {
        source: Words<'a>,
        #[serde(flatten)]
        answer: Answer<'a>,
    },
    List {
        source: Words<'a>,
        predictions: Vec<Answer<'a>>,
    },
    Invalid {
        line: u64,
        error: &'a str,
    },
}

/// An output.
#[derive(Serialize)]
struct Answer<'a> {
    prediction: Words<'a>,
    /// The prediction as a line of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    log_prob: f64,
    /// The probability of each output token, and of EOS if it was produced.
    probabilities: Vec<f32>,
    stopped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<&'a [Vec<f32>]>,
}

/// Tokens as JSON: numbers for synthetic symbols, texts for text.
#[derive(Serialize)]
#[serde(untagged)]
enum Words<'a> {
    Numbers(&'a [Token]),
    Texts(&'a [String]),
}

/// A model that several threads can use at once.
pub(super) struct Predictor<'a> {
    loaded: &'a Loaded,
    args: &'a Args,
    ui: &'a Ui,
    decoding: Decoding,
    generators: Generators<'a>,
}

impl<'a> Predictor<'a> {
    /// `others` are further models of an ensemble.
    pub(super) fn new(
        loaded: &'a Loaded,
        others: &'a [Seq2Seq],
        args: &'a Args,
        ui: &'a Ui,
    ) -> anyhow::Result<Self> {
        let models: Vec<&Seq2Seq> = [&loaded.model].into_iter().chain(others).collect();
        let stop = stop(loaded, args);
        Ok(Self {
            loaded,
            args,
            ui,
            decoding: args.decoding.decoding(stop, &loaded.codec.vocabulary)?,
            generators: Generators::new(Generator::ensemble(&models)?),
        })
    }

    /// Predicts each line.
    pub(super) fn predict(&self, lines: Vec<Line>) -> Result<Outputs> {
        let parsed: Vec<(u64, Result<Parsed, String>)> = lines
            .into_iter()
            .map(|(number, line)| (number, self.parse(line)))
            .collect();
        let sources: Vec<(u64, &[Token])> = parsed
            .iter()
            .filter_map(|(number, parsed)| Some((*number, &parsed.as_ref().ok()?.tokens[..])))
            .collect();
        let mut decoded = self.decode(&sources)?.into_iter();
        let mut outputs = Outputs::default();
        for (number, parsed) in &parsed {
            match parsed {
                Ok(parsed) => {
                    let decoded = decoded.next().expect("each source is decoded");
                    self.warn(*number, parsed, &decoded[0], &mut outputs);
                    self.write(parsed, decoded, &mut outputs)?;
                }
                Err(error) => self.report_invalid(*number, error, &mut outputs)?,
            }
        }
        Ok(outputs)
    }

    /// Parses the sequence of a line.
    fn parse(&self, line: Result<Vec<u8>, u64>) -> Result<Parsed, String> {
        let (max, advice) = match (self.args.with_weights(), self.loaded.model.is_fused()) {
            (true, _) => (
                MAX_LEN_WITH_WEIGHTS,
                "remove --attention, --out and --replace-unknown",
            ),
            (false, true) => (MAX_LEN, "split the line"),
            (false, false) => (MAX_REFERENCE_LEN - 2, "split the line"), // without its markers
        };
        let parsed = parse(line, &self.loaded.codec.vocabulary, max, advice)?;
        self.decoding
            .check(parsed.tokens.len() + self.n_markers())?;
        Ok(parsed)
    }

    /// Markers that the model reads in addition to the tokens of a source.
    fn n_markers(&self) -> usize {
        2 * usize::from(self.loaded.codec.source_markers)
    }

    /// The outputs for each source, which comes with its line number.
    fn decode(&self, sources: &[(u64, &[Token])]) -> s2s_train::Result<Vec<Vec<Decoded>>> {
        let lengths: Vec<usize> = sources.iter().map(|(_, source)| source.len()).collect();
        let (codec, tokens) = (&self.loaded.codec, self.loaded.model.tokens());
        in_batches(&lengths, self.args.stream.batch_size, |batch| {
            let inputs: Vec<Vec<Token>> = batch
                .iter()
                .map(|&index| codec.model_input(sources[index].1))
                .collect();
            let lines: Vec<u64> = batch.iter().map(|&index| sources[index].0).collect();
            let source = Source::new(&inputs, tokens)?;
            let with_weights = self.args.with_weights();
            self.generators.with(|generator| {
                self.decoding
                    .outputs(generator, &source, &lines, with_weights)
            })
        })
    }

    /// Warns about what makes an output less reliable than a metric suggests.
    fn warn(&self, line: u64, parsed: &Parsed, decoded: &Decoded, outputs: &mut Outputs) {
        let codec = &self.loaded.codec;
        let unknown = parsed.unknown(&codec.vocabulary);
        if !unknown.is_empty() {
            outputs.message(unknown_words(line, &unknown));
        }
        let (len, longest) = (parsed.tokens.len(), codec.longest_source);
        if let Some(longest) = longest.filter(|longest| len > *longest) {
            outputs.first_message(format!(
                "warning: line {line} has {len} tokens; the longest source in training has {longest}"
            ));
        }
        if !decoded.stopped && !self.args.oracle_length {
            outputs.message(format!(
                "warning: line {line}: the output was cut after {} tokens, before its end; \
                 --max-len N allows N",
                decoded.tokens.len()
            ));
        }
    }

    /// The texts of the output. With --replace-unknown, `<unk>` becomes the text of the source token
    /// that has the greatest attention weight.
    fn texts(&self, parsed: &Parsed, decoded: &Decoded) -> Vec<String> {
        let codec = &self.loaded.codec;
        let n_before = usize::from(codec.source_markers);
        let text = |(step, token): (usize, &Token)| {
            let is_replaced =
                self.args.replace_unknown && codec.vocabulary.unknown() == Some(*token);
            let weights = decoded.weights.get(step).filter(|_| is_replaced);
            let attended = weights.and_then(|weights| {
                let of_source = weights[n_before..].iter().take(parsed.texts.len());
                // The last of equal weights.
                of_source
                    .enumerate()
                    .max_by(|(_, a), (_, b)| a.total_cmp(b))
            });
            match attended {
                Some((index, _)) => parsed.texts[index].clone(),
                None => codec.vocabulary.text(*token),
            }
        };
        decoded.tokens.iter().enumerate().map(text).collect()
    }

    fn write(
        &self,
        parsed: &Parsed,
        mut decoded: Vec<Decoded>,
        outputs: &mut Outputs,
    ) -> Result<()> {
        if let Some(path) = &self.args.out {
            let best = decoded[0].clone();
            let probabilities = probabilities(&best);
            let record = self.record(&parsed.tokens, best);
            let is_text = self.loaded.config.data.is_text();
            out::write(path, &self.run_name(), &record, &probabilities, is_text)?;
            outputs.message(format!("attention written to {}", path.display()));
        }
        let vocabulary = &self.loaded.codec.vocabulary;
        let texts: Vec<Vec<String>> = decoded.iter().map(|d| self.texts(parsed, d)).collect();
        let lines: Vec<String> = texts
            .iter()
            .map(|texts| vocabulary.join(texts.iter().map(String::as_str)))
            .collect();
        if !self.args.json {
            outputs.data(&lines.join("\t"));
            if self.args.attention {
                outputs.drawing(self.draw(&parsed.tokens, decoded.swap_remove(0)));
            }
            return Ok(());
        }
        let is_text = vocabulary.unknown().is_some();
        let mut answers: Vec<Answer<'_>> = Vec::new();
        for ((decoded, texts), line) in decoded.iter().zip(&texts).zip(lines) {
            answers.push(Answer {
                prediction: match is_text {
                    false => Words::Numbers(&decoded.tokens),
                    true => Words::Texts(texts),
                },
                text: is_text.then_some(line),
                log_prob: decoded.log_prob(),
                probabilities: probabilities(decoded),
                stopped: decoded.stopped,
                weights: self.args.attention.then_some(&decoded.weights[..]),
            });
        }
        let source = match is_text {
            false => Words::Numbers(&parsed.tokens),
            true => Words::Texts(&parsed.texts),
        };
        let record = match self.args.decoding.is_list() {
            true => Record::List {
                source,
                predictions: answers,
            },
            false => Record::Single {
                source,
                answer: answers.swap_remove(0),
            },
        };
        outputs.data(&serde_json::to_string(&record)?);
        Ok(())
    }

    fn report_invalid(&self, line: u64, error: &str, outputs: &mut Outputs) -> Result<()> {
        outputs.data(&match self.args.json {
            true => serde_json::to_string(&Record::Invalid { line, error })?,
            false => String::new(),
        });
        outputs.invalid(match self.args.tokens.is_empty() {
            true => format!("error: line {line}: {error}"),
            false => format!("error: {error}"),
        });
        Ok(())
    }

    /// The record of an output; for text, the correct output is not known.
    fn record(&self, source: &[Token], decoded: Decoded) -> AttentionRecord {
        let data = &self.loaded.config.data;
        let example = Example {
            source: source.to_vec(),
            target: match data.is_text() {
                true => decoded.tokens.clone(),
                false => data.task().target(source),
            },
        };
        attention_record(decoded, &example, &self.loaded.codec, self.loaded.step)
    }

    /// The name of the run's folder.
    fn run_name(&self) -> String {
        let path = std::path::absolute(self.loaded.dir.path()).unwrap_or_default();
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Draws the attention and marks wrong tokens.
    fn draw(&self, source: &[Token], decoded: Decoded) -> String {
        let record = self.record(source, decoded);
        match terminal_heatmap(&record, self.ui.width(), self.ui.ink()) {
            Ok(lines) => lines.trim_end().to_owned(),
            Err(error) => format!("cannot draw the attention: {error}"),
        }
    }
}

/// When an output ends.
fn stop(loaded: &Loaded, args: &Args) -> Stop {
    let data = &loaded.config.data;
    match args.oracle_length {
        true => Stop::AtSourceLength {
            n_markers: 2 * usize::from(data.source_markers),
            growth: data.task().growth(),
        },
        false => Stop::AtEos(match args.max_len {
            Some(n_tokens) => OutputLimit::fixed(n_tokens),
            None => loaded.codec.limit,
        }),
    }
}

/// The probability of each output token, and of EOS if it was produced.
fn probabilities(decoded: &Decoded) -> Vec<f32> {
    let log_probs = decoded.log_probs.iter();
    log_probs.map(|log_prob| log_prob.exp()).collect()
}

/// The warning about words that are not in the vocabulary.
fn unknown_words(line: u64, words: &[&str]) -> String {
    const MAX_SHOWN: usize = 10;
    let shown: Vec<String> = words
        .iter()
        .take(MAX_SHOWN)
        .map(|word| format!("{word:?}"))
        .collect();
    let were = match words.len() {
        1 => "token is not in the vocabulary and was",
        _ => "tokens are not in the vocabulary and were",
    };
    let more = if words.len() > MAX_SHOWN { ", ..." } else { "" };
    format!(
        "warning: line {line}: {} {were} replaced by <unk>: {}{more}",
        words.len(),
        shown.join(", ")
    )
}
