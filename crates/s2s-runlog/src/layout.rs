//! The names of a run's files.

use crate::atomic::{create_dirs, replace_file};
use crate::error::reading;
use crate::write::encode_pretty;
use crate::{CorpusRecord, Environment, Error, Identity, Result, fs};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.toml";
const CORPUS: &str = "corpus.json";
const ENVIRONMENT: &str = "environment.json";
const IDENTITY: &str = "identity.json";
const RESOLVED_CONFIG: &str = "config.resolved.toml";

/// Keys of `config.resolved.toml` that runs of earlier versions lack, each with the value, as TOML, that was
/// in effect in those runs.
///
/// A hash of a configuration skips a key that has this value. Then the hashes of older runs stay valid.
pub const LATER_KEYS: [(&str, &str); 11] = [
    ("model.decoder.readout", "\"shared\""),
    ("model.input_feeding", "false"),
    ("model.layer_norm", "false"),
    ("model.residual", "false"),
    ("train.accumulation_steps", "1"),
    ("train.curriculum.kind", "\"none\""),
    ("train.freeze", "[]"),
    ("train.label_smoothing", "0.0"),
    ("train.optimizer.kind", "\"adam\""),
    ("train.precision", "\"f32\""),
    ("train.restart.kind", "\"none\""),
];
pub(crate) const LOCK: &str = "run.lock";

/// The files that [`RunDir::write_start`] writes, in this order. The last one makes the folder a run.
const START_FILES: [&str; 5] = [CONFIG, CORPUS, ENVIRONMENT, IDENTITY, RESOLVED_CONFIG];

/// The checkpoint that a run starts from, if any; it is written before [`START_FILES`].
const START: &str = "start";

/// The folder of one run, and the names of its files.
///
/// ```text
/// runs/<name>/
///   config.toml            the configuration as given
///   corpus.json            vocabulary and file hashes of the training text; absent for synthetic data
///   environment.json       machine, program and command line
///   identity.json          id, name, tags, and the run that this one started from
///   start/                 the weights of that run, as a checkpoint at step 0
///   config.resolved.toml   the configuration with all defaults filled in; written after the files
///                          above, and its presence makes the folder a run
///   history.jsonl          changes of the configuration, one line per change
///   processors.jsonl       other CPUs on which the run was resumed; absent if there are none
///   metrics.jsonl          one line per evaluation
///   timing.jsonl           wall times, one line per evaluation
///   steps.jsonl            loss, learning rate and throughput, one line every few steps
///   initial.json           validation metrics before the first step
///   attention.jsonl        attention of up to four fixed sequences, after 0, 1, 2, 4, ... steps until the
///                          first evaluation, and at each evaluation
///   wrong.jsonl            some wrong outputs, one line per evaluation
///   samples.jsonl          test sequences with predictions and attention
///   failures.json          errors on the test split by position, length and token
///   events.out.tfevents.*  TensorBoard events
///   checkpoints/best/      parameters with the lowest validation loss
///   checkpoints/last/      parameters and moments to resume from
///   lengths.json           evaluation by length; lengths-NAME.json for further ones
///   lengths.csv            the same as a table
///   plots/
///   report.html            all of this as a page, with the weights of a small model
///   run.json               status and results; written last
///   run.lock               process number of the writer
/// ```
///
/// Methods that return a path do not access the disk: the file may be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// What a run writes before its first step, for [`RunDir::write_start`].
#[derive(Clone, Copy, Debug)]
pub struct RunStart<'a> {
    /// The configuration as given, for `config.toml`.
    pub config: &'a str,
    /// The training text, for `corpus.json`; `None` for synthetic data.
    pub corpus: Option<&'a CorpusRecord>,
    /// Machine and program, for `environment.json`.
    pub environment: &'a Environment,
    /// Name and origin, for `identity.json`.
    pub identity: &'a Identity,
    /// The configuration with all defaults filled in, for `config.resolved.toml`.
    pub resolved_config: &'a str,
}

/// The checkpoints that a run keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointName {
    /// The parameters with the lowest validation loss so far.
    Best,
    /// The state to resume from.
    Last,
    /// The weights that the run started from, at step 0; only if they came from another run.
    Start,
}

impl CheckpointName {
    /// `best`, `last` or `start`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Last => "last",
            Self::Start => START,
        }
    }
}

