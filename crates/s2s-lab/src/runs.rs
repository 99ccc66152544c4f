//! The runs below a folder, to list, filter and sort.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use s2s_runlog::{
    EvalRecord, Identity, MetricsRecord, RunDir, RunRecord, RunStatus, exists, list_folder,
    modified, read_json, read_lines,
};
use serde::Serialize;
use toml::Value;

use crate::date::utc_date;
use crate::measure::Metric;
use crate::settings::{Settings, number};
use crate::state::read_settings;

/// Folders are searched to this depth.
const MAX_DEPTH: usize = 6;

/// A run in a list of runs, with what a table of runs shows.
#[derive(Clone, Debug, Serialize)]
pub struct ListedRun {
    /// Its folder.
    pub path: PathBuf,
    /// The name that the user gave, if it is not the folder's.
    pub name: Option<String>,
    /// The labels that the user gave.
    pub tags: Vec<String>,
    /// Its status, as in `run.json`: `running` while a process trains it, `unfinished` if none does and it did not
    /// end, `damaged` if the file cannot be read.
    pub status: String,
    /// Optimizer steps taken, until the last evaluation if the run is not finished.
    pub step: u64,
    /// Number of trainable parameters; `None` without `run.json`.
    pub parameters: Option<u64>,
    /// The lowest validation loss in nats per token; `None` before the first evaluation.
    pub val_loss: Option<f64>,
    /// Metrics of the test split; `None` until the run has ended, and if it diverged.
    pub test: Option<EvalRecord>,
    /// Wall time of training and validation in seconds, over all processes; `None` without `run.json`.
    pub elapsed_secs: Option<f64>,
    /// The UTC date on which the run ended, or was started if there is no `run.json`, such as `2026-11-25`;
    /// `None` if the system does not say.
    pub date: Option<String>,
    /// Those settings of its configuration that [`ListedRun::read`] was asked for.
    pub settings: Settings,
}

/// The folders of all runs below a folder, to a depth of six, sorted by path; the folder alone if it is a run
/// itself. What cannot be read is skipped.
pub fn find_runs(folder: &Path) -> Vec<RunDir> {
    let mut found = Vec::new();
    collect(folder, 0, &mut found);
    found
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<RunDir>) {
    if let Ok(run) = RunDir::open(folder) {
        found.push(run);
        return;
    }
    if depth == MAX_DEPTH {
        return;
    }
    // What is not a folder, or cannot be read, has no runs.
    for name in list_folder(folder).unwrap_or_default() {
        collect(&folder.join(name), depth + 1, found);
    }
}

impl ListedRun {
    /// Reads a run, with those of its settings that `keys` name, such as `model.hidden`. What cannot be read
    /// is absent.
    pub fn read(run: &RunDir, keys: &BTreeSet<&str>) -> Self {
        let identity: Option<Identity> = read_json(run.identity()).ok();
        let (name, tags) = identity.map_or((None, Vec::new()), |i| (Some(i.name), i.tags));
        let folder = run.path().file_name().map(|name| name.to_string_lossy());
        let mut settings = Settings::new();
        if !keys.is_empty() {
            settings = read_settings(run).unwrap_or_default();
            settings.retain(|key, _| keys.contains(key.as_str()));
        }
        let mut listed = Self {
            path: run.path().to_owned(),
            name: name.filter(|name| Some(name.as_str()) != folder.as_deref()),
            tags,
            status: String::new(),
            step: 0,
            parameters: None,
            val_loss: None,
            test: None,
            elapsed_secs: None,
            date: None,
            settings,
        };
        let running = || match run.is_locked() {
            Ok(false) => "unfinished".to_owned(), // its process was killed
            Ok(true) | Err(_) => RunStatus::Running.name().to_owned(),
        };
        match read_json::<RunRecord>(run.run()) {
            Ok(record) => {
                listed.status = match record.status {
                    RunStatus::Running => running(),
                    status => status.name().to_owned(),
                };
                listed.step = record.step;
                listed.parameters = Some(record.n_parameters);
                listed.val_loss = record.best_val_loss;
                listed.test = record.test;
                listed.elapsed_secs = Some(record.elapsed_secs);
                listed.date = modified(run.run()).map(utc_date);
            }
            Err(_) => {
                listed.status = match exists(run.run()).unwrap_or(true) {
                    true => "damaged".to_owned(),
                    false => running(),
                };
                listed.date = modified(run.resolved_config()).map(utc_date);
            }
        }
        if listed.test.is_none() {
            // `run.json` is written at the start and at the end.
            let metrics: Vec<MetricsRecord> = read_lines(run.metrics()).unwrap_or_default();
            if let Some(last) = metrics.last() {
                listed.step = listed.step.max(last.step);
                let losses = metrics.iter().map(|record| record.val_loss);
                listed.val_loss = losses.reduce(f64::min);
            }
        }
        listed
    }

