//! How far a run folder has come.

use std::path::Path;

use s2s_runlog::{
    Error as RunLogError, LengthsRecord, MetricsRecord, RunDir, RunRecord, RunStatus, TimingRecord,
    exists, read_file, read_json, read_lines,
};
use toml::{Table, Value};

use crate::cell::Job;
use crate::error::chain;
use crate::lengths::LengthGroup;
use crate::plan::Plan;
use crate::settings::{Settings, differing, flatten};
use crate::{Error, Result, halving};

/// A configuration file has at most so many bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It does not exist.
    Absent,
    /// It can be resumed.
    Unfinished,
    /// It has been evaluated on the test split.
    Finished,
    /// Its loss became infinite or NaN: there is nothing to evaluate.
    Diverged,
}

/// The state of a job.
///
/// # Errors
/// [`Error::Conflict`] if its folder contains something else, or a run with another configuration.
pub(crate) fn inspect(plan: &Plan, job: &Job) -> Result<State> {
    let wanted = &plan.cell_of(job).settings;
    if plan.experiment.halving.is_none() {
        return inspect_folder(&job.folder, wanted);
    }
    let mut wanted = wanted.clone();
    let found = RunDir::open(&job.folder).ok();
    let found = found.and_then(|run| read_settings(&run).ok());
    for key in halving::CHANGED_KEYS {
        // What an extension has changed is as it should be.
        match found.as_ref().and_then(|found| found.get(key)) {
            Some(value) => drop(wanted.insert(key.to_owned(), value.clone())),
            None => drop(wanted.remove(key)),
        }
    }
    inspect_folder(&job.folder, &wanted)
}

/// The number of steps for which a run is configured.
pub(crate) fn max_steps(folder: &Path) -> Option<u64> {
    let run = RunDir::open(folder).ok()?;
    let steps = read_settings(&run)
        .ok()?
        .get("train.max_steps")?
        .as_integer()?;
    u64::try_from(steps).ok()
}

/// The state of a run folder whose run must have the configuration `wanted`.
fn inspect_folder(folder: &Path, wanted: &Settings) -> Result<State> {
    let conflict = |reason: String| Error::Conflict {
        path: folder.to_owned(),
        reason,
    };
    let run = match RunDir::open(folder) {
        Ok(run) => run,
        Err(RunLogError::NoRun { .. }) => return Ok(State::Absent),
        Err(problem @ RunLogError::NotARun { .. }) => {
            // A process that was killed at its start leaves files that a new run may replace.
            return match RunDir::create(folder) {
                Ok(_) => Ok(State::Absent),
                Err(RunLogError::Busy { .. }) => Ok(State::Unfinished), // a process is starting it
                Err(_) => Err(conflict(problem.to_string())),
            };
        }
        Err(problem) => return Err(problem.into()),
    };

    let found = read_settings(&run).map_err(conflict)?;
    let mut keys = differing(&[&found, wanted]);
    // The seed is part of the folder's name. What is "auto" is chosen when the data are known.
    let is_open = |key: &String| wanted.get(key).and_then(Value::as_str) == Some("auto");
    keys.retain(|key| key != "seed" && !is_open(key));
    if !keys.is_empty() {
        let value = |settings: &Settings, key: &str| {
            let value = settings.get(key);
            value.map_or("absent".to_owned(), ToString::to_string)
        };
        let changes = keys.iter().map(|key| {
            let (there, here) = (value(&found, key), value(wanted, key));
            format!("its {key} is {there}, the experiment's is {here}")
        });
        return Err(conflict(changes.collect::<Vec<_>>().join("; ")));
    }
    if !exists(run.run())? {
        return Ok(State::Unfinished);
    }
    let record: RunRecord = read_json(run.run()).map_err(|error| conflict(error.to_string()))?;
    match (record.status, record.test) {
        (RunStatus::Running | RunStatus::Interrupted, _) => Ok(State::Unfinished),
        (RunStatus::Diverged, _) => Ok(State::Diverged),
        (_, Some(_)) => Ok(State::Finished),
        (_, None) => Err(conflict(
            "it finished without an evaluation on the test split".to_owned(),
        )),
    }
}

/// Whether a job has everything that the report needs. A conflict counts as missing.
pub(crate) fn is_done(plan: &Plan, job: &Job) -> bool {
    match inspect(plan, job) {
        Ok(State::Diverged) => true,
        Ok(State::Finished) => plan
            .lengths_of(job)
            .all(|group| matches!(evaluation(&job.folder, group), Ok(Evaluation::Complete))),
        _ => false,
    }
}

/// Whether a process is working on a run.
pub(crate) fn is_in_use(job: &Job) -> bool {
    RunDir::open(&job.folder).is_ok_and(|run| run.is_locked().unwrap_or(false))
}

