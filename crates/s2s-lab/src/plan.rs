//! What an experiment file describes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use s2s_runlog::read_input;
use serde::Deserialize;

use crate::compare::Compare;
use crate::lengths::{LengthGroup, Published};
use crate::measure::{Curve, Metric};
use crate::{Error, Result};

/// An experiment file has at most so many bytes.
const MAX_BYTES: u64 = 1 << 20;

/// An experiment file, and the folder for its runs and its report.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment file.
    pub path: PathBuf,
    /// The folder for the runs and the report.
    pub folder: PathBuf,
    /// The content of the file.
    pub experiment: Experiment,
}

/// An experiment file: a grid of runs, and what to report about them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The headline of the report.
    pub title: String,
    /// The question that the experiment answers, in one sentence.
    pub question: String,
    /// The configuration that all cells start from, relative to the working directory.
    pub config: PathBuf,
    /// Each cell is trained once with each seed.
    pub seeds: Vec<u64>,
    /// Curves to plot.
    pub plots: Vec<Curve>,
    /// Metrics to tabulate.
    pub table: Vec<Metric>,
    /// The configurations to compare.
    #[serde(rename = "cell")]
    pub cells: Vec<Cell>,
    /// Comparisons of cells, paired by seed.
    #[serde(default)]
    pub compare: Vec<Compare>,
    /// Evaluations by length of each run.
    #[serde(default)]
    pub lengths: Vec<LengthGroup>,
    /// Published results, for comparison with the evaluations by length.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// One of the configurations to compare: its changes to the common configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Its name in plots, tables and folders.
    pub name: String,
    /// Changes, as `key=value` for `s2s train --set`.
    #[serde(default)]
    pub set: Vec<String>,
}

/// One run: a cell with a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The name of the cell.
    pub cell: String,
    /// The seed.
    pub seed: u64,
    /// The run folder.
    pub folder: PathBuf,
    config: PathBuf,
    sets: Vec<String>,
}

impl Plan {
    /// Reads an experiment file. Its runs and its report go to `folder`.
    ///
    /// # Errors
    /// [`Error::Plan`] if the file cannot be read or is not a valid experiment.
    pub fn read(path: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Result<Self> {
        let (path, folder) = (path.into(), folder.into());
        match read(&path) {
            Ok(experiment) => Ok(Self {
                path,
                folder,
                experiment,
            }),
            Err(problem) => Err(Error::Plan { path, problem }),
        }
    }

    /// The default folder of an experiment file: `runs/experiments/` and the file's stem.
    pub fn default_folder(path: &Path) -> PathBuf {
        let stem = path.file_stem().unwrap_or_default();
        Path::new("runs/experiments").join(stem)
    }

    /// The evaluations by length of a job.
    pub(crate) fn lengths_of(&self, job: &Job) -> impl Iterator<Item = &LengthGroup> {
        let groups = self.experiment.lengths.iter();
        groups.filter(|group| group.includes(&job.cell))
    }

    /// Each cell with each seed, cell by cell.
    pub fn jobs(&self) -> Vec<Job> {
        let experiment = &self.experiment;
        let job = |cell: &Cell, seed: u64| Job {
            cell: cell.name.clone(),
            seed,
            folder: self.folder.join(format!("{}-seed{seed}", cell.name)),
            config: experiment.config.clone(),
            sets: cell.set.clone(),
        };
        let of_cell = |cell| experiment.seeds.iter().map(move |&seed| job(cell, seed));
        experiment.cells.iter().flat_map(of_cell).collect()
    }
}

fn read(path: &Path) -> Result<Experiment, String> {
    let bytes = read_input(path, MAX_BYTES).map_err(|error| match error {
        s2s_runlog::Error::Read { source, .. } => source.to_string(),
        error => error.to_string(),
    })?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let experiment: Experiment = toml::from_str(&text).map_err(|error| error.to_string())?;
    match experiment.problem() {
        Some(problem) => Err(problem),
        None => Ok(experiment),
    }
}

impl Experiment {
    /// The first mistake that deserialization does not find.
    fn problem(&self) -> Option<String> {
        if self.seeds.is_empty() || self.cells.is_empty() {
            return Some("it must have at least one seed and one [[cell]]".to_owned());
        }
        let mut seeds = BTreeSet::new();
        if let Some(seed) = self.seeds.iter().find(|seed| !seeds.insert(**seed)) {
            return Some(format!("`seeds` contains {seed} twice"));
        }
        let cells = self.cells.iter().map(|cell| &cell.name);
        let groups = self.lengths.iter().map(|group| &group.name);
        name_problem("[[cell]]", cells)
            .or_else(|| self.cells.iter().find_map(Cell::problem))
            .or_else(|| name_problem("[[lengths]]", groups))
            .or_else(|| {
                self.lengths
                    .iter()
                    .find_map(|group| self.group_problem(group))
            })
            .or_else(|| self.published_problem())
            .or_else(|| self.compare_problem())
    }

