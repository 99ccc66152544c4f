//! Converts the state of a run to the files of a checkpoint and back.
//!
//! ```text
//! params.safetensors    the named parameters, nothing else
//! moments.safetensors   the optimizer's first/<name> and second/<name>; only in `last`, from which a run resumes
//! state.json            all other state that affects later steps
//! ```

use std::fmt;

use candle_core::Tensor;
use s2s_kernels::Moments;
use s2s_model::{
    LoadOptions, NonFinite, Params, WeightsError, load_tensors, load_weights, save_tensors,
};
use s2s_runlog::{
    Checkpoint, CheckpointName, ConfigChange, CorpusRecord, JsonLines, LATER_KEYS, RunDir, exists,
    hex, read_json, read_lines, write_json,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Attempt, Error, ExperimentConfig, LossScale, Optimizer, Plateau, Result, Tally};

const PARAMS: &str = "params.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "state.json";

/// Upper bound on the tokens of one target, for plausibility checks.
const MAX_TARGET_TOKENS: u64 = 1 << 20;

/// The state of a run, serialized as the files of its checkpoints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Steps taken.
    pub step: u64,
    /// Whether this is the best evaluation so far, so that the state is also saved as `best`.
    pub is_best: bool,
    /// The bytes of `params.safetensors`.
    pub params: Vec<u8>,
    /// The bytes of `moments.safetensors`.
    pub moments: Vec<u8>,
    /// The bytes of `state.json`.
    pub state: Vec<u8>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("step", &self.step)
            .field("is_best", &self.is_best)
            .finish_non_exhaustive() // the files are megabytes
    }
}

/// Whether a checkpoint belongs to the best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsBest {
    Yes,
    No,
}

impl Snapshot {
    /// The names and contents of the files of checkpoint `name`.
    pub fn files(&self, name: CheckpointName) -> Vec<(&'static str, &[u8])> {
        let (params, state) = ((PARAMS, &self.params[..]), (STATE, &self.state[..]));
        match name {
            CheckpointName::Best => vec![params, state],
            CheckpointName::Last | CheckpointName::Start => {
                vec![params, (MOMENTS, &self.moments), state]
            }
        }
    }

    /// Replaces the snapshot by the given state and reuses its buffers.
    pub(crate) fn update(
        &mut self,
        is_best: IsBest,
        params: &Params,
        optimizer: &Optimizer,
        state: &TrainState,
    ) -> Result<()> {
        (self.step, self.is_best) = (state.step, is_best == IsBest::Yes);
        let named = params.iter().map(|(name, var)| (name, var.as_tensor()));
        save_tensors(named, &mut self.params)?;
        let moments = params.iter().zip(optimizer.moments());
        let moments = moments.flat_map(|((name, _), moments)| {
            [
                (format!("first/{name}"), &moments.first),
                (format!("second/{name}"), &moments.second),
            ]
        });
        save_tensors(moments, &mut self.moments)?;
        self.state = serde_json::to_vec_pretty(state).map_err(candle_core::Error::wrap)?;
        self.state.push(b'\n');
        Ok(())
    }
}

/// The state of the training loop between steps, without parameters and moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Optimizer steps taken.
    pub step: u64,
    /// SHA-256 of the run's resolved configuration and of its corpus record.
    pub config_sha256: String,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since the best one.
    pub n_stale: u64,
    /// SHA-256 of samples of the data; empty in checkpoints of older versions, which skip the
    /// comparison.
    #[serde(default)]
    pub data_sha256: String,
    /// Whether the target exact match was reached.
    pub is_target_reached: bool,
    /// Whether an observer finished the run.
    #[serde(default)]
    pub is_stopped: bool,
    /// State of the plateau schedule.
    pub plateau: Plateau,
    /// Training metrics since the last evaluation.
    pub train: Tally,
    /// Steps since the last evaluation.
    pub n_steps: u64,
    /// Sum of the gradient norms of these steps.
    pub grad_norm_sum: f64,
    /// The factor on the loss in half precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// The attempt, of a run with a curriculum or restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

/// The evaluation with the lowest validation loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its validation loss.
    pub val_loss: f64,
}

