//! Training runs as processes, and what two equal runs have in common.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use s2s_lab::process;
use s2s_runlog::{RunDir, RunRecord, read_json};

use super::Bench;
use super::data::Data;

/// Changes to the configuration that runs start from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// For every data.
    pub(super) sets: &'static [&'static str],
    /// For generated numbers only: a text has the sizes of its files.
    pub(super) for_numbers: &'static [&'static str],
}

pub(super) const fn setup(sets: &'static [&'static str]) -> Setup {
    Setup {
        sets,
        for_numbers: &[],
    }
}

/// Seven evaluations in a fifth of a second; two of them are not at the end of an epoch.
pub(super) const PLAIN: Setup = setup(&["train.max_steps=45", "train.eval_every=7"]);

/// Uses every counter that a checkpoint contains.
pub(super) const COUNTING: Setup = setup(&[
    "train.max_steps=60",
    "train.eval_every=5",
    "train.warmup_steps=25",
    "train.patience=3",
    "train.learning_rate=0.1",
    "model.embedding_dropout=0.3",
    "train.schedule={kind=\"plateau\", factor=0.5, patience=1}",
    "train.teacher_forcing={schedule=\"linear\", per=\"sequence\"}",
]);

/// The reference path, differentiated by candle.
pub(super) const REFERENCE: Setup = setup(&[
    "train.max_steps=20",
    "train.eval_every=4",
    "model.kernels=reference",
]);

/// Two evaluations: few system calls, but every kind of them.
pub(super) const SHORT: Setup = setup(&["train.max_steps=8", "train.eval_every=4"]);

/// Files that two runs with the same configuration have in common, byte for byte.
const EQUAL_FILES: [&str; 13] = [
    "checkpoints/last/params.safetensors",
    "checkpoints/last/moments.safetensors",
    "checkpoints/last/state.json",
    "checkpoints/last/manifest.json",
    "checkpoints/best/params.safetensors",
    "checkpoints/best/state.json",
    "metrics.jsonl",
    "config.resolved.toml",
    "corpus.json",
    "attention.jsonl",
    "wrong.jsonl",
    "samples.jsonl",
    "failures.json",
];

/// What two runs with the same configuration have in common.
#[derive(Debug, PartialEq)]
pub(super) struct Essence {
    files: Vec<Option<Vec<u8>>>, // `None`: generated numbers have no corpus.json, a log can be lost
    record: RunRecord,           // without times
}

impl Essence {
    pub(super) fn of(dir: &Path) -> Result<Self> {
        let files = EQUAL_FILES.map(|name| fs::read(dir.join(name)).ok());
        let mut record: RunRecord = read_json(dir.join("run.json"))?;
        record.elapsed_secs = 0.0;
        let files = files.to_vec();
        Ok(Self { files, record })
    }

    /// Checks that a run ended like this one, except for the logs that its record says are
    /// incomplete, and left no temporary files.
    pub(super) fn check(&self, dir: &Path) -> Result<()> {
        let mut other = Self::of(dir)?;
        let lost = std::mem::take(&mut other.record.degraded);
        for ((name, own), other) in EQUAL_FILES.iter().zip(&self.files).zip(&other.files) {
            let is_lost = lost.iter().any(|failure| failure.log == *name);
            if own != other && !is_lost {
                bail!("{name} differs from that of the uninterrupted run");
            }
        }
        if self.record != other.record {
            bail!("run.json differs from that of the uninterrupted run");
        }
        match temporary_files(dir)?.first() {
            Some(path) => bail!("{} was left behind", path.display()),
            None => Ok(()),
        }
    }
}

fn temporary_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| ["tmp", "new", "old"].contains(&extension)) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(temporary_files(&path)?);
        }
    }
    Ok(found)
}

impl Bench {
    /// Starts a run in a folder, or resumes the one in it. One thread.
    pub(super) fn train_or_resume(&self, dir: &Path, setup: Setup) -> Command {
        let mut command = captured(&self.s2s);
        command.args(self.arguments(dir, setup));
        command
    }

    pub(super) fn arguments(&self, dir: &Path, setup: Setup) -> Vec<String> {
        let mut arguments = match RunDir::open(dir) {
            Ok(_) => vec!["resume".to_owned(), dir.display().to_string()],
            Err(_) => self.train_arguments(dir, self.sets(setup)),
        };
        arguments.push("--threads=1".to_owned());
        arguments
    }

    /// Starts a run in a folder with these changes to the configuration, on all cores.
    pub(super) fn train<S: Display>(
        &self,
        dir: &Path,
        sets: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = captured(&self.s2s);
        command.args(self.train_arguments(dir, sets));
        command
    }

    fn train_arguments<S: Display>(
        &self,
        dir: &Path,
        sets: impl IntoIterator<Item = S>,
    ) -> Vec<String> {
        let config = self.data.config(&self.folder);
        let mut arguments = vec!["train".to_owned()];
        arguments.push(format!("--config={}", config.display()));
        arguments.push(format!("--run-dir={}", dir.display()));
        arguments.extend(sets.into_iter().map(|set| format!("--set={set}")));
        arguments
    }

    fn sets(&self, setup: Setup) -> impl Iterator<Item = &'static str> + use<> {
        let for_data: &[&str] = match self.data {
            Data::Numbers => setup.for_numbers,
            Data::Text => &[],
        };
        setup.sets.iter().chain(for_data).copied()
    }

    /// Trains to the end without a disturbance.
    pub(super) fn undisturbed(&self, dir: &Path, setup: Setup) -> Result<Essence> {
        check_success(&run(&mut self.train_or_resume(dir, setup))?)?;
        Essence::of(dir)
    }

    /// Resumes without a disturbance, and compares the result with that of an uninterrupted run.
    pub(super) fn check_resumes(&self, dir: &Path, setup: Setup, whole: &Essence) -> Result<()> {
        let output = run(&mut self.train_or_resume(dir, setup))?;
        check_success(&output).context("resuming")?;
        whole.check(dir)
    }
}

/// A command whose streams are captured. Its messages have no backtraces and no extra logs.
pub(super) fn captured(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = process::command(program);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("RUST_LOG")
        .env("RUST_BACKTRACE", "0");
    command
}

/// Runs a process to its end.
pub(super) fn run(command: &mut Command) -> Result<Output> {
    Ok(process::output(command)?)
}

/// A safetensors file: its header and its data.
pub(super) fn split_safetensors(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>().context("no length")?;
    let len = u64::from_le_bytes(*len) as usize;
    rest.split_at_checked(len).context("no header")
}

/// A safetensors file of a header and data.
pub(super) fn join_safetensors(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// What a process wrote to standard error.
pub(super) fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that a process ended with exit code 0.
pub(super) fn check_success(output: &Output) -> Result<()> {
    exit_code(output, &[0]).map(|_| ())
}

/// The exit code of a process.
///
/// # Errors
/// If it is not one of `expected`, the process was killed by a signal, or it panicked.
pub(super) fn exit_code(output: &Output, expected: &[i32]) -> Result<i32> {
    let message = messages(output);
    let lines: Vec<&str> = message.lines().collect();
    let end = lines[lines.len().saturating_sub(4)..].join(" / ");
    if message.contains("panicked") {
        bail!("it panicked: {end}");
    }
    match output.status.code() {
        Some(code) if expected.contains(&code) => Ok(code),
        Some(code) => bail!("exit code {code}: {end}"),
        None => bail!("{}", output.status),
    }
}
