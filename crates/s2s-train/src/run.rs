//! A run in its directory: the loop, what it writes, and the verdict on the test split.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device};
use reverse_data::{Split, Vocabulary};
use s2s_model::{Numbers, Seq2Seq};
use s2s_runlog::{
    Checkpoint, CheckpointName, CorpusRecord, Environment, Error as RunLogError, EvalRecord,
    LogFailure, RunDir, RunLock, RunRecord, RunStart, RunStatus, read_checkpoint, read_json,
    settle_checkpoint, system_file, write_file, write_json,
};

use crate::data::remembered;
use crate::observer::{Log, beside};
use crate::{
    Error, Evaluation, ExperimentConfig, Observer, Render, Result, RunWriter, StopReason, Trainer,
    attention_of, checkpoint, load_config, open_data, reopen_data, tokens_of,
};

/// Samples of the test split whose attention is kept at the end of a run, ...
const N_SAMPLES: usize = 8;
/// Of these, the first so many wrong ones are chosen before all others.
const N_WRONG_SAMPLES: usize = 4;

/// Where and by what a run is made.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where tensors live.
    pub device: Device,
    /// Its name, as the user gave it.
    pub device_name: String,
    /// Threads of the kernels; no result depends on it.
    pub threads: usize,
    /// The command line, for the record.
    pub command: Vec<String>,
}

/// A run that holds its directory.
#[derive(Debug)]
pub struct Run {
    dir: RunDir,
    _lock: RunLock,
    trainer: Trainer<Seq2Seq>,
    passed_over: Vec<String>,
}

impl Run {
    /// Starts a run in a folder of its own. `given` is the configuration file as it was given.
    ///
    /// # Errors
    /// If the folder has files already (they are left as they are), or cannot be written.
    pub fn create(
        path: impl Into<PathBuf>,
        config: ExperimentConfig,
        given: &str,
        place: &Place,
    ) -> Result<Self> {
        let trainer = Trainer::new(config, place.threads, &place.device)?;
        let dir = RunDir::create(path)?;
        let lock = dir.lock()?;
        if RunDir::open(dir.path()).is_ok() {
            // Another process was here before the lock.
            let path = dir.path().to_owned();
            return Err(RunLogError::Exists { path }.into());
        }
        dir.write_start(&RunStart {
            config: given,
            corpus: trainer.data().corpus.as_ref(),
            environment: &environment(trainer.model(), place),
            resolved_config: &trainer.config().to_toml()?,
        })?;
        Ok(Self {
            dir,
            _lock: lock,
            trainer,
            passed_over: Vec::new(),
        })
    }

    /// Goes on with a run from its last checkpoint, or from its start if it never came to one.
    ///
    /// # Errors
    /// If there is no such run, another process has it, or its checkpoint is damaged.
    pub fn resume(path: impl Into<PathBuf>, place: &Place) -> Result<Self> {
        let dir = RunDir::open(path)?;
        let lock = dir.lock()?;
        let config = load_config(Some(&dir.resolved_config()), &[])?;
        let data = if dir.corpus().exists() {
            reopen_data(&dir, &config)?
        } else {
            open_data(&config)? // it was stopped before it wrote down what its corpus was
        };
        let mut trainer = Trainer::with_data(config, data, place.threads, &place.device)?;
        write_corpus(&dir, &trainer)?;
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
            settle_checkpoint(dir.checkpoint(name))?; // there may be no save to come that would
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
    pub fn trainer(&self) -> &Trainer<Seq2Seq> {
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
        let step = load_into(model, &self.dir, best, Numbers::Finite, config, corpus)?;
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

/// A trained model, with what it was trained by.
#[derive(Debug)]
pub struct Trained {
    /// The model.
    pub model: Seq2Seq,
    /// The configuration of its run.
    pub config: ExperimentConfig,
    /// What its tokens mean.
    pub vocabulary: Vocabulary,
    /// The step that it was saved at.
    pub step: u64,
}

/// The model of a checkpoint. Data are not looked at: all that is needed stands in the run's folder.
///
/// # Errors
/// If there is no such run or checkpoint, or it is damaged or of another shape, or has numbers that
/// are not to be taken.
pub fn load_model(
    dir: &RunDir,
    name: CheckpointName,
    numbers: Numbers,
    threads: usize,
    device: &Device,
) -> Result<Trained> {
    let config = load_config(Some(&dir.resolved_config()), &[])?;
    let (vocabulary, corpus) = remembered(dir, &config.data)?;
    let knowledge = (&vocabulary, corpus.as_ref());
    let (mut model, step) = load(dir, name, numbers, &config, knowledge, device)?;
    model.set_threads(threads);
    Ok(Trained {
        model,
        config,
        vocabulary,
        step,
    })
}

fn load(
    dir: &RunDir,
    name: CheckpointName,
    numbers: Numbers,
    config: &ExperimentConfig,
    (vocabulary, corpus): (&Vocabulary, Option<&CorpusRecord>),
    device: &Device,
) -> Result<(Seq2Seq, u64)> {
    let tokens = tokens_of(vocabulary);
    let model = Seq2Seq::new(&config.model, tokens, config.seed, DType::F32, device)?;
    let step = load_into(&model, dir, name, numbers, config, corpus)?;
    Ok((model, step))
}

/// Sets a model's parameters from a checkpoint, and says what step it was saved at. They are set
/// before it is known whether it is one of this configuration.
fn load_into(
    model: &Seq2Seq,
    dir: &RunDir,
    name: CheckpointName,
    numbers: Numbers,
    config: &ExperimentConfig,
    corpus: Option<&CorpusRecord>,
) -> Result<u64> {
    let found = read_checkpoint(dir.checkpoint(name))?;
    for reason in found.rejected() {
        tracing::warn!("{reason}; using {}", found.path().display());
    }
    // Shapes before fingerprints: which parameter differs says more than that something does.
    checkpoint::load_params(model.params(), &found, numbers)?;
    let state = checkpoint::load_state(&found)?;
    checkpoint::check_config(&found, &state, &checkpoint::fingerprint(config, corpus)?)?;
    Ok(state.step)
}

fn write_corpus(dir: &RunDir, trainer: &Trainer<Seq2Seq>) -> Result<()> {
    if let Some(corpus) = &trainer.data().corpus {
        write_json(dir.corpus(), corpus)?;
    }
    Ok(())
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

fn environment(model: &Seq2Seq, place: &Place) -> Environment {
    Environment {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: cpu_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        threads: place.threads,
        device: place.device_name.clone(),
        kernels: model.kernels_name().to_owned(),
        command: place.command.clone(),
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
