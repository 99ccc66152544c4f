//! R1, R12: killed at any instant, a run goes on to the bytes of one that was not.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{COUNTING, Essence, PLAIN, REFERENCE, SHORT, Sets, succeed};
use super::strace::{self, Fault};
use super::{Bench, Draws, Outcome};

/// How long a killed process may live, in lifetimes of one that is not: longer now and then, so
/// that a run comes to its end.
const LIFETIMES: f64 = 1.1;

const CONFIGS: [(&str, Sets); 3] = [
    ("plain", PLAIN),
    ("counting", COUNTING),
    ("reference", REFERENCE),
];

pub(super) fn at_random_times(bench: &Bench) -> Result<Outcome> {
    let mut wholes = Vec::new();
    for (name, sets) in CONFIGS {
        let started = Instant::now();
        let whole = bench.undisturbed(&bench.fresh(&format!("whole-{name}"))?, sets)?;
        wholes.push((sets, whole, started.elapsed()));
    }
    let (mut outcome, mut kills, mut trial) = (Outcome::default(), 0, 0);
    while kills < bench.kills {
        let (sets, whole, lifetime) = &wholes[trial % wholes.len()];
        let mut draws = bench.draws("kill", trial);
        let dir = bench.fresh("killed")?;
        let result = kill_until_done(
            bench,
            &dir,
            sets,
            *lifetime,
            &mut draws,
            bench.kills - kills,
        );
        let name = format!("run {trial} of seed {}", bench.seed);
        kills += *result.as_ref().unwrap_or(&1);
        let result = result.and_then(|_| bench.check_resumes(&dir, sets, whole));
        outcome.count(&name, result);
        trial += 1;
    }
    outcome.note = format!("{trial} runs with {kills} kills");
    outcome.trials = kills;
    Ok(outcome)
}

/// Kills a run and goes on with it, until it ends by itself or was killed `at_most` times: how
/// often it was.
fn kill_until_done(
    bench: &Bench,
    dir: &Path,
    sets: Sets,
    lifetime: Duration,
    draws: &mut Draws,
    at_most: usize,
) -> Result<usize> {
    for kills in 0..at_most {
        let mut child = bench.go_on(dir, sets).spawn().context("starting s2s")?;
        sleep(lifetime.mul_f64(LIFETIMES * draws.share()));
        let has_ended = child.try_wait()?.is_some();
        child.kill()?;
        let output = child.wait_with_output()?;
        if has_ended {
            succeed(&output)?;
            return Ok(kills);
        }
    }
    Ok(at_most)
}

/// At each system call that has to do with the run folder, before it is made.
pub(super) fn at_system_calls(bench: &Bench) -> Result<Outcome> {
    if let Some(why) = strace::is_missing() {
        return Ok(Outcome::skipped(&why));
    }
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let calls = strace::calls(bench, SHORT, &strace::TOUCHING)?;
    let n_calls = calls.len();
    let mut outcome = Outcome::default();
    for call in bench.sample("calls", calls, 60) {
        let dir = bench.fresh("killed")?;
        let result = kill_at(bench, &dir, &call.fault("signal=SIGKILL"), &whole);
        outcome.count(&format!("{} number {}", call.name, call.number), result);
    }
    outcome.note = format!("of {n_calls} calls");
    Ok(outcome)
}

/// What the system says that has no such call, and what a file system says that has none.
const NO_SWAP: [&str; 2] = ["renameat2:error=ENOSYS", "renameat2:error=EINVAL"];

/// Without the call that swaps a checkpoint for the one before it, also killed at each of those that
/// take its place.
pub(super) fn without_swaps(bench: &Bench) -> Result<Outcome> {
    if let Some(why) = strace::is_missing() {
        return Ok(Outcome::skipped(&why));
    }
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let mut outcome = Outcome::default();
    for error in NO_SWAP {
        let dir = bench.fresh("swapless")?;
        let run = strace::inject(bench, &dir, SHORT, &[error])
            .and_then(|output| succeed(&output))
            .and_then(|()| whole.check(&dir));
        outcome.count(error, run);
    }
    for name in ["rename", "unlinkat", "rmdir"] {
        for number in 1.. {
            let dir = bench.fresh("swapless")?;
            let kill = format!("{name}:signal=SIGKILL:when={number}");
            let output = strace::inject(bench, &dir, SHORT, &[NO_SWAP[0], &kill])?;
            if output.status.code().is_some() {
                succeed(&output)?; // there is no such call any more
                break;
            }
            let result = bench.check_resumes(&dir, SHORT, &whole);
            outcome.count(&kill, result);
        }
    }
    Ok(outcome)
}

fn kill_at(bench: &Bench, dir: &Path, fault: &Fault, whole: &Essence) -> Result<()> {
    let output = fault.inject(bench, dir, SHORT)?;
    // strace ends as its child did: by a signal, which is no code, unless the call never came.
    if output.status.code().is_some() {
        succeed(&output)?;
    }
    bench.check_resumes(dir, SHORT, whole)
}

/// Ten kills a run, and the lines of its metrics.
pub(super) fn metrics(bench: &Bench) -> Result<Outcome> {
    let started = Instant::now();
    let dir = bench.fresh("whole")?;
    bench.undisturbed(&dir, PLAIN)?;
    let lifetime = started.elapsed();
    let whole = fs::read(dir.join("metrics.jsonl"))?;
    let mut outcome = Outcome::default();
    for trial in 0..bench.kills.div_ceil(10) {
        let result = kill_ten_times(bench, trial, lifetime / 2, &whole);
        outcome.count(&format!("run {trial} of seed {}", bench.seed), result);
    }
    Ok(outcome)
}

fn kill_ten_times(bench: &Bench, trial: usize, lifetime: Duration, whole: &[u8]) -> Result<()> {
    let dir = bench.fresh("killed")?;
    let mut draws = bench.draws("metrics", trial);
    kill_until_done(bench, &dir, PLAIN, lifetime, &mut draws, 10)?;
    succeed(&bench.go_on(&dir, PLAIN).output()?)?;
    match fs::read(dir.join("metrics.jsonl"))? == whole {
        true => Ok(()),
        false => bail!("metrics.jsonl differs"),
    }
}