impl TrainState {
    /// The first key whose value is impossible in a run of at most `steps` steps. Without this check, forged counters could overflow.
    fn implausible_key(&self, steps: u64, config: &ExperimentConfig) -> Option<&'static str> {
        let per_step = config.train.sequences_per_step();
        let Tally {
            n_tokens,
            n_right,
            n_sequences,
            n_exact,
            ..
        } = self.train;
        let max_tokens = n_sequences.saturating_mul(MAX_TARGET_TOKENS);
        let keys = [
            ("step", self.step <= steps),
            ("n_steps", self.n_steps <= self.step),
            ("n_stale", self.n_stale <= self.step),
            ("best", self.best.is_none_or(|best| best.step <= self.step)),
            (
                "loss_scale",
                self.loss_scale.is_none_or(LossScale::is_plausible),
            ),
            (
                "attempt",
                self.attempt
                    .is_none_or(|attempt| attempt.is_plausible(self.step, config)),
            ),
            ("plateau", self.plateau.is_plausible(self.step)),
            (
                "train",
                n_sequences <= self.n_steps.saturating_mul(per_step)
                    && n_tokens <= max_tokens
                    && n_right <= n_tokens
                    && n_exact <= n_sequences,
            ),
        ];
        keys.into_iter().find(|(_, fits)| !fits).map(|(key, _)| key)
    }
}

/// SHA-256 of a configuration and of its corpus record, in hexadecimal. Later keys at their defaults do
/// not count, so that runs of earlier versions still load.
pub(crate) fn fingerprint(
    config: &ExperimentConfig,
    corpus: Option<&CorpusRecord>,
) -> Result<String> {
    let mut text = config.to_toml()?;
    for (key, value) in LATER_KEYS {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        let line = match name {
            "kind" => format!("\n[{table}]\nkind = {value}\n"),
            name => format!("{name} = {value}\n"),
        };
        text = text.replacen(&line, "", 1);
    }
    let mut digest = Sha256::new_with_prefix(text);
    if let Some(corpus) = corpus {
        digest.update(serde_json::to_vec(corpus).map_err(candle_core::Error::wrap)?);
    }
    Ok(hex(&digest.finalize()))
}

/// The fingerprints with which the checkpoints of a run may have been saved.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprints {
    /// Of the present configuration.
    pub(crate) current: String,
    /// Of the configurations that `resume` changed into the present one.
    earlier: Vec<String>,
}

impl Fingerprints {
    /// Those that the checkpoints of a run may have.
    pub(crate) fn of_run(
        dir: &RunDir,
        config: &ExperimentConfig,
        corpus: Option<&CorpusRecord>,
    ) -> Result<Self> {
        let current = fingerprint(config, corpus)?;
        Ok(Self::with_history(current, &history(dir)?))
    }

    /// Only the present configuration.
    pub(crate) fn only(current: String) -> Self {
        Self {
            current,
            earlier: Vec::new(),
        }
    }

    /// The present configuration and those that these changes, oldest first, turned into it.
    pub(crate) fn with_history(current: String, changes: &[ConfigChange]) -> Self {
        let mut all = Self::only(current);
        for change in changes.iter().rev() {
            if all.contains(&change.after) {
                all.earlier.push(change.before.clone());
            }
        }
        all
    }

    fn contains(&self, fingerprint: &String) -> bool {
        self.current == *fingerprint || self.earlier.contains(fingerprint)
    }
}

/// The changes of a run's configuration, oldest first.
pub(crate) fn history(dir: &RunDir) -> Result<Vec<ConfigChange>> {
    match exists(dir.history())? {
        true => Ok(read_lines(dir.history())?),
        false => Ok(Vec::new()),
    }
}

/// Records the text of a run whose weights were imported without it: from here on, it is the text of the run. All
/// checkpoints stay valid, also after a kill in between.
pub(crate) fn record_text(
    dir: &RunDir,
    config: &ExperimentConfig,
    corpus: Option<&CorpusRecord>,
) -> Result<()> {
    let Some(corpus) = corpus else {
        return Ok(());
    };
    let recorded: CorpusRecord = read_json(dir.corpus())?;
    if !recorded.files.is_empty() {
        return Ok(());
    }
    append_change(
        dir,
        &ConfigChange {
            step: 0,
            set: Vec::new(),
            before: fingerprint(config, Some(&recorded))?,
            after: fingerprint(config, Some(corpus))?,
        },
    )?;
    Ok(write_json(dir.corpus(), corpus)?)
}

/// Appends a change to the history of a run.
pub(crate) fn append_change(dir: &RunDir, entry: &ConfigChange) -> Result<()> {
    let mut lines = JsonLines::resume(dir.history(), |_: &ConfigChange| true)?;
    lines.append(entry)?;
    Ok(lines.sync()?)
}

/// Checks that a checkpoint was saved with one of these configurations.
pub(crate) fn check_config(
    checkpoint: &Checkpoint,
    state: &TrainState,
    fingerprints: &Fingerprints,
) -> Result<()> {
    if fingerprints.contains(&state.config_sha256) {
        return Ok(());
    }
    let reason = "it was saved with a different config.resolved.toml or corpus.json; one of these \
                  files may have been edited"
        .to_owned();
    Err(mismatch(checkpoint, reason))
}

