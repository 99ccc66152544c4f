//! What an experiment file describes.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use s2s_runlog::read_input;
use serde::{Deserialize, Deserializer};
use toml::Table;

use crate::budget::Budget;
use crate::compare::Compare;
use crate::grid;
use crate::halving::Halving;
use crate::identity::Identities;
use crate::lengths::{LengthGroup, Published};
use crate::measure::{Curve, Metric};
use crate::search::Search;
use crate::settings::{Settings, flatten};
use crate::{Error, Result, parallel, pattern, started};

/// An experiment file has at most so many bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The copy of an experiment file in the folder of its runs.
pub(crate) const COPY: &str = "experiment.toml";

/// More runs are most likely a mistake.
const MAX_RUNS: usize = 1_000_000;

/// Resolves and validates a configuration, as `s2s config` does: a file, and changes to it. The error
/// is a message for a person. It is called from several threads.
pub type Resolve<'a> = dyn Fn(Option<&Path>, &[String]) -> Result<Table, String> + Sync + 'a;

/// An experiment file, and the folder for its runs and its report. Every cell is resolved and valid.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment file.
    pub path: PathBuf,
    /// The folder for the runs and the report.
    pub folder: PathBuf,
    /// The content of the file.
    pub experiment: Experiment,
    /// The text of the file.
    pub text: String,
    /// Whether it is a single run of an experiment that was started with the same file.
    pub(crate) is_started: bool,
}

/// An experiment file: a grid of runs, and what to report about them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The headline of the report.
    pub title: String,
    /// The question that the experiment answers, in one sentence.
    pub question: String,
    /// The configuration that all cells start from, relative to the working directory; the built-in
    /// default if absent.
    #[serde(alias = "base")]
    pub config: Option<PathBuf>,
    /// Changes to it that all cells have, as `key=value` for `s2s train --set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Each cell is trained once with each seed. In the file a list, or a count: 3 for `[0, 1, 2]`.
    #[serde(deserialize_with = "seeds")]
    pub seeds: Vec<u64>,
    /// Curves to plot.
    #[serde(default = "default_plots")]
    pub plots: Vec<Curve>,
    /// Metrics to tabulate.
    #[serde(default = "default_table")]
    pub table: Vec<Metric>,
    /// The configurations to compare: those of `[[cell]]`, then those of the matrix.
    #[serde(rename = "cell", default)]
    pub cells: Vec<Cell>,
    #[serde(default)]
    matrix: Table,
    #[serde(default)]
    include: Vec<Table>,
    #[serde(default)]
    exclude: Vec<Table>,
    search: Option<Search>,
    /// Successive halving of the cells.
    pub halving: Option<Halving>,
    /// When to stop starting runs.
    #[serde(default)]
    pub budget: Budget,
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
    /// Its own configuration, instead of the common one; the common changes apply to it, too.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// Changes, as `key=value` for `s2s train --set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// A hash of its resolved configuration and of the text that it reads, without the seed.
    #[serde(skip)]
    pub identity: String,
    /// Its resolved configuration, with the first seed.
    #[serde(skip)]
    pub settings: Settings,
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
    /// The position of the cell.
    pub(crate) index: usize,
    config: Option<PathBuf>,
    sets: Vec<String>,
}

impl Plan {
    /// Reads an experiment file. Its runs and its report go to `folder`.
    ///
    /// # Errors
    /// [`Error::Plan`] if the file cannot be read or is not a valid experiment; [`Error::Config`] if
    /// `resolve` rejects the configuration of a cell.
    pub fn read(
        path: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
        resolve: &Resolve<'_>,
    ) -> Result<Self> {
        let (path, folder) = (path.into(), folder.into());
        let invalid = |problem| Error::Plan {
            path: path.clone(),
            problem,
        };
        let (mut experiment, text) = read(&path).map_err(invalid)?;
        experiment.resolve(resolve)?;
        if let Some(problem) = experiment.duplicate_cell() {
            return Err(invalid(problem));
        }
        Ok(Self {
            path,
            folder,
            experiment,
            text,
            is_started: false,
        })
    }

