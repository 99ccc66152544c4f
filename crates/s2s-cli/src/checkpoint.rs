//! Loads the trained model for `eval` and `predict`.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use s2s_model::{NonFinite, Seq2Seq};
use s2s_runlog::{CheckpointName, RunDir};
use s2s_train::{Codec, Runtime, Trained, Work, load_config, load_model};

use crate::failure::Usage;
use crate::machine::MachineArgs;
use crate::shell::quote;
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
    pub(crate) trained: Trained,
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
        let trained = self.model(&dir, numbers, &runtime)?;
        Ok(Loaded {
            dir,
            trained,
            runtime,
        })
    }

    /// Loads the run together with others, whose probabilities are averaged with its own. Each model
    /// uses one thread, since as many batches run in parallel as there are threads.
    pub(crate) fn load_ensemble(
        &self,
        others: &[PathBuf],
        ui: &Ui,
    ) -> anyhow::Result<(Loaded, Vec<Seq2Seq>)> {
        let mut loaded = self.load(ui)?;
        loaded.trained.model.set_threads(1);
        let mut models = Vec::new();
        for path in others {
            let dir = RunDir::open(path)?;
            let mut other = self.model(&dir, NonFinite::Reject, &loaded.runtime)?;
            check_alike(
                (loaded.dir.path(), &loaded.trained.codec),
                (path, &other.codec),
            )?;
            other.model.set_threads(1);
            models.push(other.model);
        }
        Ok((loaded, models))
    }

    fn model(
        &self,
        dir: &RunDir,
        numbers: NonFinite,
        runtime: &Runtime,
    ) -> s2s_train::Result<Trained> {
        load_model(
            dir,
            self.checkpoint,
            numbers,
            runtime.threads,
            &runtime.device,
        )
    }

    /// `best` or `last`.
    pub(crate) fn name(&self) -> &'static str {
        self.checkpoint.name()
    }
}

/// Checks that the models of two runs read the same sources and write the same tokens.
pub(crate) fn check_alike(
    (run, codec): (&Path, &Codec),
    (other_run, other): (&Path, &Codec),
) -> Result<(), Usage> {
    let Some(problem) = codec.difference(other) else {
        return Ok(());
    };
    let (run, path) = (quote(run), quote(other_run));
    Err(Usage(format!(
        "{run} and {path} {problem}; both must have been trained on the same data"
    )))
}

fn checkpoint_name(name: &str) -> CheckpointName {
    match name {
        "last" => CheckpointName::Last,
        _ => CheckpointName::Best,
    }
}
