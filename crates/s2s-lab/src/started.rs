//! What an experiment was started with: the file and the numbers of its runs.

use std::collections::{BTreeMap, BTreeSet};

use s2s_runlog::{RunDir, create_folder, exists, read_file, read_json, write_file, write_json};
use serde::Deserialize;

use crate::cell::{Job, run_prefix};
use crate::halving::Halving;
use crate::lengths::LengthGroup;
use crate::plan::Plan;
use crate::record::{COPY, Entry, MAX_BYTES, RUNS, Runs};
use crate::settings::differing;
use crate::state::read_settings;
use crate::{Error, Result};

/// More differences are not shown.
const MAX_LINES: usize = 20;

/// What an experiment file decides apart from the configurations of its runs.
#[derive(Deserialize)]
struct Decisive {
    halving: Option<Halving>,
    #[serde(default)]
    lengths: Vec<LengthGroup>,
}

/// Checks that the plan is the one that was started in its folder, if one was. Changes nothing.
///
/// # Errors
/// [`Error::Changed`] if it was started with other runs, another `[halving]` or other `[[lengths]]`;
/// [`Error::Damaged`] if the record of the runs cannot be read.
pub fn check_unchanged(plan: &Plan) -> Result<()> {
    if plan.is_started {
        return Ok(());
    }
    let Some(known) = known(plan)? else {
        return Ok(());
    };
    let copy = copy(plan);
    let is_same = merged(Some(&known), plan) == known;
    if is_same
        && copy
            .as_deref()
            .is_none_or(|copy| decides_the_same(copy, plan))
    {
        return Ok(());
    }
    Err(Error::Changed {
        path: plan.path.clone(),
        folder: plan.folder.clone(),
        differences: differences(copy.as_deref().unwrap_or_default(), &known, plan),
    })
}

/// Checks that the plan is the one that was started, or records it.
///
/// # Errors
/// Those of [`check_unchanged`], unless the change is accepted.
pub(crate) fn check(plan: &Plan, accepts_changes: bool) -> Result<()> {
    if plan.is_started {
        return Ok(());
    }
    match check_unchanged(plan) {
        Err(Error::Changed { .. }) if accepts_changes => {}
        checked => checked?,
    }
    let known = known(plan)?;
    let runs = merged(known.as_ref(), plan);
    if known.as_ref() == Some(&runs) && copy(plan).as_ref() == Some(&plan.text) {
        return Ok(());
    }
    create_folder(&plan.folder)?;
    write_file(plan.folder.join(COPY), plan.text.as_bytes())?;
    write_json(plan.folder.join(RUNS), &runs)?;
    Ok(())
}

/// The number of each job of a plan, in the order of its jobs.
pub(crate) fn numbers(plan: &Plan) -> Result<Vec<usize>> {
    let runs = merged(known(plan)?.as_ref(), plan);
    let positions: BTreeMap<&str, usize> = runs
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
        true => match read_json(&path) {
            Ok(runs) => Ok(Some(runs)),
            Err(source) => Err(Error::Damaged { path, source }),
        },
        false => Ok(None),
    }
}

/// The file that was started.
fn copy(plan: &Plan) -> Option<String> {
    let bytes = read_file(plan.folder.join(COPY), MAX_BYTES).ok()?;
    String::from_utf8(bytes).ok()
}

/// Whether the file that was started has the same `[halving]`, and the same `[[lengths]]` under each name
/// that both have.
fn decides_the_same(copy: &str, plan: &Plan) -> bool {
    let Ok(before) = toml::from_str::<Decisive>(copy) else {
        return false;
    };
    let is_same = |now: &LengthGroup| {
        let mut groups = before.lengths.iter();
        let group = groups.find(|group| group.name == now.name);
        group.is_none_or(|group| group.request() == now.request())
    };
    before.halving == plan.experiment.halving && plan.experiment.lengths.iter().all(is_same)
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

/// The lines of the file that was started and of the present one that the other lacks; if there are none,
/// the settings of the runs that differ.
fn differences(started: &str, known: &Runs, plan: &Plan) -> String {
    let only_in = |text: &str, other: &str, mark: char| -> Vec<String> {
        let other: BTreeSet<&str> = other.lines().map(str::trim).collect();
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.starts_with('#') && !other.contains(line));
        lines.map(|line| format!("  {mark} {line}")).collect()
    };
    let mut lines = only_in(started, &plan.text, '-');
    lines.extend(only_in(&plan.text, started, '+'));
    if lines.is_empty() {
        lines = settings_that_differ(known, plan);
    }
    if lines.is_empty() {
        return "  the text that is read, or the base configuration or a default".to_owned();
    }
    let n_more = lines.len().saturating_sub(MAX_LINES);
    lines.truncate(MAX_LINES);
    if n_more > 0 {
        lines.push(format!("  and {n_more} more lines"));
    }
    lines.join("\n")
}

/// What differs between the cells of the plan and their runs, which were started with another base
/// configuration or default.
fn settings_that_differ(known: &Runs, plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let folders: BTreeSet<&str> = known.runs.iter().map(|e| e.folder.as_str()).collect();
    let seeds = &plan.experiment.seeds;
    for cell in &plan.experiment.cells {
        let started = seeds.iter().find_map(|&seed| {
            let prefix = run_prefix(&cell.name, seed);
            let mut folders = folders.range(prefix.as_str()..);
            let folder = folders.find(|folder| is_of(folder, &prefix))?;
            let run = RunDir::open(plan.folder.join(folder)).ok()?;
            read_settings(&run).ok()
        });
        let Some(started) = started else {
            continue;
        };
        let value = |settings: &crate::Settings, key: &str| {
            let value = settings.get(key);
            value.map_or("absent".to_owned(), ToString::to_string)
        };
        for key in differing(&[&started, &cell.settings]) {
            let (was, is) = (value(&started, &key), value(&cell.settings, &key));
            if key != "seed" && is != "\"auto\"" {
                lines.push(format!("  {}: {key} was {was}, is {is}", cell.name));
            }
        }
    }
    lines
}

/// Whether a folder's name is this prefix and a hash.
fn is_of(folder: &str, prefix: &str) -> bool {
    let hash = folder.strip_prefix(prefix);
    hash.is_some_and(|hash| !hash.contains('-'))
}
