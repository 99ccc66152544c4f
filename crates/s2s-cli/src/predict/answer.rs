//! Decodes lines of input and formats the output.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use reverse_data::{Example, MAX_LEN, Token};
use s2s_model::{Decoded, Greedy, MAX_REFERENCE_LEN, OutputLimit, Source, Stop};
use s2s_runlog::AttentionRecord;
use s2s_train::attention_record;
use s2s_viz::terminal_heatmap;
use serde::Serialize;

use super::lines::Line;
use super::sequence::{Parsed, parse};
use super::{Args, out};
use crate::checkpoint::Loaded;
use crate::ui::Ui;

/// Maximum length with --attention: the weights grow with the square of the length.
const MAX_LEN_WITH_WEIGHTS: usize = 1024;

/// Maximum number of tokens in a batch, padding included; larger batches are not faster.
const MAX_BATCH_TOKENS: usize = 1 << 14;

/// A line of output with --json.
#[derive(Serialize)]
#[serde(untagged)]
enum Record<'a> {
    Prediction {
        source: Words<'a>,
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
    },
    Invalid {
        line: u64,
        error: &'a str,
    },
}

/// Tokens as JSON: numbers for synthetic symbols, texts for text.
#[derive(Serialize)]
#[serde(untagged)]
enum Words<'a> {
    Numbers(&'a [Token]),
    Texts(&'a [String]),
}

/// The output for some lines, in order.
#[derive(Default)]
pub(super) struct Outputs {
    pub(super) parts: Vec<Part>,
    /// Whether one of the lines was invalid.
    pub(super) has_invalid: bool,
}

/// Text for one of the streams.
pub(super) enum Part {
    Data(String),
    Message(String),
    /// A message that is shown once, with the first line that it is about.
    FirstMessage(String),
    /// A message with escape codes for colors.
    Drawing(String),
}

impl Outputs {
    /// Adds a line of data.
    fn data(&mut self, line: &str) {
        if !matches!(self.parts.last(), Some(Part::Data(_))) {
            self.parts.push(Part::Data(String::new()));
        }
        if let Some(Part::Data(text)) = self.parts.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }

    fn message(&mut self, line: String) {
        self.parts.push(Part::Message(line));
    }
}

/// A model that several threads can use at once.
pub(super) struct Predictor<'a> {
    loaded: &'a Loaded,
    args: &'a Args,
    ui: &'a Ui,
    packed: Greedy<'a>,
    /// Idle clones of `packed`, which keep their buffers for reuse.
    idle: Mutex<Vec<Greedy<'a>>>,
}

impl<'a> Predictor<'a> {
    pub(super) fn new(loaded: &'a Loaded, args: &'a Args, ui: &'a Ui) -> s2s_train::Result<Self> {
        Ok(Self {
            loaded,
            args,
            ui,
            packed: Greedy::new(&loaded.model)?,
            idle: Mutex::default(),
        })
    }

