//! R1, R12: a run that is killed at any time can be resumed to the bytes of an uninterrupted run.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use s2s_lab::process;

use super::process::{COUNTING, Essence, PLAIN, REFERENCE, SHORT, Setup, check_success, run};
use super::strace::{self, Call, Fault};
use super::{Bench, Draws, Outcome};

/// A process is killed after at most so many times the duration of an uninterrupted run. Above 1, so
/// that a run comes to its end sooner or later.
const MAX_DURATION: f64 = 1.1;

/// A run to repeat and kill.
struct Uninterrupted {
    setup: Setup,
    essence: Essence,
    duration: Duration,
}

impl Uninterrupted {
    fn new(bench: &Bench, setup: Setup) -> Result<Self> {
        let dir = bench.fresh("whole")?;
        let started = Instant::now();
        let essence = bench.undisturbed(&dir, setup)?;
        Ok(Self {
            setup,
            essence,
            duration: started.elapsed(),
        })
    }
}

pub(super) fn at_random_times(bench: &Bench) -> Result<Outcome> {
    let setups = [PLAIN, COUNTING, REFERENCE];
    let runs: Vec<Uninterrupted> = setups
        .into_iter()
        .map(|setup| Uninterrupted::new(bench, setup))
        .collect::<Result<_>>()?;
    let (mut outcome, mut n_kills, mut trial) = (Outcome::default(), 0, 0);
    while n_kills < bench.kills {
        let whole = &runs[trial % runs.len()];
        let mut draws = bench.draws("kill", trial);
        let dir = bench.fresh("killed")?;
        let result = kill_repeatedly(bench, &dir, whole, &mut draws, bench.kills - n_kills);
        n_kills += *result.as_ref().unwrap_or(&1);
        let result = result.and_then(|_| bench.check_resumes(&dir, whole.setup, &whole.essence));
        outcome.count(&format!("run {trial} of seed {}", bench.seed), result);
        trial += 1;
    }
    outcome.note = format!("{trial} runs with {n_kills} kills");
    outcome.trials = n_kills;
    Ok(outcome)
}

/// Kills a run and resumes it, until it ends by itself or was killed `max_kills` times. Returns the
/// number of kills.
fn kill_repeatedly(
    bench: &Bench,
    dir: &Path,
    whole: &Uninterrupted,
    draws: &mut Draws,
    max_kills: usize,
) -> Result<usize> {
    for n_kills in 0..max_kills {
        let mut child = process::spawn(&mut bench.train_or_resume(dir, whole.setup))?;
        sleep(whole.duration.mul_f64(MAX_DURATION * draws.share()));
        let has_ended = child.try_wait()?.is_some();
        child.kill()?;
        let output = child.wait_with_output()?;
        if has_ended {
            check_success(&output)?;
            return Ok(n_kills);
        }
    }
    Ok(max_kills)
}

/// Kills a run right before a system call on its folder: before each call until the run can be
/// resumed, and a sample of the others.
pub(super) fn at_system_calls(bench: &Bench) -> Result<Outcome> {
    if let Some(reason) = strace::is_missing() {
        return Ok(Outcome::skipped(&reason));
    }
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let mut start = strace::calls(bench, SHORT, &strace::TOUCHING)?;
    let n_calls = start.len();
    let makes_resumable = |call: &Call| call.path.contains("config.resolved.toml");
    let n_start = start
        .iter()
        .rposition(makes_resumable)
        .map_or(0, |index| index + 1);
    let others = start.split_off(n_start);
    let (mut outcome, mut n_killed) = (Outcome::default(), 0);
    for call in start.into_iter().chain(bench.sample("calls", others, 60)) {
        let dir = bench.fresh("killed")?;
        let result = kill_at(bench, &dir, &call.fault("signal=SIGKILL"), &whole);
        n_killed += usize::from(*result.as_ref().unwrap_or(&true));
        let Call { name, number, path } = call;
        let trial = format!("{name} number {number}, {path}");
        outcome.count(&trial, result.map(|_| ()));
    }
    outcome.note = format!("of {n_calls} calls; {n_killed} runs were killed");
    outcome.require(n_killed, "killed run");
    Ok(outcome)
}

/// The errors of a kernel and of a file system that cannot swap two names in one step.
const NO_SWAP: [&str; 2] = ["renameat2:error=ENOSYS", "renameat2:error=EINVAL"];

/// Runs where a checkpoint cannot be swapped with its predecessor in one step. They are also killed
/// before each of the calls that are used instead.
pub(super) fn without_swaps(bench: &Bench) -> Result<Outcome> {
    if let Some(reason) = strace::is_missing() {
        return Ok(Outcome::skipped(&reason));
    }
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let mut outcome = Outcome::default();
    for error in NO_SWAP {
        let dir = bench.fresh("swapless")?;
        let result = strace::inject(bench, &dir, SHORT, &[error])
            .and_then(|output| check_success(&output))
            .and_then(|()| whole.check(&dir));
        outcome.count(error, result);
    }
    for name in ["rename", "unlinkat", "rmdir"] {
        for number in 1.. {
            let dir = bench.fresh("swapless")?;
            let kill = format!("{name}:signal=SIGKILL:when={number}");
            let output = strace::inject(bench, &dir, SHORT, &[NO_SWAP[0], &kill])?;
            if output.status.code().is_some() {
                check_success(&output)?; // the run has fewer such calls
                break;
            }
            let result = bench.check_resumes(&dir, SHORT, &whole);
            outcome.count(&kill, result);
        }
    }
    Ok(outcome)
}

/// Kills a run at a call, and resumes it. Returns whether it was killed: threads do not make the same
/// calls in every run.
fn kill_at(bench: &Bench, dir: &Path, fault: &Fault, whole: &Essence) -> Result<bool> {
    let output = fault.inject(bench, dir, SHORT)?;
    let is_killed = output.status.code().is_none(); // strace ends by the same signal as the run
    if !is_killed {
        check_success(&output)?;
    }
    bench.check_resumes(dir, SHORT, whole)?;
    Ok(is_killed)
}

/// Runs that are killed ten times, and the lines of their metrics.
pub(super) fn metrics(bench: &Bench) -> Result<Outcome> {
    let mut whole = Uninterrupted::new(bench, PLAIN)?;
    whole.duration /= 2; // more kills before the end
    let lines = fs::read(bench.folder.join("whole/metrics.jsonl"))?;
    let mut outcome = Outcome::default();
    for trial in 0..bench.kills.div_ceil(10) {
        let result = kill_ten_times(bench, trial, &whole, &lines);
        outcome.count(&format!("run {trial} of seed {}", bench.seed), result);
    }
    Ok(outcome)
}

fn kill_ten_times(bench: &Bench, trial: usize, whole: &Uninterrupted, lines: &[u8]) -> Result<()> {
    let dir = bench.fresh("killed")?;
    let mut draws = bench.draws("metrics", trial);
    kill_repeatedly(bench, &dir, whole, &mut draws, 10)?;
    check_success(&run(&mut bench.train_or_resume(&dir, whole.setup))?)?;
    ensure!(
        fs::read(dir.join("metrics.jsonl"))? == lines,
        "metrics.jsonl differs"
    );
    Ok(())
}
