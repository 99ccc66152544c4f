//! R4, R13: full and failing disks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use s2s_runlog::{RunRecord, read_json};

use super::process::{Essence, SHORT, captured, check_success, exit_code, messages, run};
use super::strace::{self, Call};
use super::{Bench, Outcome};

#[derive(Clone, Copy)]
struct SystemError {
    name: &'static str,
    message: &'static str,
}

const ERRORS: [SystemError; 2] = [
    system_error("ENOSPC", "No space left on device"),
    system_error("EIO", "Input/output error"),
];

const fn system_error(name: &'static str, message: &'static str) -> SystemError {
    SystemError { name, message }
}

/// Logs that a run can do without, by the start of their paths.
const LOGS: [&str; 11] = [
    "timing.jsonl",
    "attention.jsonl",
    "wrong.jsonl",
    "samples.jsonl",
    ".samples.jsonl.tmp",
    "failures.json",
    ".failures.json.tmp",
    "report.html",
    ".report.html.tmp",
    "events.out.tfevents",
    "plots",
];

/// A call that fails in a run.
struct Failure<'a> {
    dir: &'a Path,
    call: &'a Call,
    error: SystemError,
    output: Output,
}

pub(super) fn failing_calls(bench: &Bench) -> Result<Outcome> {
    let is_essential = |call: &Call| !is_log(&call.path);
    fail(bench, "failing calls", is_essential, |failure| {
        // strace counts the calls of each thread: it also hits the first write of the main thread,
        // which is the message itself.
        let is_muted = failure.call.name == "write" && failure.call.number == 1;
        if exit_code(&failure.output, &[0, 1])? == 1 && !is_muted {
            check_message(&failure.output, failure.error.message)?;
        }
        Ok(())
    })
}

pub(super) fn failing_logs(bench: &Bench) -> Result<Outcome> {
    let is_of_log = |call: &Call| is_log(&call.path);
    fail(bench, "failing logs", is_of_log, |failure| {
        check_success(&failure.output)?;
        let record: RunRecord = read_json(failure.dir.join("run.json"))?;
        let name = failure.call.path.trim_start_matches('.');
        let mut degraded = record.degraded.iter();
        let is_reported = degraded.any(|lost| name.starts_with(&lost.log));
        ensure!(
            is_reported,
            "run.json does not report the failure of {name}"
        );
        check_message(&failure.output, failure.error.message)
    })
}

fn is_log(path: &str) -> bool {
    LOGS.iter().any(|log| path.starts_with(log))
}

/// Makes each of the selected calls fail, one per run; then resumes the run without faults and
/// compares.
fn fail(
    bench: &Bench,
    row: &str,
    is_selected: impl Fn(&Call) -> bool,
    check: impl Fn(&Failure<'_>) -> Result<()>,
) -> Result<Outcome> {
    if let Some(reason) = strace::is_missing() {
        return Ok(Outcome::skipped(&reason));
    }
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let calls = strace::calls(bench, SHORT, &strace::CHANGING)?;
    let trials: Vec<(Call, SystemError)> = calls
        .into_iter()
        .filter(is_selected)
        .flat_map(|call| ERRORS.map(|error| (call.clone(), error)))
        .collect();
    let mut outcome = Outcome {
        note: format!("of {}", trials.len()),
        ..Outcome::default()
    };
    for (call, error) in bench.sample(row, trials, 40) {
        let dir = bench.fresh("failing")?;
        let fault = call.fault(&format!("error={}", error.name));
        let output = fault.inject(bench, &dir, SHORT)?;
        let failure = Failure {
            dir: &dir,
            call: &call,
            error,
            output,
        };
        let result = check(&failure).and_then(|()| bench.check_resumes(&dir, SHORT, &whole));
        let Call { name, number, path } = &call;
        let trial = format!("{} at {name} number {number}, {path}", error.name);
        outcome.count(&trial, result);
    }
    Ok(outcome)
}

/// Checks that a message contains the operating system's reason.
fn check_message(output: &Output, reason: &str) -> Result<()> {
    let message = messages(output);
    ensure!(message.contains(reason), "no {reason:?} in {message:?}");
    Ok(())
}

/// Sizes of a disk, in pages. A run needs some hundreds of KiB.
const PAGES: std::ops::Range<usize> = 1..250;

const PAGE_KIB: usize = 4;

pub(super) fn small_disks(bench: &Bench) -> Result<Outcome> {
    let disk = Disk(bench.fresh("disk")?);
    fs::create_dir_all(&disk.0)?;
    if disk.mount(&format!("size={PAGE_KIB}k")).is_err() {
        return Ok(Outcome::skipped("no permission to mount"));
    }
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let mut outcome = Outcome::default();
    let sizes: Vec<usize> = PAGES.map(|pages| pages * PAGE_KIB).collect();
    let mut n_finished = 0;
    for size in bench.sample("disks", sizes, 25) {
        disk.unmount()?;
        disk.mount(&format!("size={size}k"))?;
        let result = starve(bench, &disk, &whole);
        n_finished += usize::from(*result.as_ref().unwrap_or(&false));
        outcome.count(&format!("{size} KiB"), result.map(|_| ()));
    }
    disk.unmount()?;
    outcome.note = format!("{n_finished} were large enough for the run itself");
    Ok(outcome)
}

/// Trains on a small disk, then enlarges it and resumes. Returns whether the run ended before that.
fn starve(bench: &Bench, disk: &Disk, whole: &Essence) -> Result<bool> {
    let dir = disk.0.join("run");
    let output = run(&mut bench.train_or_resume(&dir, SHORT))?;
    let has_ended = exit_code(&output, &[0, 1])? == 0;
    if !has_ended {
        check_message(&output, "No space left on device")?;
    }
    disk.mount("remount,size=64m")?;
    bench.check_resumes(&dir, SHORT, whole)?;
    Ok(has_ended)
}

/// A file system in memory, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn mount(&self, options: &str) -> Result<()> {
        let mut mount = captured("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        check_success(&run(mount.arg(&self.0))?).context("mounting a small disk")
    }

    fn unmount(&self) -> Result<()> {
        check_success(&run(captured("umount").arg(&self.0))?).context("unmounting a small disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount(); // it is still mounted after an error
    }
}

pub(super) fn full_streams(bench: &Bench) -> Result<Outcome> {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        return Ok(Outcome::skipped("there is no /dev/full"));
    };
    let whole = bench.undisturbed(&bench.fresh("whole")?, SHORT)?;
    let mut outcome = Outcome::default();
    let dir = bench.fresh("full")?;
    let output = run(bench.train_or_resume(&dir, SHORT).stderr(full.try_clone()?))?;
    let result = check_success(&output).and_then(|()| whole.check(&dir));
    outcome.count("standard error", result);
    let dir = bench.fresh("full")?;
    let output = run(bench.train_or_resume(&dir, SHORT).stdout(full))?;
    let result = exit_code(&output, &[1])
        .and_then(|_| check_message(&output, "standard output"))
        .and_then(|()| bench.check_resumes(&dir, SHORT, &whole));
    outcome.count("standard output", result);
    Ok(outcome)
}
