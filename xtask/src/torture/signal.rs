//! R10: a run that is told to stop.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use s2s_runlog::{RunRecord, RunStatus, read_json};

use super::process::{Essence, Sets, end_with, succeed};
use super::{Bench, Draws, Outcome};

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// Evaluations take most of the time, so that most signals come within one.
const EVALUATING: Sets = &[
    "train.max_steps=40",
    "train.eval_every=5",
    "train.eval_batch_size=4",
    "data.val_samples=1000",
    "data.test_samples=1000",
];

/// A step takes some seconds.
const SLOW: Sets = &[
    "data.max_len=400",
    "data.min_len=400",
    "train.batch_size=256",
    "model.hidden=128",
    "model.decoder=256",
];

/// What a run may take to stop, beside a step: writing a checkpoint and ending.
const LIMIT: Duration = Duration::from_secs(1);

pub(super) fn once(bench: &Bench) -> Result<Outcome> {
    let started = Instant::now();
    let whole = bench.undisturbed(&bench.fresh("whole")?, EVALUATING)?;
    let lifetime = started.elapsed();
    let n_trials = if bench.is_exhaustive { 300 } else { 40 };
    let (mut outcome, mut slowest) = (Outcome::default(), Duration::ZERO);
    for trial in 0..n_trials {
        let dir = bench.fresh("signaled")?;
        let mut draws = bench.draws("signal", trial);
        let result = stop(
            bench,
            &dir,
            SIGNALS[trial % 2],
            lifetime,
            &mut draws,
            &whole,
        );
        slowest = slowest.max(*result.as_ref().unwrap_or(&Duration::ZERO));
        let name = format!(
            "SIG{}, run {trial} of seed {}",
            SIGNALS[trial % 2].0,
            bench.seed
        );
        outcome.count(&name, result.map(|_| ()));
    }
    outcome.note = format!("the slowest took {:.2} s to end", slowest.as_secs_f64());
    Ok(outcome)
}

/// Stops a run, goes on with it, and compares. How long it took to stop.
fn stop(
    bench: &Bench,
    dir: &Path,
    (signal, code): (&str, i32),
    lifetime: Duration,
    draws: &mut Draws,
    whole: &Essence,
) -> Result<Duration> {
    let child = Started::new(bench, dir, EVALUATING)?;
    sleep(lifetime.mul_f64(draws.share()));
    let sent = Instant::now();
    child.send(signal)?;
    let output = child.wait()?;
    let took = sent.elapsed();
    if end_with(&output, &[0, code])? == code {
        let message = String::from_utf8_lossy(&output.stderr);
        if !message.contains("saved; to go on:") || !message.contains(" resume ") {
            bail!("it does not say how to go on: {message}");
        }
        let record: RunRecord = read_json(dir.join("run.json"))?;
        if record.status != RunStatus::Interrupted {
            bail!("run.json says {:?}", record.status);
        }
    }
    if took > LIMIT {
        bail!("it took {:.1} s to stop", took.as_secs_f64());
    }
    bench.check_resumes(dir, EVALUATING, whole)?;
    Ok(took)
}

pub(super) fn twice(bench: &Bench) -> Result<Outcome> {
    let n_trials = if bench.is_exhaustive { 20 } else { 6 };
    let mut outcome = Outcome::default();
    for trial in 0..n_trials {
        let (signal, code) = SIGNALS[trial % 2];
        let dir = bench.fresh("signaled")?;
        let run = || -> Result<()> {
            let child = Started::new(bench, &dir, SLOW)?;
            child.send(signal)?;
            sleep(Duration::from_millis(100));
            let sent = Instant::now();
            child.send(signal)?;
            let output = child.wait()?;
            end_with(&output, &[code])?;
            let message = String::from_utf8_lossy(&output.stderr);
            match sent.elapsed() < LIMIT && !message.contains("saved") {
                true => Ok(()),
                false => bail!(
                    "it went on for {:.1} s: {message}",
                    sent.elapsed().as_secs_f64()
                ),
            }
        };
        outcome.count(&format!("SIG{signal}, run {trial}"), run());
    }
    Ok(outcome)
}

/// A process that has come to its first step, from which on it obeys signals.
struct Started {
    child: Child,
    talk: thread::JoinHandle<String>,
}

impl Started {
    fn new(bench: &Bench, dir: &Path, sets: Sets) -> Result<Self> {
        let mut child = bench.go_on(dir, sets).spawn().context("starting s2s")?;
        let mut stderr = BufReader::new(child.stderr.take().context("standard error")?);
        let mut line = String::new();
        while !line.contains("train loss") {
            line.clear();
            if stderr.read_line(&mut line)? == 0 {
                succeed(&child.wait_with_output()?)?;
                bail!("it ended before its first step");
            }
        }
        // Somebody has to read on, or it waits.
        let talk = thread::spawn(move || {
            let mut rest = String::new();
            let _ = stderr.read_to_string(&mut rest);
            rest
        });
        Ok(Self { child, talk })
    }

    fn send(&self, signal: &str) -> Result<()> {
        // That it has ended by then is no failure.
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .output();
        status.context("starting kill").map(|_| ())
    }

    fn wait(self) -> Result<Output> {
        let mut output = self.child.wait_with_output()?;
        output.stderr = self.talk.join().unwrap_or_default().into_bytes();
        Ok(output)
    }
}
