//! What an experiment was started with: the file and the numbers of its runs.

use std::collections::BTreeSet;
use std::path::Path;

use s2s_runlog::{create_folder, exists, read_file, read_json, write_file, write_json};
use serde::{Deserialize, Serialize};

use crate::plan::{COPY, Job, Plan};
use crate::{Error, Result};

/// The file with the numbers of the runs.
pub(crate) const RUNS: &str = "runs.json";

const MAX_BYTES: u64 = 1 << 20;

/// More differences are not shown.
const MAX_LINES: usize = 20;

/// The runs of an experiment. The number of a run is its position; it never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Runs {
    runs: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The name of its folder.
    folder: String,
    /// Whether the experiment file still has it.
    is_current: bool,
}

/// Checks that the plan is the one that was started, or records it.
///
/// # Errors
/// [`Error::Changed`] if other runs were started and the change is not accepted.
pub(crate) fn check(plan: &Plan, accepts_changes: bool) -> Result<()> {
    if plan.is_started {
        return Ok(());
    }
    let (path, copy) = (plan.folder.join(RUNS), plan.folder.join(COPY));
    let known = known(plan)?;
    let runs = merged(known.as_ref(), plan);
    if known.as_ref() == Some(&runs) {
        return Ok(());
    }
    if known.is_some() && !accepts_changes {
        return Err(Error::Changed {
            path: plan.path.clone(),
            folder: plan.folder.clone(),
            differences: differences(&copy, plan),
        });
    }
    create_folder(&plan.folder)?;
    write_file(copy, plan.text.as_bytes())?;
    write_json(path, &runs)?;
    Ok(())
}

/// The folder name of the run with this number, if the experiment was started with the file `text` and
/// still has this run.
pub(crate) fn run_folder(folder: &Path, text: &str, number: usize) -> Option<String> {
    let started = read_file(folder.join(COPY), MAX_BYTES).ok()?;
    let runs: Runs = read_json(folder.join(RUNS)).ok()?;
    let entry = runs.runs.into_iter().nth(number)?;
    (started == text.as_bytes() && entry.is_current).then_some(entry.folder)
}

/// The number of each job of a plan, in the order of its jobs.
pub(crate) fn numbers(plan: &Plan) -> Result<Vec<usize>> {
    let runs = merged(known(plan)?.as_ref(), plan);
    let positions: std::collections::BTreeMap<&str, usize> = runs
        .runs
        .iter()
        .enumerate()
        .map(|(number, entry)| (entry.folder.as_str(), number))
        .collect();
    let number = |job: &Job| positions[folder_name(job).as_str()];
    Ok(plan.jobs().iter().map(number).collect())
}

fn known(plan: &Plan) -> Result<Option<Runs>> {
    let path = plan.folder.join(RUNS);
    match exists(&path)? {
        true => Ok(Some(read_json(path)?)),
        false => Ok(None),
    }
}

/// The known runs and, behind them, those that the plan adds.
fn merged(known: Option<&Runs>, plan: &Plan) -> Runs {
    let planned: Vec<String> = plan.jobs().iter().map(folder_name).collect();
    let is_planned: BTreeSet<&String> = planned.iter().collect();
    let mut runs = known.cloned().unwrap_or_default();
    for entry in &mut runs.runs {
        entry.is_current = is_planned.contains(&entry.folder);
    }
    let known: BTreeSet<String> = runs.runs.iter().map(|entry| entry.folder.clone()).collect();
    let new = planned.into_iter().filter(|folder| !known.contains(folder));
    runs.runs.extend(new.map(|folder| Entry {
        folder,
        is_current: true,
    }));
    runs
}

fn folder_name(job: &Job) -> String {
    let name = job.folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The lines of the file that was started and of the present one that the other lacks.
fn differences(copy: &Path, plan: &Plan) -> String {
    let started = read_file(copy, MAX_BYTES).unwrap_or_default();
    let started = String::from_utf8_lossy(&started).into_owned();
    let only_in = |text: &str, other: &str, mark: char| -> Vec<String> {
        let other: BTreeSet<&str> = other.lines().map(str::trim).collect();
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.starts_with('#') && !other.contains(line));
        lines.map(|line| format!("  {mark} {line}")).collect()
    };
    let mut lines = only_in(&started, &plan.text, '-');
    lines.extend(only_in(&plan.text, &started, '+'));
    if lines.is_empty() {
        return "  the base configuration, a default, or the text that is read".to_owned();
    }
    let n_more = lines.len().saturating_sub(MAX_LINES);
    lines.truncate(MAX_LINES);
    if n_more > 0 {
        lines.push(format!("  and {n_more} more lines"));
    }
    lines.join("\n")
}
