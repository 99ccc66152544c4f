//! The engines, each on this machine.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, ensure};
use s2s_lab::process::{command, spawn, stdout};

use super::{Study, kill, wait_until};

/// An engine that starts the runs.
pub(super) trait Engine {
    fn name(&self) -> &'static str;
    /// Why it cannot run here.
    fn missing(&self) -> Option<String>;
    fn start(&mut self) -> Result<()>;
    /// Runs the experiment to its end while processes are lost.
    fn survives(&mut self, study: &Study) -> Result<()>;
    fn stop(&mut self);
}

/// The script that sets an engine up.
fn script(name: &str, args: &[&str]) -> Result<String> {
    let mut process = command(Path::new("scripts/cluster").join(name));
    Ok(stdout(process.args(args))?)
}

fn is_installed(program: &str) -> bool {
    let script = format!("command -v {program} || test -x /usr/sbin/{program}");
    stdout(command("sh").args(["-c", &script])).is_ok()
}

pub(super) struct Slurm {
    folder: PathBuf,
}

impl Slurm {
    pub(super) fn new(folder: &str) -> Self {
        Self {
            folder: Path::new(folder).join("slurm-state"),
        }
    }

    fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    /// A command of SLURM.
    fn slurm(&self, words: &[&str]) -> Result<String> {
        let mut process = command(words[0]);
        let config = std::path::absolute(self.folder.join("slurm.conf"))?;
        Ok(stdout(process.args(&words[1..]).env("SLURM_CONF", config))?)
    }

    /// Waits until the queue is empty. A requeued task would wait for two minutes; it may start now.
    fn drain(&self) -> Result<()> {
        wait_until("the queue is empty", || {
            let queue = self.slurm(&["squeue", "--noheader", "--array", "--format=%A %T"])?;
            for line in queue.lines().filter(|line| line.ends_with("PENDING")) {
                let job = line.split(' ').next().unwrap_or_default();
                // The task may have started in between.
                let _ = self.slurm(&[
                    "scontrol",
                    "update",
                    &format!("JobId={job}"),
                    "StartTime=now",
                ]);
            }
            Ok(queue.trim().is_empty())
        })
    }
}

impl Engine for Slurm {
    fn name(&self) -> &'static str {
        "slurm"
    }

    fn missing(&self) -> Option<String> {
        let programs = ["munged", "slurmctld", "slurmd", "sbatch"];
        let absent = programs
            .into_iter()
            .find(|program| !is_installed(program))?;
        Some(format!(
            "{absent} is not installed; try: apt-get install slurm-wlm munge"
        ))
    }

    fn start(&mut self) -> Result<()> {
        script("slurm.sh", &["start", &self.folder()]).map(drop)
    }

    fn survives(&mut self, study: &Study) -> Result<()> {
        let submit = ["--launcher", "slurm", "--max-parallel", "2"];
        // The program itself calls sbatch.
        let config = std::path::absolute(self.folder.join("slurm.conf"))?;
        let submit = || -> Result<()> {
            let mut process = command(&study.s2s);
            process
                .arg("experiment")
                .arg(&study.file)
                .arg("--out")
                .arg(&study.folder);
            stdout(process.args(submit).env("SLURM_CONF", &config))?;
            Ok(())
        };
        submit()?;
        let preempted = study.running(&[])?;
        let queue = self.slurm(&["squeue", "--noheader", "--array", "--format=%i"])?;
        let job = queue.split('_').next().unwrap_or_default().trim();
        let task = format!("{job}_{}", study.number(&preempted)?);
        eprintln!("slurm: USR1 to the task of {preempted}");
        // It repeats the request for a minute while the task goes back into the queue.
        let mut signal = command("scancel");
        signal
            .args(["--signal=USR1", "--batch", &task])
            .env("SLURM_CONF", &config);
        let mut signal = spawn(signal.stderr(Stdio::null()))?;
        let failed = study.running(std::slice::from_ref(&preempted))?;
        eprintln!("slurm: killing the process of {failed}");
        study.kill(&failed)?;
        let cancelled = study.running(&[preempted.clone(), failed.clone()])?;
        eprintln!("slurm: scancel of the task of {cancelled}");
        let task = format!("{job}_{}", study.number(&cancelled)?);
        self.slurm(&["scancel", &task])?;
        let lost = study.running(&[preempted.clone(), failed.clone(), cancelled.clone()])?;
        eprintln!("slurm: the node goes down under {lost}");
        let node = self.slurm(&["sinfo", "--noheader", "--format=%n"])?;
        let node = format!("NodeName={}", node.trim());
        self.slurm(&["scontrol", "update", &node, "State=DOWN", "Reason=test"])?;
        // A node that answers may be back already, and then this is an error.
        let _ = self.slurm(&["scontrol", "update", &node, "State=RESUME"]);
        self.drain()?;
        let progress = study.progress()?;
        ensure!(
            progress[&preempted].is_none(),
            "{preempted} did not resume after USR1"
        );
        ensure!(
            progress[&lost].is_none(),
            "{lost} did not resume after the loss of the node"
        );
        ensure!(progress[&failed].is_some(), "{failed} did not fail");
        ensure!(
            progress[&cancelled].is_some(),
            "{cancelled} was cancelled, and went back into the queue"
        );
        study.is_saved(&cancelled)?;
        signal.wait()?;
        submit()?;
        self.drain()
    }

    fn stop(&mut self) {
        if let Err(error) = script("slurm.sh", &["stop", &self.folder()]) {
            eprintln!("slurm: {error:#}");
        }
    }
}

