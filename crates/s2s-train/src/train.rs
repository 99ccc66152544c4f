//! The training loop.

mod pending;

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device};
use reverse_data::{BatchSource, PaddedBatch, Sequence, Split, check_samples};
use s2s_model::{Batch, Noise, Seq2Seq};
use s2s_runlog::{AttentionRecord, Checkpoint, MetricsRecord, TimingRecord};

use self::pending::PendingStep;
use crate::accumulate::{add_share, batches_of_step};
use crate::checkpoint::{Fingerprints, IsBest};
use crate::device::check_precision;
use crate::failures::wrong_outputs;
use crate::finite::{self, NotFinite};
use crate::half::{Half, LossScale};
use crate::observer::notify;
use crate::probe::{attention_of_probes, probes};
use crate::trained::predict;
use crate::{
    Answer, Attempt, Best, Codec, CurriculumConfig, Data, Error, EvalEvent, Evaluation,
    ExperimentConfig, Flow, LastFinite, Model, Observer, Optimizer, Precision, Result, Snapshot,
    StartEvent, StepRecord, Tally, TrainState, Work, checkpoint, data_identity, evaluate,
    evaluate_observed, forcing_ratio, learning_rate, open_data, to_batch, tokens_of,
};

/// Configuration, data, model, optimizer and state of a training loop.
#[derive(Debug)]
pub struct Trainer<M> {
    config: ExperimentConfig,
    data: Data,
    eval_data: Arc<dyn BatchSource>,
    codec: Codec,
    probes: Vec<[Sequence; 2]>,
    model: M,
    half: Option<Half<M>>, // computes the gradients in half precision
    optimizer: Optimizer,
    state: TrainState,
    pending: Vec<PendingStep>, // those that the state has not counted yet
    snapshot: Arc<Snapshot>,   // the last one; the next reuses its buffers if nobody else holds it
    attempt_steps: u64,
    eval_every: u64,
    last: Option<LastFinite>, // of this process, for error messages
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// All steps are done.
    Finished,
    /// The validation loss stopped improving, or an observer finished the run.
    StoppedEarly,
    /// The validation exact match reached its target.
    TargetReached,
    /// An observer interrupted it; the run can be resumed.
    Interrupted,
}

impl Trainer<Seq2Seq> {
    /// A new model, initialized from the configuration's seed.
    ///
    /// # Errors
    /// If the configuration or its data are invalid, or the device fails.
    pub fn new(config: ExperimentConfig, threads: usize, device: &Device) -> Result<Self> {
        let data = open_data(&config)?;
        Self::with_data(config, data, threads, device)
    }

    /// As [`new`](Self::new), with data that are already open.
    ///
    /// # Errors
    /// If the device fails.
    pub fn with_data(
        config: ExperimentConfig,
        data: Data,
        threads: usize,
        device: &Device,
    ) -> Result<Self> {
        let tokens = tokens_of(data.source.vocabulary());
        let build = |dtype| Seq2Seq::new(&config.model, tokens, config.seed, dtype, device);
        let mut model = build(DType::F32)?;
        model.set_threads(threads);
        let half = match config.train.precision {
            Precision::F32 => None,
            precision => {
                check_precision(precision, device)?;
                Some(build(precision.dtype())?)
            }
        };
        Self::with_models(config, data, model, half)
    }

    /// The most probable answer to a line with the parameters as they are, see [`Trained::predict`](crate::Trained::predict).
    ///
    /// # Errors
    /// Those of [`Trained::predict`](crate::Trained::predict).
    pub fn predict(&self, line: &str) -> Result<Answer> {
        predict(&self.codec, &self.model, line)
    }
}

impl<M: Model> Trainer<M> {
    /// A trainer for any model and data, before its first step.
    ///
    /// # Errors
    /// If the configuration is [invalid](ExperimentConfig::validate), the data have no samples or tokens outside of
    /// their vocabulary, or the device fails.
    pub fn with_model(config: ExperimentConfig, data: Data, model: M) -> Result<Self> {
        Self::with_models(config, data, model, None)
    }

