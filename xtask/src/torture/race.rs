//! R11: of all processes in a run folder, one works.

use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};
use s2s_runlog::{RunDir, write_file};

use super::process::{Sets, end_with, quiet, succeed};
use super::{Bench, Outcome};

const N_RACERS: usize = 8;

/// Long enough for all racers to come.
const LONG: Sets = &["train.max_steps=1500", "train.eval_every=100"];

pub(super) fn one_wins(bench: &Bench) -> Result<Outcome> {
    let n_trials = if bench.is_exhaustive { 100 } else { 10 };
    let mut config = Command::new(&bench.s2s);
    config.args(["config", "--config", "configs/tiny.toml"]);
    config.args(LONG.iter().map(|set| format!("--set={set}")));
    quiet(&mut config);
    let config = config.output()?;
    succeed(&config)?;

    let mut outcome = Outcome::default();
    for trial in 0..n_trials {
        let dir = bench.fresh("raced")?;
        let begins = trial % 2 == 1;
        if begins {
            // A run that was begun: they resume it.
            let run = RunDir::create(&dir)?;
            drop(run.lock()?);
            write_file(run.resolved_config(), &config.stdout)?;
        }
        let how = if begins { "resume" } else { "train" };
        outcome.count(&format!("{how}, race {trial}"), race(bench, &dir));
    }
    Ok(outcome)
}

fn race(bench: &Bench, dir: &Path) -> Result<()> {
    let start = |_| bench.go_on(dir, LONG).spawn().context("starting s2s");
    let commands: Vec<Child> = (0..N_RACERS).map(start).collect::<Result<_>>()?;
    let (mut winners, mut told) = (Vec::new(), Vec::new());
    for child in commands {
        let pid = child.id();
        let output = child.wait_with_output()?;
        match end_with(&output, &[0, 5])? {
            0 => winners.push(pid),
            _ => told.push(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
    let [winner] = winners[..] else {
        bail!("{} processes won", winners.len());
    };
    let holder = format!("is in use by process {winner};");
    match told.iter().find(|message| !message.contains(&holder)) {
        Some(message) => bail!("the winner was {winner}, a loser was told: {message}"),
        None => Ok(()),
    }
}