/// Loads all parameters from a checkpoint; on an error none is changed.
pub(crate) fn load_params(
    params: &Params,
    checkpoint: &Checkpoint,
    non_finite: NonFinite,
) -> Result<()> {
    let options = LoadOptions {
        non_finite,
        ..LoadOptions::default()
    };
    load_weights(params, checkpoint.file(PARAMS)?, &options)
        .map_err(|error| file_mismatch(checkpoint, PARAMS, &error))?;
    Ok(())
}

/// The training state in a checkpoint.
pub(crate) fn load_state(checkpoint: &Checkpoint) -> Result<TrainState> {
    serde_json::from_slice(checkpoint.file(STATE)?)
        .map_err(|error| mismatch(checkpoint, format!("{STATE}: {error}")))
}

/// Loads parameters, moments and state from a checkpoint of the same configuration, after checking
/// that its counters are possible in a run of `steps` steps.
pub(crate) fn load(
    params: &Params,
    optimizer: &mut Optimizer,
    state: &mut TrainState,
    checkpoint: &Checkpoint,
    fingerprints: &Fingerprints,
    (steps, config): (u64, &ExperimentConfig),
) -> Result<()> {
    let loaded = load_state(checkpoint)?;
    check_config(checkpoint, &loaded, fingerprints)?;
    if !loaded.data_sha256.is_empty() && loaded.data_sha256 != state.data_sha256 {
        let reason = "it was trained on different data".to_owned();
        return Err(mismatch(checkpoint, reason));
    }
    if let Some(key) = loaded.implausible_key(steps, config) {
        let reason = format!("{STATE}: the value of {key} is impossible in a run of {steps} steps");
        return Err(mismatch(checkpoint, reason));
    }
    let moments = load_moments(params, checkpoint)?;
    load_params(params, checkpoint, NonFinite::Reject)?;
    optimizer
        .set_moments(moments)
        .map_err(|error| file_mismatch(checkpoint, MOMENTS, &error.into()))?;
    *state = TrainState {
        config_sha256: fingerprints.current.clone(),
        data_sha256: state.data_sha256.clone(),
        attempt: loaded.attempt.or(state.attempt),
        ..loaded
    };
    Ok(())
}

fn load_moments(params: &Params, checkpoint: &Checkpoint) -> Result<Vec<Moments>> {
    let names: Vec<[String; 2]> = params
        .iter()
        .map(|(name, _)| ["first", "second"].map(|moment| format!("{moment}/{name}")))
        .collect();
    let like: Vec<(&str, &Tensor)> = names
        .iter()
        .zip(params.iter())
        .flat_map(|(names, (_, var))| {
            names
                .each_ref()
                .map(|name| (name.as_str(), var.as_tensor()))
        })
        .collect();
    let loaded = load_tensors(checkpoint.file(MOMENTS)?, &like, NonFinite::Reject)
        .map_err(|error| file_mismatch(checkpoint, MOMENTS, &error))?;
    Ok(loaded
        .chunks_exact(2)
        .map(|pair| Moments {
            first: pair[0].clone(),
            second: pair[1].clone(),
        })
        .collect())
}

fn file_mismatch(checkpoint: &Checkpoint, file: &str, error: &WeightsError) -> Error {
    let reason = match error {
        WeightsError::WeightsMismatch(mismatch) => mismatch.to_string(),
        other => other.to_string(),
    };
    mismatch(checkpoint, format!("{file}: {reason}"))
}

fn mismatch(checkpoint: &Checkpoint, reason: String) -> Error {
    Error::Checkpoint {
        path: checkpoint.path().to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from the version before `train.optimizer` and `train.freeze`.
    #[test]
    fn runs_of_earlier_versions_keep_their_fingerprint() -> Result<()> {
        let mut config = ExperimentConfig::default();
        config.train.max_steps = 1;
        config.resolve(None, None);
        let recorded = "0b949e4a6c1ea4234fb7b41d84818ae073c376d464b239387cacf3e3ce77e312";
        assert_eq!(fingerprint(&config, None)?, recorded);
        let mut frozen = config.clone();
        frozen.train.freeze.push("encoder.*".to_owned());
        let mut smoothed = config.clone();
        smoothed.train.label_smoothing = 0.1.try_into().unwrap();
        let mut accumulated = config.clone();
        accumulated.train.accumulation_steps = accumulated.train.batch_size;
        let mut fed = config;
        fed.model.input_feeding = true;
        for other in [frozen, smoothed, accumulated, fed] {
            assert_ne!(fingerprint(&other, None)?, recorded);
        }
        Ok(())
    }
}
