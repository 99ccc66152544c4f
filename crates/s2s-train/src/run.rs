//! A run in its directory: the loop, what it writes, and the verdict on the test split.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device};
use reverse_data::{Split, Vocabulary};
use s2s_model::{NonFinite, Params, Seq2Seq, Tokens};
use s2s_runlog::{
    Checkpoint, CheckpointName, CorpusRecord, Environment, Error as RunLogError, EvalRecord,
    LogFailure, RunDir, RunLock, RunRecord, RunStart, RunStatus, read_checkpoint, read_json,
    settle_checkpoint, system_file, write_file, write_json,
};

use crate::data::remembered;
use crate::observer::{Log, beside};
use crate::{
    Error, Evaluation, ExperimentConfig, Model, Observer, Render, Result, RunWriter, StopReason,
    Trainer, attention_of, checkpoint, load_config, reopen_data, tokens_of,
};

/// Samples of the test split whose attention is kept at the end of a run, ...
const N_SAMPLES: usize = 8;
/// Of these, the first so many wrong ones are chosen before all others.
const N_WRONG_SAMPLES: usize = 4;

/// The device and the threads of a process, and its command line, for the record of a run.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The device of all tensors.
    pub device: Device,
    /// Its name, as the user gave it.
    pub device_name: String,
    /// Threads of the fast path. No result depends on it.
    pub threads: usize,
    /// The command line.
    pub command: Vec<String>,
}

/// A run that holds the lock of its directory.
#[derive(Debug)]
pub struct Run<M = Seq2Seq> {
    dir: RunDir,
    _lock: RunLock,
    trainer: Trainer<M>,
    passed_over: Vec<String>,
}

impl Run {
    /// Starts a run in a folder of its own. `given` is the configuration file as it was given.
    ///
    /// # Errors
    /// If the folder is not empty (nothing in it is changed), or cannot be written.
    pub fn create(
        path: impl Into<PathBuf>,
        config: ExperimentConfig,
        given: &str,
        runtime: &Runtime,
    ) -> Result<Self> {
        let trainer = Trainer::new(config, runtime.threads, &runtime.device)?;
        Self::create_with(path, trainer, given, runtime)
    }

    /// Resumes a run from its last checkpoint, or from its start if it has none.
    ///
    /// # Errors
    /// If there is no such run, another process has it, its data have changed, or its checkpoint is
    /// damaged.
    pub fn resume(path: impl Into<PathBuf>, runtime: &Runtime) -> Result<Self> {
        Self::resume_with(path, |dir, config| {
            let data = reopen_data(dir, &config)?;
            Trainer::with_data(config, data, runtime.threads, &runtime.device)
        })
    }
}

impl<M: Model + Send> Run<M> {
    /// Starts a run of any model and data: those of `trainer`, which has not taken a step.
    ///
    /// # Errors
    /// If the folder is not empty (nothing in it is changed), or cannot be written.
    pub fn create_with(
        path: impl Into<PathBuf>,
        trainer: Trainer<M>,
        given: &str,
        runtime: &Runtime,
    ) -> Result<Self> {
        let dir = RunDir::create(path)?;
        let lock = dir.lock()?;
        if RunDir::open(dir.path()).is_ok() {
            // Another process created the run before the lock was taken.
            let path = dir.path().to_owned();
            return Err(RunLogError::Exists { path }.into());
        }
        dir.write_start(&RunStart {
            config: given,
            corpus: trainer.data().corpus.as_ref(),
            environment: &environment(trainer.model(), runtime),
            resolved_config: &trainer.config().to_toml()?,
        })?;
        Ok(Self {
            dir,
            _lock: lock,
            trainer,
            passed_over: Vec::new(),
        })
    }

