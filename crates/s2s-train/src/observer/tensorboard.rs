//! Writes the TensorBoard log of a run.

use std::path::Path;

use s2s_runlog::{AttentionRecord, LogFailure};

use super::log::Log;
use super::{EvalEvent, StepRecord};
use crate::EventWriter;

/// Name of the log, without the part that differs between processes.
const NAME: &str = "events.out.tfevents";

/// Steps between two writes of the per-step scalars.
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

/// Draws the attention of a sequence; `None` if it cannot be drawn.
pub type Render = fn(&AttentionRecord) -> Option<Picture>;

/// Writes scalars, the configuration as text and the probe's attention as an image.
#[derive(Debug)]
pub(crate) struct TensorBoard {
    events: Log<EventWriter>,
    render: Render,
}

impl TensorBoard {
    /// Opens an event file in `dir`. The first file contains `config` as text. A later file makes
    /// readers drop the steps after `step` of earlier files.
    pub(crate) fn open(dir: &Path, step: u64, config: &str, render: Render) -> Self {
        let is_first = !EventWriter::exists_in(dir);
        let opened = if is_first {
            EventWriter::create(dir)
        } else {
            EventWriter::resume(dir, step)
        };
        let mut events = Log::open(NAME, step, opened);
        if is_first {
            let text = format!("```toml\n{config}\n```");
            events.write(step, |events| events.text(0, "config", &text));
        }
        Self { events, render }
    }

    /// The first failure, if any.
    pub(crate) fn failure(&self) -> Option<&LogFailure> {
        self.events.failure()
    }

    /// Writes the scalars of a step, every [`EVERY`] steps.
    pub(crate) fn step(&mut self, record: &StepRecord) {
        let step = record.step;
        if !step.is_multiple_of(EVERY) && step != record.total_steps {
            return;
        }
        self.events.write(step, |events| {
            events.scalar(step, "learning_rate", record.learning_rate)?;
            events.scalar(step, "grad_norm", record.grad_norm)?;
            let ratio = record.teacher_forcing_ratio;
            events.scalar(step, "teacher_forcing_ratio", ratio)
        });
    }

    /// Writes an evaluation.
    pub(crate) fn eval(&mut self, event: &EvalEvent<'_>) {
        let (metrics, timing, render) = (event.metrics, event.timing, self.render);
        let step = metrics.step;
        self.events.write(step, |events| {
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
            Ok::<_, crate::EventError>(())
        });
    }

    /// Makes all events durable across a power loss.
    pub(crate) fn sync(&mut self, step: u64) {
        self.events.write(step, |events| events.flush());
    }
}
