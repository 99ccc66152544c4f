//! Runs of `s2s`, and what two of them must have in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use s2s_runlog::{RunDir, RunRecord, read_json};

use super::Bench;

/// What the tiny configuration is changed by.
pub(super) type Sets = &'static [&'static str];

/// Seven evaluations in a fifth of a second; two of them do not fall on the end of an epoch.
pub(super) const PLAIN: Sets = &["train.max_steps=45", "train.eval_every=7"];

/// With every counter running that a checkpoint has to keep.
pub(super) const COUNTING: Sets = &[
    "train.max_steps=60",
    "train.eval_every=5",
    "train.warmup_steps=25",
    "train.patience=3",
    "train.learning_rate=0.1",
    "model.embedding_dropout=0.3",
    "train.schedule={kind=\"plateau\", factor=0.5, patience=1}",
    "train.teacher_forcing={schedule=\"linear\", per=\"sequence\"}",
];

/// The reference kernels, which differentiate through candle.
pub(super) const REFERENCE: Sets = &[
    "train.max_steps=20",
    "train.eval_every=4",
    "model.kernels=reference",
];

/// Two evaluations: few system calls, of every kind.
pub(super) const SHORT: Sets = &["train.max_steps=8", "train.eval_every=4"];

/// What two runs of the same configuration have in common to the byte.
const ESSENCE: [&str; 10] = [
    "checkpoints/last/params.safetensors",
    "checkpoints/last/moments.safetensors",
    "checkpoints/last/state.json",
    "checkpoints/last/manifest.json",
    "checkpoints/best/params.safetensors",
    "checkpoints/best/state.json",
    "metrics.jsonl",
    "config.resolved.toml",
    "attention.jsonl",
    "samples.jsonl",
];

/// The files of a run that is to be the same, and its record without times.
#[derive(Debug, PartialEq)]
pub(super) struct Essence {
    files: Vec<Option<Vec<u8>>>, // a log may not be there
    record: RunRecord,
}

impl Essence {
    pub(super) fn of(dir: &Path) -> Result<Self> {
        let files = ESSENCE.map(|name| fs::read(dir.join(name)).ok()).to_vec();
        let mut record: RunRecord = read_json(dir.join("run.json"))?;
        record.elapsed_secs = 0.0;
        Ok(Self { files, record })
    }

    /// That a run ended as this one did, but for the logs that it says it has lost, with nothing
    /// left of what was only for a time.
    pub(super) fn check(&self, dir: &Path) -> Result<()> {
        let mut other = Self::of(dir)?;
        let lost = std::mem::take(&mut other.record.degraded);
        for ((name, own), other) in ESSENCE.iter().zip(&self.files).zip(&other.files) {
            let is_lost = lost.iter().any(|failure| failure.log == *name);
            if own != other && !is_lost {
                bail!("{name} differs from that of the uninterrupted run");
            }
        }
        if self.record != other.record {
            bail!("run.json differs from that of the uninterrupted run");
        }
        match litter(dir)?.first() {
            Some(path) => bail!("{} was left behind", path.display()),
            None => Ok(()),
        }
    }
}

/// What a save leaves only when it is killed.
fn litter(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ["tmp", "new", "old"].contains(&ending)) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(litter(&path)?);
        }
    }
    Ok(found)
}

impl Bench {
    /// Starts a run in a folder, or goes on with the one that is there.
    pub(super) fn go_on(&self, dir: &Path, sets: Sets) -> Command {
        let mut command = Command::new(&self.s2s);
        command.args(self.arguments(dir, sets));
        quiet(&mut command);
        command
    }

    pub(super) fn arguments(&self, dir: &Path, sets: Sets) -> Vec<String> {
        let dir_text = dir.display().to_string();
        let mut arguments = match RunDir::open(dir) {
            Ok(_) => vec!["resume".to_owned(), dir_text],
            Err(_) => {
                let mut words = ["train", "--config", "configs/tiny.toml", "--run-dir"]
                    .map(str::to_owned)
                    .to_vec();
                words.push(dir_text);
                words.extend(sets.iter().map(|set| format!("--set={set}")));
                words
            }
        };
        arguments.push("--threads=1".to_owned());
        arguments
    }

    /// Trains without any disturbance.
    pub(super) fn undisturbed(&self, dir: &Path, sets: Sets) -> Result<Essence> {
        succeed(&self.go_on(dir, sets).output()?)?;
        Essence::of(dir)
    }

    /// Goes on, undisturbed, and compares.
    pub(super) fn check_resumes(&self, dir: &Path, sets: Sets, whole: &Essence) -> Result<()> {
        succeed(&self.go_on(dir, sets).output()?).context("going on")?;
        whole.check(dir)
    }
}

/// No input, both outputs kept, and no backtraces that a message could be confused with.
pub(super) fn quiet(command: &mut Command) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("RUST_LOG")
        .env("RUST_BACKTRACE", "0");
}

/// That a process ended with 0.
pub(super) fn succeed(output: &Output) -> Result<()> {
    end_with(output, &[0]).map(|_| ())
}

/// That a process ended with one of these codes, by itself and without a panic; which one.
pub(super) fn end_with(output: &Output, codes: &[i32]) -> Result<i32> {
    let message = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = message.lines().rev().take(4).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    if message.contains("panicked") {
        bail!("it panicked: {}", last.join(" / "));
    }
    match output.status.code() {
        Some(code) if codes.contains(&code) => Ok(code),
        Some(code) => bail!("exit code {code}: {}", last.join(" / ")),
        None => bail!("{}", output.status),
    }
}
