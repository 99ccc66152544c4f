//! R11: only one process works in a run folder.

use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use s2s_lab::process;
use s2s_runlog::RunDir;

use super::process::{Setup, exit_code, messages, setup};
use super::{Bench, Outcome};

const N_PROCESSES: usize = 8;

/// Long enough for all processes to start before the first one ends.
const LONG: Setup = setup(&["train.max_steps=1500", "train.eval_every=100"]);

pub(super) fn one_wins(bench: &Bench) -> Result<Outcome> {
    let n_trials = if bench.is_exhaustive { 100 } else { 10 };
    let mut outcome = Outcome::default();
    for trial in 0..n_trials {
        let dir = bench.fresh("raced")?;
        let command = match trial % 2 {
            0 => "train",
            _ => "resume",
        };
        if command == "resume" {
            begin(bench, &dir)?;
        }
        outcome.count(&format!("{command}, race {trial}"), race(bench, &dir));
    }
    Ok(outcome)
}

/// Starts a run, and kills it as soon as it can be resumed.
fn begin(bench: &Bench, dir: &Path) -> Result<()> {
    let mut child = process::spawn(&mut bench.train_or_resume(dir, LONG))?;
    while RunDir::open(dir).is_err() && child.try_wait()?.is_none() {
        sleep(Duration::from_millis(1));
    }
    child.kill()?;
    let output = child.wait_with_output()?;
    match output.status.code() {
        None => Ok(()),
        Some(code) => bail!("exit code {code}: {}", messages(&output)),
    }
}

fn race(bench: &Bench, dir: &Path) -> Result<()> {
    // The arguments are the same for all: the first process may make a run before the last starts.
    let mut command = bench.train_or_resume(dir, LONG);
    let children: Vec<Child> = (0..N_PROCESSES)
        .map(|_| Ok(process::spawn(&mut command)?))
        .collect::<Result<_>>()?;
    let (mut winners, mut refusals) = (Vec::new(), Vec::new());
    for child in children {
        let pid = child.id();
        let output = child.wait_with_output()?;
        match exit_code(&output, &[0, 5])? {
            0 => winners.push(pid),
            _ => refusals.push(messages(&output)),
        }
    }
    let [winner] = winners[..] else {
        bail!("{} processes trained", winners.len());
    };
    let holder = format!("is in use by process {winner};");
    match refusals.iter().find(|message| !message.contains(&holder)) {
        Some(message) => bail!("process {winner} trained, but another reported: {message}"),
        None => Ok(()),
    }
}