    /// Predicts each line.
    pub(super) fn predict(&self, lines: Vec<Line>) -> Result<Outputs> {
        let parsed: Vec<(u64, Result<Parsed, String>)> = lines
            .into_iter()
            .map(|(number, line)| (number, self.parse(line)))
            .collect();
        let sources: Vec<&[Token]> = parsed
            .iter()
            .filter_map(|(_, parsed)| Some(&parsed.as_ref().ok()?.tokens[..]))
            .collect();
        let mut decoded = self.decode(&sources)?.into_iter();
        let mut outputs = Outputs::default();
        for (number, parsed) in &parsed {
            match parsed {
                Ok(parsed) => {
                    let decoded = decoded.next().expect("each source is decoded");
                    self.warn(*number, parsed, &decoded, &mut outputs);
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
        parse(line, &self.loaded.codec.vocabulary, max, advice)
    }

    /// Decodes each source.
    fn decode(&self, sources: &[&[Token]]) -> s2s_train::Result<Vec<Decoded>> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle_clone = idle().pop();
        let mut greedy = idle_clone.unwrap_or_else(|| self.packed.clone());
        let lengths: Vec<usize> = sources.iter().map(|source| source.len()).collect();
        let mut all = vec![Decoded::default(); sources.len()];
        for batch in batches(&lengths) {
            let inputs: Vec<Vec<Token>> = batch
                .iter()
                .map(|&i| self.loaded.codec.model_input(sources[i]))
                .collect();
            let source = Source::new(&inputs, self.loaded.model.tokens())?;
            let decoded = greedy.decode(&source, self.stop(), self.args.with_weights())?;
            for (index, decoded) in batch.into_iter().zip(decoded) {
                all[index] = decoded;
            }
        }
        idle().push(greedy);
        Ok(all)
    }

    fn stop(&self) -> Stop {
        let data = &self.loaded.config.data;
        match self.args.oracle_length {
            true => Stop::AtSourceLength {
                n_markers: 2 * usize::from(data.source_markers),
                growth: data.task().growth(),
            },
            false => Stop::AtEos(match self.args.max_len {
                Some(n_tokens) => OutputLimit::fixed(n_tokens),
                None => self.loaded.codec.limit,
            }),
        }
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
            outputs.parts.push(Part::FirstMessage(format!(
                "warning: line {line} has {len} tokens; the longest source in training has {longest}"
            )));
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

    fn write(&self, parsed: &Parsed, decoded: Decoded, outputs: &mut Outputs) -> Result<()> {
        if let Some(path) = &self.args.out {
            let probabilities = probabilities(&decoded);
            let record = self.record(&parsed.tokens, decoded.clone());
            let is_text = self.loaded.config.data.is_text();
            out::write(path, &self.run_name(), &record, &probabilities, is_text)?;
            outputs.message(format!("attention written to {}", path.display()));
        }
        let vocabulary = &self.loaded.codec.vocabulary;
        let texts = self.texts(parsed, &decoded);
        let line = vocabulary.join(texts.iter().map(String::as_str));
        if self.args.json {
            let (source, prediction, text) = match vocabulary.unknown() {
                None => (
                    Words::Numbers(&parsed.tokens),
                    Words::Numbers(&decoded.tokens),
                    None,
                ),
                Some(_) => (
                    Words::Texts(&parsed.texts),
                    Words::Texts(&texts),
                    Some(line),
                ),
            };
            let record = Record::Prediction {
                source,
                prediction,
                text,
                log_prob: decoded.log_prob(),
                probabilities: probabilities(&decoded),
                stopped: decoded.stopped,
                weights: self.args.attention.then_some(&decoded.weights),
            };
            outputs.data(&serde_json::to_string(&record)?);
            return Ok(());
        }
        outputs.data(&line);
        if self.args.attention {
            let drawing = self.draw(&parsed.tokens, decoded);
            outputs.parts.push(Part::Drawing(drawing));
        }
        Ok(())
    }

    fn report_invalid(&self, line: u64, error: &str, outputs: &mut Outputs) -> Result<()> {
        outputs.has_invalid = true;
        if self.args.json {
            outputs.data(&serde_json::to_string(&Record::Invalid { line, error })?);
        } else {
            outputs.data("");
        }
        outputs.message(match self.args.tokens.is_empty() {
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

/// Groups sources into batches by length, shortest first; returns their indices. A batch has at
/// most [`MAX_BATCH_TOKENS`] and is at most half padding, unless it is a single source.
fn batches(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| lengths[index]);
    let (mut batches, mut n_real) = (Vec::<Vec<usize>>::new(), 0);
    for index in order {
        let len = lengths[index];
        n_real += len;
        match batches.last_mut() {
            Some(batch) if (batch.len() + 1) * len <= MAX_BATCH_TOKENS.min(2 * n_real) => {
                batch.push(index);
            }
            _ => {
                batches.push(vec![index]);
                n_real = len;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_similar_length_share_a_batch() {
        assert_eq!(batches(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(batches(&[5, 3, 4, 5]), [vec![1, 2, 0, 3]]);
        assert_eq!(batches(&[1, 900, 1, 2, 1000]), [vec![0, 2, 3], vec![1, 4]]);
    }

    #[test]
    fn the_tokens_of_a_batch_are_limited() {
        let third = MAX_BATCH_TOKENS / 3;
        assert_eq!(batches(&[third; 5]), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(batches(&[MAX_LEN, MAX_LEN]), [[0], [1]]);
    }
}
