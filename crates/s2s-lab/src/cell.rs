//! Cells and jobs: the configurations of an experiment, and their runs.

use std::path::PathBuf;

use serde::Deserialize;

use crate::settings::Settings;

/// One of the configurations to compare: its changes to the common configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Its name in plots, tables and folders.
    pub name: String,
    /// Its own configuration file, instead of the common one; the common changes apply to it, too. `None`
    /// for the common one.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// Its changes, as `key=value` for `s2s train --set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// A hash of its resolved configuration and of the text that it reads, without the seed: eight
    /// hexadecimal digits. It is part of the names of run folders.
    #[serde(skip)]
    pub identity: String,
    /// Its resolved configuration: all keys, with the first seed of the experiment.
    #[serde(skip)]
    pub settings: Settings,
    /// The names of its values, one for each axis of `[matrix]`; empty if it is not of the matrix.
    #[serde(skip)]
    pub values: Vec<String>,
}

/// One run of an experiment: a cell with a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The name of the cell.
    pub cell: String,
    /// The seed.
    pub seed: u64,
    /// The run folder, `CELL-seedSEED-IDENTITY` in the experiment's folder. It may not exist yet.
    pub folder: PathBuf,
    /// The position of the cell.
    pub(crate) index: usize,
    pub(crate) config: Option<PathBuf>,
    pub(crate) sets: Vec<String>,
}

impl Cell {
    pub(crate) fn new(name: String, config: Option<PathBuf>, set: Vec<String>) -> Self {
        Self {
            name,
            config,
            set,
            identity: String::new(),
            settings: Settings::new(),
            values: Vec::new(),
        }
    }

    /// What sets it apart from the common configuration: `config=PATH`, and its changes.
    pub(crate) fn changes(&self) -> Vec<String> {
        let config = self
            .config
            .iter()
            .map(|path| format!("config={}", path.display()));
        config.chain(self.set.iter().cloned()).collect()
    }

    pub(crate) fn problem(&self) -> Option<String> {
        let is_seed = |set: &&String| set.split('=').next().map(str::trim) == Some("seed");
        let set = self.set.iter().find(is_seed)?;
        Some(format!(
            "cell {:?} sets {set:?}; use `seeds` instead",
            self.name
        ))
    }
}

/// The name of a run's folder without the identity.
pub(crate) fn run_prefix(cell: &str, seed: u64) -> String {
    format!("{cell}-seed{seed}-")
}

impl Job {
    /// Its name, such as `additive-seed0`.
    pub fn name(&self) -> String {
        format!("{}-seed{}", self.cell, self.seed)
    }

    /// The arguments of `s2s` that extend it.
    pub(crate) fn extend_args(&self, steps: u64) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let set = format!("train.max_steps={steps}");
        ["resume", &folder, "--set", &set, "--keep-schedule"]
            .map(str::to_owned)
            .into()
    }

    /// The arguments of `s2s` that start it, resume it, or do nothing if it is finished.
    pub(crate) fn train_args(&self) -> Vec<String> {
        let mut args = vec!["train".to_owned()];
        let mut add = |option: &str, value: String| args.extend([option.to_owned(), value]);
        if let Some(config) = &self.config {
            add("--config", config.display().to_string());
        }
        for set in self.sets.iter().chain([&format!("seed={}", self.seed)]) {
            add("--set", set.clone());
        }
        add("--run-dir", self.folder.display().to_string());
        args.push("--resume-or-start".to_owned());
        args
    }
}
