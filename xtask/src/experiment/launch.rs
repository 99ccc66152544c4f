//! `s2s` as a process.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use s2s_runlog::{RunDir, RunRecord, RunStatus, read_json};

use super::lengths::Group;
use super::plan::Job;
use super::settings::{Settings, flatten};
use crate::Usage;

/// What there is to do about a run.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) job: Job,
    /// None if it is finished.
    pub(crate) start: Option<Start>,
    /// Evaluations by length, of the run when it is finished.
    pub(crate) evaluations: Vec<Group>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Train,
    Resume,
}

/// Builds the release binary, and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    eprintln!("building s2s (the first time takes a few minutes)");
    let output = Command::new("cargo")
        .args(["build", "--release", "-p", "s2s-cli"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo build")?;
    if !output.status.success() {
        bail!("cargo build --release -p s2s-cli failed");
    }
    // Cargo says where it put the binary, whatever CARGO_TARGET_DIR and its configuration say.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["executable"].is_string() && message["target"]["name"] == "s2s")
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo build made no binary s2s")
}

/// The configuration that a job will run with; asking for it also checks it.
pub(crate) fn resolve(s2s: &Path, job: &Job) -> Result<Settings> {
    let output = Command::new(s2s)
        .args(job.resolve())
        .output()
        .with_context(|| format!("starting {}", s2s.display()))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let problem = format!("cell {:?} cannot be run:\n{}", job.cell, message.trim_end());
        return Err(Usage(problem).into());
    }
    let table = String::from_utf8(output.stdout)?.parse()?;
    Ok(flatten(&table))
}

/// Whether the binary was built after the run had ended.
pub(crate) fn is_newer(s2s: &Path, job: &Job) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    let ended = changed(&job.folder.join("run.json"));
    matches!((changed(s2s), ended), (Some(built), Some(ended)) if built > ended)
}

/// Runs all tasks, `parallel` at a time. After a failure no other is started.
pub(crate) fn run_all(s2s: &Path, tasks: &[Task], parallel: NonZeroUsize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let failures = || failures.lock().expect("no thread panics with the lock");
    let work = || {
        while failures().is_empty() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { break };
            let name = format!("[{}/{}] {}", index + 1, tasks.len(), task.job.name());
            match run(s2s, task, parallel, &name) {
                Ok(()) => {}
                Err(error) => failures().push(format!("{error:#}")),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..parallel.get().min(tasks.len()) {
            scope.spawn(work);
        }
    });
    let failures = failures();
    if !failures.is_empty() {
        let failures = failures.join("\n");
        bail!("{failures}\nstart again to go on: finished runs are kept");
    }
    Ok(())
}

/// Trains and evaluates a run as far as it is to be done.
fn run(s2s: &Path, task: &Task, parallel: NonZeroUsize, name: &str) -> Result<()> {
    let job = &task.job;
    if let Some(start) = task.start {
        eprintln!("{name}: {}", start.verb());
        let words = match start {
            Start::Train => job.train(),
            Start::Resume => job.resume(),
        };
        let (status, said) = call(s2s, job, &words, parallel)?;
        let failed = || format!("{} failed ({status}): see {said}", job.name());
        eprintln!("{name}: {}", ending(job, status).with_context(failed)?);
        if is_diverged(job) {
            return Ok(()); // there is nothing to evaluate
        }
    }
    for group in &task.evaluations {
        eprintln!("{name}: evaluating by length, {}", group.name);
        let (status, said) = call(s2s, job, &group.evaluate(&job.folder), parallel)?;
        if !status.success() {
            let (job, group) = (job.name(), &group.name);
            bail!("evaluating {job} by length, {group}, failed ({status}): see {said}");
        }
    }
    Ok(())
}

/// Runs `s2s` to its end; says where its talk can be read.
fn call(
    s2s: &Path,
    job: &Job,
    words: &[String],
    parallel: NonZeroUsize,
) -> Result<(ExitStatus, String)> {
    let name = format!("{}.log", job.name());
    let log_path = job.folder.with_file_name("logs").join(name);
    let log = open_log(&log_path).with_context(|| format!("opening {}", log_path.display()))?;
    let mut command = Command::new(s2s);
    command.args(words);
    let mut said = "above".to_owned();
    if parallel.get() > 1 {
        // Progress of several at a time would be a jumble.
        command.args(["--threads", "1"]).stderr(log.try_clone()?);
        said = log_path.display().to_string();
    }
    let status = command
        .stdin(Stdio::null())
        .stdout(log)
        .status()
        .with_context(|| format!("starting {}", s2s.display()))?;
    Ok((status, said))
}

fn is_diverged(job: &Job) -> bool {
    let record = RunDir::open(&job.folder).and_then(|run| read_json::<RunRecord>(run.run()));
    record.is_ok_and(|record| record.status == RunStatus::Diverged)
}

/// How a run ended, if it came to a result; that it diverged is one.
fn ending(job: &Job, status: ExitStatus) -> Option<String> {
    let run = RunDir::open(&job.folder).ok()?;
    let record: RunRecord = read_json(run.run()).ok()?;
    if record.status == RunStatus::Diverged {
        return Some(format!("diverged at step {}", record.step));
    }
    let test = record.test.filter(|_| status.success())?;
    Some(format!(
        "exact match {:.4} on test, {:.0} s",
        test.exact_match, record.elapsed_secs
    ))
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // A resumed run goes on where it stopped.
    File::options().create(true).append(true).open(path)
}

impl Start {
    fn verb(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Resume => "resuming",
        }
    }
}
