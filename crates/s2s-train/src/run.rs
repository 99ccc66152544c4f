//! A run in its directory: training, its records, and the evaluation on the test split.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use candle_core::Device;
use reverse_data::{Split, scattered};
use s2s_kernels::instruction_set;
use s2s_model::{NonFinite, Seq2Seq};
use s2s_runlog::{
    Checkpoint, CheckpointName, ConfigChange, Damage, Environment, Error as RunLogError,
    EvalRecord, Identity, JsonLines, LogFailure, MetricsRecord, Parent, Processor, RunDir, RunLock,
    RunRecord, RunStart, RunStatus, TimingRecord, exists, hex, read_checkpoint, read_json,
    read_lines, settle_checkpoint, system_file, write_checkpoint, write_file, write_json,
};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Fingerprints, history};
use crate::data::recorded_vocabulary;
use crate::device::card;
use crate::evaluate::score_text_observed;
use crate::observer::{Guarded, Log, train_in_background};
use crate::probe::SHOWN_LEN;
use crate::trained::load_into;
use crate::{
    Error, Evaluation, ExperimentConfig, Model, Observer, Precision, References, Render, Result,
    RunWriter, StopReason, Trained, Trainer, attention_of, checkpoint, load_config, load_model,
    reopen_data,
};

/// Samples of the test split that are recorded with their attention at the end of a run.
const N_SAMPLES: usize = 8;
/// How many of these are reserved for the first incorrect samples.
const N_WRONG_SAMPLES: usize = 4;
/// Samples among which the correct ones are chosen.
const N_SEARCHED: usize = 1000;

/// Default number of steps between two lines of `steps.jsonl`.
const LOG_EVERY: NonZeroU64 = NonZeroU64::new(10).expect("10 is not zero");

/// Device, threads and command line of a process, recorded with each run.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The device of all tensors.
    pub device: Device,
    /// Its name.
    pub device_name: String,
    /// Why it was chosen; empty if the user named it.
    pub device_reason: String,
    /// Threads of the fused kernels. No result depends on it.
    pub threads: usize,
    /// The command line.
    pub command: Vec<String>,
}

impl Default for Runtime {
    /// One thread on the CPU, without a command line.
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            device_name: "cpu".to_owned(),
            device_reason: String::new(),
            threads: 1,
            command: Vec::new(),
        }
    }
}

/// A run that holds the lock of its directory.
#[derive(Debug)]
pub struct Run<M = Seq2Seq> {
    dir: RunDir,
    lock: RunLock,
    trainer: Trainer<M>,
    rejected: Vec<String>,
    log_every: NonZeroU64,
}

/// When a process started, and how long earlier processes of its run took.
struct Started {
    at: Instant,
    earlier_secs: f64,
}

