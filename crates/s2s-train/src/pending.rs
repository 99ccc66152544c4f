//! Steps that a device may still compute. Their results are read together, so that the host waits for the
//! device once in many steps.

use std::time::Instant;

use candle_core::Result;
use s2s_model::{Batch, PendingLoss};

use crate::{GradNorm, Scoring, Tally};

/// Steps after which their losses are read, if nothing needs them before. A loss that is not finite is
/// noticed that late.
pub(crate) const READ_EVERY: usize = 16;

/// A step that was submitted.
#[derive(Debug)]
pub(crate) struct PendingStep {
    pub(crate) step: u64,
    pub(crate) started: Instant,
    pub(crate) losses: Vec<(PendingLoss, Batch)>,
    pub(crate) grad_norm: GradNorm,
    pub(crate) learning_rate: f64,
    pub(crate) teacher_forcing_ratio: f64,
}

impl PendingStep {
    /// Waits for the metrics of the step's batches and the norm of its gradient.
    pub(crate) fn wait(&mut self, scoring: &Scoring) -> Result<(Tally, f64)> {
        let mut tally = Tally::default();
        for (loss, batch) in self.losses.drain(..) {
            tally += Tally::forced(&loss.wait()?, &batch, scoring);
        }
        Ok((tally, self.grad_norm.wait()?))
    }
}
