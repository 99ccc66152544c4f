//! System calls that are watched, and those that are made to fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};

use super::Bench;
use super::process::{Sets, quiet, succeed};

/// The calls by which a run touches its folder.
pub(super) const TOUCHING: [&str; 9] = [
    "openat",
    "write",
    "fsync",
    "ftruncate",
    "rename",
    "renameat2",
    "mkdir",
    "unlinkat",
    "flock",
];

/// The calls by which it changes what is there.
pub(super) const CHANGING: [&str; 5] = ["write", "fsync", "rename", "renameat2", "mkdir"];

/// A system call of a run: the n-th of its name in its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) number: usize,
    /// What it has to do with, in the run folder; empty for the folder itself.
    pub(super) path: String,
}

/// What is to happen at a call.
#[derive(Debug)]
pub(super) struct Fault {
    expression: String,
}

impl Call {
    /// In the words of strace: `signal=SIGKILL`, `error=ENOSPC`.
    pub(super) fn fault(&self, what: &str) -> Fault {
        Fault {
            expression: format!("{}:{what}:when={}", self.name, self.number),
        }
    }
}

impl Fault {
    /// Starts a run, or goes on with it, with this fault.
    pub(super) fn inject(&self, bench: &Bench, dir: &Path, sets: Sets) -> Result<Output> {
        inject(bench, dir, sets, &[&self.expression])
    }
}

/// Starts a run, or goes on with it, with these faults: `write:error=EIO:when=3`.
pub(super) fn inject(bench: &Bench, dir: &Path, sets: Sets, faults: &[&str]) -> Result<Output> {
    let names: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault.split(':').next())
        .collect();
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={}", names.join(",")))
        .args(faults.iter().map(|fault| format!("--inject={fault}")))
        .arg(&bench.s2s)
        .args(bench.arguments(dir, sets));
    quiet(&mut command);
    command.output().context("starting strace")
}

/// Why calls cannot be watched here, if so.
pub(super) fn is_missing() -> Option<String> {
    match Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .output()
    {
        Ok(output) if output.status.success() => None,
        Ok(_) => Some("strace may not trace here".to_owned()),
        Err(_) => Some("there is no strace".to_owned()),
    }
}

/// The calls with these names that have to do with the folder of a run, in their order.
pub(super) fn calls(bench: &Bench, sets: Sets, names: &[&str]) -> Result<Vec<Call>> {
    let dir = bench.fresh("traced")?;
    let log = bench.folder.join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-y", "-s", "0", "-e"])
        .arg(format!("trace={}", names.join(",")))
        .arg("-o")
        .arg(&log)
        .arg(&bench.s2s)
        .args(bench.arguments(&dir, sets));
    quiet(&mut command);
    succeed(&command.output().context("starting strace")?)?;
    let text = fs::read_to_string(&log).context("reading what strace saw")?;
    Ok(parse(&text, &dir.display().to_string()))
}

/// The calls of a log whose lines read `<thread> <name>(<arguments>) = <result>`.
fn parse(log: &str, dir: &str) -> Vec<Call> {
    let mut numbers: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else {
            continue; // the second half of a call that another thread interrupted
        };
        let number = numbers.entry((thread, name)).or_default();
        *number += 1;
        let Some((_, after)) = arguments.split_once(dir) else {
            continue;
        };
        let path = after
            .trim_start_matches('/')
            .split(['"', '>'])
            .next()
            .unwrap_or("");
        let call = Call {
            name: name.to_owned(),
            number: *number,
            path: path.to_owned(),
        };
        // Of two threads, strace disturbs the one that comes to the number first.
        if !calls
            .iter()
            .any(|other: &Call| (&other.name, other.number) == (&call.name, call.number))
        {
            calls.push(call);
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_numbered_by_thread_and_kept_if_they_touch_the_run() {
        let log = "\
17    write(2</dev/pts/0>, \"\"..., 5) = 5
18    write(7</tmp/run/metrics.jsonl>, \"\"..., 5) = 5
18    write(2</dev/pts/0>, \"\"..., 5) = 5
18    fsync(7</tmp/run/metrics.jsonl> <unfinished ...>
17    write(2</dev/pts/0>, \"\"..., 5) = 5
18    <... fsync resumed>) = 0
18    write(7</tmp/run/metrics.jsonl>, \"\"..., 5) = 5
18    rename(\"/tmp/run/.run.json.tmp\", \"/tmp/run/run.json\") = 0
18    fsync(3</tmp/run>) = 0
18    +++ exited with 0 +++
";
        let call = |name: &str, number, path: &str| Call {
            name: name.to_owned(),
            number,
            path: path.to_owned(),
        };
        assert_eq!(
            parse(log, "/tmp/run"),
            [
                call("write", 1, "metrics.jsonl"),
                call("fsync", 1, "metrics.jsonl"),
                call("write", 3, "metrics.jsonl"),
                call("rename", 1, ".run.json.tmp"),
                call("fsync", 2, ""),
            ]
        );
    }
}
