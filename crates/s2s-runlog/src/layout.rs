//! Which file of a run is called what, and who may write them.

use crate::atomic::{create_dirs, writing};
use crate::{Error, Result, fs};
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

const CONFIG: &str = "config.toml";
const ENVIRONMENT: &str = "environment.json";
const RESOLVED_CONFIG: &str = "config.resolved.toml";
const LOCK: &str = "run.lock";

/// How often, and how long apart, a lock's holder is asked for that has not said its name yet.
const ATTEMPTS: usize = 40;
const PAUSE: Duration = Duration::from_millis(5);

/// A folder that holds one run: the names of its files.
///
/// ```text
/// runs/<name>/
///   config.toml            the configuration as it was given
///   environment.json       machine, program, command line
///   corpus.json            the vocabulary and hashes of a text that the run was trained on
///   config.resolved.toml   the configuration with every default filled in; written after those
///                          above, and its presence makes a folder a run
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

/// The right to write in a run folder or its plots, until it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File, // the system ties the lock to the open file
}

impl RunDir {
    /// The folder of a new run, with those above it. It has no files yet: the caller takes the
    /// [lock](RunDir::lock) and writes them, `config.resolved.toml` last of those that a run begins
    /// with.
    ///
    /// # Errors
    /// [`Error::Exists`] if there are files in the folder already, and they are left untouched;
    /// [`Error::Busy`] if a process writes there. What a process left that was killed before it
    /// wrote `config.resolved.toml` does not count.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match fs::look(&path).map_err(reading(&path))? {
            None => create_dirs(&path)?,
            Some(_) if fs::is_dir(&path) => {
                let names = fs::names(&path).map_err(reading(&path))?;
                let is_locked = names.iter().any(|name| name == LOCK);
                let is_free = names.is_empty() || is_locked && names.iter().all(is_early);
                if !is_free {
                    let run = Self { path };
                    if is_locked {
                        run.claim()?; // for the error, if somebody has it
                    }
                    return Err(Error::Exists { path: run.path });
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
        let file = self.claim()?;
        // Durable before all else: it tells what a run left here from what somebody else did.
        fs::overwrite(&file, format!("{}\n", std::process::id()).as_bytes())
            .and_then(|()| fs::sync_dir(&self.path))
            .map_err(writing(&self.path.join(LOCK)))?;
        Ok(RunLock { _file: file })
    }

    /// Claims `plots/`, and waits for whoever is drawing there. A run may be drawn while another
    /// process trains it: who reads the records with this lock in hand draws the newest last.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn lock_plots(&self) -> Result<RunLock> {
        create_dirs(&self.plots())?;
        let path = self.plots().join(".lock");
        let file = open_lock(&path)?;
        match file.lock() {
            Ok(()) => Ok(RunLock { _file: file }),
            Err(source) => Err(Error::Lock { path, source }),
        }
    }

    /// The lock file, locked; its content untouched.
    fn claim(&self) -> Result<File> {
        let path = self.path.join(LOCK);
        let file = open_lock(&path)?;
        for _ in 0..ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(Error::Lock { path, source }),
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(pid) = fs::first_bytes(&file, 16).ok().and_then(|pid| living(&pid)) {
                return Err(self.busy(Some(pid)));
            }
            sleep(PAUSE); // its holder is about to write its number, or has just ended
        }
        Err(self.busy(None))
    }

    fn busy(&self, pid: Option<u32>) -> Error {
        let path = self.path.clone();
        Error::Busy { path, pid }
    }

    /// The folder itself; event files for TensorBoard stand in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the configuration as it was given.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `config.resolved.toml`: the configuration with every default filled in.
    pub fn resolved_config(&self) -> PathBuf {
        self.path.join(RESOLVED_CONFIG)
    }

    /// `environment.json`: an [`Environment`](crate::Environment).
    pub fn environment(&self) -> PathBuf {
        self.path.join(ENVIRONMENT)
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

    /// `lengths.timing.jsonl`, or `lengths-NAME.timing.jsonl`:
    /// [`LengthTiming`](crate::LengthTiming), a line for each row of the record. It is no figure of
    /// the model, and so stands apart.
    pub fn lengths_timing(&self, name: Option<&str>) -> PathBuf {
        self.lengths(name).with_extension("timing.jsonl")
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

/// Whether a file is one that a run has before it is one.
fn is_early(name: &OsString) -> bool {
    let temporary = format!(".{RESOLVED_CONFIG}.tmp");
    let is_early = |name: &str| {
        let name = name.strip_prefix('.').unwrap_or(name);
        let name = name.strip_suffix(".tmp").unwrap_or(name);
        [LOCK, CONFIG, ENVIRONMENT].contains(&name)
    };
    name.to_str()
        .is_some_and(|name| is_early(name) || name == temporary)
}

fn open_lock(path: &Path) -> Result<File> {
    fs::open_lock(path).map_err(|refusal| match refusal {
        fs::Refusal::Io(source) => Error::Lock {
            path: path.to_owned(),
            source,
        },
        other => refused(path, other),
    })
}

/// The process number in a lock file; none if it is half-written, or left by a process that has
/// ended (which only Linux shows without asking for rights).
fn living(number: &[u8]) -> Option<u32> {
    let pid: u32 = str::from_utf8(number)
        .ok()?
        .strip_suffix('\n')?
        .parse()
        .ok()?;
    let is_alive = !cfg!(target_os = "linux") || fs::is_dir(Path::new(&format!("/proc/{pid}")));
    is_alive.then_some(pid)
}
