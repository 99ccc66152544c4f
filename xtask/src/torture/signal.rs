//! R10: a run that receives a signal that stops it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Output};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use s2s_lab::process;
use s2s_runlog::{RunRecord, RunStatus, read_json};

use super::process::{Essence, Setup, check_success, exit_code, messages, run, setup};
use super::{Bench, Outcome};

#[derive(Clone, Copy)]
struct Signal {
    name: &'static str,
    exit_code: i32,
}

const SIGNALS: [Signal; 4] = [
    signal("INT", 130),
    signal("TERM", 143),
    signal("HUP", 129),
    signal("USR1", 138),
];

const fn signal(name: &'static str, exit_code: i32) -> Signal {
    Signal { name, exit_code }
}

/// Evaluations take most of the time, so that most signals arrive during one.
const EVALUATING: Setup = Setup {
    sets: &[
        "train.max_steps=40",
        "train.eval_every=2",
        "train.eval_batch_size=4",
    ],
    for_numbers: &["data.val_samples=400", "data.test_samples=1000"],
};

/// A step takes seconds.
const SLOW: Setup = setup(&[
    "train.batch_size=256",
    "model.hidden=512",
    "model.decoder=1024",
]);

/// The maximum time from a signal to the end of the process, beyond a step: writing a checkpoint.
const LIMIT: Duration = Duration::from_secs(1);

pub(super) fn once(bench: &Bench) -> Result<Outcome> {
    let started = Instant::now();
    let whole = bench.undisturbed(&bench.fresh("whole")?, EVALUATING)?;
    let duration = started.elapsed();
    let n_trials = if bench.is_exhaustive { 300 } else { 40 };
    let (mut outcome, mut times) = (Outcome::default(), Vec::new());
    for trial in 0..n_trials {
        let dir = bench.fresh("signaled")?;
        let signal = SIGNALS[trial % SIGNALS.len()];
        let delay = duration.mul_f64(bench.draws("signal", trial).share());
        let result = stop(bench, &dir, signal, delay, &whole);
        times.extend(result.as_ref().ok().copied().flatten());
        let name = format!("SIG{}, run {trial} of seed {}", signal.name, bench.seed);
        outcome.count(&name, result.map(|_| ()));
    }
    let slowest = times.iter().max().map_or(0.0, Duration::as_secs_f64);
    outcome.note = format!("{} stopped; the slowest took {slowest:.2} s", times.len());
    outcome.require(times.len(), "run that was stopped");
    Ok(outcome)
}

/// Stops a run by a signal some time after its first step, resumes it, and compares. Returns the time
/// from the signal to the end of the process; `None` if the run had already ended.
fn stop(
    bench: &Bench,
    dir: &Path,
    signal: Signal,
    delay: Duration,
    whole: &Essence,
) -> Result<Option<Duration>> {
    let started = Started::new(bench, dir, EVALUATING)?;
    sleep(delay);
    let sent = Instant::now();
    started.send(signal)?;
    let output = started.wait()?;
    let took = sent.elapsed();
    let is_stopped = exit_code(&output, &[0, signal.exit_code])? != 0;
    if is_stopped {
        let message = messages(&output);
        let is_explained = message.contains(" resume ");
        ensure!(
            is_explained,
            "the message has no command to resume: {message}"
        );
        let RunRecord { status, .. } = read_json(dir.join("run.json"))?;
        ensure!(
            status == RunStatus::Interrupted,
            "the status in run.json is {status:?}"
        );
    }
    if took > LIMIT {
        bail!("it took {:.1} s to stop", took.as_secs_f64());
    }
    bench.check_resumes(dir, EVALUATING, whole)?;
    Ok(is_stopped.then_some(took))
}

pub(super) fn twice(bench: &Bench) -> Result<Outcome> {
    let n_trials = if bench.is_exhaustive { 20 } else { 6 };
    let mut outcome = Outcome::default();
    for trial in 0..n_trials {
        let signal = SIGNALS[trial % SIGNALS.len()];
        let dir = bench.fresh("signaled")?;
        let result = quit(bench, &dir, signal);
        outcome.count(&format!("SIG{}, run {trial}", signal.name), result);
    }
    Ok(outcome)
}

/// Sends a second signal during a step: the process must end at once, without a save.
fn quit(bench: &Bench, dir: &Path, signal: Signal) -> Result<()> {
    let started = Started::new(bench, dir, SLOW)?;
    started.send(signal)?;
    sleep(Duration::from_millis(100));
    let sent = Instant::now();
    started.send(signal)?;
    let output = started.wait()?;
    let took = sent.elapsed();
    exit_code(&output, &[signal.exit_code])?;
    let message = messages(&output);
    match took < LIMIT && !message.contains(" resume ") {
        true => Ok(()),
        false => bail!("it continued for {:.1} s: {message}", took.as_secs_f64()),
    }
}

/// A process after its first step, from which on it handles signals.
struct Started {
    child: Child,
    stderr: thread::JoinHandle<String>,
}

impl Started {
    fn new(bench: &Bench, dir: &Path, setup: Setup) -> Result<Self> {
        let mut child = process::spawn(&mut bench.train_or_resume(dir, setup))?;
        let mut stderr = BufReader::new(child.stderr.take().context("standard error")?);
        let mut line = String::new();
        while !line.contains("train loss") {
            line.clear();
            if stderr.read_line(&mut line)? == 0 {
                check_success(&child.wait_with_output()?)?;
                bail!("it ended before its first step");
            }
        }
        // The process would block if nobody read its messages.
        let stderr = thread::spawn(move || {
            let mut rest = String::new();
            let _ = stderr.read_to_string(&mut rest);
            rest
        });
        Ok(Self { child, stderr })
    }

    fn send(&self, signal: Signal) -> Result<()> {
        // It is not a failure if the process has already ended.
        let (signal, pid) = (format!("-{}", signal.name), self.child.id().to_string());
        run(process::command("kill").args([signal, pid])).map(|_| ())
    }

    fn wait(self) -> Result<Output> {
        let mut output = self.child.wait_with_output()?;
        output.stderr = self.stderr.join().unwrap_or_default().into_bytes();
        Ok(output)
    }
}
