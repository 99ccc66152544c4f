//! The observer that writes a run directory.

use std::ops::ControlFlow;

use s2s_runlog::{
    AttentionRecord, JsonLines, MetricsRecord, RunDir, TimingRecord, write_checkpoint,
};

use super::{EvalEvent, Observer, Snapshot};
use crate::Result;

/// Writes `metrics.jsonl`, `timing.jsonl`, `attention.jsonl` and the checkpoints.
#[derive(Debug)]
pub struct RunWriter {
    dir: RunDir,
    metrics: JsonLines<MetricsRecord>,
    timing: JsonLines<TimingRecord>,
    attention: JsonLines<AttentionRecord>,
}

impl RunWriter {
    /// Goes on after `step`, the step of the checkpoint that the run goes on from (0 for a new run):
    /// records of later steps go, since they will be written again.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn open(dir: RunDir, step: u64) -> Result<Self> {
        Ok(Self {
            metrics: JsonLines::resume(dir.metrics(), |record: &MetricsRecord| {
                record.step <= step
            })?,
            timing: JsonLines::resume(dir.timing(), |record: &TimingRecord| record.step <= step)?,
            attention: JsonLines::resume(dir.attention(), |record: &AttentionRecord| {
                record.step <= step
            })?,
            dir,
        })
    }
}

impl Observer for RunWriter {
    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<ControlFlow<()>> {
        self.metrics.append(event.metrics)?;
        self.timing.append(event.timing)?;
        self.attention.append(event.probe)?;
        Ok(ControlFlow::Continue(()))
    }

    fn on_checkpoint(&mut self, snapshot: &Snapshot) -> Result<ControlFlow<()>> {
        // The records first: after a resume from this checkpoint they are not written again.
        self.metrics.sync()?;
        self.timing.sync()?;
        self.attention.sync()?;
        let files: Vec<(&str, &[u8])> = snapshot
            .files
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice()))
            .collect();
        write_checkpoint(self.dir.checkpoint(snapshot.name), &files)?;
        tracing::debug!(step = snapshot.step, name = ?snapshot.name, "checkpoint saved");
        Ok(ControlFlow::Continue(()))
    }
}