    /// Reads an experiment file for the run with this number alone. If the experiment was started with
    /// the same file, no other cell is resolved, so that every task of a large array starts fast.
    ///
    /// # Errors
    /// Those of [`Plan::read`].
    pub fn read_run(
        path: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
        number: usize,
        resolve: &Resolve<'_>,
    ) -> Result<Self> {
        let (path, folder) = (path.into(), folder.into());
        match Self::read_started(&path, &folder, number, resolve) {
            Some(plan) => Ok(plan),
            None => Self::read(path, folder, resolve),
        }
    }

    /// The plan of one run, if it is the one that was started.
    fn read_started(
        path: &Path,
        folder: &Path,
        number: usize,
        resolve: &Resolve<'_>,
    ) -> Option<Self> {
        let (mut experiment, text) = read(path).ok()?;
        let name = started::run_folder(folder, &text, number)?;
        let starts = |cell: &Cell, seed: u64| name.starts_with(&run_prefix(&cell.name, seed));
        let of_cell = |cell: &Cell| {
            experiment
                .seeds
                .iter()
                .copied()
                .find(|seed| starts(cell, *seed))
        };
        let (index, seed) = experiment
            .cells
            .iter()
            .enumerate()
            .find_map(|(index, cell)| Some((index, of_cell(cell)?)))?;
        experiment.cells = vec![experiment.cells.swap_remove(index)];
        experiment.resolve(resolve).ok()?;
        experiment.seeds = vec![seed];
        let plan = Self {
            path: path.to_owned(),
            folder: folder.to_owned(),
            experiment,
            text,
            is_started: true,
        };
        // A default or the text that is read may have changed.
        (plan.jobs()[0].folder == folder.join(name)).then_some(plan)
    }

    /// Checks that the runs do not depend on each other, so that another engine can start them.
    ///
    /// # Errors
    /// [`Error::Plan`] with halving.
    pub(crate) fn check_independent(&self) -> Result<()> {
        match self.experiment.halving {
            None => Ok(()),
            Some(_) => Err(Error::Plan {
                path: self.path.clone(),
                problem:
                    "with [halving], the results of all runs decide which continue, so another \
                          engine cannot start them; remove --launcher and --emit"
                        .to_owned(),
            }),
        }
    }

    /// The default folder of an experiment file: `runs/experiments/` and the file's stem. A file
    /// `experiment.toml` in an experiment's folder, as it is kept there, belongs to this folder.
    pub fn default_folder(path: &Path) -> PathBuf {
        if let (true, Some(folder)) = (path.ends_with(COPY), path.parent())
            && s2s_runlog::exists(folder.join(crate::started::RUNS)).unwrap_or(false)
        {
            return folder.to_owned();
        }
        let stem = path.file_stem().unwrap_or_default();
        Path::new("runs/experiments").join(stem)
    }

    /// The evaluations by length of a job.
    pub(crate) fn lengths_of(&self, job: &Job) -> impl Iterator<Item = &LengthGroup> {
        let groups = self.experiment.lengths.iter();
        groups.filter(|group| group.includes(&job.cell))
    }

    /// The cell of a job.
    pub(crate) fn cell_of(&self, job: &Job) -> &Cell {
        &self.experiment.cells[job.index]
    }

    /// Each cell with each seed, cell by cell.
    pub fn jobs(&self) -> Vec<Job> {
        let experiment = &self.experiment;
        let job = |index: usize, seed: u64| {
            let cell = &experiment.cells[index];
            let folder = run_prefix(&cell.name, seed) + &cell.identity;
            Job {
                cell: cell.name.clone(),
                seed,
                folder: self.folder.join(folder),
                index,
                config: cell.config.as_ref().or(experiment.config.as_ref()).cloned(),
                sets: experiment.set.iter().chain(&cell.set).cloned().collect(),
            }
        };
        let of_cell = |index| experiment.seeds.iter().map(move |&seed| job(index, seed));
        (0..experiment.cells.len()).flat_map(of_cell).collect()
    }
}