    /// Resumes a run of any model and data. `build` makes the trainer from the run's configuration, as it
    /// was made for [`create_with`](Self::create_with).
    ///
    /// # Errors
    /// Those of [`resume`](Run::resume), and those of `build`.
    pub fn resume_with(
        path: impl Into<PathBuf>,
        build: impl FnOnce(&RunDir, ExperimentConfig) -> Result<Trainer<M>>,
    ) -> Result<Self> {
        let dir = RunDir::open(path)?;
        let lock = dir.lock()?;
        let config = load_config(Some(&dir.resolved_config()), &[])?;
        let mut trainer = build(&dir, config)?;
        let mut passed_over = Vec::new();
        match read_checkpoint(dir.checkpoint(CheckpointName::Last)) {
            Ok(checkpoint) => {
                trainer.restore(&checkpoint)?;
                passed_over = passed(&checkpoint);
            }
            Err(RunLogError::NoCheckpoint { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        for name in [CheckpointName::Best, CheckpointName::Last] {
            settle_checkpoint(dir.checkpoint(name))?; // in case no further save does it
        }
        Ok(Self {
            dir,
            _lock: lock,
            trainer,
            passed_over,
        })
    }

    /// The trainer. After [`train`](Self::train) its model is that of the best checkpoint, its state
    /// that of the last step.
    pub fn trainer(&self) -> &Trainer<M> {
        &self.trainer
    }

    /// The folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// What an interrupted save left unusable, passed over for what it left whole: to be shown.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Trains to the end, or until an observer stops it; then loads the best checkpoint into the
    /// trainer's model, evaluates it on the test split, keeps some samples, and writes `run.json`.
    ///
    /// It trains on a thread of its own and writes meanwhile, so that observers hear of what need not
    /// be on disk yet. All of it is on return.
    ///
    /// Logs that cannot be written stop nothing: the record says which of them have lost something.
    ///
    /// # Errors
    /// If training fails, or a checkpoint, `metrics.jsonl` or `run.json` cannot be written, or no
    /// thread is to be had. Where the loss diverged, `run.json` says so.
    pub fn train(
        &mut self,
        observers: &mut [&mut dyn Observer],
        render: Render,
    ) -> Result<RunRecord> {
        let started = Instant::now();
        let mut record = self.record(RunStatus::Running, started);
        record.degraded = self.failures_before();
        let config = self.trainer.config().to_toml()?;
        let mut writer = RunWriter::open(self.dir.clone(), record, &config, render)?;
        let trainer = &mut self.trainer;
        let reason = beside(&mut writer, |records| {
            let mut all: Vec<&mut dyn Observer> = vec![records];
            for observer in observers.iter_mut() {
                all.push(*observer);
            }
            trainer.run(&mut all)
        })?;

        let status = match &reason {
            Ok(reason) => status_of(*reason),
            Err(Error::Diverged { .. }) => RunStatus::Diverged,
            Err(_) => RunStatus::Running, // and to be resumed
        };
        let mut record = self.record(status, started);
        record.degraded = writer.failures();
        if status == RunStatus::Diverged {
            write_json(self.dir.run(), &record)?;
        }
        if reason? != StopReason::Interrupted {
            match self.test(observers)? {
                Some((test, lost)) => {
                    record.test = Some(test);
                    record.degraded.extend(lost);
                }
                None => record.status = RunStatus::Interrupted,
            }
        }
        record.elapsed_secs = started.elapsed().as_secs_f64();
        write_json(self.dir.run(), &record)?;
        Ok(record)
    }

    /// Notes in `run.json` that something has been lost after the end, such as the plots.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note_failure(&self, record: &mut RunRecord, failure: LogFailure) -> Result<()> {
        record.degraded.push(failure);
        Ok(write_json(self.dir.run(), record)?)
    }

    /// Evaluates the best checkpoint on the test split and keeps samples of it: their log is lost if
    /// it cannot be written. `None` if an observer stops it.
    fn test(
        &mut self,
        observers: &mut [&mut dyn Observer],
    ) -> Result<Option<(EvalRecord, Option<LogFailure>)>> {
        let (model, config) = (self.trainer.model(), self.trainer.config());
        let (best, corpus) = (CheckpointName::Best, self.trainer.data().corpus.as_ref());
        let params = model.params();
        let step = load_into(params, &self.dir, best, NonFinite::Reject, config, corpus)?;
        let result = self.trainer.evaluate(Split::Test, observers)?;
        let Some(result) = result else {
            return Ok(None);
        };
        let samples = self.samples(&result, step)?;
        let mut log = Log::open("samples.jsonl", step, Ok::<_, RunLogError>(()));
        log.write(step, |()| write_file(self.dir.samples(), &samples));
        Ok(Some((
            result.record(Split::Test, step),
            log.failure().cloned(),
        )))
    }

    /// The lines of `samples.jsonl`: wrong ones first of all, then the first ones.
    fn samples(&self, result: &Evaluation, step: u64) -> Result<Vec<u8>> {
        let (model, data) = (self.trainer.model(), self.trainer.eval_data());
        let markers = self.trainer.config().data.source_markers;
        let mut chosen: Vec<u64> = result.wrong.iter().copied().take(N_WRONG_SAMPLES).collect();
        let others = (0..data.n_samples(Split::Test).unwrap_or(0))
            .filter(|index| !result.wrong.contains(index));
        chosen.extend(others.take(N_SAMPLES - chosen.len()));
        chosen.sort_unstable();

        let mut samples = Vec::new();
        for index in chosen {
            let example = data.example(Split::Test, index);
            let vocabulary = data.vocabulary();
            let record = attention_of(model, &example, vocabulary, markers, step)?;
            serde_json::to_writer(&mut samples, &record).map_err(candle_core::Error::wrap)?;
            samples.push(b'\n');
        }
        Ok(samples)
    }

    /// What earlier processes lost of logs up to the step that this one goes on from; what they lost
    /// of later ones is written again.
    fn failures_before(&self) -> Vec<LogFailure> {
        let step = self.trainer.state().step;
        let record: Option<RunRecord> = read_json(self.dir.run()).ok();
        let mut failures = record.map_or_else(Vec::new, |record| record.degraded);
        failures.retain(|failure| failure.step <= step);
        failures
    }

    fn record(&self, status: RunStatus, started: Instant) -> RunRecord {
        let state = self.trainer.state();
        RunRecord {
            status,
            step: state.step,
            best_step: state.best.map(|best| best.step),
            best_val_loss: state.best.map(|best| best.val_loss),
            n_parameters: self.trainer.model().params().n_elements() as u64,
            elapsed_secs: started.elapsed().as_secs_f64(),
            test: None,
            degraded: Vec::new(),
        }
    }
}

/// A trained model with the configuration of its run.
#[derive(Debug)]
pub struct Trained<M = Seq2Seq> {
    /// The model.
    pub model: M,
    /// The configuration of its run.
    pub config: ExperimentConfig,
    /// The meaning of its tokens.
    pub vocabulary: Vocabulary,
    /// The step of its checkpoint.
    pub step: u64,
}

/// Loads the model of a checkpoint. The data are not read: the run's folder has everything that is
/// needed.
///
/// # Errors
/// If there is no such run or checkpoint, or it is damaged, of another shape, or has numbers that
/// `non_finite` rejects.
pub fn load_model(
    dir: &RunDir,
    name: CheckpointName,
    non_finite: NonFinite,
    threads: usize,
    device: &Device,
) -> Result<Trained> {
    load_model_with(dir, name, non_finite, |config, tokens| {
        let mut model = Seq2Seq::new(&config.model, tokens, config.seed, DType::F32, device)?;
        model.set_threads(threads);
        Ok(model)
    })
}

/// Loads the checkpoint of any model, which `build` makes from the run's configuration.
///
/// # Errors
/// Those of [`load_model`], and those of `build`.
pub fn load_model_with<M: Model>(
    dir: &RunDir,
    name: CheckpointName,
    non_finite: NonFinite,
    build: impl FnOnce(&ExperimentConfig, Tokens) -> Result<M>,
) -> Result<Trained<M>> {
    let config = load_config(Some(&dir.resolved_config()), &[])?;
    let (vocabulary, corpus) = remembered(dir, &config.data)?;
    let model = build(&config, tokens_of(&vocabulary))?;
    let step = load_into(
        model.params(),
        dir,
        name,
        non_finite,
        &config,
        corpus.as_ref(),
    )?;
    Ok(Trained {
        model,
        config,
        vocabulary,
        step,
    })
}

/// Sets parameters from a checkpoint, and returns the step of the checkpoint. They are set before the
/// configuration is compared.
fn load_into(
    params: &Params,
    dir: &RunDir,
    name: CheckpointName,
    non_finite: NonFinite,
    config: &ExperimentConfig,
    corpus: Option<&CorpusRecord>,
) -> Result<u64> {
    let found = read_checkpoint(dir.checkpoint(name))?;
    for reason in found.rejected() {
        tracing::warn!("{reason}; using {}", found.path().display());
    }
    // Shapes before fingerprints: a message that names a parameter tells more.
    checkpoint::load_params(params, &found, non_finite)?;
    let state = checkpoint::load_state(&found)?;
    checkpoint::check_config(&found, &state, &checkpoint::fingerprint(config, corpus)?)?;
    Ok(state.step)
}

fn status_of(reason: StopReason) -> RunStatus {
    match reason {
        StopReason::Finished => RunStatus::Finished,
        StopReason::StoppedEarly => RunStatus::StoppedEarly,
        StopReason::TargetReached => RunStatus::TargetReached,
        StopReason::Interrupted => RunStatus::Interrupted,
    }
}

fn passed(checkpoint: &Checkpoint) -> Vec<String> {
    checkpoint
        .rejected()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn environment(model: &impl Model, runtime: &Runtime) -> Environment {
    Environment {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: cpu_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        threads: runtime.threads,
        device: runtime.device_name.clone(),
        kernels: model.kernels_name().to_owned(),
        command: runtime.command.clone(),
    }
}

/// The CPU's name where the system tells it.
fn cpu_name() -> String {
    system_file("/proc/cpuinfo")
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned())
}
