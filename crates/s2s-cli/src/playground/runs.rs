//! The runs of a playground, which may still be training.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use s2s_model::{NonFinite, TraceStep, tensor_message, trace};
use s2s_runlog::{CheckpointName, RunDir, exists, modified};
use s2s_train::{Runtime, Trained, check_unchanged, load_model};
use s2s_viz::PageRun;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{DecodeRequest, Refusal};
use crate::page;

/// Most likely tokens in an answer, per step.
const N_TOP: usize = 8;

/// A run, its records as they were last read, and its model as it was last used.
pub(super) struct WatchedRun {
    dir: RunDir,
    shown: Mutex<PageState>,
    model: Mutex<Option<LoadedModel>>,
}

/// What the page shows.
struct PageState {
    version: u64,
    files: Vec<Option<SystemTime>>,
    run: PageRun,
    /// Why the folder cannot be read any more.
    gone: Option<String>,
}

struct LoadedModel {
    saved: Option<SystemTime>,
    trained: Trained,
}

impl WatchedRun {
    /// The folder.
    pub(super) fn dir(&self) -> &RunDir {
        &self.dir
    }

    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let dir = RunDir::open(path)?;
        check_unchanged(&dir)?;
        let shown = PageState {
            version: 0,
            files: times(&dir),
            run: page::read(&dir)?,
            gone: None,
        };
        Ok(Self {
            dir,
            shown: Mutex::new(shown),
            model: Mutex::default(),
        })
    }

    /// Reads the records again if they have changed.
    pub(super) fn refresh(&self) {
        let files = times(&self.dir);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if files == shown.files {
            return;
        }
        match RunDir::open(self.dir.path())
            .map_err(Into::into)
            .and_then(|dir| page::read(&dir))
        {
            Ok(run) => (shown.run, shown.gone) = (run, None),
            Err(error) => shown.gone = Some(format!("{error:#}")),
        }
        shown.files = files;
        shown.version += 1;
    }

    /// A number that grows with each change.
    pub(super) fn version(&self) -> u64 {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .version
    }

    /// The run as the page shows it.
    pub(super) fn run(&self) -> PageRun {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .run
            .clone()
    }

    /// The same as JSON, for an event.
    pub(super) fn event(&self, index: usize) -> Value {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "index": index, "run": shown.run.to_json(), "gone": shown.gone })
    }

    /// Decodes a source.
    pub(super) fn decode(
        &self,
        request: &DecodeRequest,
        runtime: &Runtime,
    ) -> Result<String, Refusal> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: &dyn std::fmt::Display| Refusal::new(500, error.to_string());
        let name = page::checkpoint(&self.dir);
        let loaded = match model.take() {
            Some(loaded) if loaded.saved == saved(&self.dir, name) => loaded,
            // The last weights stay if the folder is gone.
            earlier => match load(&self.dir, name, runtime) {
                Ok(loaded) => loaded,
                Err(error) => earlier.ok_or_else(|| failed(&error))?,
            },
        };
        let Trained {
            model: seq2seq,
            codec,
            ..
        } = &model.insert(loaded).trained;
        let size = seq2seq.tokens().size;
        if let Some(token) = request.source.iter().find(|token| **token as usize >= size) {
            let message = format!("token {token} is not in the vocabulary of {size} tokens");
            return Err(Refusal::new(400, message));
        }
        let steps = trace(seq2seq, &request.source, codec.limit, &request.changes())
            .map_err(|error| Refusal::new(400, tensor_message(&error)))?;
        let eos = seq2seq.tokens().eos;
        let answer = Answer {
            stopped: steps.last().is_some_and(|step| step.token == eos),
            steps: steps.iter().map(AnswerStep::of).collect(),
        };
        serde_json::to_string(&answer).map_err(|error| failed(&error))
    }
}

/// When a checkpoint was saved.
fn saved(dir: &RunDir, name: CheckpointName) -> Option<SystemTime> {
    modified(dir.checkpoint(name).join("manifest.json"))
}

/// Loads a checkpoint, again if training replaces it meanwhile.
fn load(dir: &RunDir, name: CheckpointName, runtime: &Runtime) -> s2s_train::Result<LoadedModel> {
    let (threads, device) = (runtime.threads, &runtime.device);
    loop {
        let before = saved(dir, name);
        match load_model(dir, name, NonFinite::Reject, threads, device) {
            Ok(trained) => {
                return Ok(LoadedModel {
                    saved: before,
                    trained,
                });
            }
            Err(error) if saved(dir, name) == before => return Err(error),
            Err(_) => {}
        }
    }
}

/// The answer to `POST /decode`.
#[derive(Serialize)]
struct Answer<'a> {
    stopped: bool,
    steps: Vec<AnswerStep<'a>>,
}

#[derive(Serialize)]
struct AnswerStep<'a> {
    token: u32,
    probability: f32,
    top: Vec<Candidate>,
    weights: &'a [f32],
    controls: &'a BTreeMap<&'static str, Vec<f32>>,
}

#[derive(Serialize)]
struct Candidate {
    token: usize,
    probability: f32,
}

impl<'a> AnswerStep<'a> {
    fn of(step: &'a TraceStep) -> Self {
        let all = step.probabilities.iter().enumerate();
        let mut top: Vec<Candidate> = all
            .map(|(token, &probability)| Candidate { token, probability })
            .collect();
        top.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        top.truncate(N_TOP);
        Self {
            token: step.token,
            probability: step.probabilities[step.token as usize],
            top,
            weights: &step.weights,
            controls: &step.controls,
        }
    }
}

/// When the files that change during a run were last written.
fn times(dir: &RunDir) -> Vec<Option<SystemTime>> {
    let has_model = exists(dir.checkpoint(CheckpointName::Last)).unwrap_or(false);
    [
        dir.resolved_config(),
        dir.metrics(),
        dir.attention(),
        dir.wrong(),
        dir.samples(),
        dir.failures(),
        dir.run(),
    ]
    .iter()
    .map(modified)
    .chain([has_model.then_some(SystemTime::UNIX_EPOCH)])
    .collect()
}
