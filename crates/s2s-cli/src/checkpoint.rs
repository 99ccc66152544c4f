//! Loads the trained model for `eval` and `predict`.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use s2s_model::{NonFinite, Seq2Seq};
use s2s_runlog::{CheckpointName, RunDir};
use s2s_train::{Codec, Runtime, Trained, Work, load_config, load_model, open_checkpoint};

use crate::failure::Usage;
use crate::machine::MachineArgs;
use crate::shell::quote;
use crate::ui::Ui;

#[derive(clap::Args)]
pub(crate) struct CheckpointArgs {
    /// Folder of the run; RUN@best or RUN@last names a checkpoint, as does its folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Parameters of runs without @: lowest validation loss (best) or latest (last) [default: best]
    #[arg(
        long,
        value_name = "WHICH",
        value_parser = PossibleValuesParser::new(["best", "last"]).map(|name| checkpoint_name(&name))
    )]
    checkpoint: Option<CheckpointName>,
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
        let (dir, name) = self.open(&self.run)?;
        let config = || Ok(load_config(Some(&dir.resolved_config()), &[])?);
        let runtime = self.machine.runtime(Work::Decode, config, ui)?;
        let trained = load_model(&dir, name, numbers, runtime.threads, &runtime.device)?;
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
        numbers: NonFinite,
        ui: &Ui,
    ) -> anyhow::Result<(Loaded, Vec<Seq2Seq>)> {
        let mut loaded = self.load_with(numbers, ui)?;
        loaded.trained.model.set_threads(1);
        let mut models = Vec::new();
        for path in others {
            let (dir, name) = self.open(path)?;
            let other = load_model(&dir, name, numbers, 1, &loaded.runtime.device)?;
            check_alike(
                (loaded.dir.path(), &loaded.trained.codec),
                (path, &other.codec),
            )?;
            models.push(other.model);
        }
        Ok((loaded, models))
    }

    /// The run at a path, and its checkpoint to use.
    fn open(&self, path: &Path) -> anyhow::Result<(RunDir, CheckpointName)> {
        let (dir, named) = open_checkpoint(path)?;
        let name = match (named, self.checkpoint) {
            (Some(named), Some(other)) if named != other => {
                let (path, other) = (quote(path), other.name());
                let what = format!("{path} is not checkpoint {other}; remove --checkpoint {other}");
                return Err(Usage(what).into());
            }
            (named, other) => named.or(other).unwrap_or(CheckpointName::Best),
        };
        Ok((dir, name))
    }

    /// `best` or `last`.
    pub(crate) fn name(&self) -> anyhow::Result<&'static str> {
        Ok(self.open(&self.run)?.1.name())
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
