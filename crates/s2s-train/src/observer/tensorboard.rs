//! The observer that writes a TensorBoard file.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use s2s_runlog::AttentionRecord;

use super::{EvalEvent, Observer, StepRecord};
use crate::{EventError, EventWriter, Result};

/// Steps between two writes of what is told at every step.
const EVERY: u64 = 10;

/// A PNG with its size.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The file's bytes.
    pub png: Vec<u8>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Draws the attention of a sequence, or nothing if there is nothing to draw.
pub type Render = fn(&AttentionRecord) -> Option<Picture>;

/// Writes scalars, the configuration as text and the probe's attention as an image.
///
/// A log that cannot be written is no reason to stop training: the first failure is told, and the
/// log ends there.
pub struct TensorBoard {
    events: Option<EventWriter>,
    render: Render,
}

impl fmt::Debug for TensorBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorBoard")
            .field("is_open", &self.events.is_some())
            .finish()
    }
}

impl TensorBoard {
    /// A file in `dir`, with `config` as text; where others stand there, readers drop what those say
    /// of steps after `step`.
    pub fn open(dir: &Path, step: u64, config: &str, render: Render) -> Self {
        let events = if EventWriter::stands_in(dir) {
            EventWriter::resume(dir, step)
        } else {
            EventWriter::create(dir)
        };
        let mut log = Self {
            events: None,
            render,
        };
        match events {
            Ok(events) => log.events = Some(events),
            Err(error) => tracing::warn!("there is no TensorBoard log: {error}"),
        }
        log.write(|events| events.text(step, "config", &format!("```toml\n{config}\n```")));
        log
    }

    fn write(&mut self, write: impl FnOnce(&mut EventWriter) -> Result<(), EventError>) {
        if let Some(events) = &mut self.events
            && let Err(error) = write(events)
        {
            tracing::warn!("the TensorBoard log ends here: {error}");
            self.events = None;
        }
    }
}

impl Observer for TensorBoard {
    fn on_step(&mut self, record: &StepRecord) -> Result<ControlFlow<()>> {
        if record.step.is_multiple_of(EVERY) || record.step == record.total_steps {
            self.write(|events| {
                let step = record.step;
                events.scalar(step, "learning_rate", record.learning_rate)?;
                events.scalar(step, "grad_norm", record.grad_norm)?;
                let ratio = record.teacher_forcing_ratio;
                events.scalar(step, "teacher_forcing_ratio", ratio)
            });
        }
        Ok(ControlFlow::Continue(()))
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<ControlFlow<()>> {
        let (metrics, timing, render) = (event.metrics, event.timing, self.render);
        self.write(|events| {
            let step = metrics.step;
            for (tag, value) in [
                ("loss/train", metrics.train_loss),
                ("loss/val", metrics.val_loss),
                ("loss/val_forced", metrics.val_forced_loss),
                ("accuracy/train", metrics.train_token_accuracy),
                ("accuracy/val", metrics.val_token_accuracy),
                ("exact_match/train", metrics.train_exact_match),
                ("exact_match/val", metrics.val_exact_match),
                ("tokens_per_second", timing.tokens_per_second),
            ] {
                events.scalar(step, tag, value)?;
            }
            if let Some(picture) = render(event.probe) {
                let Picture { png, width, height } = picture;
                events.image(step, "attention", &png, width, height)?;
            }
            events.flush()
        });
        Ok(ControlFlow::Continue(()))
    }
}
