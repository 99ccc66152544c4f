//! Writes the TensorBoard log of a run.

use std::path::Path;

use s2s_runlog::{AttentionRecord, EvalRecord, LogFailure, StepMetrics};

use super::log::Log;
use super::{EvalEvent, Picture, Render, StartEvent};
use crate::EventWriter;

/// Name of the log, without the part that differs between processes.
const NAME: &str = "events.out.tfevents";

/// Writes scalars, the configuration as text and as hyperparameters, and the probe's attention as an
/// image.
#[derive(Debug)]
pub(crate) struct TensorBoard {
    events: Log<EventWriter>,
    render: Render,
    has_start: bool, // whether an earlier process of the run wrote step 0
}

impl TensorBoard {
    /// Opens an event file in `dir`. The first file contains `config`, a TOML document. A later file makes
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
            events.write(step, |events| {
                events.text(0, "config", &text)?;
                events.hparams(&config.parse().unwrap_or_default())
            });
        }
        Self {
            events,
            render,
            has_start: !is_first,
        }
    }

    /// The first failure, if any.
    pub(crate) fn failure(&self) -> Option<&LogFailure> {
        self.events.failure()
    }

    /// Writes the evaluation before the first step, once per run.
    pub(crate) fn start(&mut self, event: &StartEvent<'_>) {
        if self.has_start {
            return;
        }
        let (metrics, probe) = (event.metrics, event.probes.first());
        let scalars = [
            ("loss/val", metrics.loss),
            ("loss/val_forced", metrics.forced_loss),
            ("accuracy/val", metrics.token_accuracy),
            ("exact_match/val", metrics.exact_match),
        ];
        self.write(0, &scalars, probe);
    }

    /// Writes the attention of the first probe sequence between evaluations.
    pub(crate) fn probe(&mut self, probe: &AttentionRecord) {
        self.write(probe.step, &[], Some(probe));
    }

    /// Writes a line of the step log.
    pub(crate) fn step(&mut self, line: &StepMetrics, teacher_forcing_ratio: f64) {
        let scalars = [
            ("step/loss", line.loss),
            ("step/accuracy", line.token_accuracy),
            ("step/tokens_per_second", line.tokens_per_second),
            ("learning_rate", line.learning_rate),
            ("grad_norm", line.grad_norm),
            ("teacher_forcing_ratio", teacher_forcing_ratio),
        ];
        self.write(line.step, &scalars, None);
    }

    /// Writes an evaluation.
    pub(crate) fn eval(&mut self, event: &EvalEvent<'_>) {
        let (metrics, timing) = (event.metrics, event.timing);
        let scalars = [
            ("loss/train", metrics.train_loss),
            ("loss/val", metrics.val_loss),
            ("loss/val_forced", metrics.val_forced_loss),
            ("accuracy/train", metrics.train_token_accuracy),
            ("accuracy/val", metrics.val_token_accuracy),
            ("exact_match/train", metrics.train_exact_match),
            ("exact_match/val", metrics.val_exact_match),
            ("tokens_per_second", timing.tokens_per_second),
        ];
        self.write(metrics.step, &scalars, event.probes.first());
    }

    /// Writes scalars, and the attention of a sequence if it can be drawn.
    fn write(&mut self, step: u64, scalars: &[(&str, f64)], probe: Option<&AttentionRecord>) {
        let picture = probe.and_then(self.render);
        self.events.write(step, |events| {
            for (tag, value) in scalars {
                events.scalar(step, tag, *value)?;
            }
            if let Some(picture) = picture {
                let Picture { png, width, height } = picture;
                events.image(step, "attention", &png, width, height)?;
            }
            Ok::<_, crate::EventError>(())
        });
    }

    /// Writes the metrics of the test split, and that the run ended after `step`.
    pub(crate) fn end(&mut self, step: u64, test: &EvalRecord) {
        self.events.write(step, |events| {
            for (tag, value) in [
                ("test/loss", test.loss),
                ("test/forced_loss", test.forced_loss),
                ("test/token_accuracy", test.token_accuracy),
                ("test/exact_match", test.exact_match),
            ] {
                events.scalar(step, tag, value)?;
            }
            if let Some(text) = &test.text {
                events.scalar(step, "test/token_error_rate", text.token_error_rate)?;
                events.scalar(step, "test/char_error_rate", text.char_error_rate)?;
                events.scalar(step, "test/bleu", text.bleu)?;
                events.scalar(step, "test/chrf", text.chrf)?;
            }
            events.end(step)?;
            events.flush()
        });
    }

    /// Makes all events durable across a power loss.
    pub(crate) fn sync(&mut self, step: u64) {
        self.events.write(step, |events| events.flush());
    }
}
