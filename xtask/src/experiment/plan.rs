//! What an experiment file asks for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Deserialize;

use super::lengths::{self, Group, Published};
use super::measure::{Curve, Figure};
use crate::Usage;

const FOLDER: &str = "configs/experiments";

/// An experiment file and the name that it is known by.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) experiment: Experiment,
}

/// A file of `configs/experiments/`: a grid of runs and the figures wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Experiment {
    /// Headline of the report.
    pub(crate) title: String,
    /// What the experiment is to find out, in a sentence.
    pub(crate) question: String,
    /// The configuration that all cells begin with.
    pub(crate) config: PathBuf,
    /// Every cell is trained once with each.
    pub(crate) seeds: Vec<u64>,
    /// Curves to plot, over training.
    pub(crate) plots: Vec<Curve>,
    /// Figures to tabulate, of the finished runs.
    pub(crate) table: Vec<Figure>,
    /// What is compared.
    #[serde(rename = "cell")]
    pub(crate) cells: Vec<Cell>,
    /// Evaluations by length that each run gets.
    #[serde(default)]
    pub(crate) lengths: Vec<Group>,
    /// Figures of others, to stand beside those of the lengths.
    #[serde(default)]
    pub(crate) published: Vec<Published>,
}

/// One of the things compared: what it changes in the common configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cell {
    /// Its name, in plots, tables and folders.
    pub(crate) name: String,
    /// `key=value`, as `s2s train --set` takes them.
    #[serde(default)]
    pub(crate) set: Vec<String>,
}

/// One run: a cell under a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) cell: String,
    pub(crate) seed: u64,
    /// Where it runs.
    pub(crate) folder: PathBuf,
    config: PathBuf,
    sets: Vec<String>,
}

impl Plan {
    /// Reads the experiment of that name.
    ///
    /// # Errors
    /// A [`Usage`] if there is none, with those that there are, or if its file is not one.
    pub(crate) fn read(name: &str) -> Result<Self> {
        Self::read_from(Path::new(FOLDER), name)
    }

    fn read_from(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(format!("{name}.toml"));
        let names = names(folder);
        if !names.iter().any(|known| known == name) {
            return Err(Usage(unknown(name, folder, &names)).into());
        }
        let refuse = |problem: String| Usage(format!("{}: {problem}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
        let experiment: Experiment =
            toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if let Some(problem) = experiment.problem() {
            return Err(refuse(problem).into());
        }
        Ok(Self {
            name: name.to_owned(),
            experiment,
        })
    }

    /// Where everything of it goes.
    pub(crate) fn folder(&self) -> PathBuf {
        Path::new("runs/experiments").join(&self.name)
    }

    /// Where its report goes when it is published: beside the file that asks for it.
    pub(crate) fn published(&self) -> PathBuf {
        Path::new(FOLDER).join("reports").join(&self.name)
    }

    /// The evaluations by length that a job's run gets.
    pub(crate) fn lengths_of(&self, job: &Job) -> impl Iterator<Item = &Group> {
        let groups = self.experiment.lengths.iter();
        groups.filter(|group| group.has(&job.cell))
    }

    /// Every cell with every seed, cell by cell.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        let job = |cell: &Cell, seed: u64| Job {
            cell: cell.name.clone(),
            seed,
            folder: self.folder().join(format!("{}-seed{seed}", cell.name)),
            config: self.experiment.config.clone(),
            sets: cell.set.clone(),
        };
        let experiment = &self.experiment;
        let of_cell = |cell| experiment.seeds.iter().map(move |&seed| job(cell, seed));
        experiment.cells.iter().flat_map(of_cell).collect()
    }
}

impl Experiment {
    /// The first thing that makes no sense, beyond what the types refuse.
    fn problem(&self) -> Option<String> {
        if self.seeds.is_empty() || self.cells.is_empty() {
            return Some("there must be at least one of `seeds` and one [[cell]]".to_owned());
        }
        let mut seeds = BTreeSet::new();
        if let Some(seed) = self.seeds.iter().find(|seed| !seeds.insert(**seed)) {
            return Some(format!("seed {seed} stands twice in `seeds`"));
        }
        let mut names = BTreeSet::new();
        for Cell { name, set } in &self.cells {
            if !names.insert(name) {
                return Some(format!("two cells have the name {name:?}"));
            }
            if !is_plain(name) {
                return Some(format!(
                    "a cell's name is part of folder names, and made of a-z, 0-9 and `-`; got {name:?}"
                ));
            }
            let is_seed = |set: &&String| set.split('=').next().map(str::trim) == Some("seed");
            if let Some(set) = set.iter().find(is_seed) {
                return Some(format!("cell {name:?} sets {set:?}: use `seeds` instead"));
            }
        }
        lengths::problem(self)
    }
}

