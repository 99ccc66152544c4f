//! R4, R13: a disk that is full, or fails.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use s2s_runlog::{RunRecord, read_json};

use super::process::{Essence, SHORT, end_with, succeed};
use super::strace::{self, Call};
use super::{Bench, Outcome};

/// What the system says, and how it is called in a message.
const ERRORS: [(&str, &str); 2] = [
    ("ENOSPC", "No space left on device"),
    ("EIO", "Input/output error"),
];

/// What a run goes on without, by the beginnings of their paths.
const LOGS: [&str; 6] = [
    "timing.jsonl",
    "attention.jsonl",
    "samples.jsonl",
    ".samples.jsonl.tmp",
    "events.out.tfevents",
    "plots",
];

pub(super) fn failing_calls(bench: &Bench) -> Result<Outcome> {
    fail(
        bench,
        "failing calls",
        |call| !is_log(&call.path),
        |bench, dir, call, error| {
            let output = call
                .fault(&format!("error={}", error.0))
                .inject(bench, dir, SHORT)?;
            // strace counts the calls of each thread: the message itself is the first thing that the
            // main one writes.
            let is_muted = call.name == "write" && call.number == 1;
            if end_with(&output, &[0, 1])? == 1 && !is_muted {
                check_says(&output, error.1)?;
            }
            Ok(())
        },
    )
}

pub(super) fn failing_logs(bench: &Bench) -> Result<Outcome> {
    fail(
        bench,
        "failing logs",
        |call| is_log(&call.path),
        |bench, dir, call, error| {
            let output = call
                .fault(&format!("error={}", error.0))
                .inject(bench, dir, SHORT)?;
            end_with(&output, &[0])?;
            let record: RunRecord = read_json(dir.join("run.json"))?;
            let name = call.path.trim_start_matches('.');
            let is_noted = |failure: &s2s_runlog::LogFailure| name.starts_with(&failure.log);
            if !record.degraded.iter().any(is_noted) {
                bail!("run.json does not say that {name} failed");
            }
            check_says(&output, error.1)
        },
    )
}

fn is_log(path: &str) -> bool {
    LOGS.iter().any(|log| path.starts_with(log))
}

/// Lets each of these calls fail in a run of its own, goes on without faults, and compares.
fn fail(
    bench: &Bench,
    row: &str,
    is_meant: impl Fn(&Call) -> bool,
    disturb: impl Fn(&Bench, &Path, &Call, (&str, &str)) -> Result<()>,
) -> Result<Outcome> {
    if let Some(why) = strace::is_missing() {
        return Ok(Outcome::skipped(&why));
    }
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let calls = strace::calls(bench, SHORT, &strace::CHANGING)?;
    let trials: Vec<(Call, (&str, &str))> = calls
        .into_iter()
        .filter(is_meant)
        .flat_map(|call| ERRORS.map(|error| (call.clone(), error)))
        .collect();
    let mut outcome = Outcome {
        note: format!("of {}", trials.len()),
        ..Outcome::default()
    };
    for (call, error) in bench.sample(row, trials, 40) {
        let dir = bench.fresh("failing")?;
        let result = disturb(bench, &dir, &call, error)
            .and_then(|()| bench.check_resumes(&dir, SHORT, &whole));
        let Call { name, number, path } = call;
        outcome.count(
            &format!("{} at {name} number {number}, {path}", error.0),
            result,
        );
    }
    Ok(outcome)
}

/// That a message says what the system said.
fn check_says(output: &Output, cause: &str) -> Result<()> {
    let message = String::from_utf8_lossy(&output.stderr);
    match message.contains(cause) {
        true => Ok(()),
        false => bail!("no {cause:?} in {message:?}"),
    }
}

/// Sizes of a disk, in KiB; a run needs some hundreds.
const SIZES: std::ops::Range<usize> = 1..250;

/// KiB between two sizes: a page.
const PAGE: usize = 4;

pub(super) fn small_disks(bench: &Bench) -> Result<Outcome> {
    let disk = Disk(bench.fresh("disk")?);
    fs::create_dir_all(&disk.0)?;
    if disk.mount(&format!("size={PAGE}k")).is_err() {
        return Ok(Outcome::skipped("the right to mount is missing"));
    }
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let mut outcome = Outcome::default();
    let sizes: Vec<usize> = SIZES.map(|pages| pages * PAGE).collect();
    let mut n_finished = 0;
    for size in bench.sample("disks", sizes, 25) {
        disk.unmount()?;
        disk.mount(&format!("size={size}k"))?;
        let result = starve(bench, &disk, &whole);
        n_finished += usize::from(*result.as_ref().unwrap_or(&false));
        outcome.count(&format!("{size} KiB"), result.map(|_| ()));
    }
    disk.unmount()?;
    outcome.note = format!("{n_finished} of them had room for the run itself");
    Ok(outcome)
}

/// Trains on a disk that is too small, then makes it large enough. Whether the run came to its end
/// before.
fn starve(bench: &Bench, disk: &Disk, whole: &Essence) -> Result<bool> {
    let dir = disk.0.join("run");
    let output = bench.go_on(&dir, SHORT).output()?;
    let has_ended = end_with(&output, &[0, 1])? == 0;
    if !has_ended {
        check_says(&output, "No space left on device")?;
    }
    disk.mount("remount,size=64m")?;
    bench.check_resumes(&dir, SHORT, whole)?;
    Ok(has_ended)
}

/// A file system in memory, gone when it is dropped.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(&self, options: &str) -> Result<()> {
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&self.0);
        succeed(&command.output().context("starting mount")?).context("mounting a small disk")
    }

    fn unmount(&self) -> Result<()> {
        let output = Command::new("umount").arg(&self.0).output();
        succeed(&output.context("starting umount")?).context("unmounting a small disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount(); // after a failure in between
    }
}

pub(super) fn full_streams(bench: &Bench) -> Result<Outcome> {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        return Ok(Outcome::skipped("there is no /dev/full"));
    };
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let mut outcome = Outcome::default();
    let dir = bench.fresh("full")?;
    let talk = bench
        .go_on(&dir, SHORT)
        .stderr(full.try_clone()?)
        .output()?;
    let result = succeed(&talk).and_then(|()| whole.check(&dir));
    outcome.count("standard error", result);
    let dir = bench.fresh("full")?;
    let data = bench.go_on(&dir, SHORT).stdout(full).output()?;
    let result = end_with(&data, &[1])
        .and_then(|_| check_says(&data, "cannot write to standard output"))
        .and_then(|()| bench.check_resumes(&dir, SHORT, &whole));
    outcome.count("standard output", result);
    Ok(outcome)
}