    /// As [`with_model`](Self::with_model), with a copy of the model in `train.precision` if that is not
    /// f32. The copy computes the gradients; its parameters are set before each step.
    ///
    /// # Errors
    /// Those of [`with_model`](Self::with_model); also if the copy is missing, in another precision, or
    /// has other parameters.
    pub fn with_models(
        mut config: ExperimentConfig,
        data: Data,
        model: M,
        half: Option<M>,
    ) -> Result<Self> {
        let source = &data.source;
        check_samples(&**source)?;
        config.resolve(source.n_samples(Split::Train), source.n_samples(Split::Val));
        config.validate()?;
        let steps_per_epoch = config.steps_per_epoch(data.source.n_batches(Split::Train));
        let precision = config.train.precision;
        let half = match half {
            Some(half) => Some(Half::new(half, precision, model.params())?),
            None if precision == Precision::F32 => None,
            None => {
                let message =
                    format!("train.precision = \"{precision}\" needs a copy of the model");
                return Err(candle_core::Error::msg(message).into());
            }
        };
        let train = &config.train;
        Ok(Self {
            attempt_steps: config.total_steps(steps_per_epoch),
            eval_every: config.eval_every(steps_per_epoch),
            eval_data: data.source.with_batch_size(train.eval_batch_size),
            optimizer: Optimizer::new(model.params(), train)?,
            state: TrainState {
                config_sha256: checkpoint::fingerprint(&config, data.corpus.as_ref())?,
                data_sha256: data_identity(&*data.source),
                attempt: Attempt::first(&config),
                ..TrainState::default()
            },
            pending: Vec::new(),
            snapshot: Arc::default(),
            last: None,
            codec: Codec::new(&config, &data),
            probes: probes(&*data.source),
            config,
            data,
            model,
            half,
        })
    }

