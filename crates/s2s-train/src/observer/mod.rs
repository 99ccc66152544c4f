//! Callbacks during training.

mod guarded;
mod log;
mod picture;
mod relay;
mod run_writer;
#[cfg_attr(not(feature = "tensorboard"), path = "no_tensorboard.rs")]
mod tensorboard;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use s2s_runlog::{AttentionRecord, EvalRecord, MetricsRecord, TimingRecord, WrongOutput};

use crate::{Error, Result, Snapshot, Tally};

pub(crate) use guarded::Guarded;
pub(crate) use log::Log;
pub use picture::{Picture, Render};
pub(crate) use relay::train_in_background;
pub use run_writer::RunWriter;

/// What the training loop does after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub enum Flow {
    /// Continue training.
    Continue,
    /// Evaluate, save and end: the run is finished, as with early stopping.
    Finish,
    /// Save and stop: the run is interrupted and can be resumed.
    Interrupt,
}

/// Callbacks for the events of a run, called on the training thread. The defaults do nothing.
///
/// With several observers, the strongest answer counts: `Interrupt` over `Finish` over `Continue`. An error ends
/// the run, and so does a panic, as [`Error::ObserverPanicked`].
///
/// ```
/// # use candle_core::Device;
/// use s2s_train::{EvalEvent, ExperimentConfig, Flow, Observer, Result, Trainer};
///
/// /// Ends a run when the validation loss has not fallen.
/// struct StopWhenFlat(f64);
///
/// impl Observer for StopWhenFlat {
///     fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
///         let before = std::mem::replace(&mut self.0, event.metrics.val_loss);
///         Ok(if self.0 < before { Flow::Continue } else { Flow::Finish })
///     }
/// }
///
/// # fn main() -> Result<()> {
/// # let mut config = ExperimentConfig::default();
/// # (config.train.max_steps, config.train.eval_every) = (2, 1.into());
/// # (config.data.val_samples, config.data.max_len) = (10, 3);
/// let mut trainer = Trainer::new(config, 1, &Device::Cpu)?;
/// trainer.run(&mut [&mut StopWhenFlat(f64::INFINITY)])?;
/// # Ok(())
/// # }
/// ```
///
/// [`on_step`] and [`on_eval`] make observers of closures, and [`Collector`] keeps all records.
pub trait Observer: Send {
    /// Before the first step of a run, after an evaluation of the validation split.
    ///
    /// # Errors
    /// Any error ends the run.
    fn on_start(&mut self, _event: &StartEvent<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// The attention of the probe sequences after 1, 2, 4, 8, ... steps, until the first evaluation: it
    /// changes most at the beginning. Called before [`Observer::on_step`].
    ///
    /// # Errors
    /// Any error ends the run.
    fn on_probes(&mut self, _probes: &[AttentionRecord]) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// After each optimizer step.
    ///
    /// # Errors
    /// Any error ends the run.
    fn on_step(&mut self, _record: &StepRecord) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// Before each batch of an evaluation. `Interrupt` abandons the evaluation; `Finish` has no
    /// effect here.
    ///
    /// # Errors
    /// Any error ends the run.
    fn on_eval_batch(&mut self) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// After each evaluation, before its checkpoint.
    ///
    /// # Errors
    /// Any error ends the run.
    fn on_eval(&mut self, _event: &EvalEvent<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// When a checkpoint is due. The snapshot is not on disk yet.
    ///
    /// # Errors
    /// Any error ends the run.
    fn on_checkpoint(&mut self, _snapshot: &Arc<Snapshot>) -> Result<Flow> {
        Ok(Flow::Continue)
    }
}

/// One optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Steps taken.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Metrics of this step's batch, in training mode.
    pub tally: Tally,
    /// Learning rate.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Probability of feeding the reference token.
    pub teacher_forcing_ratio: f64,
    /// Wall time of the step.
    pub secs: f64,
}

/// The evaluation before the first step.
#[derive(Clone, Copy, Debug)]
pub struct StartEvent<'a> {
    /// Metrics of the validation split.
    pub metrics: &'a EvalRecord,
    /// The timings: only that of this evaluation.
    pub timing: &'a TimingRecord,
    /// The attention of the [probe sequences](crate::Trainer::probes).
    pub probes: &'a [AttentionRecord],
    /// The first validation sequences whose output was wrong.
    pub wrong: &'a [WrongOutput],
}

