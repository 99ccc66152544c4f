//! Decodes lines of input and formats the output.

use std::borrow::Cow;

use anyhow::Result;
use reverse_data::{Sequence, Token};
use s2s_model::{Decoded, OutputLimit, Seq2Seq, Stop};
use s2s_runlog::AttentionRecord;
use s2s_train::{Answer, Predictor, Trained, attention_record};
use s2s_viz::terminal_heatmap;
use serde::Serialize;

use super::{Args, out};
use crate::checkpoint::Loaded;
use crate::stream::{Line, Outputs, Topic, parse, unknown_warning};
use crate::ui::Ui;

/// A line of output with --json.
#[derive(Serialize)]
#[serde(untagged)]
enum Record<'a> {
    Single {
        source: Words<'a>,
        #[serde(flatten)]
        answer: AnswerRecord<'a>,
    },
    List {
        source: Words<'a>,
        predictions: Vec<AnswerRecord<'a>>,
    },
    Invalid {
        line: u64,
        error: &'a str,
    },
}

/// An output.
#[derive(Serialize)]
struct AnswerRecord<'a> {
    prediction: Words<'a>,
    /// The prediction as a line of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    log_prob: f64,
    /// The probability of each output token, and of EOS if it was produced.
    probabilities: &'a [f32],
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

/// An output as part of a line: line breaks in it as `\n` and `\r`, and tabs as `\t` if they separate outputs.
fn one_line(text: &str, is_list: bool) -> Cow<'_, str> {
    let is_escaped = |c: char| matches!(c, '\n' | '\r') || is_list && c == '\t';
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_escaped(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    Cow::Owned(line)
}

/// The answers to lines, as several threads can write them at once.
pub(super) struct Answers<'a> {
    loaded: &'a Loaded,
    args: &'a Args,
    ui: &'a Ui,
    predictor: Predictor<'a>,
}

impl<'a> Answers<'a> {
    /// `others` are further models of an ensemble.
    pub(super) fn new(
        loaded: &'a Loaded,
        others: &'a [Seq2Seq],
        args: &'a Args,
        ui: &'a Ui,
    ) -> Result<Self> {
        let trained = &loaded.trained;
        let models: Vec<&Seq2Seq> = [&trained.model].into_iter().chain(others).collect();
        let stop = stop(loaded, args);
        let decoding = args.decoding.decoding(stop, &trained.codec.vocabulary)?;
        let mut predictor = Predictor::new(&trained.codec, &models)?
            .with_decoding(decoding)
            .with_batch_size(args.stream.batch_size);
        if args.with_weights() {
            predictor = predictor.with_attention();
        }
        if args.replace_unknown {
            predictor = predictor.replacing_unknown();
        }
        Ok(Self {
            loaded,
            args,
            ui,
            predictor,
        })
    }

    /// The output for each line.
    pub(super) fn of(&self, lines: Vec<Line>) -> Result<Outputs> {
        let parsed: Vec<(u64, Result<Sequence, String>)> = lines
            .into_iter()
            .map(|(number, line)| (number, self.parse(line)))
            .collect();
        let sources: Vec<(u64, &Sequence)> = parsed
            .iter()
            .filter_map(|(number, parsed)| Some((*number, parsed.as_ref().ok()?)))
            .collect();
        let mut decoded = self.predictor.decode(&sources)?.into_iter();
        let mut outputs = Outputs::default();
        for (number, parsed) in &parsed {
            match parsed {
                Ok(source) => {
                    let decoded = decoded.next().expect("each source is decoded");
                    self.warn(*number, source, &decoded[0], &mut outputs);
                    self.write(source, decoded, &mut outputs)?;
                }
                Err(error) => self.report_invalid(*number, error, &mut outputs)?,
            }
        }
        Ok(outputs)
    }

    /// Parses the sequence of a line.
    fn parse(&self, line: Result<Vec<u8>, u64>) -> Result<Sequence, String> {
        let advice = match self.args.with_weights() {
            true => "remove --attention, --out and --replace-unknown",
            false => "split the line",
        };
        parse(line, self.predictor.max_len(), advice, |text| {
            self.predictor.parse(text)
        })
    }

