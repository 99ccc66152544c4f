//! Decodes lines of input and formats the output.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use reverse_data::{Example, MAX_LEN, Token, Vocabulary, mark_source};
use s2s_model::{Decoded, Greedy, MAX_REFERENCE_LEN, Source, Stop};
use s2s_train::attention_record;
use s2s_viz::{Ink, terminal_heatmap};
use serde::{Serialize, Serializer};

use super::Args;
use super::lines::Line;
use super::sequence::{Parsed, parse};
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
        log_prob: f64,
        stopped: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        weights: Option<&'a [Vec<f32>]>,
    },
    Invalid {
        line: u64,
        error: &'a str,
    },
}

/// Tokens as JSON: numbers for synthetic symbols, words for text.
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
            .filter_map(|(_, parsed)| Some(&parsed.as_ref().ok()?.0[..]))
            .collect();
        let mut decoded = self.decode(&sources)?.into_iter();
        let mut outputs = Outputs::default();
        for (number, parsed) in &parsed {
            match parsed {
                Ok((tokens, unknown)) => {
                    let decoded = decoded.next().expect("each source is decoded");
                    if !unknown.is_empty() {
                        outputs.message(unknown_words(*number, unknown));
                    }
                    self.write(tokens, decoded, &mut outputs)?;
                }
                Err(error) => self.report_invalid(*number, error, &mut outputs)?,
            }
        }
        Ok(outputs)
    }

    /// Parses the sequence of a line.
    fn parse(&self, line: Result<Vec<u8>, u64>) -> Result<Parsed, String> {
        let (max, advice) = match (self.args.attention, self.loaded.model.is_fused()) {
            (true, _) => (MAX_LEN_WITH_WEIGHTS, "remove --attention"),
            (false, true) => (MAX_LEN, "split the line"),
            (false, false) => (MAX_REFERENCE_LEN - 2, "split the line"), // without its markers
        };
        parse(line, &self.loaded.vocabulary, max, advice)
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
                .map(|&i| self.model_input(sources[i]))
                .collect();
            let source = Source::new(&inputs, self.loaded.model.tokens())?;
            let decoded = greedy.decode(&source, self.stop(), self.args.attention)?;
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
            false => Stop::AtEos,
        }
    }

    /// A source as the model reads it.
    fn model_input(&self, source: &[Token]) -> Vec<Token> {
        match self.loaded.config.data.source_markers {
            true => mark_source(source, &self.loaded.vocabulary),
            false => source.to_vec(),
        }
    }

    fn write(&self, source: &[Token], decoded: Decoded, outputs: &mut Outputs) -> Result<()> {
        let vocabulary = &self.loaded.vocabulary;
        if self.args.json {
            let record = Record::Prediction {
                source: Words(vocabulary, source),
                prediction: Words(vocabulary, &decoded.tokens),
                log_prob: decoded.log_prob(),
                stopped: decoded.stopped,
                weights: self.args.attention.then_some(&decoded.weights),
            };
            outputs.data(&serde_json::to_string(&record)?);
            return Ok(());
        }
        let text = |token: &Token| vocabulary.text(*token);
        let words: Vec<String> = decoded.tokens.iter().map(text).collect();
        outputs.data(&words.join(" "));
        if self.args.attention {
            outputs.message(self.draw(source, decoded));
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

    /// Draws the attention and marks wrong tokens; for text, the correct output is not known.
    fn draw(&self, source: &[Token], decoded: Decoded) -> String {
        let data = &self.loaded.config.data;
        let example = Example {
            source: source.to_vec(),
            target: match data.is_text() {
                true => decoded.tokens.clone(),
                false => data.task().target(source),
            },
        };
        let (vocabulary, markers) = (&self.loaded.vocabulary, data.source_markers);
        let record = attention_record(decoded, &example, vocabulary, markers, self.loaded.step);
        let ink = if console::colors_enabled_stderr() {
            Ink::Color
        } else {
            Ink::Plain
        };
        match terminal_heatmap(&record, self.ui.width(), ink) {
            Ok(lines) => lines.trim_end().to_owned(),
            Err(error) => format!("cannot draw the attention: {error}"),
        }
    }
}

/// The warning about words that are not in the vocabulary.
fn unknown_words(line: u64, words: &[String]) -> String {
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
