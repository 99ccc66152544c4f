//! The records of a finished run.

use s2s_runlog::{
    Environment, LengthTiming, LengthsRecord, MetricsRecord, Processor, RunDir, RunRecord,
    RunStatus, TimingRecord, modified, read_json, read_lines,
};

use crate::cell::Job;
use crate::date::utc_date;
use crate::measure::Metric;
use crate::plan::Plan;
use crate::settings::Settings;
use crate::state::read_settings;
use crate::{Error, Result};

/// The records of a finished run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run.
    pub job: Job,
    /// Its resolved configuration.
    pub settings: Settings,
    /// How it ended, with its metrics on the test split.
    pub record: RunRecord,
    /// Its evaluations during training.
    pub metrics: Vec<MetricsRecord>,
    /// Wall time of training and validation in seconds, over all processes of the run.
    pub train_secs: f64,
    /// Machine and program; `None` if the file cannot be read.
    pub environment: Option<Environment>,
    /// Other CPUs on which it was resumed.
    pub processors: Vec<Processor>,
    /// Its evaluations by length; empty if it diverged.
    pub lengths: Vec<LengthOutcome>,
    /// The UTC date on which it ended, such as `2026-11-25`; `None` if the system does not say.
    pub date: Option<String>,
}

/// An evaluation by length of a run.
#[derive(Clone, Debug)]
pub struct LengthOutcome {
    /// The name of the group of lengths.
    pub group: String,
    /// Its result.
    pub record: LengthsRecord,
    /// The wall time of each row of the record; empty if the times were not recorded.
    pub timing: Vec<LengthTiming>,
}

impl Outcome {
    pub(crate) fn read(job: Job, plan: &Plan) -> Result<Self> {
        let run = RunDir::open(&job.folder)?;
        let record: RunRecord = read_json(run.run())?;
        let timing: Vec<TimingRecord> = read_lines(run.timing())?;
        let mut lengths = Vec::new();
        if record.status != RunStatus::Diverged {
            for group in plan.lengths_of(&job) {
                let name = Some(group.name.as_str());
                lengths.push(LengthOutcome {
                    group: group.name.clone(),
                    record: read_json(run.lengths(name))?,
                    timing: read_lines(run.lengths_timing(name)).unwrap_or_default(),
                });
            }
        }
        let settings = read_settings(&run).map_err(|reason| Error::Conflict {
            path: job.folder.clone(),
            reason,
        })?;
        Ok(Self {
            settings,
            record,
            metrics: read_lines(run.metrics())?,
            train_secs: timing.iter().map(|t| t.train_secs + t.eval_secs).sum(),
            environment: read_json(run.environment()).ok(),
            processors: read_lines(run.processors()).unwrap_or_default(),
            lengths,
            date: modified(run.run()).map(utc_date),
            job,
        })
    }

    /// A metric of the run; `None` if it diverged.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        let test = self.record.test.as_ref()?;
        Some(metric.value(test, self.train_secs))
    }
}
