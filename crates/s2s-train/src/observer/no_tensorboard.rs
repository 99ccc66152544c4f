//! The TensorBoard log in a build without the feature `tensorboard`: nothing is written.

use std::path::Path;

use s2s_runlog::{AttentionRecord, EvalRecord, LogFailure, StepMetrics};

use super::{EvalEvent, Render, StartEvent};

#[derive(Debug)]
pub(crate) struct TensorBoard;

impl TensorBoard {
    pub(crate) fn open(_dir: &Path, _step: u64, _config: &str, _render: Render) -> Self {
        Self
    }

    pub(crate) fn failure(&self) -> Option<&LogFailure> {
        None
    }

    pub(crate) fn start(&mut self, _event: &StartEvent<'_>) {}

    pub(crate) fn probe(&mut self, _probe: &AttentionRecord) {}

    pub(crate) fn step(&mut self, _line: &StepMetrics, _teacher_forcing_ratio: f64) {}

    pub(crate) fn eval(&mut self, _event: &EvalEvent<'_>) {}

    pub(crate) fn end(&mut self, _step: u64, _test: &EvalRecord) {}

    pub(crate) fn sync(&mut self, _step: u64) {}
}
