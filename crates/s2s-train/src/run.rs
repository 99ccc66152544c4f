//! A run in its directory: training, its records, and the evaluation on the test split.

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

use crate::data::recorded_vocabulary;
use crate::observer::{Log, train_in_background};
use crate::{
    Error, Evaluation, ExperimentConfig, Model, Observer, Render, Result, RunWriter, StopReason,
    Trainer, attention_of, checkpoint, load_config, reopen_data, tokens_of,
};

/// Samples of the test split that are recorded with their attention at the end of a run.
const N_SAMPLES: usize = 8;
/// How many of these are reserved for the first incorrect samples.
const N_WRONG_SAMPLES: usize = 4;

/// Device, threads and command line of a process, recorded with each run.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The device of all tensors.
    pub device: Device,
    /// Its name, as the user gave it.
    pub device_name: String,
    /// Threads of the fused kernels. No result depends on it.
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
    rejected: Vec<String>,
}

impl Run {
    /// Creates a run in a new or empty directory. `given` is the text of the configuration file.
    ///
    /// # Errors
    /// If the directory is not empty (nothing in it is changed) or cannot be written.
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
    /// If the run does not exist, is locked by another process, its data have changed, or its
    /// checkpoint is damaged.
    pub fn resume(path: impl Into<PathBuf>, runtime: &Runtime) -> Result<Self> {
        Self::resume_with(path, |dir, config| {
            let data = reopen_data(dir, &config)?;
            Trainer::with_data(config, data, runtime.threads, &runtime.device)
        })
    }
}

impl<M: Model + Send> Run<M> {
    /// Creates a run with the model and data of `trainer`, which must not have taken a step.
    ///
    /// # Errors
    /// If the directory is not empty (nothing in it is changed) or cannot be written.
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
            rejected: Vec::new(),
        })
    }

    /// Resumes a run with any model and data. `build` creates the trainer from the run's
    /// configuration in the same way as for [`create_with`](Self::create_with).
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
        let mut rejected = Vec::new();
        match read_checkpoint(dir.checkpoint(CheckpointName::Last)) {
            Ok(checkpoint) => {
                trainer.restore(&checkpoint)?;
                rejected = rejected_reasons(&checkpoint);
            }
            Err(RunLogError::NoCheckpoint { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        for name in [CheckpointName::Best, CheckpointName::Last] {
            settle_checkpoint(dir.checkpoint(name))?; // completes a swap that a crash interrupted
        }
        Ok(Self {
            dir,
            _lock: lock,
            trainer,
            rejected,
        })
    }

    /// The trainer. After [`train`](Self::train), its model has the parameters of the best
    /// checkpoint and its state is that of the last step.
    pub fn trainer(&self) -> &Trainer<M> {
        &self.trainer
    }

    /// The run directory.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Why copies of the last checkpoint were rejected before a valid one was found, to be shown to
    /// the user.
    pub fn rejected(&self) -> &[String] {
        &self.rejected
    }

    /// Trains to the end or until an observer stops it. Then loads the best checkpoint into the
    /// trainer's model, evaluates it on the test split, records samples, and writes `run.json`.
    ///
    /// Training runs in a thread of its own while this thread writes the files, so observers may
    /// receive events that are not on disk yet. Everything is on disk on return.
    ///
    /// Logs that cannot be written do not stop training: `run.json` lists the logs that lost
    /// records.
    ///
    /// # Errors
    /// If training fails, a checkpoint, `metrics.jsonl` or `run.json` cannot be written, or the
    /// training thread cannot be started. If training diverged, `run.json` has that status.
    pub fn train(
        &mut self,
        observers: &mut [&mut dyn Observer],
        render: Render,
    ) -> Result<RunRecord> {
        let started = Instant::now();
        let mut record = self.record(RunStatus::Running, started);
        record.degraded = self.earlier_failures();
        let config = self.trainer.config().to_toml()?;
        let mut writer = RunWriter::open(self.dir.clone(), record, &config, render)?;
        let trainer = &mut self.trainer;
        let reason = train_in_background(&mut writer, |records| {
            let mut all: Vec<&mut dyn Observer> = vec![records];
            for observer in observers.iter_mut() {
                all.push(*observer);
            }
            trainer.run(&mut all)
        })?;

        let status = match &reason {
            Ok(reason) => status_of(*reason),
            Err(Error::Diverged { .. }) => RunStatus::Diverged,
            Err(_) => RunStatus::Running, // can be resumed
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

    /// Records in `run.json` a failure after training, such as missing plots.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note_failure(&self, record: &mut RunRecord, failure: LogFailure) -> Result<()> {
        record.degraded.push(failure);
        Ok(write_json(self.dir.run(), record)?)
    }

    /// Evaluates the best checkpoint on the test split and writes samples and failures. Files that
    /// cannot be written are returned, not an error. `None` if an observer stops the evaluation.
    fn test(
        &mut self,
        observers: &mut [&mut dyn Observer],
    ) -> Result<Option<(EvalRecord, Vec<LogFailure>)>> {
        let (model, config) = (self.trainer.model(), self.trainer.config());
        let (best, corpus) = (CheckpointName::Best, self.trainer.data().corpus.as_ref());
        let params = model.params();
        let step = load_into(params, &self.dir, best, NonFinite::Reject, config, corpus)?;
        let result = self.trainer.evaluate(Split::Test, observers)?;
        let Some(result) = result else {
            return Ok(None);
        };
        let samples = self.samples(&result, step)?;
        let markers = 2 * usize::from(self.trainer.config().data.source_markers);
        let failures = result
            .failures
            .record(self.trainer.eval_data(), markers, step);
        let mut lost = Vec::new();
        for (name, written) in [
            ("samples.jsonl", write_file(self.dir.samples(), &samples)),
            ("failures.json", write_json(self.dir.failures(), &failures)),
        ] {
            lost.extend(Log::open(name, step, written).failure().cloned());
        }
        Ok(Some((result.record(Split::Test, step), lost)))
    }

    /// The lines of `samples.jsonl`: up to [`N_WRONG_SAMPLES`] incorrect samples, filled up with
    /// the first others.
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

    /// Log failures of earlier processes up to the resumed step; records of later steps are written
    /// again.
    fn earlier_failures(&self) -> Vec<LogFailure> {
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
    /// The vocabulary of its tokens.
    pub vocabulary: Vocabulary,
    /// The step of its checkpoint.
    pub step: u64,
}

/// Loads the model of a checkpoint from the run directory alone, without the data.
///
/// # Errors
/// If the run or checkpoint does not exist, or if the checkpoint is damaged, has other shapes, or
/// has values that `non_finite` rejects.
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

/// Loads the checkpoint of any model. `build` creates the model from the run's configuration.
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
    let (vocabulary, corpus) = recorded_vocabulary(dir, &config.data)?;
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

/// Loads parameters from a checkpoint and returns its step. The parameters are loaded before the
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
    // Shapes before fingerprints: an error that names a parameter is more specific.
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

fn rejected_reasons(checkpoint: &Checkpoint) -> Vec<String> {
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

/// The CPU model from /proc/cpuinfo.
fn cpu_name() -> String {
    system_file("/proc/cpuinfo")
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned())
}