/// One evaluation.
#[derive(Clone, Copy, Debug)]
pub struct EvalEvent<'a> {
    /// The metrics.
    pub metrics: &'a MetricsRecord,
    /// The timings.
    pub timing: &'a TimingRecord,
    /// The attention of the [probe sequences](crate::Trainer::probes).
    pub probes: &'a [AttentionRecord],
    /// The first validation sequences whose output was wrong.
    pub wrong: &'a [WrongOutput],
}

/// Calls every observer and returns the strongest answer. A panic of an observer is an error.
pub(crate) fn notify(
    observers: &mut [&mut dyn Observer],
    mut call: impl FnMut(&mut dyn Observer) -> Result<Flow>,
) -> Result<Flow> {
    let mut flow = Flow::Continue;
    for observer in observers {
        // The observer is not called again, and nothing else is borrowed.
        let answer = catch_unwind(AssertUnwindSafe(|| call(*observer)));
        flow = flow.max(answer.unwrap_or_else(|panic| Err(panicked(&*panic)))?);
    }
    Ok(flow)
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::ObserverPanicked {
        message: text.unwrap_or("without a message").to_owned(),
    }
}

/// An observer that calls a closure after each optimizer step.
///
/// ```
/// # use candle_core::Device;
/// use s2s_train::{ExperimentConfig, Flow, Trainer, on_step};
///
/// # fn main() -> s2s_train::Result<()> {
/// # let mut config = ExperimentConfig::default();
/// # config.train.max_steps = 2;
/// # (config.data.val_samples, config.data.max_len) = (10, 3);
/// let mut losses = Vec::new();
/// let mut trainer = Trainer::new(config, 1, &Device::Cpu)?;
/// trainer.run(&mut [&mut on_step(|record| {
///     losses.push(record.tally.loss());
///     Ok(Flow::Continue)
/// })])?;
/// assert_eq!(losses.len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// An error of another type ends the run as [`Error::Observer`](crate::Error::Observer); `?` converts
/// it after `.map_err(Error::observer)`.
pub fn on_step(call: impl FnMut(&StepRecord) -> Result<Flow> + Send) -> impl Observer {
    OnStep(call)
}

/// An observer that calls a closure after each evaluation, like [`on_step`]; an error of the closure ends the
/// run.
pub fn on_eval(call: impl FnMut(&EvalEvent<'_>) -> Result<Flow> + Send) -> impl Observer {
    OnEval(call)
}

struct OnStep<F>(F);

impl<F: FnMut(&StepRecord) -> Result<Flow> + Send> Observer for OnStep<F> {
    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        (self.0)(record)
    }
}

struct OnEval<F>(F);

impl<F: FnMut(&EvalEvent<'_>) -> Result<Flow> + Send> Observer for OnEval<F> {
    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        (self.0)(event)
    }
}

/// Collects all records in memory, for tests and for training without a run directory.
#[derive(Debug, Default)]
pub struct Collector {
    /// Every step.
    pub steps: Vec<StepRecord>,
    /// Every evaluation.
    pub metrics: Vec<MetricsRecord>,
    /// The attention of the probe sequences at every evaluation.
    pub probes: Vec<AttentionRecord>,
    /// The snapshot of the best evaluation, if any.
    pub best: Option<Arc<Snapshot>>,
    /// The last snapshot.
    pub last: Option<Arc<Snapshot>>,
}

impl Observer for Collector {
    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        self.steps.push(*record);
        Ok(Flow::Continue)
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        self.metrics.push(event.metrics.clone());
        self.probes.extend_from_slice(event.probes);
        Ok(Flow::Continue)
    }

    fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<Flow> {
        if snapshot.is_best {
            self.best = Some(Arc::clone(snapshot));
        }
        self.last = Some(Arc::clone(snapshot));
        Ok(Flow::Continue)
    }
}
