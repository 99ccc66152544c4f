//! Which file of a run is called what, and who may write them.

use crate::atomic::{create_dirs, writing};
use crate::{Error, Result, fs};
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const RESOLVED_CONFIG: &str = "config.resolved.toml";
const LOCK: &str = "run.lock";

/// A folder that holds one run: the names of its files.
///
/// ```text
/// runs/<name>/
///   config.toml            the configuration as it was given
///   config.resolved.toml   the same with every default filled in; its presence makes a folder a run
///   environment.json       machine, program, command line
///   corpus.json            the vocabulary and hashes of a text that the run was trained on
///   metrics.jsonl          a line an evaluation
///   timing.jsonl           its clock times
///   attention.jsonl        the attention of one fixed sequence, a line an evaluation
///   samples.jsonl          test sequences with predictions and attention
///   events.out.tfevents.*  for TensorBoard
///   checkpoints/best/      parameters at the lowest validation loss
///   checkpoints/last/      parameters and moments to go on from
///   lengths.json           figures by length, if it was evaluated by length; lengths-NAME.json: others
///   lengths.csv            the same as a table
///   plots/
///   report.html
///   run.json               what became of the run; written last
///   run.lock               the process that writes here
/// ```
///
/// Only [`RunDir::create`] and [`RunDir::lock`] touch the disk beyond looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// The checkpoints that a run keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointName {
    /// The parameters with the lowest validation loss so far.
    Best,
    /// The state to go on from.
    Last,
}

/// The right to write in a run folder, until it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File, // the system ties the lock to the open file
}

impl RunDir {
    /// The folder of a new run, with those above it. It has no files yet: the caller takes the
    /// [lock](RunDir::lock) and writes them, `config.resolved.toml` first of all.
    ///
    /// # Errors
    /// [`Error::Exists`] if there are files in the folder already, and they are left untouched.
    /// A process that was killed before it wrote anything but its lock does not count.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match fs::look(&path).map_err(reading(&path))? {
            None => create_dirs(&path)?,
            Some(_) if fs::is_dir(&path) => {
                let names = fs::names(&path).map_err(reading(&path))?;
                let is_ours = |name: &str| name == LOCK || name.starts_with(".config.");
                if !names.iter().all(|name| name.to_str().is_some_and(is_ours)) {
                    return Err(Error::Exists { path });
                }
            }
            Some(_) => return Err(Error::Exists { path }),
        }
        Ok(Self { path })
    }

    /// The folder of a run that was started before.
    ///
    /// # Errors
    /// [`Error::NoRun`] if there is no such folder; [`Error::NotARun`], with the file that is
    /// missing, if no run was started in it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let run = Self { path: path.into() };
        if fs::look(&run.path).map_err(reading(&run.path))?.is_none() {
            return Err(Error::NoRun { path: run.path });
        }
        let is_run = fs::is_dir(&run.path)
            && fs::look(&run.resolved_config())
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

    /// Claims the folder for writing. Readers need no lock.
    ///
    /// The lock is one of the operating system's, so that it cannot outlive its process; the number
    /// in `run.lock` only tells others whom to look for.
    ///
    /// # Errors
    /// [`Error::Busy`], with the holder's process number, if it is taken.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.path.join(LOCK);
        let locking = |source| Error::Lock {
            path: path.clone(),
            source,
        };
        let file = fs::open_lock(&path).map_err(|refusal| match refusal {
            fs::Refusal::Io(source) => locking(source),
            other => refused(&path, other),
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy {
                    path: self.path.clone(),
                    pid: read_pid(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(locking(source)),
        }
        fs::overwrite(&file, format!("{}\n", std::process::id()).as_bytes())
            .map_err(writing(&path))?;
        Ok(RunLock { _file: file })
    }

    /// The folder itself; event files for TensorBoard stand in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the configuration as it was given.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `config.resolved.toml`: the configuration with every default filled in.
    pub fn resolved_config(&self) -> PathBuf {
        self.path.join(RESOLVED_CONFIG)
    }

    /// `environment.json`: an [`Environment`](crate::Environment).
    pub fn environment(&self) -> PathBuf {
        self.path.join("environment.json")
    }

    /// `corpus.json`: a [`CorpusRecord`](crate::CorpusRecord).
    pub fn corpus(&self) -> PathBuf {
        self.path.join("corpus.json")
    }

    /// `metrics.jsonl`: lines of [`MetricsRecord`](crate::MetricsRecord).
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `timing.jsonl`: lines of [`TimingRecord`](crate::TimingRecord).
    pub fn timing(&self) -> PathBuf {
        self.path.join("timing.jsonl")
    }

    /// `attention.jsonl`: lines of [`AttentionRecord`](crate::AttentionRecord) for one sequence.
    pub fn attention(&self) -> PathBuf {
        self.path.join("attention.jsonl")
    }

    /// `samples.jsonl`: lines of [`AttentionRecord`](crate::AttentionRecord) for sequences of the
    /// test split.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples.jsonl")
    }

    /// `lengths.json`, or `lengths-NAME.json`: a [`LengthsRecord`](crate::LengthsRecord). Its table
    /// stands beside it, with the ending `csv`.
    pub fn lengths(&self, name: Option<&str>) -> PathBuf {
        self.path.join(match name {
            Some(name) => format!("lengths-{name}.json"),
            None => "lengths.json".to_owned(),
        })
    }

    /// Every [`RunDir::lengths`] that there is, in order of their names.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn all_lengths(&self) -> Result<Vec<PathBuf>> {
        let names = fs::names(&self.path).map_err(reading(&self.path))?;
        let is_one = |name: &str| {
            let rest = name
                .strip_prefix("lengths")
                .and_then(|rest| rest.strip_suffix(".json"));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let names = names.iter().filter_map(|name| name.to_str());
        let mut paths: Vec<PathBuf> = names
            .filter(|name| is_one(name))
            .map(|name| self.path.join(name))
            .collect();
        paths.sort();
        Ok(paths)
    }

    /// `run.json`: a [`RunRecord`](crate::RunRecord).
    pub fn run(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// `report.html`.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// `checkpoints/`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `checkpoints/best/` or `checkpoints/last/`.
    pub fn checkpoint(&self, name: CheckpointName) -> PathBuf {
        self.checkpoints().join(match name {
            CheckpointName::Best => "best",
            CheckpointName::Last => "last",
        })
    }

    /// `plots/`.
    pub fn plots(&self) -> PathBuf {
        self.path.join("plots")
    }
}

/// Makes an [`Error::Read`] of what the system says about a path.
pub(crate) fn reading(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// Makes an error of a file that could not be had.
pub(crate) fn refused(path: &Path, refusal: fs::Refusal) -> Error {
    let path = path.to_owned();
    match refusal {
        fs::Refusal::Io(source) => Error::Read { path, source },
        fs::Refusal::NotRegular(kind) => Error::NotRegular { path, kind },
        fs::Refusal::TooLarge { size, max } => Error::TooLarge { path, size, max },
    }
}

/// The process number in the lock file; none if its holder is about to write it.
fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n')?.parse().ok()
}
