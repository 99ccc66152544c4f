//! Black-box tests of the program: commands, streams, files and exit codes.

#![expect(clippy::unwrap_used, reason = "helper functions of tests may panic")]

#[path = "cli/decoding.rs"]
mod decoding;
#[cfg(unix)]
#[path = "cli/failures.rs"]
mod failures;
#[path = "cli/fuzzed.rs"]
mod fuzzed;
#[cfg(unix)]
#[path = "cli/guide.rs"]
mod guide;
#[path = "cli/hints.rs"]
mod hints;
#[cfg(unix)]
#[path = "cli/input.rs"]
mod input;
#[path = "cli/interruptions.rs"]
mod interruptions;
#[path = "cli/lifecycle.rs"]
mod lifecycle;
#[path = "cli/predictions.rs"]
mod predictions;
#[cfg(unix)]
#[path = "cli/pty.rs"]
mod pty;
#[cfg(unix)]
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/text.rs"]
mod text;
#[path = "cli/training.rs"]
mod training;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/viewer.rs"]
mod viewer;
#[path = "cli/weights.rs"]
mod weights;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/tiny.toml");

/// Longer than any step of these tests takes.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A finished run for all tests that only read it, and the output of its training.
static TRAINED: LazyLock<(TempDir, Output)> = LazyLock::new(|| {
    let home = TempDir::new().unwrap();
    let output = s2s(home.path(), ["train", "--config", TINY, "--run-dir", "run"]);
    (home, output)
});

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2s"));
    command
        .current_dir(home)
        .env_remove("RUST_LOG")
        .env("RUST_BACKTRACE", "1") // must not show in any message
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn s2s<A: AsRef<OsStr>>(home: &Path, args: impl IntoIterator<Item = A>) -> Output {
    command(home).args(args).output().unwrap()
}

/// Runs a command with this standard input.
fn s2s_reading(home: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = command(home)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn home_of_trained() -> &'static Path {
    TRAINED.0.path()
}

fn code(output: &Output) -> i32 {
    output
        .status
        .code()
        .unwrap_or_else(|| panic!("{}", stderr(output)))
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn succeeds(output: Output) -> String {
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    stdout(&output).to_owned()
}

/// Checks the exit code, that the message contains all of `parts`, and that standard output is
/// empty.
#[track_caller]
fn fails(output: &Output, expected: i32, parts: &[&str]) {
    let message = stderr(output);
    assert_eq!(code(output), expected, "{message}");
    assert_eq!(stdout(output), "", "{message}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
    for trace in ["panicked", "backtrace", "stack", "0x"] {
        assert!(!message.contains(trace), "{message}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

/// The prediction of the trained model for a single sequence.
fn prediction_of(tokens: &str) -> String {
    let output = s2s(home_of_trained(), ["predict", "run", "--json", tokens]);
    let record: Value = serde_json::from_str(&succeeds(output)).unwrap();
    let tokens = record["prediction"].as_array().unwrap().iter();
    tokens.map(Value::to_string).collect::<Vec<_>>().join(" ")
}

/// A copy of the finished run for tests that modify it.
fn copy_of_trained() -> (TempDir, PathBuf) {
    let home = TempDir::new().unwrap();
    let run = home.path().join("run");
    copy(&home_of_trained().join("run"), &run);
    (home, run)
}

/// The files that are identical in two runs of the same configuration and seed.
fn reproducible_files(run: &Path) -> Vec<Vec<u8>> {
    [
        "checkpoints/last/params.safetensors",
        "checkpoints/last/moments.safetensors",
        "checkpoints/last/state.json",
        "checkpoints/best/params.safetensors",
        "metrics.jsonl",
        "attention.jsonl",
        "wrong.jsonl",
        "samples.jsonl",
        "failures.json",
    ]
    .map(|file| fs::read(run.join(file)).unwrap())
    .to_vec()
}

fn wait_until(child: &mut Child, is_done: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_done() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        assert!(started.elapsed() < TIMEOUT, "it takes too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

// Training.