    fn group_problem(&self, group: &LengthGroup) -> Option<String> {
        let name = &group.name;
        if group.samples == 0 {
            return Some(format!(
                "[[lengths]] {name:?}: `samples` must be at least 1"
            ));
        }
        if let Err(problem) = group.request() {
            return Some(problem);
        }
        let is_unknown = |name: &&String| self.cells.iter().all(|cell| cell.name != **name);
        let unknown = group.cells.iter().flatten().find(is_unknown)?;
        Some(format!(
            "[[lengths]] {name:?}: there is no cell {unknown:?}"
        ))
    }

    fn compare_problem(&self) -> Option<String> {
        let is_unknown = |name: &&String| self.cells.iter().all(|cell| cell.name != **name);
        let mut names = self.compare.iter().map(|compare| &compare.baseline);
        let unknown = names.find(is_unknown)?;
        let known = self.cells.iter().map(|cell| cell.name.as_str());
        let known = known.take(20).collect::<Vec<_>>().join(", ");
        Some(format!(
            "[[compare]]: there is no cell {unknown:?} to be the baseline; the cells are {known}"
        ))
    }

    fn published_problem(&self) -> Option<String> {
        let is_lost = |row: &&Published| self.lengths.iter().all(|group| group.name != row.group);
        let lost = self.published.iter().find(is_lost)?;
        Some(format!(
            "[[published]] {:?}: there is no [[lengths]] {:?}",
            lost.name, lost.group
        ))
    }
}

impl Cell {
    fn problem(&self) -> Option<String> {
        let is_seed = |set: &&String| set.split('=').next().map(str::trim) == Some("seed");
        let set = self.set.iter().find(is_seed)?;
        Some(format!(
            "[[cell]] {:?} sets {set:?}; use `seeds` instead",
            self.name
        ))
    }
}

/// A name that is given twice, or that cannot be part of a file name.
fn name_problem<'a>(table: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Some(format!("two {table} tables have the name {name:?}"));
        }
        if name.is_empty() || !name.chars().all(is_plain) {
            return Some(format!(
                "the name of a {table} is part of file names and may contain a-z, 0-9 and `-`, got \
                 {name:?}"
            ));
        }
    }
    None
}

impl Job {
    /// Its name, such as `additive-seed0`.
    pub fn name(&self) -> String {
        format!("{}-seed{}", self.cell, self.seed)
    }

    /// The arguments of `s2s` that print its configuration.
    pub(crate) fn config_args(&self) -> Vec<String> {
        self.args("config")
    }

    /// The arguments of `s2s` that train it.
    pub(crate) fn train_args(&self) -> Vec<String> {
        let mut args = self.args("train");
        args.push("--run-dir".to_owned());
        args.push(self.folder.display().to_string());
        args
    }

    /// The arguments of `s2s` that resume it.
    pub(crate) fn resume_args(&self) -> Vec<String> {
        vec!["resume".to_owned(), self.folder.display().to_string()]
    }

