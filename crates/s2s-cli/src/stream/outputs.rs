//! What a command writes for some lines of input.

use anyhow::Result;
use s2s_lab::statistics::percent;
use s2s_model::Scored;
use s2s_runlog::GrowingFile;

use super::pipeline::Arrival;
use super::resumed::Unfinished;
use crate::ui::Ui;

/// The output for some lines, in order.
#[derive(Default)]
pub(crate) struct Outputs {
    parts: Vec<Part>,
    /// The scores of the lines that have one.
    scores: Vec<LineScore>,
    /// Tokens that were read.
    n_read: u64,
    /// Those that are not in the vocabulary.
    n_unknown: u64,
    has_invalid: bool,
}

/// The score of a line.
struct LineScore {
    n_tokens: u64,
    /// Tokens of rank 1.
    n_first: u64,
    /// Tokens that are not in the vocabulary.
    n_unknown: u64,
    log_prob: f64,
}

/// What a warning about a line is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Tokens that are not in the vocabulary.
    Unknown,
    /// A source longer than any in training.
    Long,
    /// An output that was cut.
    Cut,
}

impl Topic {
    const ALL: [Self; 3] = [Self::Unknown, Self::Long, Self::Cut];
}

/// Text for one of the streams.
enum Part {
    Data(String),
    Message(String),
    /// A warning, which is shown in full for the first line that it is about.
    Warning(Topic, String),
    /// A message with escape codes for colors.
    Drawing(String),
}

impl Outputs {
    /// Adds a line of data.
    pub(crate) fn data(&mut self, line: &str) {
        if !matches!(self.parts.last(), Some(Part::Data(_))) {
            self.parts.push(Part::Data(String::new()));
        }
        if let Some(Part::Data(text)) = self.parts.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }

    /// Adds the message about an invalid line.
    pub(crate) fn invalid(&mut self, line: String) {
        self.has_invalid = true;
        self.message(line);
    }

    /// Adds the score of a line to the totals.
    pub(crate) fn score(&mut self, scored: &Scored, ranks: &[Option<usize>]) {
        self.scores.push(LineScore {
            n_tokens: ranks.len() as u64,
            n_first: ranks.iter().filter(|rank| **rank == Some(1)).count() as u64,
            n_unknown: ranks.iter().filter(|rank| rank.is_none()).count() as u64,
            log_prob: scored.log_prob(),
        });
    }

    /// Counts the tokens of a line, and those that are not in the vocabulary.
    pub(crate) fn count(&mut self, n_read: usize, n_unknown: usize) {
        self.n_read += n_read as u64;
        self.n_unknown += n_unknown as u64;
    }

    pub(crate) fn message(&mut self, line: String) {
        self.parts.push(Part::Message(line));
    }

    /// Adds a warning about a line.
    pub(crate) fn warning(&mut self, topic: Topic, line: String) {
        self.parts.push(Part::Warning(topic, line));
    }

    /// Adds a message that may be styled.
    pub(crate) fn drawing(&mut self, lines: String) {
        self.parts.push(Part::Drawing(lines));
    }
}

/// What all lines amount to.
#[derive(Default)]
pub(crate) struct Done {
    has_invalid: bool,
    pub(crate) totals: Totals,
}

impl Done {
    /// 1 if a line was invalid.
    pub(crate) fn exit_code(&self) -> u8 {
        u8::from(self.has_invalid)
    }
}

/// Sums over the lines that have a score, in their order.
#[derive(Default)]
pub(crate) struct Totals {
    n_lines: u64,
    n_tokens: u64,
    n_first: u64,
    n_unknown: u64,
    log_prob: f64,
}