/// The name of a run's folder without the identity.
fn run_prefix(cell: &str, seed: u64) -> String {
    format!("{cell}-seed{seed}-")
}

fn read(path: &Path) -> Result<(Experiment, String), String> {
    let bytes = read_input(path, MAX_BYTES).map_err(|error| match error {
        s2s_runlog::Error::Read { source, .. } => source.to_string(),
        error => error.to_string(),
    })?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let mut experiment: Experiment = toml::from_str(&text).map_err(|error| error.to_string())?;
    let grid = grid::cells(
        &experiment.matrix,
        &experiment.include,
        &experiment.exclude,
        experiment.search.as_ref(),
    )?;
    experiment.cells.extend(grid);
    if let Some(halving) = &experiment.halving {
        experiment.set.extend(halving.sets());
    }
    match experiment.problem() {
        Some(problem) => Err(problem),
        None => Ok((experiment, text)),
    }
}

/// A list of seeds, or their number.
fn seeds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a list of seeds, or how many")]
    enum Seeds {
        Count(NonZeroU64),
        List(Vec<u64>),
    }
    Ok(match Seeds::deserialize(deserializer)? {
        Seeds::Count(count) if count.get() > MAX_RUNS as u64 => {
            let problem = format!("{count} seeds are more than {MAX_RUNS}");
            return Err(serde::de::Error::custom(problem));
        }
        Seeds::Count(count) => (0..count.get()).collect(),
        Seeds::List(list) => list,
    })
}

fn default_plots() -> Vec<Curve> {
    vec![Curve::ValLoss, Curve::ValExactMatch]
}

fn default_table() -> Vec<Metric> {
    vec![
        Metric::ExactMatch,
        Metric::TokenAccuracy,
        Metric::Loss,
        Metric::TrainSecs,
    ]
}

impl Experiment {
    /// Resolves every cell, so that a mistake in the last one does not cost the time of the others.
    fn resolve(&mut self, resolve: &Resolve<'_>) -> Result<()> {
        let identities = Identities::default();
        let seed = format!("seed={}", self.seeds[0]);
        let (config, common) = (self.config.as_deref(), &self.set);
        let resolve = |cell: &Cell| {
            let sets = common.iter().chain(&cell.set).chain([&seed]);
            let sets: Vec<String> = sets.cloned().collect();
            let table = resolve(cell.config.as_deref().or(config), &sets).map_err(|message| {
                Error::Config {
                    cell: cell.name.clone(),
                    message: message.trim_end().to_owned(),
                }
            })?;
            let settings = flatten(&table);
            Ok((identities.hash(&settings), settings))
        };
        let all: Vec<Result<(String, Settings)>> = parallel::map(&self.cells, resolve);
        for (cell, found) in self.cells.iter_mut().zip(all) {
            (cell.identity, cell.settings) = found?;
        }
        Ok(())
    }

    fn duplicate_cell(&self) -> Option<String> {
        let mut seen = BTreeMap::new();
        self.cells.iter().find_map(|cell| {
            let other = seen.insert(&cell.identity, &cell.name)?;
            Some(format!(
                "cells {other:?} and {:?} have the same configuration; remove one",
                cell.name
            ))
        })
    }