    /// Warns about what makes an output less reliable than a metric suggests.
    fn warn(&self, line: u64, source: &Sequence, decoded: &Decoded, outputs: &mut Outputs) {
        let codec = &self.loaded.trained.codec;
        let unknown = source.unknown(&codec.vocabulary);
        outputs.count(source.tokens.len(), unknown.len());
        if let Some(warning) = unknown_warning(line, &unknown) {
            outputs.warning(Topic::Unknown, warning);
        }
        let (len, longest) = (source.tokens.len(), codec.longest_source);
        if let Some(longest) = longest.filter(|longest| len > *longest) {
            let warning = format!(
                "line {line} has {len} tokens; the longest source in training has {longest}"
            );
            outputs.warning(Topic::Long, warning);
        }
        if !decoded.stopped && !self.args.oracle_length {
            let n_markers = 2 * usize::from(codec.source_markers);
            let limit = stop(self.loaded, self.args).limit(len + n_markers);
            let n = decoded.tokens.len();
            let why = match n < limit {
                true => "the constraints left no token after it",
                false => "--max-len N allows N",
            };
            let warning =
                format!("line {line}: the output was cut after {n} tokens, before its end; {why}");
            outputs.warning(Topic::Cut, warning);
        }
    }

    fn write(&self, source: &Sequence, decoded: Vec<Decoded>, outputs: &mut Outputs) -> Result<()> {
        let best = self.args.with_weights().then(|| decoded[0].clone());
        let answers: Vec<Answer> = decoded
            .into_iter()
            .map(|decoded| self.predictor.answer(source, decoded))
            .collect();
        if let (Some(path), Some(best)) = (&self.args.out, &best) {
            let record = self.record(source, best.clone());
            let is_text = self.loaded.trained.config.data.is_text();
            let probabilities = &answers[0].probabilities;
            out::write(path, &self.run_name(), &record, probabilities, is_text)?;
            outputs.message(format!("attention written to {}", path.display()));
        }
        if !self.args.json {
            let is_list = self.args.decoding.is_list();
            let lines = answers.iter().map(|answer| one_line(&answer.text, is_list));
            outputs.data(&lines.collect::<Vec<_>>().join("\t"));
            if let Some(best) = best.filter(|_| self.args.attention) {
                outputs.drawing(self.draw(source, best));
            }
            return Ok(());
        }
        let is_text = self.loaded.trained.codec.vocabulary.unknown().is_some();
        let words = |tokens, texts| match is_text {
            false => Words::Numbers(tokens),
            true => Words::Texts(texts),
        };
        let mut records = Vec::with_capacity(answers.len());
        for answer in &answers {
            records.push(AnswerRecord {
                prediction: words(&answer.tokens, &answer.texts),
                text: is_text.then_some(&answer.text[..]),
                log_prob: answer.log_prob,
                probabilities: &answer.probabilities,
                stopped: answer.stopped,
                weights: self.args.attention.then_some(&answer.attention[..]),
            });
        }
        let source = words(&source.tokens, &source.texts);
        let record = match self.args.decoding.is_list() {
            true => Record::List {
                source,
                predictions: records,
            },
            false => Record::Single {
                source,
                answer: records.swap_remove(0),
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
    fn record(&self, source: &Sequence, decoded: Decoded) -> AttentionRecord {
        let Trained {
            config,
            codec,
            step,
            ..
        } = &self.loaded.trained;
        let target = match config.data.is_text() {
            true => decoded.tokens.clone(),
            false => config.data.task().target(&source.tokens),
        };
        let target = Sequence::of_tokens(target, &codec.vocabulary);
        attention_record(decoded, [source, &target], codec, *step)
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
    fn draw(&self, source: &Sequence, decoded: Decoded) -> String {
        let record = self.record(source, decoded);
        match terminal_heatmap(&record, self.ui.width(), self.ui.ink()) {
            Ok(lines) => lines.trim_end().to_owned(),
            Err(error) => format!("cannot draw the attention: {error}"),
        }
    }
}

/// When an output ends.
fn stop(loaded: &Loaded, args: &Args) -> Stop {
    let data = &loaded.trained.config.data;
    match args.oracle_length {
        true => Stop::AtSourceLength {
            n_markers: 2 * usize::from(data.source_markers),
            growth: data.task().growth(),
        },
        false => Stop::AtEos(match args.max_len {
            Some(n_tokens) => OutputLimit::fixed(n_tokens),
            None => loaded.trained.codec.limit,
        }),
    }
}
