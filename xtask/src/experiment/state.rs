//! What is to be done about a run's folder.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use s2s_runlog::{Error, LengthsRecord, RunDir, RunRecord, RunStatus, read_file, read_json};
use toml::Table;

use super::lengths::Group;
use super::settings::{Settings, differing, flatten};

/// A configuration is never larger.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not begun.
    Absent,
    /// Begun, and to be resumed.
    Unfinished,
    /// It has a result.
    Finished,
    /// That is its result.
    Diverged,
}

/// Looks at the folder of a run that is to have the configuration `wanted`.
///
/// # Errors
/// If the folder holds something else, or a run of another configuration: what to remove.
pub(crate) fn inspect(folder: &Path, wanted: &Settings) -> Result<State> {
    let advice = || {
        let folder = folder.display();
        format!("{folder} cannot be used; move or remove it, and start again")
    };
    let run = match RunDir::open(folder) {
        Ok(run) => run,
        Err(Error::NoRun { .. }) => return Ok(State::Absent),
        Err(problem @ Error::NotARun { .. }) => {
            // A process killed right at its start leaves next to nothing behind.
            return match RunDir::create(folder) {
                Ok(_) => Ok(State::Absent),
                Err(_) => Err(anyhow!(problem).context(advice())),
            };
        }
        Err(problem) => return Err(problem.into()),
    };

    let found = read_settings(&run).with_context(advice)?;
    let keys = differing(&[&found, wanted]);
    if !keys.is_empty() {
        let value = |settings: &Settings, key: &str| {
            settings
                .get(key)
                .map_or("absent".to_owned(), ToString::to_string)
        };
        let changes: Vec<String> = keys
            .iter()
            .map(|key| {
                let (there, now) = (value(&found, key), value(wanted, key));
                format!("{key} is {there} there, and {now} in the experiment")
            })
            .collect();
        return Err(anyhow!(changes.join("; ")).context(advice()));
    }
    if !run.run().exists() {
        return Ok(State::Unfinished);
    }
    let record: RunRecord = read_json(run.run()).with_context(advice)?;
    match (record.status, record.test) {
        (RunStatus::Running | RunStatus::Interrupted, _) => Ok(State::Unfinished),
        (RunStatus::Diverged, _) => Ok(State::Diverged),
        (_, Some(_)) => Ok(State::Finished),
        (_, None) => {
            Err(anyhow!("it is finished without figures of the test split")).with_context(advice)
        }
    }
}

/// Whether a run is evaluated by length as a group asks for.
///
/// # Errors
/// If it is evaluated under the group's name in another way: what to remove.
pub(crate) fn is_evaluated(folder: &Path, group: &Group) -> Result<bool> {
    let Ok(run) = RunDir::open(folder) else {
        return Ok(false);
    };
    let path = run.lengths(Some(&group.name));
    if !path.exists() {
        return Ok(false);
    }
    let advice = || {
        let path = path.display();
        format!("{path} cannot be used; move or remove it, and start again")
    };
    let found: LengthsRecord = read_json(&path).with_context(advice)?;
    let wanted = group.request().map_err(anyhow::Error::msg)?;
    if found.request != wanted {
        return Err(anyhow!("it asked for other lengths, samples or modes")).with_context(advice);
    }
    Ok(found.is_complete)
}

/// The configuration that a run was made with.
pub(crate) fn read_settings(run: &RunDir) -> Result<Settings> {
    let path = run.resolved_config();
    let text = String::from_utf8(read_file(&path, MAX_CONFIG_BYTES)?)?;
    match text.parse::<Table>() {
        Ok(table) => Ok(flatten(&table)),
        Err(error) => bail!("{}: {error}", path.display()),
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

    /// Inspects a folder with these files.
    fn state_of(files: &[(&str, &str)]) -> Result<State> {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("base-seed0");
        for (name, content) in files {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), content).unwrap();
        }
        inspect(&folder, &flatten(&CONFIG.parse().unwrap()))
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: State) {
        assert_eq!(state_of(files).unwrap(), expected);
    }

    #[track_caller]
    fn check_refused(files: &[(&str, &str)], expected: &str) {
        let message = format!("{:#}", state_of(files).unwrap_err());
        assert!(
            message.contains("base-seed0 cannot be used; move or remove it"),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn nothing_or_next_to_nothing_is_begun_anew() {
        check(&[], State::Absent);
        check(&[("run.lock", "123\n")], State::Absent);
    }

    #[test]
    fn what_has_a_result_is_skipped() {
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
    fn what_has_none_is_resumed() {
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
    fn a_run_of_another_configuration_is_refused_with_what_differs() {
        let other = CONFIG.replace('3', "4");
        check_refused(
            &[
                ("config.resolved.toml", &other),
                ("run.json", &record("finished")),
            ],
            "train.epochs is 4 there, and 3 in the experiment",
        );
        check_refused(
            &[("config.resolved.toml", "seed = 0\n")],
            "train.epochs is absent there",
        );
    }

    #[test]
    fn what_is_no_run_is_refused() {
        check_refused(&[("notes.txt", "mine")], "it has no config.resolved.toml");
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