impl Totals {
    /// The sums in words, if a line has a score.
    pub(crate) fn summary(&self) -> Option<String> {
        let (n_tokens, log_prob) = (self.n_tokens as f64, self.log_prob);
        let lines = if self.n_lines == 1 { "line" } else { "lines" };
        let unknown = match self.n_unknown {
            0 => String::new(),
            n => format!(", not in the vocabulary {}", percent(n as f64 / n_tokens)),
        };
        (self.n_lines > 0).then(|| {
            format!(
                "{} {lines}, {} tokens with EOS: log-probability {log_prob:.4}, perplexity {:.4}, rank 1 for {}{unknown}",
                self.n_lines,
                self.n_tokens,
                (-log_prob / n_tokens).exp(),
                percent(self.n_first as f64 / n_tokens)
            )
        })
    }
}

/// Where outputs go: data to a file or to standard output, messages to standard error.
pub(super) struct Sink<'a> {
    ui: &'a Ui,
    file: Option<GrowingFile>,
    /// What the file had before, until it is checked.
    unfinished: Option<Unfinished>,
    done: Done,
    /// Topics of which a warning was shown since the input last paused.
    shown: Vec<Topic>,
    /// Lines whose warning was not shown, for each topic.
    n_hidden: [u64; Topic::ALL.len()],
    n_read: u64,
    n_unknown: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        ui: &'a Ui,
        file: Option<GrowingFile>,
        unfinished: Option<Unfinished>,
    ) -> Self {
        Self {
            ui,
            file,
            unfinished,
            done: Done::default(),
            shown: Vec::new(),
            n_hidden: [0; Topic::ALL.len()],
            n_read: 0,
            n_unknown: 0,
        }
    }

    /// Writes the outputs of a window of lines. After a pause of the input, as when lines are typed, a
    /// warning is shown in full again.
    pub(super) fn write(&mut self, outputs: Outputs, arrival: Arrival) -> Result<()> {
        if let Some(unfinished) = &mut self.unfinished {
            let first = outputs.parts.iter().find_map(|part| match part {
                Part::Data(text) => text.split_inclusive('\n').next(),
                _ => None,
            });
            if unfinished.has(first.unwrap_or_default())? {
                return Ok(());
            }
            self.unfinished = None;
        }
        if arrival == Arrival::AfterPause {
            self.shown.clear();
        }
        self.done.has_invalid |= outputs.has_invalid;
        self.n_read += outputs.n_read;
        self.n_unknown += outputs.n_unknown;
        let totals = &mut self.done.totals;
        for score in outputs.scores {
            totals.n_lines += 1;
            totals.n_tokens += score.n_tokens;
            totals.n_first += score.n_first;
            totals.n_unknown += score.n_unknown;
            totals.log_prob += score.log_prob;
        }
        for part in outputs.parts {
            match part {
                Part::Data(text) => match &mut self.file {
                    Some(file) => file.append(text.as_bytes())?,
                    None => self.ui.data(&text)?,
                },
                Part::Message(text) => self.ui.message(text),
                Part::Warning(topic, _) if self.shown.contains(&topic) => {
                    self.n_hidden[topic as usize] += 1;
                }
                Part::Warning(topic, text) => {
                    self.shown.push(topic);
                    self.ui.warning(text);
                }
                Part::Drawing(text) => self.ui.styled(text),
            }
        }
        Ok(())
    }

    /// Makes the file survive a power loss, and says how many lines had a warning that was not shown.
    pub(super) fn finish(mut self) -> Result<Done> {
        if let Some(unfinished) = &self.unfinished {
            unfinished.finish()?;
        }
        for (topic, n_hidden) in Topic::ALL.into_iter().zip(self.n_hidden) {
            let lines = match n_hidden {
                0 => continue,
                1 => "1 further line".to_owned(),
                n => format!("{n} further lines"),
            };
            self.ui.warning(match topic {
                Topic::Unknown => format!(
                    "{lines} with tokens that are not in the vocabulary; in all, {} of {} tokens were \
                     replaced by <unk>",
                    self.n_unknown, self.n_read
                ),
                Topic::Long => format!("{lines} longer than any source in training"),
                Topic::Cut => format!("the output of {lines} was cut"),
            });
        }
        if let Some(file) = &mut self.file {
            file.sync()?;
        }
        Ok(self.done)
    }
}
