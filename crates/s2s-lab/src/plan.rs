//! What an experiment file describes.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use s2s_runlog::read_input;
use serde::{Deserialize, Deserializer};
use toml::Table;

use crate::budget::Budget;
use crate::cell::{Cell, Job, run_prefix};
use crate::comparison::Compare;
use crate::grid;
use crate::halving::Halving;
use crate::identity::{Identities, missing_text};
use crate::lengths::{LengthGroup, Published};
use crate::measure::{Curve, Metric};
use crate::record::{COPY, RUNS, run_folder};
use crate::search::Search;
use crate::settings::{Settings, flatten};
use crate::{Error, Result, parallel, pattern};

/// An experiment file has at most so many bytes.
const MAX_BYTES: u64 = 1 << 20;

/// More runs are most likely a mistake, and planning them would take minutes.
const MAX_RUNS: usize = 100_000;

/// A function that resolves and validates a configuration: [`resolve_with`](crate::resolve_with) makes one.
///
/// It gets a configuration file (`None` for the built-in default) and changes as `key=value`, and returns the
/// configuration with all keys. Its error is a message for a person. It is called from several threads.
pub type Resolve<'a> = dyn Fn(Option<&Path>, &[String]) -> Result<Table, String> + Sync + 'a;

/// A valid experiment file, and the folder for its runs and its report. The configuration of every cell is
/// resolved.
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
///
/// ```toml
/// title = "Widths"
/// question = "Does a wider encoder help?"
/// config = "configs/tiny.toml"
/// seeds = 5                                   # or a list
/// plots = ["val_loss", "val_exact_match"]
/// table = ["exact_match", "loss", "train_secs"]
///
/// [matrix]                                    # every combination of values is a cell
/// model.hidden = [32, 64]
/// attention = [                               # several keys that change together
///     { name = "dot", model.attention.kind = "dot", model.decoder = 64 },
///     { name = "additive", model.attention.kind = "additive" },
/// ]
///
/// [[exclude]]                                 # removes the cells with all these values
/// model.hidden = 64
/// model.attention.kind = "dot"
///
/// [[include]]                                 # adds a cell
/// name = "small"
/// model.hidden = 8
///
/// [[cell]]                                    # adds a cell, with changes as for `s2s train --set`
/// name = "no-attention"
/// set = ["model.attention.kind=none"]
///
/// [search]                                    # adds cells that are drawn at random
/// samples = 20
/// [search.space]
/// train.learning_rate = { log_uniform = [1e-4, 1e-2] }   # or uniform, or choice
///
/// [[compare]]
/// metric = "exact_match"
/// baseline = "no-attention"
/// ```
///
/// Use [`Plan::read`] to read a file: it also checks the file, and adds the cells of all these tables to
/// [`Experiment::cells`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The headline of the report.
    pub title: String,
    /// The question that the experiment answers, in one sentence.
    pub question: String,
    /// The configuration file that all cells start from, relative to the working directory; the built-in
    /// default if absent.
    #[serde(alias = "base")]
    pub config: Option<PathBuf>,
    /// Changes to it that all cells have, as `key=value` for `s2s train --set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Each cell is trained once with each seed. In the file a list, or a count: 3 for `[0, 1, 2]`.
    #[serde(deserialize_with = "seeds")]
    pub seeds: Vec<u64>,
    /// Curves to plot; by default validation loss and validation exact match.
    #[serde(default = "default_plots")]
    pub plots: Vec<Curve>,
    /// Metrics to tabulate; by default exact match, token accuracy, loss and training time.
    #[serde(default = "default_table")]
    pub table: Vec<Metric>,
    /// The configurations to compare: those of `[[cell]]`, then those of `[matrix]`, `[[include]]` and
    /// `[search]`. Names are unique.
    #[serde(rename = "cell", default)]
    pub cells: Vec<Cell>,
    #[serde(default)]
    matrix: Table,
    #[serde(default)]
    include: Vec<Table>,
    #[serde(default)]
    exclude: Vec<Table>,
    search: Option<Search>,
    /// Successive halving of the cells; without it, all cells train to the end.
    pub halving: Option<Halving>,
    /// When to stop starting runs; never by default.
    #[serde(default)]
    pub budget: Budget,
    /// Comparisons of cells, paired by seed.
    #[serde(default)]
    pub compare: Vec<Compare>,
    /// Evaluations by length of each run.
    #[serde(default)]
    pub lengths: Vec<LengthGroup>,
    /// Published results to show beside the evaluations by length.
    #[serde(default)]
    pub published: Vec<Published>,
}