    /// The first mistake that deserialization does not find.
    fn problem(&self) -> Option<String> {
        if self.seeds.is_empty() || self.cells.is_empty() {
            return Some(
                "it must have at least one seed, and one cell: in [matrix], [search], [[cell]] or [[include]]"
                    .to_owned(),
            );
        }
        let n_runs = self.seeds.len().saturating_mul(self.cells.len());
        if n_runs > MAX_RUNS {
            return Some(format!("it has {n_runs} runs, more than {MAX_RUNS}"));
        }
        let mut seeds = BTreeSet::new();
        if let Some(seed) = self.seeds.iter().find(|seed| !seeds.insert(**seed)) {
            return Some(format!("`seeds` contains {seed} twice"));
        }
        let cells = self.cells.iter().map(|cell| &cell.name);
        let groups = self.lengths.iter().map(|group| &group.name);
        name_problem("cell", cells)
            .or_else(|| self.cells.iter().find_map(Cell::problem))
            .or_else(|| self.budget.problem())
            .or_else(|| self.halving.as_ref()?.problem())
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
        let is_unknown = |name: &&String| {
            let mut cells = self.cells.iter();
            !cells.any(|cell| pattern::matches(name, &cell.name))
        };
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
    pub(crate) fn new(name: String, config: Option<PathBuf>, set: Vec<String>) -> Self {
        let (identity, settings) = (String::new(), Settings::new());
        Self {
            name,
            config,
            set,
            identity,
            settings,
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

    fn problem(&self) -> Option<String> {
        let is_seed = |set: &&String| set.split('=').next().map(str::trim) == Some("seed");
        let set = self.set.iter().find(is_seed)?;
        Some(format!(
            "cell {:?} sets {set:?}; use `seeds` instead",
            self.name
        ))
    }
}

/// A name that is given twice, or that cannot be part of a file name.
fn name_problem<'a>(table: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Some(format!(
                "the name of a {table} must be unique, got {name:?} twice"
            ));
        }
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            return Some(format!(
                "the name of a {table} is part of file names and may contain a-z, 0-9, `-` and `.`, got \
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
        Plan::read(path, out, &resolve)
    }

    /// The changes as they are.
    fn resolve(_: Option<&Path>, sets: &[String]) -> Result<Table, String> {
        let pair = |set: &String| {
            let (key, value) = set.split_once('=').unwrap();
            (key.to_owned(), toml::Value::from(value))
        };
        Ok(sets.iter().map(pair).collect())
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
            format!(
                "train --config configs/tiny.toml --set model.hidden=512 --set model.decoder=1024 \
                 --set seed=7 --run-dir runs/experiments/widths/wide-seed7-{} --resume-or-start",
                read(GOOD).unwrap().experiment.cells[1].identity
            )
        );
    }

    #[test]
    fn a_count_of_seeds_and_a_matrix_are_a_grid() {
        let text = GOOD.replace("[0, 7]", "3").replace(
            "[[lengths]]\n        name = \"near\"",
            "[matrix]\nx = [1, 2]\n[[lengths]]\nname = \"near\"",
        );
        let plan = read(&text).unwrap();
        assert_eq!(plan.experiment.seeds, [0, 1, 2]);
        assert_eq!(plan.jobs().len(), 3 * (2 + 2));
        assert_eq!(plan.jobs().last().unwrap().name(), "x2-seed2");
    }

    #[test]
    fn cells_with_the_same_configuration_are_refused() {
        check_refused(
            "set = [\"model.hidden=512\", \"model.decoder=1024\"]",
            "",
            "cells \"base\" and \"wide\" have the same configuration",
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
        check_refused("[0, 7]", "0", "a list of seeds, or how many");
        check_refused("[0, 7]", "2000000", "more than 1000000");
        check_refused("[0, 7]", "[7, 7]", "`seeds` contains 7 twice");
        check_refused("wide", "base", "must be unique, got \"base\" twice");
        check_refused("\"wide\"", "\"../wide\"", "got \"../wide\"");
        check_refused("model.hidden=", "seed =", "use `seeds` instead");
    }

    #[test]
    fn invalid_evaluations_are_refused() {
        check_refused("1..9", "9..1", "range 9..1 is empty");
        check_refused("\"near\"", "\"../near\"", "got \"../near\"");
        check_refused(
            "\"near\"",
            "\"protocol\"",
            "the name of a [[lengths]] must be unique",
        );
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
        let error = Plan::read("no/such.toml", "out", &resolve)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no/such.toml: No such file"), "{error}");
    }

    #[test]
    fn every_experiment_of_the_repository_can_be_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/experiments");
        let paths = fs::read_dir(folder).unwrap();
        let paths = paths.map(|entry| entry.unwrap().path());
        let plans = paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
        let plans: Vec<Plan> = plans
            .map(|path| Plan::read(path, "out", &resolve).unwrap())
            .collect();
        assert!(plans.len() > 3);
    }
}
