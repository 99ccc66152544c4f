//! Reads a run for the viewer, as far as its files can be read.

use s2s_runlog::{
    CheckpointName, CorpusRecord, Error as RunLogError, RunDir, RunRecord, RunStatus, exists,
    read_checkpoint, read_json, write_file,
};
use s2s_train::{ExperimentConfig, load_config, output_limit};
use s2s_viz::{Page, PageCommand, PageRun, PageSource, PageWeights};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::picture::records;
use crate::shell::{quote, quote_text};

/// Writes `report.html` into the folder of a run.
pub(crate) fn write(dir: &RunDir) -> anyhow::Result<()> {
    let page = Page {
        runs: vec![read_with_weights(dir)?],
        source: PageSource::Embedded,
    };
    Ok(write_file(dir.report(), page.html().as_bytes())?)
}

/// A run with its weights, for a page that runs the model.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_with_weights(dir: &RunDir) -> anyhow::Result<PageRun> {
    let mut run = read(dir)?;
    match run.config.pointer("/model/decoder/readout") {
        Some(readout) if readout == "per-mode" => {
            let what = "a page cannot run a transducer with a readout per mode; `s2s predict` can";
            run.problems.push(what.to_owned());
        }
        _ => run.weights = weights(dir, &mut run.problems),
    }
    Ok(run)
}

/// A run without its weights. What cannot be read is named in its problems.
///
/// # Errors
/// If a value of the configuration has no JSON form.
pub(crate) fn read(dir: &RunDir) -> anyhow::Result<PageRun> {
    let mut problems = Vec::new();
    let config = load_config(Some(&dir.resolved_config()), &[]);
    let config = noted(
        &mut problems,
        "config.resolved.toml",
        config.map_err(Into::into),
    );
    let corpus: Option<CorpusRecord> = optional(&mut problems, dir.corpus());
    let record: Option<RunRecord> = optional(&mut problems, dir.run());
    let environment = optional(&mut problems, dir.environment());
    let mut run = PageRun {
        name: name(dir),
        metrics: lines(&mut problems, dir.metrics()),
        attention: lines(&mut problems, dir.attention()),
        wrong: lines(&mut problems, dir.wrong()),
        samples: lines(&mut problems, dir.samples()),
        failures: optional(&mut problems, dir.failures()),
        has_model: exists(dir.checkpoint(checkpoint(dir))).unwrap_or(false),
        ..PageRun::default()
    };
    for path in dir.all_lengths()? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = name
            .trim_start_matches("lengths")
            .trim_start_matches('-')
            .to_owned();
        run.lengths
            .extend(optional(&mut problems, path).map(|record| (name, record)));
    }
    if let Some(config) = config {
        run.defaults = defaults(&config)?;
        run.output_limit = serde_json::to_value(output_limit(&config, corpus.as_ref()))?;
        run.config = serde_json::to_value(&config)?;
    }
    if let Some(corpus) = corpus {
        run.words = ["<unk>".to_owned()]
            .into_iter()
            .chain(corpus.vocabulary)
            .collect();
        run.corpus = corpus.files;
        run.longest = Some(corpus.longest);
    }
    run.commands = commands(&run.name, environment.as_ref());
    (run.record, run.environment) = (record, environment);
    for failure in run.record.iter().flat_map(|record| &record.degraded) {
        problems.push(format!(
            "{}: incomplete since step {}",
            failure.log, failure.step
        ));
    }
    run.problems = problems;
    Ok(run)
}

/// The name of the folder, also for `.`.
fn name(dir: &RunDir) -> String {
    let path = std::path::absolute(dir.path()).unwrap_or_default();
    path.file_name().map_or_else(
        || "run".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The best parameters of a run that has ended, the last ones of a run that trains.
pub(crate) fn checkpoint(dir: &RunDir) -> CheckpointName {
    let record: Option<RunRecord> = read_json(dir.run()).ok();
    match record.map(|record| record.status) {
        None | Some(RunStatus::Running) => CheckpointName::Last,
        Some(_) => CheckpointName::Best,
    }
}

fn weights(dir: &RunDir, problems: &mut Vec<String>) -> Option<PageWeights> {
    let name = checkpoint(dir);
    let read = || -> anyhow::Result<PageWeights> {
        let checkpoint = read_checkpoint(dir.checkpoint(name))?;
        let state: Value = serde_json::from_slice(checkpoint.file("state.json")?)?;
        Ok(PageWeights {
            step: state["step"].as_u64().unwrap_or(0),
            safetensors: checkpoint.file("params.safetensors")?.to_vec(),
        })
    };
    noted(problems, "checkpoints", read())
}

/// The defaults of the keys that a configuration has: those of its attention and its schedule, not of
/// the default ones.
fn defaults(config: &ExperimentConfig) -> anyhow::Result<Value> {
    let mut defaults = ExperimentConfig::default();
    if !config.data.is_text() {
        defaults.resolve(None, None);
    }
    let mut defaults = serde_json::to_value(defaults)?;
    let own = serde_json::to_value(config)?;
    for path in ["/model/attention", "/train/schedule"] {
        let (Some(own), Some(default)) = (own.pointer(path), defaults.pointer_mut(path)) else {
            continue;
        };
        if own["kind"] != default["kind"] {
            // All keys of another kind but `kind` itself count as chosen with it.
            let kind = default["kind"].clone();
            *default = own.clone();
            default["kind"] = kind;
        }
    }
    Ok(defaults)
}

/// The command lines that reproduce the run and the page.
fn commands(name: &str, environment: Option<&s2s_runlog::Environment>) -> Vec<PageCommand> {
    let command = |purpose: &str, line: String| PageCommand {
        purpose: purpose.to_owned(),
        line,
    };
    let given = environment.map(|environment| {
        let words: Vec<String> = environment
            .command
            .iter()
            .map(|word| quote_text(word))
            .collect();
        command("The command of the run", words.join(" "))
    });
    let folder = quote(std::path::Path::new(name));
    given
        .into_iter()
        .chain([
            command(
                "The same run from its folder alone",
                format!("s2s train --config {folder}/config.resolved.toml"),
            ),
            command("This page", format!("s2s report {folder}")),
        ])
        .collect()
}

/// The value, or a note that `what` cannot be read.
fn noted<T>(problems: &mut Vec<String>, what: &str, value: anyhow::Result<T>) -> Option<T> {
    match value {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(format!("{what}: {error:#}"));
            None
        }
    }
}

/// A JSON file that may be absent.
fn optional<T: DeserializeOwned>(
    problems: &mut Vec<String>,
    path: std::path::PathBuf,
) -> Option<T> {
    match read_json(&path) {
        Err(RunLogError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            None
        }
        result => noted(problems, &file_name(&path), result.map_err(Into::into)),
    }
}

/// A file of records that may be absent.
fn lines<T: DeserializeOwned>(problems: &mut Vec<String>, path: std::path::PathBuf) -> Vec<T> {
    let name = file_name(&path);
    noted(problems, &name, records(path).map_err(Into::into)).unwrap_or_default()
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
