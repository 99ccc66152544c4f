//! What a command writes for some lines of input.

use anyhow::Result;
use s2s_runlog::GrowingFile;

use crate::ui::Ui;

/// The output for some lines, in order.
#[derive(Default)]
pub(crate) struct Outputs {
    parts: Vec<Part>,
    /// Whether one of the lines was invalid.
    pub(crate) has_invalid: bool,
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

/// Where outputs go: data to a file or to standard output, messages to standard error.
pub(super) struct Sink<'a> {
    pub(super) ui: &'a Ui,
    pub(super) file: Option<GrowingFile>,
    pub(super) has_invalid: bool,
    has_first: bool,
}

impl<'a> Sink<'a> {
    pub(super) fn new(ui: &'a Ui, file: Option<GrowingFile>) -> Self {
        Self {
            ui,
            file,
            has_invalid: false,
            has_first: false,
        }
    }

    pub(super) fn write(&mut self, outputs: Outputs) -> Result<()> {
        self.has_invalid |= outputs.has_invalid;
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
}
