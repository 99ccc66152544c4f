//! Experiments on real cluster engines, with lost processes, against a local run.

mod engines;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use s2s_lab::process::{command, stdout};
use s2s_runlog::list_folder;

use crate::{Usage, release};
use engines::{Engine, HyperQueue, Slurm};

/// Run an experiment on SLURM and on HyperQueue, lose processes, and compare the bytes with a local run
///
/// Eight runs of some seconds. SLURM (root, Debian's slurm-wlm and munge): one task is preempted with
/// USR1, one fails, one is cancelled, and the node goes down under another. HyperQueue (the program hq): a worker is
/// killed, and one task fails. What failed is submitted again. An engine that is not installed is
/// skipped, which is reported and is not a success of its test.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask cluster-test
  cargo xtask cluster-test hq --binary target/release/s2s")]
pub(crate) struct Args {
    /// The engines to test: slurm, hq [default: both]
    #[arg(value_name = "ENGINE")]
    engines: Vec<String>,
    /// Use this `s2s` instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

const FOLDER: &str = "target/cluster-test";

/// Runs that take some seconds each, with a checkpoint every quarter of a second.
const EXPERIMENT: &str = r#"
title = "Cluster test"
question = "Are the bytes those of a local run?"
config = "configs/tiny.toml"
set = ["train.max_steps=1500", "train.eval_every=50"]
seeds = 4
[matrix]
model.hidden = [16, 24]
"#;

/// Files of a run that do not depend on where it ran.
const EQUAL_FILES: [&str; 5] = [
    "metrics.jsonl",
    "samples.jsonl",
    "checkpoints/best/params.safetensors",
    "checkpoints/last/params.safetensors",
    "checkpoints/last/moments.safetensors",
];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let known = ["slurm", "hq"];
    if let Some(other) = args
        .engines
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        return Err(Usage(format!(
            "there is no engine {other:?}; expected slurm or hq"
        ))
        .into());
    }
    let s2s = match &args.binary {
        Some(path) => path.clone(),
        None => release::build()?,
    };
    let s2s = s2s
        .canonicalize()
        .with_context(|| s2s.display().to_string())?;
    if Path::new(FOLDER).exists() {
        fs::remove_dir_all(FOLDER).with_context(|| format!("removing {FOLDER}"))?;
    }
    fs::create_dir_all(FOLDER)?;
    let file = Path::new(FOLDER).join("cells.toml");
    fs::write(&file, EXPERIMENT)?;
    let is_wanted = |name: &str| args.engines.is_empty() || args.engines.iter().any(|n| n == name);
    let local = Study::new(&s2s, &file, "local");
    eprintln!("local: running");
    local.s2s(&["--jobs", "2"])?;
    let mut engines: Vec<Box<dyn Engine>> = Vec::new();
    if is_wanted("slurm") {
        engines.push(Box::new(Slurm::new(FOLDER)));
    }
    if is_wanted("hq") {
        engines.push(Box::new(HyperQueue::new(FOLDER)));
    }
    let (mut n_failed, mut n_skipped) = (0, 0);
    for engine in &mut engines {
        let name = engine.name();
        if let Some(reason) = engine.missing() {
            println!("skipped {name}: {reason}");
            n_skipped += 1;
            continue;
        }
        let study = Study::new(&s2s, &file, name);
        let result = engine
            .start()
            .and_then(|()| engine.survives(&study))
            .and_then(|()| study.equals(&local));
        engine.stop();
        match result {
            Ok(()) => println!("ok      {name}: every run has the bytes of the local run"),
            Err(error) => {
                println!("FAILED  {name}: {error:#}");
                n_failed += 1;
            }
        }
    }
    println!(
        "{} passed, {n_failed} failed, {n_skipped} skipped",
        engines.len() - n_failed - n_skipped
    );
    Ok(match n_failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The experiment in a folder of its own.
struct Study {
    s2s: PathBuf,
    file: PathBuf,
    folder: PathBuf,
}

impl Study {
    fn new(s2s: &Path, file: &Path, name: &str) -> Self {
        Self {
            s2s: s2s.to_owned(),
            file: file.to_owned(),
            folder: Path::new(FOLDER).join(name),
        }
    }

    /// `s2s experiment` with these options.
    fn s2s(&self, options: &[&str]) -> Result<String> {
        let mut process = command(&self.s2s);
        process
            .arg("experiment")
            .arg(&self.file)
            .arg("--out")
            .arg(&self.folder)
            .args(options);
        Ok(stdout(&mut process)?)
    }

    /// The state of each run in the folder, by name: the number of its evaluations, or `None` if it is
    /// finished.
    fn progress(&self) -> Result<BTreeMap<String, Option<usize>>> {
        let names = list_folder(&self.folder)?;
        let names = names.iter().filter_map(|name| name.to_str());
        let runs = names.filter(|name| name.contains("-seed"));
        let state = |name: &str| {
            let run = self.folder.join(name);
            let record = fs::read_to_string(run.join("run.json")).unwrap_or_default();
            let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
            let is_done = record.contains("\"finished\"");
            (name.to_owned(), (!is_done).then(|| metrics.lines().count()))
        };
        Ok(runs.map(state).collect())
    }

    /// Waits for a run that is being trained, other than these, and returns its name.
    fn running(&self, except: &[String]) -> Result<String> {
        let mut found = None;
        wait_until("a run is in the middle of its training", || {
            let mut all = self.progress()?.into_iter();
            let is_young = |evaluations| (1..15).contains(&evaluations);
            found = all.find(|(name, state)| state.is_some_and(is_young) && !except.contains(name));
            Ok(found.is_some())
        })?;
        found.map(|(name, _)| name).context("no run")
    }

    /// The number of a run.
    fn number(&self, run: &str) -> Result<usize> {
        let text = fs::read(self.folder.join("runs.json"))?;
        let known: serde_json::Value = serde_json::from_slice(&text)?;
        let runs = known["runs"].as_array().context("runs.json has no runs")?;
        let mut runs = runs.iter();
        runs.position(|entry| entry["folder"] == run)
            .with_context(|| format!("no run {run}"))
    }

    /// Kills the process that trains a run.
    fn kill(&self, run: &str) -> Result<()> {
        let lock = fs::read_to_string(self.folder.join(run).join("run.lock"))?;
        let pid = lock
            .split_whitespace()
            .next()
            .context("run.lock is empty")?;
        kill(pid)
    }

    /// Checks that a run was saved when it was stopped.
    fn is_saved(&self, run: &str) -> Result<()> {
        let record = fs::read_to_string(self.folder.join(run).join("run.json"))?;
        ensure!(
            record.contains("\"interrupted\""),
            "{run} was not saved when it was stopped: {record}"
        );
        Ok(())
    }

    /// Whether every run is finished.
    fn is_done(&self) -> Result<bool> {
        let progress = self.progress()?;
        Ok(progress.len() == 8 && progress.values().all(Option::is_none))
    }

    fn equals(&self, local: &Self) -> Result<()> {
        ensure!(
            self.is_done()?,
            "not all runs are finished: {:?}",
            self.progress()?
        );
        self.s2s(&["--collect"])?;
        for run in local.progress()?.keys() {
            for file in EQUAL_FILES {
                let [a, b] = [self, local].map(|study| fs::read(study.folder.join(run).join(file)));
                ensure!(a? == b?, "{run}/{file} differs from the local run");
            }
        }
        Ok(())
    }
}

/// Ends a process at once.
fn kill(pid: &str) -> Result<()> {
    stdout(command("kill").args(["-KILL", pid]))?;
    Ok(())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(300);
    let begun = Instant::now();
    while !is_so()? {
        if begun.elapsed() > LIMIT {
            bail!("waited {} s in vain until {what}", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
