//! The result of an experiment, as plain data. [`render`](crate::render) turns it into text and plots.

use std::collections::BTreeMap;

use crate::cell::{Cell, Job};
use crate::measure::Metric;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::statistics::Summary;

/// An experiment and the results of its runs; [`collect`](crate::collect) reads it from the run folders.
#[derive(Clone, Debug)]
pub struct Report {
    /// The experiment.
    pub plan: Plan,
    /// One for each finished job, in the order of [`Plan::jobs`].
    pub outcomes: Vec<Outcome>,
    /// The jobs that are not finished.
    pub pending: Vec<Job>,
    /// The jobs that are finished but have a record that cannot be read, and what is wrong with it.
    pub damaged: Vec<(Job, String)>,
    /// The position of each cell.
    index_of: BTreeMap<String, usize>,
}

impl Report {
    /// A report of these results, which must be in the order of [`Plan::jobs`], without pending or damaged
    /// jobs.
    ///
    /// If an evaluation of any run has no epoch, the epochs of all are removed, so that all curves share an
    /// axis.
    pub fn new(plan: Plan, mut outcomes: Vec<Outcome>) -> Self {
        // All curves share an axis: epochs if every run counts them, steps otherwise.
        let mut records = outcomes.iter().flat_map(|outcome| &outcome.metrics);
        if records.any(|record| record.epoch.is_none()) {
            for record in outcomes.iter_mut().flat_map(|o| &mut o.metrics) {
                record.epoch = None;
            }
        }
        let cells = plan.experiment.cells.iter().enumerate();
        let index_of = cells.map(|(index, cell)| (cell.name.clone(), index));
        Self {
            index_of: index_of.collect(),
            plan,
            outcomes,
            pending: Vec::new(),
            damaged: Vec::new(),
        }
    }

    /// The results of the runs of a cell, in the order of the seeds.
    pub fn outcomes_of(&self, cell: &Cell) -> impl Iterator<Item = &Outcome> {
        let index = self.index_of.get(&cell.name).copied();
        let index = index.unwrap_or(usize::MAX);
        // They are in the order of the cells, so that a report on many cells takes linear time.
        let first = self.outcomes.partition_point(|o| o.job.index < index);
        let rest = self.outcomes[first..].iter();
        rest.take_while(move |outcome| outcome.job.index == index)
    }

    /// A metric over the runs of a cell that did not diverge; `None` without such a run.
    pub fn metric(&self, cell: &Cell, metric: Metric) -> Option<Summary> {
        let runs = self.outcomes_of(cell);
        let values: Vec<f64> = runs.filter_map(|run| run.metric(metric)).collect();
        Summary::new(&values)
    }
}

#[cfg(test)]
pub(crate) mod fixtures {
    use std::path::PathBuf;

    use s2s_runlog::{
        DecodingMode, Environment, EvalRecord, LengthSums, LengthsRecord, MetricsRecord, RunRecord,
        RunStatus,
    };

    use super::*;
    use crate::outcome::LengthOutcome;
    use crate::plan::Experiment;
    use crate::settings::flatten;

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

    const LENGTHS: &str = r#"
        [[lengths]]
        name = "far"
        lengths = "4,8"
        samples = 10
        mode = "both"
        [[published]]
        name = "Others"
        source = "a paper"
        group = "far"
        exact_match = 0.04
    "#;

    fn plan(experiment: &str) -> Plan {
        let mut parsed: Experiment = toml::from_str(experiment).unwrap();
        for (cell, identity) in parsed.cells.iter_mut().zip(["1a2b3c4d", "5e6f7a8b"]) {
            cell.identity = identity.to_owned();
        }
        Plan {
            path: PathBuf::from("attention.toml"),
            folder: PathBuf::from("runs/experiments/attention"),
            experiment: parsed,
            text: experiment.to_owned(),
            is_started: false,
        }
    }

    /// Two cells with two seeds; the second cell is bad.
    pub(crate) fn report() -> Report {
        let plan = plan(EXPERIMENT);
        let outcomes = plan.jobs().into_iter().map(outcome).collect();
        Report::new(plan, outcomes)
    }

    /// The same runs, evaluated at two lengths. With seed 0 everything is exact.
    pub(crate) fn report_with_lengths() -> Report {
        let plan = plan(&format!("{EXPERIMENT}{LENGTHS}"));
        let request = plan.experiment.lengths[0].request().unwrap();
        let evaluate = |mut outcome: Outcome| {
            let row = |(length, mode): (usize, DecodingMode)| {
                let n_exact = 10 - outcome.job.seed * length as u64;
                let sums = LengthSums {
                    n_sequences: 10,
                    n_tokens: 10 * length as u64,
                    n_exact,
                    n_wrong_token: 10 - n_exact,
                    ..LengthSums::default()
                };
                sums.record(mode, length, length)
            };
            let pairs = [4, 8].into_iter().flat_map(|length| {
                [DecodingMode::Eos, DecodingMode::Oracle].map(|mode| (length, mode))
            });
            let mut record = LengthsRecord {
                request: request.clone(),
                step: 100,
                min_trained: 1,
                max_trained: 4,
                deviations: Vec::new(),
                is_complete: false,
                means: Vec::new(),
                without_samples: Vec::new(),
                rows: pairs.map(row).collect(),
            };
            record.complete();
            outcome.lengths.push(LengthOutcome {
                group: "far".to_owned(),
                record,
                timing: Vec::new(),
            });
            outcome
        };
        let outcomes = plan.jobs().into_iter().map(outcome).map(evaluate).collect();
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
                text: None,
            }),
            degraded: Vec::new(),
        };
        Outcome {
            settings: flatten(&config.parse().unwrap()),
            record,
            metrics: [100, 200].map(|step| metrics(step, loss)).into(),
            train_secs: 48.0 + seed,
            environment: Some(environment()),
            processors: Vec::new(),
            lengths: Vec::new(),
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
            attempt: None,
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
            device_reason: String::new(),
            card: String::new(),
            driver_version: String::new(),
            driver_cuda_version: String::new(),
            kernels: "fused".to_owned(),
            instruction_set: "avx2".to_owned(),
            precision: "f32".to_owned(),
            command: Vec::new(),
        }
    }
}
