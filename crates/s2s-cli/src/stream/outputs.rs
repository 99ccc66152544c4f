//! What a command writes for some lines of input.

use anyhow::Result;
use s2s_lab::statistics::percent;
use s2s_model::Scored;
use s2s_runlog::GrowingFile;

use crate::ui::Ui;

/// The output for some lines, in order.
#[derive(Default)]
pub(crate) struct Outputs {
    parts: Vec<Part>,
    /// The scores of the lines that have one.
    scores: Vec<LineScore>,
    has_invalid: bool,
}

/// The score of a line.
struct LineScore {
    n_tokens: u64,
    /// Tokens of rank 1.
    n_first: u64,
    log_prob: f64,
}

/// Text for one of the streams.
enum Part {
    Data(String),
    Message(String),
    /// A message that is shown once, with the first line that it is about.
    FirstMessage(String),
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
    pub(crate) fn score(&mut self, scored: &Scored) {
        self.scores.push(LineScore {
            n_tokens: scored.ranks.len() as u64,
            n_first: scored.ranks.iter().filter(|rank| **rank == 1).count() as u64,
            log_prob: scored.log_prob(),
        });
    }

    pub(crate) fn message(&mut self, line: String) {
        self.parts.push(Part::Message(line));
    }

    /// Adds a message that is shown only once.
    pub(crate) fn first_message(&mut self, line: String) {
        self.parts.push(Part::FirstMessage(line));
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
    log_prob: f64,
}

impl Totals {
    /// The sums in words, if a line has a score.
    pub(crate) fn summary(&self) -> Option<String> {
        let (n_tokens, log_prob) = (self.n_tokens as f64, self.log_prob);
        let lines = if self.n_lines == 1 { "line" } else { "lines" };
        (self.n_lines > 0).then(|| {
            format!(
                "{} {lines}, {} tokens with EOS: log-probability {log_prob:.4}, perplexity {:.4}, rank 1 for {}",
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
    done: Done,
    has_first: bool,
}

impl<'a> Sink<'a> {
    pub(super) fn new(ui: &'a Ui, file: Option<GrowingFile>) -> Self {
        Self {
            ui,
            file,
            done: Done::default(),
            has_first: false,
        }
    }

    pub(super) fn write(&mut self, outputs: Outputs) -> Result<()> {
        self.done.has_invalid |= outputs.has_invalid;
        let totals = &mut self.done.totals;
        for score in outputs.scores {
            totals.n_lines += 1;
            totals.n_tokens += score.n_tokens;
            totals.n_first += score.n_first;
            totals.log_prob += score.log_prob;
        }
        for part in outputs.parts {
            match part {
                Part::Data(text) => match &mut self.file {
                    Some(file) => file.append(text.as_bytes())?,
                    None => self.ui.data(&text)?,
                },
                Part::Message(text) => self.ui.message(text),
                Part::FirstMessage(text) => {
                    if !std::mem::replace(&mut self.has_first, true) {
                        self.ui.message(text);
                    }
                }
                Part::Drawing(text) => self.ui.styled(text),
            }
        }
        Ok(())
    }

    /// Makes the file survive a power loss.
    pub(super) fn finish(mut self) -> Result<Done> {
        if let Some(file) = &mut self.file {
            file.sync()?;
        }
        Ok(self.done)
    }
}
