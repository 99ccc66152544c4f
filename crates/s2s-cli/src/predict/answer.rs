//! From lines to answers.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use reverse_data::{Example, MAX_LEN, Token, Vocabulary, mark_source};
use s2s_model::{Decoded, Greedy, MAX_REFERENCE_LEN, Source, Stop};
use s2s_train::attention_record;
use s2s_viz::{Ink, terminal_heatmap};
use serde::{Serialize, Serializer};

use super::Args;
use super::lines::Line;
use super::sequence::parse;
use crate::checkpoint::Loaded;
use crate::ui::Ui;

/// Sequences longer than this have more weights than anybody looks at.
const MAX_LEN_WITH_WEIGHTS: usize = 1024;

/// Tokens of a batch, padding included: more do not make it faster, only larger.
const MAX_BATCH_TOKENS: usize = 1 << 14;

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

/// What is to be written for some lines, in order.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) said: Vec<Said>,
    /// Whether one of the lines could not be read.
    pub(super) is_refused: bool,
}

pub(super) enum Said {
    Data(String),
    Talk(String),
}

impl Answers {
    /// Adds a line of data.
    fn data(&mut self, line: &str) {
        if !matches!(self.said.last(), Some(Said::Data(_))) {
            self.said.push(Said::Data(String::new()));
        }
        if let Some(Said::Data(text)) = self.said.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }

    fn talk(&mut self, line: String) {
        self.said.push(Said::Talk(line));
    }
}

/// A model that several threads may ask at once.
pub(super) struct Oracle<'a> {
    loaded: &'a Loaded,
    args: &'a Args,
    ui: &'a Ui,
    packed: Greedy<'a>,
    /// Clones of it that nobody uses just then: with the memory that they have grown.
    idle: Mutex<Vec<Greedy<'a>>>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(loaded: &'a Loaded, args: &'a Args, ui: &'a Ui) -> s2s_train::Result<Self> {
        Ok(Self {
            loaded,
            args,
            ui,
            packed: Greedy::new(&loaded.model)?,
            idle: Mutex::default(),
        })
    }

    /// An answer for each line.
    pub(super) fn answer(&self, lines: Vec<Line>) -> Result<Answers> {
        let parsed: Vec<(u64, Result<Vec<Token>, String>)> = lines
            .into_iter()
            .map(|(number, line)| (number, self.parse(line)))
            .collect();
        let sources: Vec<&[Token]> = parsed
            .iter()
            .filter_map(|(_, source)| source.as_deref().ok())
            .collect();
        let mut decoded = self.decode(&sources)?.into_iter();
        let mut answers = Answers::default();
        for (number, source) in &parsed {
            match source {
                Ok(source) => {
                    let decoded = decoded.next().expect("each source is decoded");
                    self.warn_of_unknown(*number, source, &mut answers);
                    self.say(source, decoded, &mut answers)?;
                }
                Err(error) => self.refuse(*number, error, &mut answers)?,
            }
        }
        Ok(answers)
    }

    /// The sequence of a line.
    fn parse(&self, line: Result<Vec<u8>, u64>) -> Result<Vec<Token>, String> {
        let (max, advice) = match (self.args.attention, self.loaded.model.is_fused()) {
            (true, _) => (MAX_LEN_WITH_WEIGHTS, "leave --attention out"),
            (false, true) => (MAX_LEN, "split the line"),
            (false, false) => (MAX_REFERENCE_LEN - 2, "split the line"), // with its marks
        };
        parse(line, &self.loaded.vocabulary, max, advice)
    }

    /// What the model says to each source.
    fn decode(&self, sources: &[&[Token]]) -> s2s_train::Result<Vec<Decoded>> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut greedy = waiting.unwrap_or_else(|| self.packed.clone());
        let lengths: Vec<usize> = sources.iter().map(|source| source.len()).collect();
        let mut all = vec![Decoded::default(); sources.len()];
        for batch in batches(&lengths) {
            let read: Vec<Vec<Token>> = batch.iter().map(|&i| self.read(sources[i])).collect();
            let source = Source::new(&read, self.loaded.model.tokens())?;
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
    fn read(&self, source: &[Token]) -> Vec<Token> {
        match self.loaded.config.data.source_markers {
            true => mark_source(source, &self.loaded.vocabulary),
            false => source.to_vec(),
        }
    }

    fn say(&self, source: &[Token], decoded: Decoded, answers: &mut Answers) -> Result<()> {
        let vocabulary = &self.loaded.vocabulary;
        if self.args.json {
            let record = Record::Answer {
                source: Words(vocabulary, source),
                prediction: Words(vocabulary, &decoded.tokens),
                log_prob: decoded.log_prob(),
                stopped: decoded.stopped,
                weights: self.args.attention.then_some(&decoded.weights),
            };
            answers.data(&serde_json::to_string(&record)?);
            return Ok(());
        }
        let text = |token: &Token| vocabulary.text(*token);
        let words: Vec<String> = decoded.tokens.iter().map(text).collect();
        answers.data(&words.join(" "));
        if self.args.attention {
            answers.talk(self.draw(source, decoded));
        }
        Ok(())
    }

    /// Says how many tokens of a line are read as the unknown word.
    fn warn_of_unknown(&self, line: u64, source: &[Token], answers: &mut Answers) {
        let unknown = self.loaded.vocabulary.unknown();
        let is_unknown = |token: &&Token| unknown == Some(**token);
        match source.iter().filter(is_unknown).count() {
            0 => {}
            n => answers.talk(format!(
                "warning: line {line}: {n} unknown to the model, read as <unk>"
            )),
        }
    }

    fn refuse(&self, line: u64, error: &str, answers: &mut Answers) -> Result<()> {
        answers.is_refused = true;
        if self.args.json {
            answers.data(&serde_json::to_string(&Record::Refused { line, error })?);
        } else {
            answers.data("");
        }
        answers.talk(match self.args.tokens.is_empty() {
            true => format!("error: line {line}: {error}"),
            false => format!("error: {error}"),
        });
        Ok(())
    }

    /// Draws the attention, with what the task would not have answered marked; nobody knows that of
    /// a text.
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
            Err(error) => format!("the attention cannot be drawn: {error}"),
        }
    }
}

/// Which of the sources are decoded together, by their lengths: the short ones first. No batch has
/// more than [`MAX_BATCH_TOKENS`] or, for the most part, is padding; but each has a source.
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
    fn sources_of_like_lengths_are_decoded_together() {
        assert_eq!(batches(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(batches(&[5, 3, 4, 5]), [vec![1, 2, 0, 3]]);
        assert_eq!(batches(&[1, 900, 1, 2, 1000]), [vec![0, 2, 3], vec![1, 4]]);
    }

    #[test]
    fn a_batch_is_bounded_by_its_tokens() {
        let third = MAX_BATCH_TOKENS / 3;
        assert_eq!(batches(&[third; 5]), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(batches(&[MAX_LEN, MAX_LEN]), [[0], [1]]);
    }
}