    /// The value of a key: a [metric](Metric::key), a column (`path`, `name`, `status`, `step`, `parameters`,
    /// `val_loss`, `date`, `tag`), or a setting that was read. `None` if the run has no such value.
    pub fn value(&self, key: &str) -> Option<Value> {
        let metric = Metric::ALL.into_iter().find(|metric| metric.key() == key);
        if let Some(metric) = metric {
            let value = match metric {
                Metric::TrainSecs => self.elapsed_secs?,
                metric => metric.value(self.test.as_ref()?, 0.0),
            };
            return Some(Value::Float(value));
        }
        let integer = |n: u64| i64::try_from(n).ok().map(Value::Integer);
        match key {
            "path" => Some(Value::from(self.path.display().to_string())),
            "name" => self.name.clone().map(Value::from),
            "status" => Some(Value::from(self.status.clone())),
            "step" => integer(self.step),
            "parameters" => integer(self.parameters?),
            "val_loss" => self.val_loss.map(Value::Float),
            "date" => self.date.clone().map(Value::from),
            "tag" => (!self.tags.is_empty()).then(|| Value::from(self.tags.join(","))),
            key => self.settings.get(key).cloned(),
        }
    }
}

/// Keys of the list that are not settings.
const COLUMNS: [&str; 8] = [
    "path",
    "name",
    "status",
    "step",
    "parameters",
    "val_loss",
    "date",
    "tag",
];

/// Whether a key of [`ListedRun::value`] is a setting, so that [`ListedRun::read`] must be asked for it. Any
/// key that is neither a column nor a metric counts as a setting.
pub fn is_setting(key: &str) -> bool {
    let is_metric = Metric::ALL.iter().any(|metric| metric.key() == key);
    !is_metric && !COLUMNS.contains(&key)
}

/// A condition on runs, parsed from text such as `model.hidden=32`, `status!=finished`, `exact_match>0.9` or
/// `tag=best`. The error of parsing is a message for a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The key, as in [`ListedRun::value`].
    pub key: String,
    operator: Operator,
    wanted: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    Greater,
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid =
            || format!("expected KEY=VALUE, KEY!=VALUE, KEY<NUMBER or KEY>NUMBER, got {text:?}");
        let position = text.find(['=', '!', '<', '>']).ok_or_else(invalid)?;
        let (key, rest) = text.split_at(position);
        let operators = [
            ("!=", Operator::NotEqual),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let found = operators.iter().find_map(|(sign, operator)| {
            rest.strip_prefix(sign)
                .map(|wanted| (*operator, wanted.trim()))
        });
        let (operator, wanted) = found.ok_or_else(invalid)?;
        let is_ordered = matches!(operator, Operator::Less | Operator::Greater);
        if key.trim().is_empty() || is_ordered && wanted.parse::<f64>().is_err() {
            return Err(invalid());
        }
        Ok(Self {
            key: key.trim().to_owned(),
            operator,
            wanted: wanted.to_owned(),
        })
    }
}

impl Filter {
    /// Whether a run meets the condition. Numbers are compared as numbers, other values as text; `tag=best`
    /// holds if one of the labels is `best`. A run without the key meets only `!=`.
    pub fn accepts(&self, run: &ListedRun) -> bool {
        if self.key == "tag" {
            let has = run.tags.contains(&self.wanted);
            return has == (self.operator == Operator::Equal);
        }
        let value = run.value(&self.key);
        match self.operator {
            Operator::Equal => value.is_some_and(|value| self.is_wanted(&value)),
            Operator::NotEqual => !value.is_some_and(|value| self.is_wanted(&value)),
            Operator::Less | Operator::Greater => {
                let (Some(found), Ok(bound)) =
                    (value.as_ref().and_then(number), self.wanted.parse())
                else {
                    return false;
                };
                match self.operator {
                    Operator::Less => found < bound,
                    _ => found > bound,
                }
            }
        }
    }

    fn is_wanted(&self, value: &Value) -> bool {
        match (number(value), self.wanted.parse::<f64>()) {
            (Some(found), Ok(wanted)) => found == wanted,
            _ => written(value) == self.wanted,
        }
    }
}