impl RunDir {
    /// Creates the folder of a new run, with its parents. The caller takes the [lock](RunDir::lock)
    /// and then calls [`RunDir::write_start`].
    ///
    /// Files of a process that was killed before it wrote `config.resolved.toml` do not count: the
    /// folder can be used again.
    ///
    /// # Errors
    /// [`Error::Exists`] if the folder contains other files, which are left unchanged, or if the path is
    /// not a folder; [`Error::Busy`] if another process is writing to the folder; [`Error::Read`] or
    /// [`Error::Write`] if the folder cannot be read or created.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        Self::check_free(&path)?;
        create_dirs(&path)?; // makes a folder durable that a killed process created
        Ok(Self { path })
    }

    /// Checks that [`RunDir::create`] would accept a folder. Nothing is created.
    ///
    /// # Errors
    /// Those of [`RunDir::create`], except [`Error::Write`].
    pub fn check_free(path: &Path) -> Result<()> {
        match fs::kind_at(path).map_err(reading(path))? {
            None => {}
            Some(_) if fs::is_dir(path) => {
                let names = fs::names(path).map_err(reading(path))?;
                let is_locked = names.iter().any(|name| name == LOCK);
                let is_free =
                    names.is_empty() || is_locked && names.iter().all(|name| is_early(name));
                if !is_free {
                    let path = path.to_owned();
                    let run = Self { path };
                    if is_locked {
                        run.claim()?; // returns `Busy` if another process holds the lock
                    }
                    return Err(Error::Exists { path: run.path });
                }
            }
            Some(_) => {
                let path = path.to_owned();
                return Err(Error::Exists { path });
            }
        }
        Ok(())
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    /// [`Error::NoRun`] if the folder does not exist; [`Error::NotARun`] if it has no
    /// `config.resolved.toml`; [`Error::Read`] if the system does not say which files exist.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let run = Self { path: path.into() };
        if fs::kind_at(&run.path)
            .map_err(reading(&run.path))?
            .is_none()
        {
            return Err(Error::NoRun { path: run.path });
        }
        let is_run = fs::is_dir(&run.path)
            && fs::kind_at(&run.resolved_config())
                .map_err(reading(&run.path))?
                .is_some();
        if is_run {
            Ok(run)
        } else {
            Err(Error::NotARun {
                path: run.path,
                missing: RESOLVED_CONFIG,
            })
        }
    }

    /// Writes the files that a run starts with. Hold the [lock](RunDir::lock).
    ///
    /// `config.resolved.toml` is written last: if the process is killed before that,
    /// [`RunDir::create`] accepts the folder again.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write_start(&self, start: &RunStart<'_>) -> Result<()> {
        let corpus = start
            .corpus
            .map(|corpus| encode_pretty(&self.corpus(), corpus));
        let contents: [Option<Vec<u8>>; START_FILES.len()] = [
            Some(start.config.into()),
            corpus.transpose()?,
            Some(encode_pretty(&self.environment(), start.environment)?),
            Some(encode_pretty(&self.identity(), start.identity)?),
            Some(start.resolved_config.into()),
        ];
        for (name, bytes) in START_FILES.iter().zip(contents) {
            if let Some(bytes) = bytes {
                replace_file(&self.path.join(name), &bytes)?;
            }
        }
        Ok(())
    }

    /// The folder itself. TensorBoard event files are directly inside.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the configuration as given.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `config.resolved.toml`: the configuration with all defaults filled in.
    pub fn resolved_config(&self) -> PathBuf {
        self.path.join(RESOLVED_CONFIG)
    }

    /// `environment.json`: an [`Environment`].
    pub fn environment(&self) -> PathBuf {
        self.path.join(ENVIRONMENT)
    }

    /// `identity.json`: an [`Identity`].
    pub fn identity(&self) -> PathBuf {
        self.path.join(IDENTITY)
    }

    /// `history.jsonl`: lines of [`ConfigChange`](crate::ConfigChange).
    pub fn history(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// `processors.jsonl`: lines of [`Processor`](crate::Processor).
    pub fn processors(&self) -> PathBuf {
        self.path.join("processors.jsonl")
    }

    /// `corpus.json`: a [`CorpusRecord`].
    pub fn corpus(&self) -> PathBuf {
        self.path.join(CORPUS)
    }

    /// `metrics.jsonl`: lines of [`MetricsRecord`](crate::MetricsRecord).
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `timing.jsonl`: lines of [`TimingRecord`](crate::TimingRecord).
    pub fn timing(&self) -> PathBuf {
        self.path.join("timing.jsonl")
    }

    /// `steps.jsonl`: lines of [`StepMetrics`](crate::StepMetrics).
    pub fn steps(&self) -> PathBuf {
        self.path.join("steps.jsonl")
    }

    /// `initial.json`: an [`EvalRecord`](crate::EvalRecord) of the validation split.
    pub fn initial(&self) -> PathBuf {
        self.path.join("initial.json")
    }

    /// `attention.jsonl`: lines of [`AttentionRecord`](crate::AttentionRecord) for a few sequences, in
    /// the same order at each step.
    pub fn attention(&self) -> PathBuf {
        self.path.join("attention.jsonl")
    }

    /// `wrong.jsonl`: lines of [`WrongRecord`](crate::WrongRecord).
    pub fn wrong(&self) -> PathBuf {
        self.path.join("wrong.jsonl")
    }

    /// `samples.jsonl`: lines of [`AttentionRecord`](crate::AttentionRecord) for sequences of the
    /// test split.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples.jsonl")
    }

    /// `failures.json`: a [`FailuresRecord`](crate::FailuresRecord).
    pub fn failures(&self) -> PathBuf {
        self.path.join("failures.json")
    }

    /// `report.html`: the run as an HTML page.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// `lengths.json`, or `lengths-NAME.json` with a name: a [`LengthsRecord`](crate::LengthsRecord). Its
    /// rows are also a CSV file, with the extension `csv`.
    pub fn lengths(&self, name: Option<&str>) -> PathBuf {
        self.path.join(match name {
            Some(name) => format!("lengths-{name}.json"),
            None => "lengths.json".to_owned(),
        })
    }

    /// `lengths.timing.jsonl`, or `lengths-NAME.timing.jsonl`: one
    /// [`LengthTiming`](crate::LengthTiming) per row of the record. It is a separate file because
    /// wall times are not reproducible.
    pub fn lengths_timing(&self, name: Option<&str>) -> PathBuf {
        self.lengths(name).with_extension("timing.jsonl")
    }

    /// Paths of all existing [`RunDir::lengths`] files, sorted by name.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn all_lengths(&self) -> Result<Vec<PathBuf>> {
        let names = fs::names(&self.path).map_err(reading(&self.path))?;
        let is_lengths = |name: &str| {
            let rest = name
                .strip_prefix("lengths")
                .and_then(|rest| rest.strip_suffix(".json"));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let names = names.iter().filter_map(|name| name.to_str());
        let mut paths: Vec<PathBuf> = names
            .filter(|name| is_lengths(name))
            .map(|name| self.path.join(name))
            .collect();
        paths.sort();
        Ok(paths)
    }

    /// `run.json`: a [`RunRecord`](crate::RunRecord).
    pub fn run(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// `checkpoints/`: the folder of the checkpoints `best` and `last`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `checkpoints/best/`, `checkpoints/last/` or `start/`, for [`read_checkpoint`](crate::read_checkpoint).
    pub fn checkpoint(&self, name: CheckpointName) -> PathBuf {
        match name {
            CheckpointName::Best | CheckpointName::Last => self.checkpoints().join(name.name()),
            CheckpointName::Start => self.path.join(START),
        }
    }

    /// `plots/`: the folder of the plots, as SVG and PNG.
    pub fn plots(&self) -> PathBuf {
        self.path.join("plots")
    }
}

/// Whether a process that was killed before the folder became a run may have left this file: the
/// lock, one of [`START_FILES`] or its temporary file, or the checkpoint that a run starts from.
fn is_early(name: &OsStr) -> bool {
    let is_temporary = |name: &str| {
        let target = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".tmp"));
        target.is_some_and(|target| START_FILES.contains(&target))
    };
    name.to_str().is_some_and(|name| {
        let is_complete = name != RESOLVED_CONFIG && START_FILES.contains(&name);
        let is_start = name == START || name.strip_prefix(START) == Some(".new");
        name == LOCK || is_complete || is_start || is_temporary(name)
    })
}