impl Plan {
    /// Reads an experiment file and resolves all of its cells. Its runs and its report go to `folder`, which
    /// need not exist.
    ///
    /// # Errors
    /// [`Error::Plan`] if the file cannot be read or is not a valid experiment; [`Error::Config`] if
    /// `resolve` rejects the configuration of a cell, or the text that it names does not exist.
    pub fn read(
        path: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
        resolve: &Resolve<'_>,
    ) -> Result<Self> {
        let path = path.into();
        let text = read(&path).map_err(|problem| Error::Plan {
            path: path.clone(),
            problem,
        })?;
        Self::parse(path, text, folder, resolve)
    }

    /// The plan of an experiment file with this text. The file at `path` is not read and need not exist yet.
    ///
    /// # Errors
    /// Those of [`Plan::read`].
    pub fn parse(
        path: impl Into<PathBuf>,
        text: String,
        folder: impl Into<PathBuf>,
        resolve: &Resolve<'_>,
    ) -> Result<Self> {
        let (path, folder) = (path.into(), folder.into());
        let invalid = |problem| Error::Plan {
            path: path.clone(),
            problem,
        };
        let mut experiment = parse(&text).map_err(invalid)?;
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

    /// Reads an experiment file for the run with this number. If the experiment was started with the same
    /// file, the plan has only this run: no other cell is resolved, so that every task of a large job array
    /// starts fast. Otherwise the plan has all runs, as from [`Plan::read`].
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
        let text = read(path).ok()?;
        let mut experiment = parse(&text).ok()?;
        let name = run_folder(folder, &text, number)?;
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
    /// [`Error::Plan`] with halving or a budget.
    pub(crate) fn check_independent(&self) -> Result<()> {
        match self.experiment.halving {
            None => self.check_unbudgeted(),
            Some(_) => Err(Error::Plan {
                path: self.path.clone(),
                problem:
                    "with [halving], the results of all runs decide which continue, so another \
                          engine cannot start them; remove --launcher and --emit"
                        .to_owned(),
            }),
        }
    }

    /// Checks that no budget limits the runs together, of which one process must then start all.
    ///
    /// # Errors
    /// [`Error::Plan`] with a budget.
    pub(crate) fn check_unbudgeted(&self) -> Result<()> {
        match self.experiment.budget.is_limited() {
            false => Ok(()),
            true => Err(Error::Plan {
                path: self.path.clone(),
                problem:
                    "[budget] limits all runs together, so one process must start them; remove \
                          [budget], or --index, --launcher and --emit"
                        .to_owned(),
            }),
        }
    }

    /// The default folder of an experiment file: `runs/experiments/` and the file's name without extension.
    /// For the copy `experiment.toml` that is kept in an experiment's folder, it is that folder.
    pub fn default_folder(path: &Path) -> PathBuf {
        if let (true, Some(folder)) = (path.ends_with(COPY), path.parent())
            && s2s_runlog::exists(folder.join(RUNS)).unwrap_or(false)
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

    /// The runs: each cell with each seed, cell by cell.
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

fn read(path: &Path) -> Result<String, String> {
    let bytes = read_input(path, MAX_BYTES).map_err(|error| match error {
        s2s_runlog::Error::Read { source, .. } => source.to_string(),
        error => error.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<Experiment, String> {
    let mut experiment: Experiment = toml::from_str(text).map_err(|error| error.to_string())?;
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
        None => Ok(experiment),
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
        let halving = self.halving.as_ref();
        let resolve = |cell: &Cell| -> Result<_> {
            let invalid = |message: &str| Error::Config {
                cell: cell.name.clone(),
                message: message.trim_end().to_owned(),
            };
            let settings = |more: &[String]| -> Result<Settings> {
                let sets = common.iter().chain(&cell.set).chain(more).chain([&seed]);
                let sets: Vec<String> = sets.cloned().collect();
                let table = resolve(cell.config.as_deref().or(config), &sets);
                Ok(flatten(&table.map_err(|message| invalid(&message))?))
            };
            let mut found = settings(&[])?;
            let schedules = halving.map_or(Vec::new(), |halving| halving.schedules(&found));
            if !schedules.is_empty() {
                found = settings(&schedules)?;
            }
            if let Some(problem) = missing_text(&found) {
                return Err(invalid(&problem));
            }
            Ok((identities.hash(&found), found, schedules))
        };
        let all = parallel::map(&self.cells, resolve);
        for (cell, found) in self.cells.iter_mut().zip(all) {
            let schedules;
            (cell.identity, cell.settings, schedules) = found?;
            cell.set.extend(schedules);
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

#[cfg(test)]
mod tests;
