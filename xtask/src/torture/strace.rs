//! System calls of a run: observed, and made to fail, by strace.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result};

use super::Bench;
use super::process::{Setup, captured, check_success, run};

/// The calls by which a run accesses its folder.
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

/// The calls by which a run changes its folder.
pub(super) const CHANGING: [&str; 5] = ["write", "fsync", "rename", "renameat2", "mkdir"];

/// A system call of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    /// Its position among the calls of this name in its thread, from 1.
    pub(super) number: usize,
    /// The first path in its arguments, relative to the run folder; empty for the folder itself.
    pub(super) path: String,
}

/// What happens at a call.
#[derive(Debug)]
pub(super) struct Fault {
    expression: String,
}

impl Call {
    /// A fault at this call, in the syntax of strace: `signal=SIGKILL`, `error=ENOSPC`.
    pub(super) fn fault(&self, what: &str) -> Fault {
        Fault {
            expression: format!("{}:{what}:when={}", self.name, self.number),
        }
    }
}

impl Fault {
    /// Starts or resumes a run with this fault.
    pub(super) fn inject(&self, bench: &Bench, dir: &Path, setup: Setup) -> Result<Output> {
        inject(bench, dir, setup, &[&self.expression])
    }
}

/// Starts or resumes a run with faults such as `write:error=EIO:when=3`.
pub(super) fn inject(bench: &Bench, dir: &Path, setup: Setup, faults: &[&str]) -> Result<Output> {
    let names = faults.iter().filter_map(|fault| fault.split(':').next());
    let names = names.collect::<Vec<_>>().join(",");
    let mut strace = captured("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={names}"))
        .args(faults.iter().map(|fault| format!("--inject={fault}")))
        .arg(&bench.s2s)
        .args(bench.arguments(dir, setup));
    run(&mut strace)
}

/// Why calls cannot be traced here; `None` if they can.
pub(super) fn is_missing() -> Option<String> {
    match run(captured("strace").args(["-qq", "-o", "/dev/null", "true"])) {
        Ok(output) if output.status.success() => None,
        Ok(_) => Some("no permission to trace".to_owned()),
        Err(_) => Some("strace is not installed".to_owned()),
    }
}

/// The calls with these names that access the folder of a run, in their order.
pub(super) fn calls(bench: &Bench, setup: Setup, names: &[&str]) -> Result<Vec<Call>> {
    let dir = bench.fresh("traced")?;
    let log = bench.folder.join("trace");
    let mut strace = captured("strace");
    strace
        .args(["-f", "-qq", "-y", "-s", "0", "-e"])
        .arg(format!("trace={}", names.join(",")))
        .arg("-o")
        .arg(&log)
        .arg(&bench.s2s)
        .args(bench.arguments(&dir, setup));
    check_success(&run(&mut strace)?)?;
    let text = fs::read_to_string(&log).context("reading the log of strace")?;
    Ok(parse(&text, &dir.display().to_string()))
}

/// The calls in a log with lines of the form `<thread> <name>(<arguments>) = <result>`.
fn parse(log: &str, dir: &str) -> Vec<Call> {
    let mut numbers: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else {
            continue; // the end of a call that another thread interrupted
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
        // strace injects the fault in the first thread that reaches the number.
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
    fn calls_are_numbered_per_thread_and_kept_if_they_access_the_run() {
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
