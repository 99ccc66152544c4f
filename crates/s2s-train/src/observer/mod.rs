//! Who looks on while a model is trained.

mod log;
mod relay;
mod run_writer;
mod tensorboard;

use std::ops::ControlFlow;
use std::sync::Arc;

use s2s_runlog::{AttentionRecord, MetricsRecord, TimingRecord};

use crate::{Result, Snapshot, Tally};

pub(crate) use log::Log;
pub(crate) use relay::beside;
pub use run_writer::RunWriter;
pub use tensorboard::{Picture, Render};

/// Is told what happens, on the thread that trains; every event does nothing by default. `Break` stops
/// the run after a checkpoint, so that it can go on.
pub trait Observer: Send {
    /// After each optimizer step.
    ///
    /// # Errors
    /// Whatever fails ends the run.
    fn on_step(&mut self, _record: &StepRecord) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// Before each batch of an evaluation. `Break` abandons it.
    ///
    /// # Errors
    /// Whatever fails ends the run.
    fn on_eval_batch(&mut self) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// After each evaluation, before its checkpoint.
    ///
    /// # Errors
    /// Whatever fails ends the run.
    fn on_eval(&mut self, _event: &EvalEvent<'_>) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    /// When the state is to be saved: nothing of it need be on disk yet.
    ///
    /// # Errors
    /// Whatever fails ends the run.
    fn on_checkpoint(&mut self, _snapshot: &Arc<Snapshot>) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// One optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Steps taken.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Figures of this step's batch, in training mode.
    pub tally: Tally,
    /// Learning rate.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Chance that the true token was fed.
    pub teacher_forcing_ratio: f64,
}

/// One evaluation.
#[derive(Clone, Copy, Debug)]
pub struct EvalEvent<'a> {
    /// Its figures.
    pub metrics: &'a MetricsRecord,
    /// How long it took.
    pub timing: &'a TimingRecord,
    /// The attention of the probe sequence.
    pub probe: &'a AttentionRecord,
}

/// Keeps all records, for tests and for callers who want no run directory.
#[derive(Debug, Default)]
pub struct Collector {
    /// Every step.
    pub steps: Vec<StepRecord>,
    /// Every evaluation.
    pub metrics: Vec<MetricsRecord>,
    /// The attention of the probe at every evaluation.
    pub probes: Vec<AttentionRecord>,
    /// The last snapshot that was the best, if one was.
    pub best: Option<Arc<Snapshot>>,
    /// The last snapshot.
    pub last: Option<Arc<Snapshot>>,
}

impl Observer for Collector {
    fn on_step(&mut self, record: &StepRecord) -> Result<ControlFlow<()>> {
        self.steps.push(*record);
        Ok(ControlFlow::Continue(()))
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<ControlFlow<()>> {
        self.metrics.push(event.metrics.clone());
        self.probes.push(event.probe.clone());
        Ok(ControlFlow::Continue(()))
    }

    fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<ControlFlow<()>> {
        if snapshot.is_best {
            self.best = Some(Arc::clone(snapshot));
        }
        self.last = Some(Arc::clone(snapshot));
        Ok(ControlFlow::Continue(()))
    }
}
