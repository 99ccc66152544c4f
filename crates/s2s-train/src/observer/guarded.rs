//! Stops a run whose folder is gone.

use std::sync::Arc;

use s2s_runlog::{AttentionRecord, RunLock};

use super::{EvalEvent, Flow, Observer, RunWriter, StartEvent, StepRecord};
use crate::{Result, Snapshot};

/// Steps between two checks while no record is due.
const EVERY: u64 = 10;

/// A writer that checks the lock of its folder before each record, and after each checkpoint: a
/// folder may disappear while the checkpoint is being written into it.
pub(crate) struct Guarded<'a> {
    pub(crate) lock: &'a RunLock,
    pub(crate) writer: &'a mut RunWriter,
}

impl Observer for Guarded<'_> {
    fn on_start(&mut self, event: &StartEvent<'_>) -> Result<Flow> {
        self.lock.check()?;
        self.writer.on_start(event)
    }

    fn on_probes(&mut self, probes: &[AttentionRecord]) -> Result<Flow> {
        self.lock.check()?;
        self.writer.on_probes(probes)
    }

    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        if record.step.is_multiple_of(EVERY) {
            self.lock.check()?;
        }
        self.writer.on_step(record)
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        self.lock.check()?;
        self.writer.on_eval(event)
    }

    fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<Flow> {
        self.lock.check()?;
        let flow = self.writer.on_checkpoint(snapshot)?;
        self.lock.check()?;
        Ok(flow)
    }
}