/// Sorts runs by a key of [`ListedRun::value`]: numbers by size, text by letters, runs without the key last.
pub fn sort_runs(runs: &mut [ListedRun], key: &str, is_descending: bool) {
    runs.sort_by(|a, b| {
        let (a, b) = (a.value(key), b.value(key));
        match (&a, &b) {
            (Some(a), Some(b)) => {
                let order = match (number(a), number(b)) {
                    (Some(a), Some(b)) => a.total_cmp(&b),
                    _ => written(a).cmp(&written(b)),
                };
                if is_descending {
                    order.reverse()
                } else {
                    order
                }
            }
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    });
}

/// A TOML value as text for a table: strings without quotes.
pub fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(folder: &Path, name: &str, hidden: usize, exact: f64) {
        let run = folder.join(name);
        fs::create_dir_all(&run).unwrap();
        let config = format!("seed = 0\n[model]\nhidden = {hidden}\ncell = \"gru\"\n");
        fs::write(run.join("config.resolved.toml"), config).unwrap();
        let record = format!(
            r#"{{"status": "finished", "step": 9, "best_step": 9, "best_val_loss": 0.5,
                "n_parameters": 7, "elapsed_secs": 1.5, "test": {{"split": "test", "step": 9,
                "n_sequences": 10, "n_tokens": 50, "loss": 0.5, "forced_loss": 0.5,
                "token_accuracy": 0.9, "exact_match": {exact}}}}}"#
        );
        fs::write(run.join("run.json"), record).unwrap();
    }

    fn listed(folder: &Path) -> Vec<ListedRun> {
        let keys = BTreeSet::from(["model.hidden"]);
        let runs = find_runs(folder);
        runs.iter().map(|run| ListedRun::read(run, &keys)).collect()
    }

    fn names(runs: &[ListedRun]) -> Vec<String> {
        let name = |run: &ListedRun| run.path.file_name().unwrap().to_string_lossy().into_owned();
        runs.iter().map(name).collect()
    }

    fn three() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "experiments/a/one", 32, 0.5);
        write(folder.path(), "two", 8, 0.75);
        write(folder.path(), "three", 100, 0.25);
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        folder
    }

    #[test]
    fn runs_are_found_in_folders_of_folders() {
        let folder = three();
        let runs = listed(folder.path());
        assert_eq!(names(&runs), ["one", "three", "two"]);
        assert_eq!(runs[0].status, "finished");
        assert_eq!(listed(&folder.path().join("two")).len(), 1);
        assert!(listed(&folder.path().join("absent")).is_empty());
    }

    #[test]
    fn runs_are_sorted_by_number_and_filtered() {
        let folder = three();
        let mut runs = listed(folder.path());
        sort_runs(&mut runs, "model.hidden", false);
        assert_eq!(names(&runs), ["two", "one", "three"]);
        sort_runs(&mut runs, "exact_match", true);
        assert_eq!(names(&runs), ["two", "one", "three"]);
        let accepted = |text: &str| {
            let filter: Filter = text.parse().unwrap();
            let accepted = runs.iter().filter(|run| filter.accepts(run));
            names(&accepted.cloned().collect::<Vec<_>>())
        };
        assert_eq!(accepted("model.hidden=32"), ["one"]);
        assert_eq!(accepted("model.hidden>30"), ["one", "three"]);
        assert_eq!(accepted("exact_match<0.6"), ["one", "three"]);
        assert_eq!(accepted("status!=finished"), [""; 0]);
        assert_eq!(accepted("tag=best"), [""; 0]);
        for text in ["model.hidden", "=3", "step>many"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }

    #[test]
    fn runs_are_sorted_by_their_tags() {
        let folder = three();
        let mut runs = listed(folder.path());
        runs[0].tags = vec!["b".to_owned()];
        runs[2].tags = vec!["a".to_owned()];
        sort_runs(&mut runs, "tag", false);
        assert_eq!(
            names(&runs),
            ["two", "one", "three"],
            "without a tag comes last"
        );
    }

    #[test]
    fn a_run_whose_process_was_killed_is_unfinished() {
        let folder = three();
        let path = folder.path().join("two/run.json");
        let record = fs::read_to_string(&path).unwrap();
        fs::write(&path, record.replace("finished", "running")).unwrap();
        let run = RunDir::open(folder.path().join("two")).unwrap();
        let status = || ListedRun::read(&run, &BTreeSet::new()).status;
        assert_eq!(status(), "unfinished");
        let lock = run.lock().unwrap();
        assert_eq!(status(), "running");
        drop(lock);
    }

    #[test]
    fn a_damaged_record_does_not_hide_the_run() {
        let folder = three();
        fs::write(folder.path().join("two/run.json"), "{").unwrap();
        fs::remove_file(folder.path().join("three/run.json")).unwrap();
        let runs = listed(folder.path());
        assert_eq!(runs[1].status, "unfinished");
        assert_eq!(runs[2].status, "damaged");
    }
}