/// What is wrong with the records of a finished run that its result needs.
pub(crate) fn damage(job: &Job) -> Option<String> {
    let run = RunDir::open(&job.folder).ok()?;
    let metrics = read_lines::<MetricsRecord>(run.metrics()).err();
    let problem = metrics.or_else(|| read_lines::<TimingRecord>(run.timing()).err());
    problem.map(|error| chain(&Error::RunLog(error)))
}

/// How far the evaluation of a run is that a group of lengths describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evaluation {
    /// It does not exist, or is interrupted.
    Missing,
    /// It is complete.
    Complete,
    /// There is an evaluation of this name with other lengths, samples or decoding modes.
    Other,
}

/// The evaluation that a group describes.
///
/// # Errors
/// [`Error::Conflict`] if its file cannot be read.
pub(crate) fn evaluation(folder: &Path, group: &LengthGroup) -> Result<Evaluation> {
    let Ok(run) = RunDir::open(folder) else {
        return Ok(Evaluation::Missing);
    };
    let path = run.lengths(Some(&group.name));
    if !exists(&path)? {
        return Ok(Evaluation::Missing);
    }
    let found: LengthsRecord = read_json(&path).map_err(|error| Error::Conflict {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    Ok(match found.is_complete {
        _ if Ok(&found.request) != group.request().as_ref() => Evaluation::Other,
        true => Evaluation::Complete,
        false => Evaluation::Missing,
    })
}

/// The configuration of a run, or why it cannot be read.
pub(crate) fn read_settings(run: &RunDir) -> Result<Settings, String> {
    let path = run.resolved_config();
    let bytes = read_file(&path, MAX_CONFIG_BYTES).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    match text.parse::<Table>() {
        Ok(table) => Ok(flatten(&table)),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CONFIG: &str = "seed = 0\n[train]\nepochs = 3\n";

    fn record(status: &str) -> String {
        let test = match status {
            "finished" | "stopped-early" | "target-reached" => {
                r#"{"split": "test", "step": 9, "n_sequences": 10, "n_tokens": 50, "loss": 0.5,
                    "forced_loss": 0.5, "token_accuracy": 0.9, "exact_match": 0.8}"#
            }
            _ => "null",
        };
        format!(
            r#"{{"status": "{status}", "step": 9, "best_step": 9, "best_val_loss": 0.5,
                "n_parameters": 7, "elapsed_secs": 1.0, "test": {test}}}"#
        )
    }

    /// The state of a folder with these files.
    fn state_of(files: &[(&str, &str)]) -> Result<State> {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("base-seed0");
        for (name, content) in files {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), content).unwrap();
        }
        inspect_folder(&folder, &flatten(&CONFIG.parse().unwrap()))
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: State) {
        assert_eq!(state_of(files).unwrap(), expected);
    }

    #[track_caller]
    fn check_refused(files: &[(&str, &str)], expected: &str) {
        let message = state_of(files).unwrap_err().to_string();
        assert!(
            message.contains("base-seed0 does not belong to this experiment: "),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_missing_folder_and_one_that_a_killed_process_left_are_absent() {
        check(&[], State::Absent);
        check(&[("run.lock", "123\n")], State::Absent);
    }

    #[test]
    fn a_run_with_a_result_is_finished_or_diverged() {
        for status in ["finished", "stopped-early", "target-reached", "diverged"] {
            let record = record(status);
            let expected = match status {
                "diverged" => State::Diverged,
                _ => State::Finished,
            };
            check(
                &[("config.resolved.toml", CONFIG), ("run.json", &record)],
                expected,
            );
        }
    }

    #[test]
    fn a_run_without_a_result_is_unfinished() {
        check(&[("config.resolved.toml", CONFIG)], State::Unfinished);
        for status in ["running", "interrupted"] {
            let record = record(status);
            check(
                &[("config.resolved.toml", CONFIG), ("run.json", &record)],
                State::Unfinished,
            );
        }
    }

    #[test]
    fn a_run_with_another_configuration_is_refused_with_the_difference() {
        let other = CONFIG.replace('3', "4");
        check_refused(
            &[
                ("config.resolved.toml", &other),
                ("run.json", &record("finished")),
            ],
            "its train.epochs is 4, the experiment's is 3",
        );
        check_refused(
            &[("config.resolved.toml", "seed = 0\n")],
            "its train.epochs is absent",
        );
    }

    #[test]
    fn a_value_that_is_chosen_from_the_data_is_no_difference() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.resolved.toml"), CONFIG).unwrap();
        let wanted = flatten(&CONFIG.replace('3', "\"auto\"").parse().unwrap());
        assert_eq!(
            inspect_folder(folder.path(), &wanted).unwrap(),
            State::Unfinished
        );
    }

    #[test]
    fn a_folder_that_is_not_a_run_is_refused() {
        check_refused(&[("notes.txt", "mine")], "config.resolved.toml");
        check_refused(
            &[("config.resolved.toml", "seed = ")],
            "config.resolved.toml: ",
        );
        check_refused(
            &[("config.resolved.toml", CONFIG), ("run.json", "{")],
            "run.json",
        );
    }
}