impl Started {
    fn elapsed_secs(&self) -> f64 {
        self.earlier_secs + self.at.elapsed().as_secs_f64()
    }
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
        Self::resume_at(path, None, runtime)
    }

    /// As [`resume`](Self::resume), with the text of the run at `location` if it has moved. If the weights of
    /// the run were imported without their text, the text at `location` becomes that of the run.
    ///
    /// # Errors
    /// Those of [`resume`](Self::resume); also if the text at `location` is not that of the run.
    pub fn resume_at(
        path: impl Into<PathBuf>,
        location: Option<&Path>,
        runtime: &Runtime,
    ) -> Result<Self> {
        Self::resume_with(path, |dir, config| {
            let data = reopen_data(dir, &config, location)?;
            checkpoint::record_text(dir, &config, data.corpus.as_ref())?;
            Trainer::with_data(config, data, runtime.threads, &runtime.device)
        })
    }

    /// The model of the best checkpoint, by validation loss.
    ///
    /// # Errors
    /// If there is no checkpoint yet, or it is damaged.
    pub fn best(&self) -> Result<Trained> {
        self.load(CheckpointName::Best)
    }

    /// The model of the last checkpoint.
    ///
    /// # Errors
    /// If there is no checkpoint yet, or it is damaged.
    pub fn last(&self) -> Result<Trained> {
        self.load(CheckpointName::Last)
    }

    fn load(&self, name: CheckpointName) -> Result<Trained> {
        let device = self.trainer.model().params().device();
        load_model(&self.dir, name, NonFinite::Reject, 1, device)
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
        let path = path.into();
        let identity = new_identity(&path);
        Self::create_as(path, trainer, given, runtime, &identity)
    }

    /// As [`create_with`](Self::create_with), with an identity. If it has a parent, the weights of
    /// `trainer` are stored in the directory, so that the run can be resumed before its first
    /// checkpoint.
    ///
    /// # Errors
    /// Those of [`create_with`](Self::create_with).
    pub fn create_as(
        path: impl Into<PathBuf>,
        trainer: Trainer<M>,
        given: &str,
        runtime: &Runtime,
        identity: &Identity,
    ) -> Result<Self> {
        let dir = RunDir::create(path)?;
        let lock = dir.lock()?;
        if RunDir::open(dir.path()).is_ok() {
            // Another process created the run before the lock was taken.
            let path = dir.path().to_owned();
            return Err(RunLogError::Exists { path }.into());
        }
        if identity.parent.is_some() {
            let name = CheckpointName::Start;
            write_checkpoint(dir.checkpoint(name), &trainer.snapshot()?.files(name))?;
        }
        dir.write_start(&RunStart {
            config: given,
            identity,
            corpus: trainer.data().corpus.as_ref(),
            environment: &environment(&trainer, runtime),
            resolved_config: &trainer.config().to_toml()?,
        })?;
        Ok(Self {
            dir,
            lock,
            trainer,
            rejected: Vec::new(),
            log_every: LOG_EVERY,
        })
    }

    /// Stores the parameters as they are as the best checkpoint, so that the run can be evaluated and
    /// queried before its first step.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_as_best(&self) -> Result<()> {
        let name = CheckpointName::Best;
        self.lock.check()?;
        let snapshot = self.trainer.snapshot()?;
        Ok(write_checkpoint(
            self.dir.checkpoint(name),
            &snapshot.files(name),
        )?)
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
        let trainer = build(&dir, config)?;
        let changes = history(&dir)?;
        Self::restored(dir, lock, trainer, &changes)
    }

    /// Restores a new trainer from the run's last checkpoint, or from its start.
    pub(crate) fn restored(
        dir: RunDir,
        lock: RunLock,
        mut trainer: Trainer<M>,
        changes: &[ConfigChange],
    ) -> Result<Self> {
        record_processor(&dir, &lock)?;
        let current = trainer.state().config_sha256.clone();
        let fingerprints = Fingerprints::with_history(current, changes);
        let mut rejected = Vec::new();
        let found = match last_checkpoint(&dir)? {
            None if parent(&dir)?.is_some() => {
                Some(read_checkpoint(dir.checkpoint(CheckpointName::Start))?)
            }
            found => found,
        };
        if let Some(checkpoint) = found {
            trainer.restore_with(&checkpoint, &fingerprints)?;
            rejected = rejected_reasons(&checkpoint);
        }
        for name in [CheckpointName::Best, CheckpointName::Last] {
            settle_checkpoint(dir.checkpoint(name))?; // completes a swap that a crash interrupted
        }
        Ok(Self {
            dir,
            lock,
            trainer,
            rejected,
            log_every: LOG_EVERY,
        })
    }

    /// The trainer. After [`train`](Self::train), its model has the parameters of the best
    /// checkpoint and its state is that of the last step.
    pub fn trainer(&self) -> &Trainer<M> {
        &self.trainer
    }

    pub(crate) fn trainer_mut(&mut self) -> &mut Trainer<M> {
        &mut self.trainer
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
    /// training thread cannot be started. If training diverged, `run.json` has that status. If the
    /// run folder was deleted, moved or replaced, [`s2s_runlog::Error::Lost`], whatever failed first.
    pub fn train(
        &mut self,
        observers: &mut [&mut dyn Observer],
        render: Render,
    ) -> Result<RunRecord> {
        let result = self.train_to_end(observers, render);
        if result.is_err() {
            self.lock.check()?;
        }
        result
    }

    fn train_to_end(
        &mut self,
        observers: &mut [&mut dyn Observer],
        render: Render,
    ) -> Result<RunRecord> {
        let started = Started {
            at: Instant::now(),
            earlier_secs: self.earlier_secs(),
        };
        let mut record = self.record(RunStatus::Running, &started);
        record.degraded = self.earlier_failures();
        let config = self.trainer.config().to_toml()?;
        let mut writer =
            RunWriter::open(self.dir.clone(), record, &config, self.log_every, render)?;
        let mut guarded = Guarded {
            lock: &self.lock,
            writer: &mut writer,
        };
        let trainer = &mut self.trainer;
        let reason = train_in_background(&mut guarded, |records| {
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
        let mut record = self.record(status, &started);
        record.degraded = writer.failures();
        if status == RunStatus::Diverged {
            self.lock.check()?;
            write_json(self.dir.run(), &record)?;
        }
        if reason? != StopReason::Interrupted {
            self.lock.check()?;
            match self.test(observers)? {
                Some((test, lost)) => {
                    writer.end(record.step, &test);
                    record.test = Some(test);
                    record.degraded = writer.failures();
                    record.degraded.extend(lost);
                }
                None => record.status = RunStatus::Interrupted,
            }
        }
        record.elapsed_secs = started.elapsed_secs();
        self.lock.check()?;
        write_json(self.dir.run(), &record)?;
        self.lock.check()?; // otherwise the last records may be in a folder that is gone
        Ok(record)
    }

    /// Saves the trainer's weights as the best and the last checkpoint.
    ///
    /// # Errors
    /// If a checkpoint cannot be written.
    pub fn save(&self) -> Result<()> {
        let snapshot = self.trainer.snapshot()?;
        for name in [CheckpointName::Best, CheckpointName::Last] {
            write_checkpoint(self.dir.checkpoint(name), &snapshot.files(name))?;
        }
        Ok(())
    }

    /// Sets the number of steps between two lines of `steps.jsonl`, by default 10. No result depends on
    /// it.
    pub fn log_every(&mut self, n_steps: NonZeroU64) {
        self.log_every = n_steps;
    }

    /// The lock of the run directory. [Check](RunLock::check) it before writing to the directory.
    pub fn lock(&self) -> &RunLock {
        &self.lock
    }

    /// Records in `run.json` a failure after training, such as missing plots.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note_failure(&self, record: &mut RunRecord, failure: LogFailure) -> Result<()> {
        self.lock.check()?;
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
        let result = self.trainer.evaluate_observed(Split::Test, observers)?;
        let Some(result) = result else {
            return Ok(None);
        };
        let mut record = result.record(Split::Test, step);
        if self.trainer.config().data.is_text() {
            let (model, data) = (self.trainer.model(), self.trainer.eval_data());
            let (codec, one) = (self.trainer.codec(), References::One);
            let scores = score_text_observed(model, data, Split::Test, codec, one, observers)?;
            let Some(scores) = scores else {
                return Ok(None);
            };
            record.text = Some(scores);
        }
        let samples = self.samples(&result, step)?;
        let markers = 2 * usize::from(self.trainer.config().data.source_markers);
        let failures = result
            .failures
            .record(self.trainer.eval_data(), markers, step);
        self.lock.check()?;
        let mut lost = Vec::new();
        for (name, written) in [
            ("samples.jsonl", write_file(self.dir.samples(), &samples)),
            ("failures.json", write_json(self.dir.failures(), &failures)),
        ] {
            lost.extend(Log::open(name, step, written).failure().cloned());
        }
        Ok(Some((record, lost)))
    }

    /// The lines of `samples.jsonl`: up to [`N_WRONG_SAMPLES`] incorrect samples, filled up with
    /// others from anywhere in the split. Sources are distinct and have [`SHOWN_LEN`] tokens, as far as the data allow.
    fn samples(&self, result: &Evaluation, step: u64) -> Result<Vec<u8>> {
        let (model, data) = (self.trainer.model(), self.trainer.eval_data());
        let n = data.n_samples(Split::Test).unwrap_or(0);
        let wrong: Vec<u64> = result.wrong.iter().map(|(index, _)| *index).collect();
        let searched = scattered(n).take(N_SEARCHED);
        let right: Vec<u64> = searched.filter(|index| !wrong.contains(index)).collect();
        let source = |index: u64| data.example(Split::Test, index).source;
        let mut chosen: Vec<u64> = Vec::new();
        let mut sources: Vec<Vec<u32>> = Vec::new();
        for (candidates, total) in [(&wrong, N_WRONG_SAMPLES), (&right, N_SAMPLES)] {
            for has_shown_len in [true, false] {
                for &index in candidates {
                    if chosen.len() == total {
                        break;
                    }
                    let source = source(index);
                    if SHOWN_LEN.contains(&source.len()) == has_shown_len
                        && !sources.contains(&source)
                    {
                        chosen.push(index);
                        sources.push(source);
                    }
                }
            }
        }
        chosen.sort_unstable();

        let mut samples = Vec::new();
        for index in chosen {
            let sample = data.sequences(Split::Test, index);
            let record = attention_of(model, &sample, self.trainer.codec(), step)?;
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

    /// Wall time of earlier processes up to the resumed step.
    fn earlier_secs(&self) -> f64 {
        let step = self.trainer.state().step;
        if step == 0 {
            return 0.0;
        }
        let record: Option<RunRecord> = read_json(self.dir.run()).ok();
        let timing: Vec<TimingRecord> = read_lines(self.dir.timing()).unwrap_or_default();
        let at_stop = record
            .filter(|record| record.step <= step)
            .map(|record| record.elapsed_secs);
        let at_eval = timing
            .iter()
            .filter(|line| line.step <= step)
            .map(|line| line.elapsed_secs);
        at_eval.chain(at_stop).fold(0.0, f64::max)
    }

    fn record(&self, status: RunStatus, started: &Started) -> RunRecord {
        let state = self.trainer.state();
        RunRecord {
            status,
            step: state.step,
            best_step: state.best.map(|best| best.step),
            best_val_loss: state.best.map(|best| best.val_loss),
            n_parameters: self.trainer.model().params().n_elements() as u64,
            elapsed_secs: started.elapsed_secs(),
            test: None,
            degraded: Vec::new(),
        }
    }
}

/// Checks that the configuration and the corpus record of a run are those that its checkpoints were
/// saved with, without loading a model. Every command that uses a run must agree on this;
/// [`load_model`] and [`Run::resume`] check it too.
///
/// # Errors
/// [`Error::Checkpoint`] if one of the files was changed; those of reading them. A missing or damaged
/// checkpoint is not an error here.
pub fn check_unchanged(dir: &RunDir) -> Result<()> {
    let config = load_config(Some(&dir.resolved_config()), &[])?;
    let (_, corpus) = recorded_vocabulary(dir, &config.data)?;
    let fingerprints = Fingerprints::of_run(dir, &config, corpus.as_ref())?;
    for name in [CheckpointName::Best, CheckpointName::Last] {
        let found = match read_checkpoint(dir.checkpoint(name)) {
            Err(RunLogError::NoCheckpoint { .. } | RunLogError::Damaged { .. }) => continue,
            found => found?,
        };
        checkpoint::check_config(&found, &checkpoint::load_state(&found)?, &fingerprints)?;
    }
    Ok(())
}

/// The run whose weights a run started from. Runs of older versions have no identity.
/// The last checkpoint; `None` if the run has not saved one yet.
///
/// # Errors
/// If it is damaged, or was deleted: to start again would overwrite the best one.
pub(crate) fn last_checkpoint(dir: &RunDir) -> Result<Option<Checkpoint>> {
    match read_checkpoint(dir.checkpoint(CheckpointName::Last)) {
        Err(RunLogError::NoCheckpoint { path }) => match saved_step(dir)? {
            Some(step) => {
                let damage = Damage::Lost { step };
                Err(RunLogError::Damaged { path, damage }.into())
            }
            None => Ok(None),
        },
        found => Ok(Some(found?)),
    }
}

/// A step at which the run has saved its last checkpoint, according to its records, if the best one is still
/// there. It saves one after each evaluation, so it may not have done so after the newest.
fn saved_step(dir: &RunDir) -> Result<Option<u64>> {
    if !exists(dir.metrics())? || !exists(dir.checkpoint(CheckpointName::Best))? {
        return Ok(None); // nothing that a new start would overwrite
    }
    let metrics: Vec<MetricsRecord> = read_lines(dir.metrics())?;
    let is_running = match exists(dir.run())? {
        true => read_json::<RunRecord>(dir.run())?.status == RunStatus::Running,
        false => true,
    };
    let trained = metrics.iter().rev().map(|metrics| metrics.step);
    let mut trained = trained.filter(|step| *step > 0);
    Ok(trained.nth(usize::from(is_running)))
}

fn parent(dir: &RunDir) -> Result<Option<Parent>> {
    if !exists(dir.identity())? {
        return Ok(None);
    }
    let identity: Identity = read_json(dir.identity())?;
    Ok(identity.parent)
}

/// An identity named after the folder.
pub fn new_identity(path: &Path) -> Identity {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let unique = format!("{name} {} {}", since.as_nanos(), std::process::id());
    let mut id = hex(&Sha256::digest(unique));
    id.truncate(16);
    Identity {
        id,
        name: name.into_owned(),
        tags: Vec::new(),
        parent: None,
    }
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

/// Records the CPU of this process, if the run does not know it yet.
fn record_processor(dir: &RunDir, lock: &RunLock) -> Result<()> {
    let here = Processor {
        cpu: cpu_name(),
        instruction_set: instruction_set().unwrap_or("unknown").to_owned(),
    };
    let first: Option<Environment> = read_json(dir.environment()).ok();
    let is_first = first
        .is_none_or(|first| first.cpu == here.cpu && first.instruction_set == here.instruction_set);
    let known: Vec<Processor> = match exists(dir.processors())? {
        true => read_lines(dir.processors())?,
        false => Vec::new(),
    };
    if is_first || known.contains(&here) {
        return Ok(());
    }
    lock.check()?;
    let mut lines = JsonLines::resume(dir.processors(), |_: &Processor| true)?;
    lines.append(&here)?;
    Ok(lines.sync()?)
}

fn environment<M: Model>(trainer: &Trainer<M>, runtime: &Runtime) -> Environment {
    let card = card(&runtime.device);
    Environment {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: cpu_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        threads: runtime.threads,
        device: runtime.device_name.clone(),
        device_reason: runtime.device_reason.clone(),
        card: card.name,
        driver_version: card.driver_version,
        driver_cuda_version: card.driver_cuda_version,
        kernels: trainer.model().kernels_name().to_owned(),
        instruction_set: instruction_set().unwrap_or("unknown").to_owned(),
        precision: match trainer.config().train.precision {
            Precision::F32 => trainer.model().params().dtype().as_str().to_owned(),
            half => half.to_string(),
        },
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
