//! Loads the trained model for `eval` and `predict`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use s2s_model::{NonFinite, Seq2Seq};
use s2s_runlog::{CheckpointName, RunDir};
use s2s_train::{Codec, ExperimentConfig, Runtime, Trained, Work, load_config, load_model};

use crate::machine::MachineArgs;
use crate::ui::Ui;

#[derive(clap::Args)]
pub(crate) struct CheckpointArgs {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Parameters to use: lowest validation loss (best) or latest (last)
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "best",
        value_parser = PossibleValuesParser::new(["best", "last"]).map(|name| checkpoint_name(&name))
    )]
    checkpoint: CheckpointName,
    #[command(flatten)]
    machine: MachineArgs,
}

/// A trained model with its run.
pub(crate) struct Loaded {
    pub(crate) dir: RunDir,
    pub(crate) model: Seq2Seq,
    pub(crate) config: ExperimentConfig,
    pub(crate) codec: Codec,
    pub(crate) step: u64,
    pub(crate) runtime: Runtime,
}

impl CheckpointArgs {
    pub(crate) fn load(&self, ui: &Ui) -> anyhow::Result<Loaded> {
        self.load_with(NonFinite::Reject, ui)
    }

    pub(crate) fn load_with(&self, numbers: NonFinite, ui: &Ui) -> anyhow::Result<Loaded> {
        let dir = RunDir::open(&self.dir)?;
        let config = || Ok(load_config(Some(&dir.resolved_config()), &[])?);
        let runtime = self.machine.runtime(Work::Decode, config, ui)?;
        let Trained {
            model,
            config,
            codec,
            step,
        } = load_model(
            &dir,
            self.checkpoint,
            numbers,
            runtime.threads,
            &runtime.device,
        )?;
        Ok(Loaded {
            dir,
            model,
            config,
            codec,
            step,
            runtime,
        })
    }

    /// `best` or `last`.
    pub(crate) fn name(&self) -> &'static str {
        self.checkpoint.name()
    }
}

fn checkpoint_name(name: &str) -> CheckpointName {
    match name {
        "last" => CheckpointName::Last,
        _ => CheckpointName::Best,
    }
}