    /// Loads a checkpoint of the same configuration.
    ///
    /// # Errors
    /// If the checkpoint does not match; the trainer is unchanged then.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let fingerprints = Fingerprints::only(self.state.config_sha256.clone());
        self.restore_with(checkpoint, &fingerprints)
    }

    /// Loads a checkpoint that was saved with one of several configurations.
    pub(crate) fn restore_with(
        &mut self,
        checkpoint: &Checkpoint,
        fingerprints: &Fingerprints,
    ) -> Result<()> {
        let params = self.model.params();
        let attempts = self.config.train.restart.attempts();
        let bounds = (self.attempt_steps.saturating_mul(attempts), &self.config);
        checkpoint::load(
            params,
            &mut self.optimizer,
            &mut self.state,
            checkpoint,
            fingerprints,
            bounds,
        )
    }

    /// The state as files of a checkpoint.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        snapshot.update(
            IsBest::No,
            self.model.params(),
            &self.optimizer,
            &self.state,
        )?;
        Ok(snapshot)
    }

    /// Lets a run continue that has ended early. Evaluations without improvement count anew.
    pub(crate) fn reopen(&mut self) {
        if self.early_end().is_some() {
            (self.state.is_stopped, self.state.is_target_reached) = (false, false);
            self.state.n_stale = 0;
        }
    }

    /// Trains until the run ends. Events go to the observers in order. If an observer interrupts an
    /// evaluation, the evaluation is repeated when the run resumes.
    ///
    /// # Errors
    /// If the loss, a gradient or a parameter is not finite, an observer fails, or the device
    /// fails.
    pub fn run(&mut self, observers: &mut [&mut dyn Observer]) -> Result<StopReason> {
        // A model with imported weights may have data without samples, as long as it is not trained.
        for split in [Split::Train, Split::Val] {
            if self.data.source.n_samples(split) == Some(0) {
                return Err(reverse_data::Error::NoSamples { split }.into());
            }
        }
        let mut clock = Clock::start();
        if self.state.step == 0 && self.observed_start(&clock, observers)? == Flow::Interrupt {
            return Ok(StopReason::Interrupted); // there is nothing to save
        }
        while !self.is_done() {
            if let Some(reason) = self.early_end().filter(|_| !self.is_eval_due()) {
                return Ok(reason);
            }
            let flow = if self.is_eval_due() {
                self.observed_eval(&mut clock, observers)?
            } else {
                self.observed_step(&mut clock, observers)?
            };
            match flow {
                Flow::Interrupt if !self.is_done() => {
                    return Ok(self.early_end().unwrap_or(StopReason::Interrupted));
                }
                Flow::Finish => self.state.is_stopped = true,
                Flow::Interrupt | Flow::Continue => {}
            }
        }
        Ok(self.early_end().unwrap_or(StopReason::Finished))
    }

    /// One optimizer step, from other initial parameters if the attempt is lost.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite; the parameters are unchanged then.
    pub fn step(&mut self) -> Result<StepRecord> {
        let in_step = |error: Error| error.during(Work::Train);
        let known = self.submit_step().map_err(in_step)?;
        let mut read = self.read_steps().map_err(in_step)?;
        Ok(known.or_else(|| read.pop()).expect("a step was submitted"))
    }

    /// Submits a step to the device. Returns its record if the loss is known already, or if the next step
    /// depends on it; otherwise the step is pending.
    fn submit_step(&mut self) -> Result<Option<StepRecord>> {
        let started = Instant::now();
        if self.is_attempt_lost() {
            self.restart()?;
        }
        let (config, seed) = (&self.config.train, self.config.seed);
        let step = self.state.step + 1;
        let in_attempt = step - self.attempt_start();

        let progress = self
            .state
            .attempt
            .map(|attempt| attempt.progress(&self.config));
        let noise = Noise::new(seed, step).at(progress.unwrap_or(1.0));
        let ratio = forcing_ratio(&config.teacher_forcing, in_attempt, self.attempt_steps);
        let scope = config.teacher_forcing.per;

        let threads = self.model.threads();
        let batches = self.batches(step)?;
        let n_tokens: usize = batches.iter().map(Batch::n_tokens).sum();
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        for (index, batch) in (0..).zip(batches) {
            let noise = noise.of_batch(index);
            let forcing = noise.coins(ratio, scope, batch.n_rows(), batch.target_len());
            let (loss, of_batch) = match &self.half {
                None => self.model.submit_gradients(&batch, &forcing, &noise)?,
                Some(half) => {
                    let scale = LossScale::start(config.precision);
                    let (loss, gradients) = half.gradients(
                        self.model.params(),
                        (&batch, &forcing, &noise),
                        self.state.loss_scale.get_or_insert(scale),
                        |gradients| self.optimizer.norm(gradients, threads),
                    )?;
                    (loss.into(), gradients)
                }
            };
            let share = batch.n_tokens() as f64 / n_tokens as f64;
            gradients = add_share(&gradients, of_batch, share)?;
            losses.push((loss, batch));
        }
        let plateau = &self.state.plateau;
        let mut submitted = PendingStep {
            step,
            started,
            losses,
            grad_norm: self.optimizer.submit_norm(&gradients, threads)?,
            learning_rate: learning_rate(config, plateau, in_attempt, self.attempt_steps),
            teacher_forcing_ratio: ratio,
        };
        let is_pending = !submitted.grad_norm.is_known() && self.state.attempt.is_none();
        let results = match is_pending {
            true => None,
            false => Some(self.results(&mut submitted, &gradients)?),
        };
        self.optimizer.step(
            self.model.params(),
            &gradients,
            &submitted.grad_norm,
            in_attempt,
            submitted.learning_rate,
            threads,
        )?;
        self.state.step = step;
        Ok(match results {
            Some(results) => Some(self.count(&submitted, results)),
            None => {
                self.pending.push(submitted);
                None
            }
        })
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, for evaluation.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// The data, in batches for training.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The data, in batches for evaluation.
    pub fn eval_data(&self) -> &dyn BatchSource {
        &*self.eval_data
    }

    /// The vocabulary, the form of the input and the maximum length of the output.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The state of the loop.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// Steps of the whole run, if the present attempt is the last one.
    pub fn total_steps(&self) -> u64 {
        let start = match self.is_attempt_lost() {
            true => self.state.step,
            false => self.attempt_start(),
        };
        start.saturating_add(self.attempt_steps)
    }

    /// The configuration.
    pub fn config(&self) -> &ExperimentConfig {
        &self.config
    }

    /// The validation sequences whose attention is recorded at every evaluation: up to four different
    /// ones, of at most 24 tokens where possible. The first is as long as the data have.
    pub fn probes(&self) -> &[[Sequence; 2]] {
        &self.probes
    }

    /// Metrics of a split with the parameters as they are.
    ///
    /// # Errors
    /// [`Error::EndlessSplit`] for a split without an end; also if the device fails.
    pub fn evaluate(&mut self, split: Split) -> Result<Evaluation> {
        if self.eval_data.n_batches(split).is_none() {
            return Err(Error::EndlessSplit { split });
        }
        evaluate(&mut self.model, &*self.eval_data, split, &self.codec)
            .map_err(|error| error.during(Work::Decode))
    }

    /// The same with observers; `None` if one stops the evaluation.
    pub(crate) fn evaluate_observed(
        &mut self,
        split: Split,
        observers: &mut [&mut dyn Observer],
    ) -> Result<Option<Evaluation>> {
        evaluate_observed(
            &mut self.model,
            &*self.eval_data,
            split,
            &self.codec,
            observers,
        )
        .map_err(|error| error.during(Work::Decode))
    }

    /// Why the run ends before its last step, if it does.
    fn early_end(&self) -> Option<StopReason> {
        let patience = self.config.train.patience;
        let is_stale = patience > 0 && self.state.n_stale >= patience;
        if self.state.is_target_reached {
            Some(StopReason::TargetReached)
        } else if self.state.is_stopped || is_stale {
            Some(StopReason::StoppedEarly)
        } else {
            None
        }
    }

    /// Steps before the present attempt.
    fn attempt_start(&self) -> u64 {
        self.state.attempt.map_or(0, |attempt| attempt.start)
    }

    /// Whether the next step is the first one of another attempt.
    fn is_attempt_lost(&self) -> bool {
        let (step, length) = (self.state.step, self.attempt_steps);
        let attempt = self.state.attempt;
        attempt.is_some_and(|attempt| attempt.is_lost(step, length, &self.config))
    }

    /// Begins another attempt, with other initial parameters.
    fn restart(&mut self) -> Result<()> {
        let step = self.state.step;
        let index = self.state.attempt.map_or(0, |attempt| attempt.index) + 1;
        tracing::info!("attempt {index} is lost after step {step}: starting again");
        self.model.params().draw_again(index)?;
        self.optimizer = Optimizer::new(self.model.params(), &self.config.train)?;
        self.state.attempt = Some(Attempt::new(index, step, &self.config));
        (self.state.plateau, self.state.n_stale) = Default::default();
        Ok(())
    }

    /// Steps of an epoch, if the training split has an end.
    fn steps_per_epoch(&self) -> Option<u64> {
        let n_batches = self.data.source.n_batches(Split::Train);
        self.config.steps_per_epoch(n_batches)
    }

    /// The batches of a step.
    fn batches(&self, step: u64) -> Result<Vec<Batch>> {
        let batch = |number| {
            let batch = to_batch(self.training_batch(number)?, self.model.tokens())?;
            Ok(batch.with_label_smoothing(self.config.train.label_smoothing))
        };
        let per_step = self.config.train.accumulation_steps.get() as u64;
        let per_epoch = self.data.source.n_batches(Split::Train);
        batches_of_step(step, per_step, per_epoch)
            .map(batch)
            .collect()
    }

    /// A training batch by its number since the start of the run.
    fn training_batch(&self, number: u64) -> Result<PaddedBatch> {
        let source = &self.data.source;
        match (&self.config.train.curriculum, self.state.attempt) {
            (CurriculumConfig::Loss { .. }, Some(attempt)) => {
                let max_len = attempt.max_len();
                let Some(source) = source.with_max_len(max_len) else {
                    return Err(Error::NoShortSamples { max_len });
                };
                Ok(source.batch(Split::Train, number))
            }
            _ => Ok(source.batch(Split::Train, number)),
        }
    }

    fn is_done(&self) -> bool {
        self.state.step >= self.total_steps() && !self.is_eval_due()
    }

    /// Whether an evaluation must precede the next step.
    fn is_eval_due(&self) -> bool {
        let step = self.state.step;
        let is_last = step == self.total_steps() || self.state.is_stopped;
        (is_last || step.is_multiple_of(self.eval_every)) && self.state.n_steps > 0
    }

    /// The evaluation before the first step. It changes no state.
    fn observed_start(
        &mut self,
        clock: &Clock,
        observers: &mut [&mut dyn Observer],
    ) -> Result<Flow> {
        let before = Instant::now();
        let Some(result) = self.evaluate_observed(Split::Val, observers)? else {
            return Ok(Flow::Interrupt);
        };
        let event = StartEvent {
            metrics: &result.record(Split::Val, 0),
            timing: &clock.read(0, before),
            probes: &self.attention(0)?,
            wrong: &wrong_outputs(&result, &*self.eval_data, Split::Val),
        };
        notify(observers, |observer| observer.on_start(&event))
    }

    /// One step, and the records of those that have been read; saves a checkpoint if an observer interrupts
    /// the run after them.
    fn observed_step(
        &mut self,
        clock: &mut Clock,
        observers: &mut [&mut dyn Observer],
    ) -> Result<Flow> {
        let in_step = |error: Error| error.during(Work::Train);
        let mut records = Vec::from_iter(self.submit_step().map_err(in_step)?);
        if self.must_read() {
            records.append(&mut self.read_steps().map_err(in_step)?);
        }
        let mut flow = Flow::Continue;
        for record in records {
            clock.train_secs += record.secs;
            clock.n_tokens += record.tally.n_tokens;
            let is_early = record.step < self.eval_every && !self.is_eval_due();
            if is_early && record.step.is_power_of_two() {
                let probes = self.attention(record.step)?;
                flow = flow.max(notify(observers, |observer| observer.on_probes(&probes))?);
            }
            flow = flow.max(notify(observers, |observer| observer.on_step(&record))?);
        }
        match flow {
            Flow::Interrupt => Ok(flow.max(self.checkpoint(IsBest::No, observers)?)),
            Flow::Finish | Flow::Continue => Ok(flow),
        }
    }

    /// An evaluation and its checkpoint. If an observer interrupts the evaluation, the checkpoint
    /// is one from which it will be repeated.
    fn observed_eval(
        &mut self,
        clock: &mut Clock,
        observers: &mut [&mut dyn Observer],
    ) -> Result<Flow> {
        let before = Instant::now();
        let Some(result) = self.evaluate_observed(Split::Val, observers)? else {
            return Ok(Flow::Interrupt.max(self.checkpoint(IsBest::No, observers)?));
        };
        let metrics = self.record_eval(&result)?;
        let timing = clock.read(self.state.step, before);
        let event = EvalEvent {
            metrics: &metrics,
            timing: &timing,
            probes: &self.attention(self.state.step)?,
            wrong: &wrong_outputs(&result, &*self.eval_data, Split::Val),
        };
        let flow = notify(observers, |observer| observer.on_eval(&event))?;
        self.state.is_stopped |= flow == Flow::Finish; // before the checkpoint, which stores it
        let is_best = match metrics.is_best {
            true => IsBest::Yes,
            false => IsBest::No,
        };
        let flow = flow.max(self.checkpoint(is_best, observers)?);
        clock.reset();
        Ok(flow)
    }

    /// Updates the state after an evaluation and returns its metrics.
    fn record_eval(&mut self, result: &Evaluation) -> Result<MetricsRecord> {
        let (step, val_loss) = (self.state.step, result.free.loss());
        for loss in [val_loss, result.forced.loss()] {
            let found = finite::of_validation(self.model.params(), loss)?;
            self.check(step, found)?;
        }
        let is_best = self.state.best.is_none_or(|best| val_loss < best.val_loss);
        let steps_per_epoch = self.steps_per_epoch();
        let train = &self.config.train;
        let (in_attempt, length) = (step - self.attempt_start(), self.attempt_steps);
        let metrics = MetricsRecord {
            step,
            epoch: steps_per_epoch.map(|steps| step as f64 / steps as f64),
            train_loss: self.state.train.loss(),
            train_token_accuracy: self.state.train.token_accuracy(),
            train_exact_match: self.state.train.exact_match(),
            val_loss,
            val_forced_loss: result.forced.loss(),
            exposure_gap: result.exposure_gap(),
            val_token_accuracy: result.free.token_accuracy(),
            val_exact_match: result.free.exact_match(),
            learning_rate: learning_rate(train, &self.state.plateau, in_attempt, length),
            grad_norm: self.state.grad_norm_sum / self.state.n_steps as f64,
            teacher_forcing_ratio: forcing_ratio(&train.teacher_forcing, in_attempt, length),
            is_best,
            attempt: self.state.attempt.map(|attempt| attempt.record()),
        };
        let target = self.config.train.target_exact_match.get();
        let state = &mut self.state;
        if is_best {
            state.best = Some(Best { step, val_loss });
        }
        state.n_stale = if is_best { 0 } else { state.n_stale + 1 };
        state.is_target_reached = target > 0.0 && metrics.val_exact_match >= target;
        state.plateau.observe(&self.config.train.schedule, is_best);
        (state.train, state.n_steps, state.grad_norm_sum) = (Tally::default(), 0, 0.0);
        Ok(metrics)
    }

    /// The attention of the probe sequences.
    fn attention(&self, step: u64) -> Result<Vec<AttentionRecord>> {
        attention_of_probes(&self.model, &self.probes, &self.codec, step)
    }

    /// Passes a snapshot of the state to the observers, after checking that all its values are
    /// finite.
    fn checkpoint(&mut self, is_best: IsBest, observers: &mut [&mut dyn Observer]) -> Result<Flow> {
        let (step, params) = (self.state.step, self.model.params());
        let found = finite::of_state(params, self.optimizer.moments())?;
        self.check(step, found)?;
        if Arc::get_mut(&mut self.snapshot).is_none() {
            self.snapshot = Arc::default(); // an observer still holds it
        }
        let snapshot = Arc::get_mut(&mut self.snapshot).expect("this is the only reference");
        snapshot.update(is_best, params, &self.optimizer, &self.state)?;
        notify(observers, |observer| observer.on_checkpoint(&self.snapshot))
    }

    /// Fails if a value was not finite at `step`.
    fn check(&self, step: u64, found: Option<NotFinite>) -> Result<()> {
        match found {
            None => Ok(()),
            Some(NotFinite { what, value, cause }) => Err(Error::Diverged {
                step,
                what,
                value,
                cause,
                last: self.last,
            }),
        }
    }
}

/// Measures time and tokens between two evaluations.
struct Clock {
    started: Instant,
    train_secs: f64,
    n_tokens: u64,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            train_secs: 0.0,
            n_tokens: 0,
        }
    }

    /// Restarts the measurement after an evaluation.
    fn reset(&mut self) {
        (self.train_secs, self.n_tokens) = (0.0, 0);
    }

    fn read(&self, step: u64, eval_began: Instant) -> TimingRecord {
        TimingRecord {
            step,
            elapsed_secs: self.started.elapsed().as_secs_f64(),
            train_secs: self.train_secs,
            eval_secs: eval_began.elapsed().as_secs_f64(),
            tokens_per_second: self.n_tokens as f64 / self.train_secs.max(f64::MIN_POSITIVE),
        }
    }
}
