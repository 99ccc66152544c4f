//! The observer that writes a run directory.

use std::num::NonZeroU64;
use std::sync::Arc;

use s2s_runlog::{
    AttentionRecord, CheckpointName, Error as RunLogError, EvalRecord, JsonLines, LogFailure,
    MetricsRecord, RunDir, RunRecord, StepMetrics, TimingRecord, WrongOutput, WrongRecord,
    write_checkpoint, write_json,
};

use super::log::Log;
use super::tensorboard::TensorBoard;
use super::{EvalEvent, Flow, Observer, Render, StartEvent, StepRecord};
use crate::{Result, Snapshot};

/// Writes the files of a run directory during training.
///
/// `metrics.jsonl` and the checkpoints are required: if they cannot be written, the run stops.
/// `timing.jsonl`, `steps.jsonl`, `attention.jsonl`, `wrong.jsonl`, `initial.json` and the TensorBoard file are optional
/// logs: if they cannot be written, the run continues and `run.json` lists the logs that lost records. Without
/// the feature `tensorboard` there is no TensorBoard file.
#[derive(Debug)]
pub struct RunWriter {
    dir: RunDir,
    metrics: JsonLines<MetricsRecord>,
    initial: Log<()>,
    timing: Log<JsonLines<TimingRecord>>,
    steps: Log<JsonLines<StepMetrics>>,
    log_every: NonZeroU64,
    since: Throughput,
    attention: Log<JsonLines<AttentionRecord>>,
    wrong: Log<JsonLines<WrongRecord>>,
    tensorboard: TensorBoard,
    record: RunRecord,
    earlier_failures: Vec<LogFailure>, // of earlier processes of this run
}

/// Tokens and wall time of some training steps.
#[derive(Debug, Default)]
struct Throughput {
    n_tokens: u64,
    secs: f64,
}

impl Throughput {
    fn add(&mut self, record: &StepRecord) {
        self.n_tokens += record.tally.n_tokens;
        self.secs += record.secs;
    }

    fn tokens_per_second(self) -> f64 {
        self.n_tokens as f64 / self.secs.max(f64::MIN_POSITIVE)
    }
}

impl RunWriter {
    /// Opens the files of a run at the step of `record`, which is the step of the checkpoint it
    /// resumes from (0 for a new run). Records of later steps are removed, since they will be
    /// written again. `config` is the configuration as TOML, for TensorBoard. Steps are logged every
    /// `log_every` steps. The elapsed time of `record` is that of earlier processes.
    ///
    /// # Errors
    /// If a file of the run cannot be read or written.
    pub fn open(
        dir: RunDir,
        record: RunRecord,
        config: &str,
        log_every: NonZeroU64,
        render: Render,
    ) -> Result<Self> {
        let step = record.step;
        write_json(dir.run(), &record)?;
        // A run that begins again at step 0 also repeats the evaluation before its first step.
        let is_kept = |line: u64| line <= step && step > 0;
        let metrics = JsonLines::resume(dir.metrics(), |line: &MetricsRecord| line.step <= step)?;
        let timing = JsonLines::resume(dir.timing(), |line: &TimingRecord| is_kept(line.step));
        let steps = JsonLines::resume(dir.steps(), |line: &StepMetrics| line.step <= step);
        let attention =
            JsonLines::resume(dir.attention(), |line: &AttentionRecord| is_kept(line.step));
        let wrong = JsonLines::resume(dir.wrong(), |line: &WrongRecord| is_kept(line.step));
        Ok(Self {
            metrics,
            initial: Log::open("initial.json", step, Ok::<_, RunLogError>(())),
            timing: Log::open("timing.jsonl", step, timing),
            steps: Log::open("steps.jsonl", step, steps),
            log_every,
            since: Throughput::default(),
            attention: Log::open("attention.jsonl", step, attention),
            wrong: Log::open("wrong.jsonl", step, wrong),
            tensorboard: TensorBoard::open(dir.path(), step, config, render),
            earlier_failures: record.degraded.clone(),
            record,
            dir,
        })
    }

    /// Writes the metrics of the test split to the TensorBoard file, after the last step.
    pub fn end(&mut self, step: u64, test: &EvalRecord) {
        self.tensorboard.end(step, test);
    }

    /// The logs that lost records, in this process and in earlier ones.
    pub fn failures(&self) -> Vec<LogFailure> {
        let mut failures = self.earlier_failures.clone();
        let logs = [
            self.initial.failure(),
            self.timing.failure(),
            self.steps.failure(),
            self.attention.failure(),
            self.wrong.failure(),
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

    fn log_attention(&mut self, step: u64, probes: &[AttentionRecord]) {
        for probe in probes {
            self.attention.write(step, |lines| lines.append(probe));
        }
    }

    fn log_wrong(&mut self, step: u64, wrong: &[WrongOutput]) {
        let outputs = wrong.to_vec();
        let record = WrongRecord { step, outputs };
        self.wrong.write(step, |lines| lines.append(&record));
    }

    fn save(&self, name: CheckpointName, snapshot: &Snapshot) -> Result<()> {
        write_checkpoint(self.dir.checkpoint(name), &snapshot.files(name))?;
        tracing::debug!(step = snapshot.step, ?name, "checkpoint saved");
        Ok(())
    }
}

impl Observer for RunWriter {
    fn on_start(&mut self, event: &StartEvent<'_>) -> Result<Flow> {
        self.initial
            .write(0, |()| write_json(self.dir.initial(), event.metrics));
        self.timing.write(0, |lines| lines.append(event.timing));
        self.log_attention(0, event.probes);
        self.log_wrong(0, event.wrong);
        self.tensorboard.start(event);
        Ok(Flow::Continue)
    }

    fn on_probes(&mut self, probes: &[AttentionRecord]) -> Result<Flow> {
        if let Some(first) = probes.first() {
            self.log_attention(first.step, probes);
            self.tensorboard.probe(first);
        }
        Ok(Flow::Continue)
    }

    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        self.since.add(record);
        let step = record.step;
        if step.is_multiple_of(self.log_every.get()) || step == record.total_steps {
            let line = StepMetrics {
                step,
                loss: record.tally.loss(),
                token_accuracy: record.tally.token_accuracy(),
                learning_rate: record.learning_rate,
                grad_norm: record.grad_norm,
                tokens_per_second: std::mem::take(&mut self.since).tokens_per_second(),
            };
            self.steps.write(step, |lines| lines.append(&line));
            self.tensorboard.step(&line, record.teacher_forcing_ratio);
        }
        Ok(Flow::Continue)
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        let step = event.metrics.step;
        self.metrics.append(event.metrics)?;
        let timing = TimingRecord {
            elapsed_secs: self.record.elapsed_secs + event.timing.elapsed_secs,
            ..event.timing.clone()
        };
        self.timing.write(step, |lines| lines.append(&timing));
        self.log_attention(step, event.probes);
        self.log_wrong(step, event.wrong);
        self.tensorboard.eval(event);
        Ok(Flow::Continue)
    }

    fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<Flow> {
        // Records before the checkpoint: a run resumed from it does not write them again.
        let step = snapshot.step;
        self.metrics.sync()?;
        self.timing.write(step, |lines| lines.sync());
        self.steps.write(step, |lines| lines.sync());
        self.attention.write(step, |lines| lines.sync());
        self.wrong.write(step, |lines| lines.sync());
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
