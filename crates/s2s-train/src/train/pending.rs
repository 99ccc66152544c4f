//! Steps that a device may still compute. Their results are read together, so that the host waits for the
//! device once in many steps.

use std::time::Instant;

use candle_core::Tensor;
use s2s_model::{Batch, PendingLoss};

use super::Trainer;
use crate::{GradNorm, LastFinite, Model, Result, Scoring, StepRecord, Tally, finite};

/// Steps after which their losses are read, if nothing needs them before. A loss that is not finite is
/// noticed that late.
const READ_EVERY: usize = 16;

/// A step that was submitted.
#[derive(Debug)]
pub(super) struct PendingStep {
    pub(super) step: u64,
    pub(super) started: Instant,
    pub(super) losses: Vec<(PendingLoss, Batch)>,
    pub(super) grad_norm: GradNorm,
    pub(super) learning_rate: f64,
    pub(super) teacher_forcing_ratio: f64,
}

impl PendingStep {
    /// Waits for the metrics of the step's batches and the norm of its gradient.
    fn wait(&mut self, scoring: &Scoring) -> Result<(Tally, f64)> {
        let mut tally = Tally::default();
        for (loss, batch) in self.losses.drain(..) {
            tally += Tally::forced(&loss.wait()?, &batch, scoring);
        }
        Ok((tally, self.grad_norm.wait()?))
    }
}

impl<M: Model> Trainer<M> {
    /// Waits for the pending steps and counts them. Each gets the same share of their time.
    pub(super) fn read_steps(&mut self) -> Result<Vec<StepRecord>> {
        let pending = std::mem::take(&mut self.pending);
        let Some(started) = pending.first().map(|first| first.started) else {
            return Ok(Vec::new());
        };
        let mut records = Vec::new();
        for mut step in pending {
            let results = self.results(&mut step, &[])?; // its gradients have been overwritten
            records.push(self.count(&step, results));
        }
        let secs = started.elapsed().as_secs_f64() / records.len() as f64;
        for record in &mut records {
            record.secs = secs;
        }
        Ok(records)
    }

    /// Whether pending steps must be read before the next step.
    pub(super) fn must_read(&self) -> bool {
        let step = self.state.step;
        let is_probed = step < self.eval_every && step.is_power_of_two();
        let is_evaluated = step.is_multiple_of(self.eval_every) || step == self.total_steps();
        self.pending.len() == READ_EVERY || is_probed || is_evaluated
    }

    /// Waits for metrics and gradient norm of a step, and checks that they are finite.
    pub(super) fn results(
        &self,
        step: &mut PendingStep,
        gradients: &[Tensor],
    ) -> Result<(Tally, f64)> {
        let (tally, grad_norm) = step.wait(&Scoring::new(&self.codec))?;
        let found = finite::of_step(self.model.params(), gradients, tally.loss(), grad_norm)?;
        self.check(step.step, found)?;
        Ok((tally, grad_norm))
    }

    /// Adds a step to the state.
    pub(super) fn count(
        &mut self,
        step: &PendingStep,
        (tally, grad_norm): (Tally, f64),
    ) -> StepRecord {
        self.last = Some(LastFinite {
            step: step.step,
            loss: tally.loss(),
            grad_norm,
        });
        if let Some(attempt) = &mut self.state.attempt {
            attempt.observe(tally.loss(), &self.config);
        }
        self.state.train += tally;
        self.state.n_steps += 1;
        self.state.grad_norm_sum += grad_norm;
        StepRecord {
            step: step.step,
            total_steps: self.total_steps(),
            tally,
            learning_rate: step.learning_rate,
            grad_norm,
            teacher_forcing_ratio: step.teacher_forcing_ratio,
            secs: step.started.elapsed().as_secs_f64(),
        }
    }
}
