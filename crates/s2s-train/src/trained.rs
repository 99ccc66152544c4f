//! The model of a run, loaded from its folder.

use std::path::Path;

use candle_core::{DType, Device};
use s2s_model::{Beam, Constraints, NonFinite, Params, Sampling, Seq2Seq, Tokens};
use s2s_runlog::{CheckpointName, CorpusRecord, RunDir, read_checkpoint};

use crate::checkpoint::Fingerprints;
use crate::data::recorded_vocabulary;
use crate::{
    Answer, Codec, Error, ExperimentConfig, Model, Predictor, Result, checkpoint, load_config,
    tokens_of,
};

/// A trained model with the configuration of its run.
///
/// ```no_run
/// use s2s_train::Trained;
///
/// let trained = Trained::load("runs/default-seed0")?;
/// let answer = trained.predict("3 1 4 1 5")?;
/// println!("{answer}, log-probability {:.3}", answer.log_prob);
/// # Ok::<(), s2s_train::Error>(())
/// ```
///
/// [`predict`](Self::predict) and [`predict_batch`](Self::predict_batch) decode greedily; a
/// [`predictor`](Self::predictor) also does beam search and sampling:
///
/// ```no_run
/// # use s2s_train::Trained;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let trained = Trained::load("runs/default-seed0")?;
/// let beam = s2s_model::Beam { n_best: 3.try_into()?, ..trained.beam(5) };
/// let predictor = trained.predictor()?.with_decoding(beam);
/// for answers in predictor.predict(&["3 1 4", "1 5 9"])? {
///     println!("{} or {}", answers[0], answers[1]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Trained<M = Seq2Seq> {
    /// The model.
    pub model: M,
    /// The configuration of its run.
    pub config: ExperimentConfig,
    /// The vocabulary, the form of the input and the maximum length of the output.
    pub codec: Codec,
    /// The step of its checkpoint.
    pub step: u64,
}

impl Trained {
    /// The best checkpoint of a run, or the one that is named: `runs/x`, `runs/x@best`, `runs/x@last`, or the
    /// folder of a checkpoint, `runs/x/checkpoints/last`. The data of the run are not needed. On the CPU, for decoding on all threads.
    ///
    /// # Errors
    /// If the run or the checkpoint does not exist, is damaged, or has parameters that are not finite.
    pub fn load(run: impl AsRef<Path>) -> Result<Self> {
        let (dir, name) = open_checkpoint(run)?;
        let name = name.unwrap_or(CheckpointName::Best);
        load_model(&dir, name, NonFinite::Reject, 1, &Device::Cpu)
    }

    /// The most probable answer to a line, decoded greedily, as `s2s predict` gives it. It has attention
    /// weights if the source has at most [`Predictor::MAX_LEN_WITH_ATTENTION`] tokens.
    ///
    /// # Errors
    /// [`Error::Sequence`] if the line is not a sequence that the model can read; also if the device fails.
    pub fn predict(&self, line: &str) -> Result<Answer> {
        predict(&self.codec, &self.model, line)
    }

    /// The answer to each line, decoded greedily in batches and on all threads, without attention.
    ///
    /// # Errors
    /// [`Error::Sequence`] for the first line that is not a sequence that the model can read; also if the
    /// device fails.
    pub fn predict_batch(&self, lines: &[impl AsRef<str>]) -> Result<Vec<Answer>> {
        let answers = self.predictor()?.predict(lines)?;
        Ok(answers.into_iter().flatten().collect()) // greedy decoding returns one per line
    }

    /// The model for many lines and for other ways to decode.
    ///
    /// # Errors
    /// If the device fails.
    pub fn predictor(&self) -> Result<Predictor<'_>> {
        Predictor::new(&self.codec, &[&self.model])
    }

    /// A beam search whose outputs are limited by the lengths in training.
    pub fn beam(&self, width: usize) -> Beam {
        Beam {
            constraints: self.constraints(),
            ..Beam::new(width)
        }
    }

    /// Sampling whose outputs are limited by the lengths in training.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            constraints: self.constraints(),
            ..Sampling::default()
        }
    }

    fn constraints(&self) -> Constraints {
        Constraints {
            stop: self.codec.stop(),
            ..Constraints::default()
        }
    }
}

