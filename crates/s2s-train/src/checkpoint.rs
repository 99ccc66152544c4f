//! The state of a run as the files of a checkpoint, and back.
//!
//! ```text
//! params.safetensors    the named parameters and nothing else
//! moments.safetensors   Adam's: first/<name> and second/<name>; only in `last`, which runs go on from
//! state.json            everything else that decides how the run goes on
//! ```

use std::fmt;

use candle_core::Tensor;
use s2s_kernels::Moments;
use s2s_model::{NonFinite, Params, load_tensors, load_weights, save_tensors};
use s2s_runlog::{Checkpoint, CheckpointName, CorpusRecord};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::hex;
use crate::{Adam, Error, ExperimentConfig, Plateau, Result, Tally, tensor_message};

const PARAMS: &str = "params.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "state.json";

/// Tokens of a target are fewer.
const MAX_TARGET: u64 = 1 << 20;

/// The state of a run as the files of its checkpoints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Steps taken.
    pub step: u64,
    /// Whether no evaluation before was better, so that it is to be saved as `best` too.
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
            .finish_non_exhaustive() // the rest are bytes by the million
    }
}

impl Snapshot {
    /// The files of one of its checkpoints, with their names.
    pub fn files(&self, name: CheckpointName) -> Vec<(&'static str, &[u8])> {
        let (params, state) = ((PARAMS, &self.params[..]), (STATE, &self.state[..]));
        match name {
            CheckpointName::Best => vec![params, state],
            CheckpointName::Last => vec![params, (MOMENTS, &self.moments), state],
        }
    }

    /// Becomes that of this state, in the memory that it has.
    pub(crate) fn renew(
        &mut self,
        is_best: bool,
        params: &Params,
        optimizer: &Adam,
        state: &TrainState,
    ) -> Result<()> {
        (self.step, self.is_best) = (state.step, is_best);
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

/// What the loop remembers between steps, beside parameters and moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Optimizer steps taken.
    pub step: u64,
    /// SHA-256 of the resolved configuration that the run has, and of the record of its corpus.
    pub config_sha256: String,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since then.
    pub n_stale: u64,
    /// SHA-256 of samples of the data; empty in checkpoints of older versions, which are not compared.
    #[serde(default)]
    pub data_sha256: String,
    /// Whether the target was reached.
    pub is_target_reached: bool,
    /// Whether an observer finished the run.
    #[serde(default)]
    pub is_stopped: bool,
    /// The plateau schedule's memory.
    pub plateau: Plateau,
    /// Training figures since the last evaluation.
    pub train: Tally,
    /// Steps since the last evaluation.
    pub n_steps: u64,
    /// Their gradient norms, summed.
    pub grad_norm_sum: f64,
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
    /// The first key with a value that training to a step of `steps`, with batches of `batch_size`,
    /// cannot have left: counters grow with the steps, and would run over from some values on.
    fn misfit(&self, steps: u64, batch_size: u64) -> Option<&'static str> {
        let Tally {
            n_tokens,
            n_right,
            n_sequences,
            n_exact,
            ..
        } = self.train;
        let max_tokens = n_sequences.saturating_mul(MAX_TARGET);
        let keys = [
            ("step", self.step <= steps),
            ("n_steps", self.n_steps <= self.step),
            ("n_stale", self.n_stale <= self.step),
            ("best", self.best.is_none_or(|best| best.step <= self.step)),
            ("plateau", self.plateau.fits(self.step)),
            (
                "train",
                n_sequences <= self.n_steps.saturating_mul(batch_size)
                    && n_tokens <= max_tokens
                    && n_right <= n_tokens
                    && n_exact <= n_sequences,
            ),
        ];
        keys.into_iter().find(|(_, fits)| !fits).map(|(key, _)| key)
    }
}

/// SHA-256 of a configuration, and of the corpus that it was used with, in hexadecimal.
pub(crate) fn fingerprint(
    config: &ExperimentConfig,
    corpus: Option<&CorpusRecord>,
) -> Result<String> {
    let mut digest = Sha256::new_with_prefix(config.to_toml()?);
    if let Some(corpus) = corpus {
        digest.update(serde_json::to_vec(corpus).map_err(candle_core::Error::wrap)?);
    }
    Ok(hex(&digest.finalize()))
}

/// That a checkpoint was written under the configuration with this fingerprint.
pub(crate) fn check_config(
    checkpoint: &Checkpoint,
    state: &TrainState,
    fingerprint: &str,
) -> Result<()> {
    if state.config_sha256 == fingerprint {
        return Ok(());
    }
    let reason = "it was written under another configuration than the folder's \
                  config.resolved.toml, or with another corpus than its corpus.json, one of which \
                  may have been edited"
        .to_owned();
    Err(misfit(checkpoint, reason))
}

/// Sets the parameters from a checkpoint, or none of them.
pub(crate) fn load_params(
    params: &Params,
    checkpoint: &Checkpoint,
    non_finite: NonFinite,
) -> Result<()> {
    load_weights(params, checkpoint.file(PARAMS)?, non_finite)
        .map_err(|e| unfit(checkpoint, PARAMS, &e))
}

/// The state that a checkpoint holds.
pub(crate) fn load_state(checkpoint: &Checkpoint) -> Result<TrainState> {
    serde_json::from_slice(checkpoint.file(STATE)?)
        .map_err(|error| misfit(checkpoint, format!("{STATE}: {error}")))
}

/// Sets parameters, moments and state from a checkpoint of the same configuration, at a step of
/// `steps` with batches of `batch_size`.
pub(crate) fn load(
    params: &Params,
    optimizer: &mut Adam,
    state: &mut TrainState,
    checkpoint: &Checkpoint,
    (steps, batch_size): (u64, u64),
) -> Result<()> {
    let loaded = load_state(checkpoint)?;
    check_config(checkpoint, &loaded, &state.config_sha256)?;
    if !loaded.data_sha256.is_empty() && loaded.data_sha256 != state.data_sha256 {
        let reason = "it was trained on other data than the run has".to_owned();
        return Err(misfit(checkpoint, reason));
    }
    if let Some(key) = loaded.misfit(steps, batch_size) {
        let reason = format!("{STATE}: {key} is not what training to step {steps} may leave");
        return Err(misfit(checkpoint, reason));
    }
    let moments = load_moments(params, checkpoint)?;
    load_params(params, checkpoint, NonFinite::Reject)?;
    optimizer
        .set_moments(moments)
        .map_err(|e| unfit(checkpoint, MOMENTS, &e))?;
    *state = loaded;
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
        .map_err(|e| unfit(checkpoint, MOMENTS, &e))?;
    Ok(loaded
        .chunks_exact(2)
        .map(|pair| Moments {
            first: pair[0].clone(),
            second: pair[1].clone(),
        })
        .collect())
}

fn unfit(checkpoint: &Checkpoint, file: &str, error: &candle_core::Error) -> Error {
    misfit(checkpoint, format!("{file}: {}", tensor_message(error)))
}

fn misfit(checkpoint: &Checkpoint, reason: String) -> Error {
    Error::Checkpoint {
        path: checkpoint.path().to_owned(),
        reason,
    }
}
