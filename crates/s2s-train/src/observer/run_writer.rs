//! The observer that writes a run directory.

use std::sync::Arc;

use s2s_runlog::{
    AttentionRecord, CheckpointName, JsonLines, LogFailure, MetricsRecord, RunDir, RunRecord,
    TimingRecord, write_checkpoint, write_json,
};

use super::log::Log;
use super::tensorboard::{Render, TensorBoard};
use super::{EvalEvent, Flow, Observer, StepRecord};
use crate::{Result, Snapshot};

/// Writes the files of a run directory during training.
///
/// `metrics.jsonl` and the checkpoints are required: if they cannot be written, the run stops.
/// `timing.jsonl`, `attention.jsonl` and the TensorBoard file are optional logs: if they cannot be
/// written, the run continues and `run.json` lists the logs that lost records.
#[derive(Debug)]
pub struct RunWriter {
    dir: RunDir,
    metrics: JsonLines<MetricsRecord>,
    timing: Log<JsonLines<TimingRecord>>,
    attention: Log<JsonLines<AttentionRecord>>,
    tensorboard: TensorBoard,
    record: RunRecord,
    earlier_failures: Vec<LogFailure>, // of earlier processes of this run
}

impl RunWriter {
    /// Opens the files of a run at the step of `record`, which is the step of the checkpoint it
    /// resumes from (0 for a new run). Records of later steps are removed, since they will be
    /// written again. `config` is the configuration as TOML, for TensorBoard.
    ///
    /// # Errors
    /// If a file of the run cannot be read or written.
    pub fn open(dir: RunDir, record: RunRecord, config: &str, render: Render) -> Result<Self> {
        let step = record.step;
        write_json(dir.run(), &record)?;
        let metrics = JsonLines::resume(dir.metrics(), |line: &MetricsRecord| line.step <= step)?;
        let timing = JsonLines::resume(dir.timing(), |line: &TimingRecord| line.step <= step);
        let attention =
            JsonLines::resume(dir.attention(), |line: &AttentionRecord| line.step <= step);
        Ok(Self {
            metrics,
            timing: Log::open("timing.jsonl", step, timing),
            attention: Log::open("attention.jsonl", step, attention),
            tensorboard: TensorBoard::open(dir.path(), step, config, render),
            earlier_failures: record.degraded.clone(),
            record,
            dir,
        })
    }

    /// The logs that lost records, in this process and in earlier ones.
    pub fn failures(&self) -> Vec<LogFailure> {
        let mut failures = self.earlier_failures.clone();
        let logs = [
            self.timing.failure(),
            self.attention.failure(),
            self.tensorboard.failure(),
        ];
        for failure in logs.into_iter().flatten() {
            if failures.iter().all(|other| other.log != failure.log) {
                failures.push(failure.clone());
            }
        }
        failures
    }

    /// Updates the failures in `run.json` before a checkpoint, since the lost records are not
    /// written again after it.
    fn record_failures(&mut self) -> Result<()> {
        let failures = self.failures();
        if failures != self.record.degraded {
            self.record.degraded = failures;
            write_json(self.dir.run(), &self.record)?;
        }
        Ok(())
    }

    fn save(&self, name: CheckpointName, snapshot: &Snapshot) -> Result<()> {
        write_checkpoint(self.dir.checkpoint(name), &snapshot.files(name))?;
        tracing::debug!(step = snapshot.step, ?name, "checkpoint saved");
        Ok(())
    }
}

impl Observer for RunWriter {
    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        self.tensorboard.step(record);
        Ok(Flow::Continue)
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        let step = event.metrics.step;
        self.metrics.append(event.metrics)?;
        self.timing.write(step, |lines| lines.append(event.timing));
        self.attention
            .write(step, |lines| lines.append(event.probe));
        self.tensorboard.eval(event);
        Ok(Flow::Continue)
    }

    fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<Flow> {
        // Records before the checkpoint: a run resumed from it does not write them again.
        let step = snapshot.step;
        self.metrics.sync()?;
        self.timing.write(step, |lines| lines.sync());
        self.attention.write(step, |lines| lines.sync());
        self.tensorboard.sync(step);
        self.record_failures()?;
        // `best` before `last`: a run resumed from `last` does not save this `best` again.
        if snapshot.is_best {
            self.save(CheckpointName::Best, snapshot)?;
        }
        self.save(CheckpointName::Last, snapshot)?;
        Ok(Flow::Continue)
    }
}