/// The greedy answer to a line, with attention unless the source is too long for it.
pub(crate) fn predict(codec: &Codec, model: &Seq2Seq, line: &str) -> Result<Answer> {
    let mut predictor = Predictor::new(codec, &[model])?;
    let parsed = predictor.parse(line);
    let source = parsed.map_err(|problem| Error::of_line(line, problem))?;
    if source.tokens.len() <= Predictor::MAX_LEN_WITH_ATTENTION {
        predictor = predictor.with_attention();
    }
    let decoded = predictor.decode(&[(1, &source)])?.remove(0).remove(0);
    Ok(predictor.answer(&source, decoded))
}

/// The run and the checkpoint that a path names: `RUN@best`, `RUN@last`, or the folder of a checkpoint,
/// `RUN/checkpoints/last`. A path that names none, `RUN`, leaves the choice to the caller, who usually takes
/// the best. A folder whose own name ends like that takes precedence.
///
/// # Errors
/// If the folder is not that of a run.
pub fn open_checkpoint(run: impl AsRef<Path>) -> Result<(RunDir, Option<CheckpointName>)> {
    let run = run.as_ref();
    match (RunDir::open(run), split_checkpoint(run)) {
        (Err(_), Some((run, name))) => Ok((RunDir::open(run)?, Some(name))),
        (dir, _) => Ok((dir?, None)),
    }
}

/// Splits a path into a run and a checkpoint.
fn split_checkpoint(path: &Path) -> Option<(&Path, CheckpointName)> {
    let name = |text| match text {
        "best" => Some(CheckpointName::Best),
        "last" => Some(CheckpointName::Last),
        _ => None,
    };
    if let Some((run, text)) = path.to_str().and_then(|path| path.rsplit_once('@')) {
        return Some((Path::new(run), name(text)?));
    }
    let (folder, text) = (path.parent()?, path.file_name()?.to_str()?);
    let run = folder
        .parent()
        .filter(|_| folder.ends_with("checkpoints"))?;
    Some((run, name(text)?))
}

/// Loads the model of a checkpoint from the run directory alone, without the data.
///
/// # Errors
/// If the run or checkpoint does not exist, or if the checkpoint is damaged, has other shapes, or
/// has values that `non_finite` rejects.
pub fn load_model(
    dir: &RunDir,
    name: CheckpointName,
    non_finite: NonFinite,
    threads: usize,
    device: &Device,
) -> Result<Trained> {
    load_model_with(dir, name, non_finite, |config, tokens| {
        let mut model = Seq2Seq::new(&config.model, tokens, config.seed, DType::F32, device)?;
        model.set_threads(threads);
        Ok(model)
    })
}

/// Loads the checkpoint of any model. `build` creates the model from the run's configuration.
///
/// # Errors
/// Those of [`load_model`], and those of `build`.
pub fn load_model_with<M: Model>(
    dir: &RunDir,
    name: CheckpointName,
    non_finite: NonFinite,
    build: impl FnOnce(&ExperimentConfig, Tokens) -> Result<M>,
) -> Result<Trained<M>> {
    let config = load_config(Some(&dir.resolved_config()), &[])?;
    let (vocabulary, corpus) = recorded_vocabulary(dir, &config.data)?;
    let model = build(&config, tokens_of(&vocabulary))?;
    let step = load_into(
        model.params(),
        dir,
        name,
        non_finite,
        &config,
        corpus.as_ref(),
    )?;
    let codec = Codec::of_record(&config, vocabulary, corpus.as_ref());
    Ok(Trained {
        model,
        config,
        codec,
        step,
    })
}

/// Loads parameters from a checkpoint and returns its step. The parameters are loaded before the
/// configuration is compared.
pub(crate) fn load_into(
    params: &Params,
    dir: &RunDir,
    name: CheckpointName,
    non_finite: NonFinite,
    config: &ExperimentConfig,
    corpus: Option<&CorpusRecord>,
) -> Result<u64> {
    let found = read_checkpoint(dir.checkpoint(name))?;
    for reason in found.rejected() {
        tracing::warn!("{reason}; using {}", found.path().display());
    }
    // Shapes before fingerprints: an error that names a parameter is more specific.
    checkpoint::load_params(params, &found, non_finite)?;
    let state = checkpoint::load_state(&found)?;
    checkpoint::check_config(&found, &state, &Fingerprints::of_run(dir, config, corpus)?)?;
    Ok(state.step)
}
