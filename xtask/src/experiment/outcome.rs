//! What a finished run left in its folder.

use std::path::Path;

use anyhow::{Context, Result};
use s2s_runlog::{
    Environment, LengthTiming, LengthsRecord, MetricsRecord, RunDir, RunRecord, RunStatus,
    TimingRecord, read_json, read_lines,
};

use super::plan::{Job, Plan};
use super::settings::Settings;
use super::state::read_settings;
use crate::bench::process::says;

/// The records of a run.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) job: Job,
    pub(crate) settings: Settings,
    pub(crate) record: RunRecord,
    pub(crate) metrics: Vec<MetricsRecord>,
    /// Wall time of training and validation, over all processes that the run took.
    pub(crate) train_secs: f64,
    /// Absent if the first process was killed before it wrote it.
    pub(crate) environment: Option<Environment>,
    /// Its evaluations by length, under the names of their groups; none if it diverged.
    pub(crate) lengths: Vec<(String, LengthsRecord)>,
    /// What those took, under the same names.
    pub(crate) times: Vec<(String, Vec<LengthTiming>)>,
    /// The day on which it ended, in UTC.
    pub(crate) date: Option<String>,
}

impl Outcome {
    pub(crate) fn read(job: Job, plan: &Plan) -> Result<Self> {
        let run = RunDir::open(&job.folder)?;
        let records = || -> s2s_runlog::Result<_> {
            let timing: Vec<TimingRecord> = read_lines(run.timing())?;
            Ok((read_json(run.run())?, read_lines(run.metrics())?, timing))
        };
        let reading = || format!("reading the records of {}", job.name());
        let (record, metrics, timing): (RunRecord, _, Vec<TimingRecord>) =
            records().with_context(reading)?;
        let (mut lengths, mut times) = (Vec::new(), Vec::new());
        for group in plan
            .lengths_of(&job)
            .filter(|_| record.status != RunStatus::Diverged)
        {
            let found = read_json(run.lengths(Some(&group.name))).with_context(reading)?;
            lengths.push((group.name.clone(), found));
            let taken = read_lines(run.lengths_timing(Some(&group.name))).unwrap_or_default();
            times.push((group.name.clone(), taken));
        }
        Ok(Self {
            settings: read_settings(&run)?,
            record,
            metrics,
            train_secs: timing.iter().map(|t| t.train_secs + t.eval_secs).sum(),
            environment: read_json(run.environment()).ok(),
            lengths,
            times,
            date: date(&run.run()),
            job,
        })
    }
}

/// The day on which a file was written.
fn date(path: &Path) -> Option<String> {
    says("date", &["-u", "-r", path.to_str()?, "+%F"]).ok()
}

#[cfg(test)]
pub(crate) mod fixtures {
    use s2s_runlog::EvalRecord;

    use super::*;
    use crate::experiment::report::Report;
    use crate::experiment::settings::flatten;

    const EXPERIMENT: &str = r#"
        title = "Attention against none"
        question = "Does the decoder need to look back?"
        config = "configs/tiny.toml"
        seeds = [0, 1]
        plots = ["val_loss"]
        table = ["exact_match", "loss", "train_secs"]
        [[cell]]
        name = "additive"
        [[cell]]
        name = "none"
        set = ["model.attention.kind=none"]
    "#;

    /// Two cells under two seeds; the second cell is bad.
    pub(crate) fn report() -> Report {
        let plan = Plan {
            name: "attention".to_owned(),
            experiment: toml::from_str(EXPERIMENT).unwrap(),
        };
        let outcomes = plan.jobs().into_iter().map(outcome).collect();
        Report::new(plan, outcomes)
    }

    fn outcome(job: Job) -> Outcome {
        let seed = job.seed as f64;
        let (attention, exact_match, loss) = match job.cell.as_str() {
            "additive" => (
                "kind = \"additive\"\nunits = 8",
                1.0 - seed / 2000.0,
                0.0012,
            ),
            _ => ("kind = \"none\"", seed / 4.0, 2.5 + seed),
        };
        let config = format!(
            "seed = {}\n[train]\nlearning_rate = 0.001\n[model.attention]\n{attention}",
            job.seed
        );
        let record = RunRecord {
            status: RunStatus::Finished,
            step: 200,
            best_step: Some(100),
            best_val_loss: Some(loss),
            n_parameters: 1234,
            elapsed_secs: 50.0,
            test: Some(EvalRecord {
                split: "test".to_owned(),
                step: 100,
                n_sequences: 2000,
                n_tokens: 15_000,
                loss,
                forced_loss: loss,
                token_accuracy: exact_match,
                exact_match,
            }),
            degraded: Vec::new(),
        };
        Outcome {
            settings: flatten(&config.parse().unwrap()),
            record,
            metrics: [100, 200].map(|step| metrics(step, loss)).into(),
            train_secs: 48.0 + seed,
            environment: Some(environment()),
            lengths: Vec::new(),
            times: Vec::new(),
            date: Some("2026-11-25".to_owned()),
            job,
        }
    }

    fn metrics(step: u64, val_loss: f64) -> MetricsRecord {
        MetricsRecord {
            step,
            epoch: Some(step as f64 / 100.0),
            train_loss: val_loss,
            train_token_accuracy: 0.5,
            train_exact_match: 0.5,
            val_loss,
            val_forced_loss: val_loss,
            exposure_gap: 0.0,
            val_token_accuracy: 0.5,
            val_exact_match: 0.5,
            learning_rate: 1e-3,
            grad_norm: 1.0,
            teacher_forcing_ratio: 0.5,
            is_best: step == 100,
        }
    }

    fn environment() -> Environment {
        Environment {
            version: "0.1.0".to_owned(),
            platform: "linux x86_64".to_owned(),
            cpu: "a CPU".to_owned(),
            cores: 2,
            threads: 2,
            device: "cpu".to_owned(),
            kernels: "fused".to_owned(),
            command: Vec::new(),
        }
    }
}