    fn args(&self, command: &str) -> Vec<String> {
        let mut args = vec![command.to_owned(), "--config".to_owned()];
        args.push(self.config.display().to_string());
        for set in self.sets.iter().chain([&format!("seed={}", self.seed)]) {
            args.extend(["--set".to_owned(), set.clone()]);
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        [[lengths]]
        name = "near"
        lengths = "1..9,20"
        samples = 50
        mode = "both"
        [[lengths]]
        name = "protocol"
        protocol = "deepmind"
        samples = 10
        mode = "oracle"
        cells = ["base"]
        [[published]]
        name = "Others"
        source = "a paper"
        group = "protocol"
        token_accuracy = 0.5
    "#;

    fn read(text: &str) -> Result<Plan> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("widths.toml");
        fs::write(&path, text).unwrap();
        let out = Plan::default_folder(&path);
        Plan::read(path, out)
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, expected: &str) {
        assert!(GOOD.contains(from), "{from}");
        let error = read(&GOOD.replace(from, to)).unwrap_err();
        assert!(error.is_usage());
        let message = error.to_string();
        assert!(message.contains("widths.toml: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn every_cell_runs_once_with_each_seed() {
        let jobs = read(GOOD).unwrap().jobs();
        let names: Vec<String> = jobs.iter().map(Job::name).collect();
        assert_eq!(
            names,
            ["base-seed0", "base-seed7", "wide-seed0", "wide-seed7"]
        );
        assert_eq!(
            jobs[3].train_args().join(" "),
            "train --config configs/tiny.toml --set model.hidden=512 --set model.decoder=1024 \
             --set seed=7 --run-dir runs/experiments/widths/wide-seed7"
        );
        assert_eq!(
            jobs[0].config_args().join(" "),
            "config --config configs/tiny.toml --set seed=0"
        );
        assert_eq!(
            jobs[0].resume_args().join(" "),
            "resume runs/experiments/widths/base-seed0"
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        check_refused("seeds", "sedes", "line 5, column 9");
        check_refused("seeds", "sedes", "unknown field `sedes`");
        check_refused("set =", "sets =", "line 12, column 9");
        check_refused("val_loss", "val_los", "line 6, column 18");
    }

    #[test]
    fn invalid_grids_are_refused() {
        check_refused("[0, 7]", "[]", "at least one seed");
        check_refused("[0, 7]", "[7, 7]", "`seeds` contains 7 twice");
        check_refused("wide", "base", "two [[cell]] tables have the name \"base\"");
        check_refused("\"wide\"", "\"../wide\"", "got \"../wide\"");
        check_refused("model.hidden=", "seed =", "use `seeds` instead");
    }

    #[test]
    fn invalid_evaluations_are_refused() {
        check_refused("1..9", "9..1", "range 9..1 is empty");
        check_refused("\"near\"", "\"../near\"", "got \"../near\"");
        check_refused("\"near\"", "\"protocol\"", "two [[lengths]] tables");
        check_refused("samples = 50", "samples = 0", "must be at least 1");
        check_refused(
            "lengths = \"1..9,20\"",
            "protocol = \"deepmind\"\nstep = 2",
            "must have either",
        );
        check_refused("[\"base\"]", "[\"bass\"]", "no cell \"bass\"");
        check_refused(
            "group = \"protocol\"",
            "group = \"none\"",
            "no [[lengths]] \"none\"",
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Plan::read("no/such.toml", "out").unwrap_err().to_string();
        assert!(error.starts_with("no/such.toml: No such file"), "{error}");
    }

    #[test]
    fn every_experiment_of_the_repository_can_be_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/experiments");
        let paths = fs::read_dir(folder).unwrap();
        let paths = paths.map(|entry| entry.unwrap().path());
        let plans = paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
        let plans: Vec<Plan> = plans.map(|path| Plan::read(path, "out").unwrap()).collect();
        assert!(plans.len() > 3);
    }
}