impl Job {
    /// What it is called: `additive-seed0`.
    pub(crate) fn name(&self) -> String {
        format!("{}-seed{}", self.cell, self.seed)
    }

    /// Arguments of `s2s` that print the configuration of the run.
    pub(crate) fn resolve(&self) -> Vec<String> {
        self.command("config")
    }

    /// Arguments of `s2s` that make the run.
    pub(crate) fn train(&self) -> Vec<String> {
        let mut command = self.command("train");
        command.push("--run-dir".to_owned());
        command.push(self.folder.display().to_string());
        command
    }

    /// Arguments of `s2s` that go on with it.
    pub(crate) fn resume(&self) -> Vec<String> {
        vec!["resume".to_owned(), self.folder.display().to_string()]
    }

    fn command(&self, name: &str) -> Vec<String> {
        let mut command = vec![name.to_owned(), "--config".to_owned()];
        command.push(self.config.display().to_string());
        for set in self.sets.iter().chain([&format!("seed={}", self.seed)]) {
            command.extend(["--set".to_owned(), set.clone()]);
        }
        command
    }
}

/// Whether a name can be part of the name of a file or folder.
pub(crate) fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(is_plain)
}

/// Names of the experiments that there are.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".toml")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

fn unknown(name: &str, folder: &Path, names: &[String]) -> String {
    // Jaro-Winkler similarity below this links words that no one would call misspelled.
    const ALIKE: f64 = 0.75;
    let nearest = names
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let guess = nearest.map_or_else(String::new, |(_, known)| {
        format!("; did you mean {known:?}?")
    });
    format!(
        "there is no experiment {name:?}{guess}\nin {}/: {}",
        folder.display(),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        title = "Widths"
        question = "Does width matter?"
        config = "configs/tiny.toml"
        seeds = [0, 7]
        plots = ["val_loss"]
        table = ["exact_match"]
        [[cell]]
        name = "base"
        [[cell]]
        name = "wide"
        set = ["model.hidden=512", "model.decoder=1024"]
    "#;

    fn read(text: &str) -> Result<Plan> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("widths.toml"), text).unwrap();
        Plan::read_from(folder.path(), "widths")
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = read(text).unwrap_err();
        assert!(error.is::<Usage>());
        let message = error.to_string();
        assert!(message.contains("widths.toml: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn every_cell_runs_once_a_seed() {
        let jobs = read(GOOD).unwrap().jobs();
        let names: Vec<String> = jobs.iter().map(Job::name).collect();
        assert_eq!(
            names,
            ["base-seed0", "base-seed7", "wide-seed0", "wide-seed7"]
        );
        assert_eq!(
            jobs[3].train().join(" "),
            "train --config configs/tiny.toml --set model.hidden=512 --set model.decoder=1024 \
             --set seed=7 --run-dir runs/experiments/widths/wide-seed7"
        );
        assert_eq!(
            jobs[0].resolve().join(" "),
            "config --config configs/tiny.toml --set seed=0"
        );
        assert_eq!(
            jobs[0].resume().join(" "),
            "resume runs/experiments/widths/base-seed0"
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        check_refused(&GOOD.replace("seeds", "sedes"), "line 5, column 9");
        check_refused(&GOOD.replace("seeds", "sedes"), "unknown field `sedes`");
        check_refused(&GOOD.replace("set =", "sets ="), "line 12, column 9");
        check_refused(&GOOD.replace("val_loss", "val_los"), "line 6, column 18");
    }

    #[test]
    fn what_makes_no_grid_is_refused() {
        check_refused(&GOOD.replace("[0, 7]", "[]"), "at least one of `seeds`");
        check_refused(&GOOD.replace("[0, 7]", "[7, 7]"), "seed 7 stands twice");
        check_refused(
            &GOOD.replace("wide", "base"),
            "two cells have the name \"base\"",
        );
        check_refused(&GOOD.replace("\"wide\"", "\"../wide\""), "got \"../wide\"");
        check_refused(
            &GOOD.replace("model.hidden=", "seed ="),
            "use `seeds` instead",
        );
    }

    #[test]
    fn an_unknown_experiment_is_answered_with_those_there_are() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["default.toml", "lengths.toml", "notes.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let message = |name| {
            Plan::read_from(folder.path(), name)
                .unwrap_err()
                .to_string()
        };
        assert!(message("defualt").contains("did you mean \"default\"?"));
        let stranger = message("x");
        assert!(!stranger.contains("did you mean"), "{stranger}");
        assert!(stranger.ends_with(": default, lengths"), "{stranger}");
    }

    #[test]
    fn every_experiment_of_the_repository_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(FOLDER);
        let names = names(&folder);
        assert!(names.contains(&"default".to_owned()));
        for name in names {
            Plan::read_from(&folder, &name).unwrap();
        }
    }
}