pub(super) struct HyperQueue {
    folder: PathBuf,
    workers: Vec<String>,
}

impl HyperQueue {
    pub(super) fn new(folder: &str) -> Self {
        Self {
            folder: Path::new(folder).join("hq-state"),
            workers: Vec::new(),
        }
    }

    fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    fn submit(&self, study: &Study) -> Result<()> {
        let mut process = command(&study.s2s);
        process
            .arg("experiment")
            .arg(&study.file)
            .arg("--out")
            .arg(&study.folder);
        process
            .args(["--launcher", "hq"])
            .env("HQ_SERVER_DIR", std::path::absolute(&self.folder)?);
        stdout(&mut process)?;
        Ok(())
    }

    /// Waits for the end of the last job, whose tasks may have failed.
    fn drain(&self) -> Result<()> {
        wait_until("no task runs or waits", || {
            let mut list = command("hq");
            list.args(["--output-mode=json", "job", "list"]);
            let text = stdout(list.env("HQ_SERVER_DIR", std::path::absolute(&self.folder)?))?;
            let jobs: serde_json::Value = serde_json::from_str(&text)?;
            Ok(jobs.as_array().is_some_and(Vec::is_empty))
        })
    }
}

impl Engine for HyperQueue {
    fn name(&self) -> &'static str {
        "hq"
    }

    fn missing(&self) -> Option<String> {
        let reason = "hq is not installed; see https://it4innovations.github.io/hyperqueue/stable/installation/";
        (!is_installed("hq")).then(|| reason.to_owned())
    }

    fn start(&mut self) -> Result<()> {
        // One worker, so that it is known which one a run is on.
        let workers = script("hq.sh", &["start", &self.folder(), "1"])?;
        self.workers = workers.lines().map(str::to_owned).collect();
        Ok(())
    }

    fn survives(&mut self, study: &Study) -> Result<()> {
        self.submit(study)?;
        let first = study.running(&[])?;
        eprintln!("hq: killing the worker of {first} and its process, as if the machine were lost");
        for worker in self.workers.drain(..) {
            kill(&worker)?;
        }
        study.kill(&first)?;
        for _ in 0..2 {
            let worker = script("hq.sh", &["worker", &self.folder()])?;
            self.workers.push(worker);
        }
        let failed = study.running(std::slice::from_ref(&first))?;
        eprintln!("hq: killing the process of {failed}");
        study.kill(&failed)?;
        self.drain()?;
        let progress = study.progress()?;
        ensure!(
            progress[&first].is_none(),
            "{first} did not resume after the loss of its worker"
        );
        ensure!(progress[&failed].is_some(), "{failed} did not fail");
        self.submit(study)?;
        self.drain()
    }

    fn stop(&mut self) {
        if let Err(error) = script("hq.sh", &["stop", &self.folder()]) {
            eprintln!("hq: {error:#}");
        }
    }
}
