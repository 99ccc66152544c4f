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
#[path = "cli/lifecycle.rs"]
mod lifecycle;
#[cfg(unix)]
#[path = "cli/pty.rs"]
mod pty;
#[cfg(unix)]
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/text.rs"]
mod text;
#[path = "cli/viewer.rs"]
mod viewer;
#[path = "cli/weights.rs"]
mod weights;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use reverse_data::MAX_LEN;
use s2s_runlog::{EvalRecord, RunDir, RunRecord, RunStatus, read_json};
use s2s_train::load_config;
use serde_json::{Value, json};
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

#[test]
fn the_outcome_as_json_is_the_record_of_the_run_with_its_folder() {
    let home = TempDir::new().unwrap();
    let arguments = ["train", "--config", TINY, "--set", "train.max_steps=2"];
    let outcome = succeeds(s2s(home.path(), [&arguments[..], &["--json"]].concat()));
    let outcome: Value = serde_json::from_str(&outcome).unwrap();
    let run = outcome["run_dir"].as_str().unwrap();
    let mut record: Value = read_json(home.path().join(run).join("run.json")).unwrap();
    record["run_dir"] = json!(run);
    assert_eq!(outcome, record);
    let again = succeeds(s2s(home.path(), ["resume", run, "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), record);
}

#[test]
fn training_writes_the_run_folder_and_a_report() {
    let (home, output) = &*TRAINED;
    let report = succeeds(output.clone());
    for part in [
        "finished at step 120",
        "exact match",
        "predictions:",
        "run/plots/loss.svg",
        "s2s predict run ",
        "tensorboard --logdir run --samples_per_plugin images=0",
    ] {
        assert!(report.contains(part), "no {part:?} in:\n{report}");
    }
    let messages = stderr(output);
    for part in [
        "leaks train-val 0, train-test 0, val-test 0",
        "14509 parameters",
        "fused kernels",
        "train loss  accuracy  val loss",
    ] {
        assert!(messages.contains(part), "no {part:?} in:\n{messages}");
    }
    let n_evaluations = fs::read_to_string(home.path().join("run/metrics.jsonl"))
        .unwrap()
        .lines()
        .count();
    assert_eq!(n_evaluations, 6);
    assert_eq!(
        messages
            .lines()
            .filter(|line| line.contains(" %  "))
            .count(),
        n_evaluations + 1, // before the first step
    );
    assert_eq!(report.matches("  ->  ").count(), 8);
    assert!(!messages.contains('\x1b') && !report.contains('\x1b'));

    let run = home.path().join("run");
    for file in [
        "config.toml",
        "config.resolved.toml",
        "environment.json",
        "metrics.jsonl",
        "timing.jsonl",
        "steps.jsonl",
        "initial.json",
        "identity.json",
        "attention.jsonl",
        "wrong.jsonl",
        "samples.jsonl",
        "failures.json",
        "report.html",
        "run.json",
        "checkpoints/best/params.safetensors",
        "checkpoints/last/moments.safetensors",
        "plots/loss.svg",
        "plots/loss.png",
        "plots/accuracy.svg",
        "plots/accuracy.png",
        "plots/exact-match.svg",
        "plots/attention.svg",
        "plots/attention.png",
        "plots/attention-over-training.svg",
    ] {
        assert!(run.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert_eq!(
        fs::read_to_string(run.join("config.toml")).unwrap(),
        fs::read_to_string(TINY).unwrap()
    );
}

#[test]
fn the_default_name_of_a_run_states_what_differs_from_the_file() {
    let home = TempDir::new().unwrap();
    let args = [
        "train",
        "--config",
        TINY,
        "--set",
        "train.max_steps=20",
        "--seed",
        "7",
    ];
    for name in [
        "runs/tiny-max_steps=20-seed7",
        "runs/tiny-max_steps=20-seed7-2",
    ] {
        assert!(succeeds(s2s(home.path(), args)).contains(&format!("predict {name} ")));
        assert!(home.path().join(name).join("run.json").exists());
    }
}

#[test]
fn thread_count_does_not_change_a_byte() {
    let home = TempDir::new().unwrap();
    for threads in ["1", "2"] {
        let run_dir = ["train", "--config", TINY, "--run-dir", threads];
        succeeds(s2s(
            home.path(),
            run_dir.iter().chain(&["--threads", threads]),
        ));
    }
    assert!(
        reproducible_files(&home.path().join("1")) == reproducible_files(&home.path().join("2"))
    );
    assert!(
        reproducible_files(&home.path().join("1"))
            == reproducible_files(&home_of_trained().join("run"))
    );
}

#[test]
fn a_run_folder_with_files_is_not_changed() {
    let (home, run) = copy_of_trained();
    let before = fs::read(run.join("config.resolved.toml")).unwrap();
    let output = s2s(home.path(), ["train", "--run-dir", "run", "--seed", "5"]);
    fails(
        &output,
        2,
        &[
            "run already exists and is not an empty folder",
            "resume run`",
        ],
    );
    assert_eq!(fs::read(run.join("config.resolved.toml")).unwrap(), before);
}

#[test]
fn divergence_is_reported_and_recorded() {
    let home = TempDir::new().unwrap();
    let rate = "train.learning_rate=1e30";
    let output = s2s(
        home.path(),
        ["train", "--config", TINY, "--run-dir", "run", "--set", rate],
    );
    fails(
        &output,
        4,
        &[
            "became",
            "at step 2",
            "the last finite values were loss ",
            "gradient norm ",
            "lower learning rate",
        ],
    );
    let record: RunRecord = read_json(home.path().join("run/run.json")).unwrap();
    assert_eq!(record.status, RunStatus::Diverged);
    assert!(!home.path().join("run/checkpoints").exists());
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_resumes_to_the_same_bytes() {
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let home = TempDir::new().unwrap();
        let mut child = command(home.path())
            .args(["train", "--config", TINY, "--run-dir", "run"])
            .spawn()
            .unwrap();
        let metrics = home.path().join("run/metrics.jsonl");
        wait_until(&mut child, || {
            fs::metadata(&metrics).is_ok_and(|file| file.len() > 0)
        });
        let kill = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        fails(
            &output,
            expected,
            &[
                "Saving and stopping. Press Ctrl-C again to quit now.",
                "saved at step",
                "s2s resume run",
            ],
        );
        let record: RunRecord = read_json(home.path().join("run/run.json")).unwrap();
        assert_eq!(record.status, RunStatus::Interrupted);

        let output = s2s(home.path(), ["resume", "run"]);
        assert!(stderr(&output).contains(&format!("resumed at step {}", record.step)));
        assert!(succeeds(output).contains("finished at step 120"));
        let uninterrupted = home_of_trained().join("run");
        assert!(
            reproducible_files(&home.path().join("run")) == reproducible_files(&uninterrupted),
            "{signal}"
        );
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let home = TempDir::new().unwrap();
    let run = home.path().join("run");
    let delays = [90, 30, 150, 60, 110, 200, 10, 170].map(Duration::from_millis);
    for delay in delays {
        let args: &[&str] = match RunDir::open(&run) {
            Ok(_) => &["resume", "run"],
            Err(_) => &["train", "--config", TINY, "--run-dir", "run"],
        };
        let mut child = command(home.path()).args(args).spawn().unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    succeeds(s2s(home.path(), ["resume", "run"]));
    assert!(reproducible_files(&run) == reproducible_files(&home_of_trained().join("run")));
    let left = fs::read_dir(run.join("checkpoints")).unwrap().count();
    assert_eq!(left, 2, "only best and last");
}

/// Settings with which an evaluation takes minutes.
#[cfg(unix)]
const EVALUATING: [&str; 6] = [
    "--set=train.eval_every=1",
    "--set=train.eval_batch_size=1",
    "--set=data.vocab=101",
    "--set=data.max_len=100",
    "--set=data.val_samples=10000",
    "--set=data.min_len=100",
];

/// Starts a run with a long evaluation and sends a signal `times` times during it.
#[cfg(unix)]
fn signal_in_evaluation(home: &Path, signal: &str, times: usize) -> (Output, Duration) {
    let mut child = command(home)
        .args(["train", "--config", TINY, "--run-dir", "run"])
        .args(EVALUATING)
        .spawn()
        .unwrap();
    wait_until(&mut child, || {
        fs::read_dir(home.join("run")).is_ok_and(|entries| {
            let mut names = entries.map(|entry| entry.unwrap().file_name());
            names.any(|name| name.to_string_lossy().starts_with("events.out."))
        })
    });
    std::thread::sleep(Duration::from_millis(500)); // the first step
    let sent = Instant::now();
    for _ in 0..times {
        let kill = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(kill.is_ok());
    }
    (child.wait_with_output().unwrap(), sent.elapsed())
}

#[test]
#[cfg(unix)]
fn a_signal_interrupts_an_evaluation() {
    let home = TempDir::new().unwrap();
    let (output, took) = signal_in_evaluation(home.path(), "INT", 1);
    fails(&output, 130, &["saved at step 0 of", "resume run"]);
    // The evaluation takes minutes.
    assert!(took < Duration::from_secs(20), "{took:?}");
    let record: RunRecord = read_json(home.path().join("run/run.json")).unwrap();
    assert_eq!((record.status, record.step), (RunStatus::Interrupted, 0));
    assert_eq!(
        fs::read(home.path().join("run/metrics.jsonl")).unwrap(),
        b""
    );
}

#[test]
#[cfg(unix)]
fn a_second_signal_quits_at_once() {
    let home = TempDir::new().unwrap();
    // Many, since pending signals of the same kind are merged.
    let (output, took) = signal_in_evaluation(home.path(), "TERM", 50);
    assert_eq!(code(&output), 143);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn only_one_of_several_processes_trains_in_a_folder() {
    let home = TempDir::new().unwrap();
    let start = |_| {
        command(home.path())
            .args(["train", "--config", TINY, "--run-dir", "run"])
            .args(["--set", "train.max_steps=2000"])
            .spawn()
            .unwrap()
    };
    let racers: Vec<Child> = (0..5).map(start).collect();
    let ended: Vec<(u32, Output)> = racers
        .into_iter()
        .map(|child| (child.id(), child.wait_with_output().unwrap()))
        .collect();
    let winners: Vec<u32> = ended
        .iter()
        .filter(|(_, output)| output.status.success())
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(winners.len(), 1);
    let holder = format!("run folder run is in use by process {};", winners[0]);
    for (id, output) in &ended {
        if *id != winners[0] {
            fails(output, 5, &[&holder]);
        }
    }
}

#[test]
fn a_run_continues_without_its_logs_and_warns() {
    let home = TempDir::new().unwrap();
    let run = home.path().join("run");
    let train = ["train", "--config", TINY, "--run-dir", "run"];
    // An interrupted run with obstacles in place of its logs.
    let mut begun = command(home.path()).args(train).spawn().unwrap();
    wait_until(&mut begun, || run.join("config.resolved.toml").exists());
    begun.kill().unwrap();
    begun.wait().unwrap();
    for log in ["timing.jsonl", "plots", "checkpoints"] {
        let _ = fs::remove_dir_all(run.join(log));
        let _ = fs::remove_file(run.join(log));
    }
    fs::create_dir(run.join("timing.jsonl")).unwrap();
    fs::write(run.join("plots"), "in the way").unwrap();

    let output = s2s(home.path(), ["resume", "run"]);
    let messages = stderr(&output);
    for part in [
        "cannot write to timing.jsonl; training continues",
        "warning: timing.jsonl: incomplete since step",
        "is a folder, not a regular file",
        "warning: plots: incomplete since step",
    ] {
        assert!(messages.contains(part), "no {part:?} in:\n{messages}");
    }
    succeeds(output.clone());
    let record: RunRecord = read_json(run.join("run.json")).unwrap();
    assert_eq!(record.status, RunStatus::Finished);
    let logs: Vec<&str> = record
        .degraded
        .iter()
        .map(|lost| lost.log.as_str())
        .collect();
    assert_eq!(logs, ["timing.jsonl", "plots"]);
    assert!(reproducible_files(&run) == reproducible_files(&home_of_trained().join("run")));
}

#[test]
#[cfg(unix)]
fn a_run_that_cannot_save_fails_and_can_be_resumed_later() {
    let home = TempDir::new().unwrap();
    // A file-size limit below the size of the parameters acts like a full disk.
    let limited = "trap '' XFSZ; ulimit -f 40; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_s2s")])
        .args(["train", "--config", TINY, "--run-dir", "run"])
        .current_dir(home.path())
        .output()
        .unwrap();
    fails(
        &output,
        1,
        &[
            "cannot write run/checkpoints/best.new/params.safetensors",
            "caused by: File too large",
            "try: raise the limit of file sizes, see `ulimit -f`, then `",
            "resume run` continues",
        ],
    );
    let run = home.path().join("run");
    assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 0);
    succeeds(s2s(home.path(), ["resume", "run"]));
    assert!(reproducible_files(&run) == reproducible_files(&home_of_trained().join("run")));
}

#[test]
fn training_continues_without_standard_error() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        return; // exists only on Linux
    };
    let home = TempDir::new().unwrap();
    let child = command(home.path())
        .args(["train", "--config", TINY, "--run-dir", "run"])
        .stderr(full)
        .spawn();
    assert!(child.unwrap().wait_with_output().unwrap().status.success());
    assert!(
        reproducible_files(&home.path().join("run"))
            == reproducible_files(&home_of_trained().join("run"))
    );
}

#[test]
fn an_unknown_instruction_set_is_a_usage_error() {
    let mut command = command(home_of_trained());
    let output = command.args(["predict", "run", "1"]).env("S2S_SIMD", "mmx");
    let says = ["S2S_SIMD must be one that this CPU supports", "got \"mmx\""];
    fails(&output.output().unwrap(), 2, &says);
}

#[test]
fn resuming_a_finished_run_prints_its_report() {
    let before = fs::read(home_of_trained().join("run/run.json")).unwrap();
    let output = s2s(home_of_trained(), ["resume", "run"]);
    assert!(stderr(&output).contains("run run is already finished"));
    assert_eq!(succeeds(output), stdout(&TRAINED.1));
    assert_eq!(
        fs::read(home_of_trained().join("run/run.json")).unwrap(),
        before
    );
}

// Using a trained model.

#[test]
fn evaluation_agrees_with_the_report_for_any_batch_size() {
    let record: RunRecord = read_json(home_of_trained().join("run/run.json")).unwrap();
    let test = record.test.unwrap();
    for size in ["1", "7", "64"] {
        let args = ["eval", "run", "--json", "--batch-size", size];
        let line = succeeds(s2s(home_of_trained(), args));
        let found: EvalRecord = serde_json::from_str(&line).unwrap();
        assert!(
            (found.loss - test.loss).abs() < 1e-6,
            "batches of {size}: {line}"
        );
        assert_eq!(
            (found.exact_match, found.step),
            (test.exact_match, test.step)
        );
    }
}

#[test]
fn predictions_do_not_depend_on_the_batch() {
    let sequences: Vec<String> = (0..300)
        .map(|i| {
            let tokens = (0..1 + i % 4).map(|k| (1 + (i * 7 + k * 3) % 10).to_string());
            tokens.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let predict = |sequences: &[String], batch_size: &str| -> Vec<String> {
        let input = sequences.join("\n");
        let args = ["predict", "run", "--json", "--batch-size", batch_size];
        let answers = succeeds(s2s_reading(home_of_trained(), &args, input.as_bytes()));
        answers.lines().map(str::to_owned).collect()
    };
    let alone = predict(&sequences, "1");
    for batch_size in ["2", "7", "64", "256"] {
        assert!(
            predict(&sequences, batch_size) == alone,
            "batches of {batch_size}"
        );
    }
    let backwards: Vec<String> = sequences.iter().rev().cloned().collect();
    let mut answers = predict(&backwards, "64");
    answers.reverse();
    assert!(answers == alone, "in another order");
}

#[test]
fn split_and_checkpoint_can_be_chosen() {
    let args = ["eval", "run", "--split", "val", "--checkpoint", "last"];
    let table = succeeds(s2s(home_of_trained(), args));
    assert!(
        table.contains(" val ") && table.trim_end().ends_with("120"),
        "{table}"
    );
}

#[test]
fn tokens_may_be_arguments_with_spaces_or_commas() {
    let answer = prediction_of("3 1") + "\n";
    for args in [&["3", "1"][..], &["3,1"], &["3, 1"], &["3,", "1"]] {
        let output = s2s(home_of_trained(), ["predict", "run"].iter().chain(args));
        assert_eq!(succeeds(output), answer, "{args:?}");
    }
}

#[test]
fn a_file_gets_one_prediction_per_line() {
    let home = TempDir::new().unwrap();
    let input = home.path().join("input");
    fs::write(&input, "1 2\n5,6\r\n7").unwrap();
    let answers = ["1 2", "5 6", "7"]
        .map(|tokens| prediction_of(tokens) + "\n")
        .concat();
    for batch_size in ["1", "64"] {
        let output = command(home_of_trained())
            .args(["predict", "run", "--batch-size", batch_size, "--file"])
            .arg(&input)
            .output()
            .unwrap();
        assert_eq!(succeeds(output), answers);
    }
}

#[test]
fn each_line_gets_a_prediction_or_an_error() {
    let too_long = "1 ".repeat(MAX_LEN + 1);
    let endless = "1".repeat(16 * MAX_LEN + 2);
    let lines: [(&[u8], Result<String, &str>); 9] = [
        (b"1 2", Ok(prediction_of("1 2"))),
        (b"", Err("no tokens")),
        (
            b"1 99",
            Err("token 99 is outside the vocabulary, expected 1 to 10"),
        ),
        (b"1 x", Err("token \"x\" is not a number")),
        (b"5 6", Ok(prediction_of("5 6"))),
        (b"\xff 1", Err("not valid UTF-8")),
        (
            too_long.as_bytes(),
            Err("too long: 1000001 tokens, but the limit is 1000000 tokens; split the line"),
        ),
        (endless.as_bytes(), Err("too long: 16000003 bytes")),
        (b"7", Ok(prediction_of("7"))),
    ];
    let input = lines.each_ref().map(|(line, _)| *line).join(&b'\n');

    let output = s2s_reading(home_of_trained(), &["predict", "run"], &input);
    assert_eq!(code(&output), 1);
    let answers: Vec<&str> = lines
        .iter()
        .map(|(_, answer)| answer.as_deref().unwrap_or(""))
        .collect();
    assert_eq!(stdout(&output).lines().collect::<Vec<_>>(), answers);
    let mut errors = stderr(&output).lines();
    for (index, (_, answer)) in lines.iter().enumerate() {
        if let Err(expected) = answer {
            let error = errors.next().unwrap();
            assert!(
                error.starts_with(&format!("error: line {}: {expected}", index + 1)),
                "{error}"
            );
        }
    }
    assert_eq!(errors.next(), None);

    let output = s2s_reading(home_of_trained(), &["predict", "run", "--json"], &input);
    assert_eq!(code(&output), 1);
    assert_eq!(stdout(&output).lines().count(), lines.len());
    for ((index, line), (_, answer)) in stdout(&output).lines().enumerate().zip(&lines) {
        let record: Value = serde_json::from_str(line).unwrap();
        match answer {
            Ok(_) => assert!(record["prediction"].is_array()),
            Err(why) => {
                assert_eq!(record["line"], index + 1);
                assert!(record["error"].as_str().unwrap().starts_with(why), "{line}");
            }
        }
    }
}

#[test]
fn predictions_do_not_depend_on_threads_or_batches() {
    // Lengths of 1 to 150 in mixed order, and some invalid lines.
    let line = |n: usize| match n % 11 {
        10 => "x\n".to_owned(),
        _ => "7 ".repeat(1 + n * n % 151) + &format!("{}\n", 1 + n % 10),
    };
    let input: String = (0..300).map(line).collect();
    let answers = |threads: &str, batch_size: &str| {
        let args = ["--threads", threads, "--batch-size", batch_size];
        let args = [&["predict", "run", "--json"][..], &args].concat();
        let output = s2s_reading(home_of_trained(), &args, input.as_bytes());
        assert_eq!(code(&output), 1);
        (stdout(&output).to_owned(), stderr(&output).to_owned())
    };
    let expected = answers("1", "1");
    assert_eq!(expected.0.lines().count(), 300);
    for (threads, batch_size) in [("1", "64"), ("2", "1"), ("2", "7"), ("5", "64")] {
        assert_eq!(answers(threads, batch_size), expected);
    }
}

#[test]
fn an_invalid_token_in_the_arguments_is_rejected() {
    for (token, message) in [
        ("11", "token 11 is outside the vocabulary, expected 1 to 10"),
        ("-3", "token -3 is outside"),
        ("", "no tokens"),
    ] {
        let output = s2s(home_of_trained(), ["predict", "run", token]);
        assert_eq!(code(&output), 1);
        assert_eq!(stdout(&output), "\n");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
}

#[test]
fn json_contains_the_prediction_and_optionally_the_weights() {
    let args = ["predict", "run", "--json", "--attention", "3", "1"];
    let record: Value = serde_json::from_str(&succeeds(s2s(home_of_trained(), args))).unwrap();
    assert_eq!(record["source"], json!([3, 1]));
    assert!(record["log_prob"].as_f64().unwrap() < 0.0);
    let weights = record["weights"].as_array().unwrap();
    let n_tokens = record["prediction"].as_array().unwrap().len();
    let has_end = usize::from(record["stopped"].as_bool().unwrap());
    assert_eq!(weights.len(), n_tokens + has_end);
    for row in weights {
        let sum: f64 = row
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }

    let args = ["predict", "run", "--json", "--oracle-length", "3", "1"];
    let record: Value = serde_json::from_str(&succeeds(s2s(home_of_trained(), args))).unwrap();
    assert_eq!(record["prediction"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&record["stopped"], record.get("weights")),
        (&json!(false), None)
    );
}

#[test]
fn attention_is_drawn_on_standard_error() {
    let output = s2s(
        home_of_trained(),
        ["predict", "run", "--attention", "3", "1"],
    );
    assert!(
        stderr(&output).contains(['░', '▒', '▓', '█']),
        "{}",
        stderr(&output)
    );
    assert_eq!(succeeds(output), prediction_of("3 1") + "\n");
}

#[test]
fn a_line_is_predicted_before_the_next_is_read() {
    let mut child = command(home_of_trained())
        .args(["predict", "run"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in ["1 2", "5 6"] {
        writeln!(input, "{line}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), prediction_of(line));
    }
    drop(input);
    assert!(answers.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let mut child = command(home_of_trained())
        .args(["predict", "run"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(&b"1 2\n".repeat(10_000));
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output)), (0, ""));
}

#[test]
fn a_closed_pipe_is_detected_while_waiting_for_input() {
    let mut child = command(home_of_trained())
        .args(["predict", "run"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "1 2").unwrap();
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(started.elapsed() < TIMEOUT, "it takes too long"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    drop(input);
}

#[test]
fn plots_can_be_redrawn() {
    let (home, run) = copy_of_trained();
    let drawn = fs::read(run.join("plots/attention.svg")).unwrap();
    fs::remove_dir_all(run.join("plots")).unwrap();
    let paths = succeeds(s2s(home.path(), ["plot", "run"]));
    assert_eq!(paths.lines().count(), 10);
    assert!(
        paths.lines().all(|path| home.path().join(path).exists()),
        "{paths}"
    );
    assert_eq!(fs::read(run.join("plots/attention.svg")).unwrap(), drawn);
}

// Configurations.

#[test]
fn a_printed_configuration_loads_unchanged() {
    let home = TempDir::new().unwrap();
    let args = [
        "config",
        "--config",
        TINY,
        "--seed",
        "3",
        "--set",
        "model.layers=2",
    ];
    let text = succeeds(s2s(home.path(), args));
    let file = home.path().join("printed.toml");
    fs::write(&file, &text).unwrap();
    let sets = ["seed=3".to_owned(), "model.layers=2".to_owned()];
    assert_eq!(
        load_config(Some(&file), &[]).unwrap(),
        load_config(Some(TINY.as_ref()), &sets).unwrap()
    );
    let again = s2s(home.path(), ["config", "--config", "printed.toml"]);
    assert_eq!(succeeds(again), text);
}

#[test]
fn invalid_configurations_are_rejected_with_all_problems() {
    #[track_caller]
    fn check(text: &[u8], sets: &[&str], parts: &[&str]) {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join("c.toml"), text).unwrap();
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args = ["train", "--config", "c.toml"].into_iter().chain(sets);
        fails(&s2s(home.path(), args), 2, parts);
        assert!(!home.path().join("runs").exists(), "nothing is written");
    }
    check(
        b"[model]\nhiden = 3\n",
        &[],
        &["error: c.toml:2:1: unknown key \"hiden\" in [model] (did you mean \"hidden\"?)"],
    );
    check(
        b"seed = \"a\"\n[model]\n dropout = 1.5\n[train]\nclip = 1\n",
        &["data.vocab=x", "trian.epochs=1"],
        &[
            "c.toml:1:1: seed: string \"a\", expected a whole number",
            "c.toml:3:2: model.dropout: must lie in [0, 1), got 1.5",
            "c.toml:5:1: unknown key \"clip\"",
            "--set data.vocab=x: data.vocab: string \"x\", expected a whole number",
            "--set trian.epochs=1: unknown key \"trian\" (did you mean \"train\"?)",
        ],
    );
    check(b"seed = \n", &[], &["c.toml:1:"]);
    check(
        b"seed = \xff",
        &[],
        &["reading the configuration c.toml", "utf-8"],
    );
    check(b"", &["seed"], &["expected key=value"]);
    check(
        b"[data]\nvocab = 3\nmax_len = 2\n",
        &[],
        &[
            "train_samples is 40000, but only 6 distinct sequences",
            "raise vocab or max_len",
        ],
    );
    check(
        b"[model]\nbridge = \"concat\"\ndecoder = 9\n",
        &[],
        &["needs decoder = 128", "set decoder = 128"],
    );
}

#[test]
fn a_missing_configuration_is_named() {
    let home = TempDir::new().unwrap();
    let output = s2s(home.path(), ["config", "--config", "nope.toml"]);
    fails(
        &output,
        2,
        &["nope.toml", "No such file", "try: `s2s config"],
    );
}

#[test]
fn a_benchmark_prints_one_line_of_positive_numbers() {
    let home = TempDir::new().unwrap();
    for work in ["step", "decode", "beam", "sample"] {
        let args = ["--batch", "3", "--threads", "1", "--n", "2", "--json"];
        let command = ["bench", work, "--config", TINY];
        let line = succeeds(s2s(home.path(), command.into_iter().chain(args)));
        assert_eq!(line.lines().count(), 1, "{line}");
        let record: Value = serde_json::from_str(&line).unwrap();
        for (key, expected) in [
            ("work", json!(work)),
            ("kernels", json!("fused")),
            ("threads", json!(1)),
            ("batch", json!(3)),
            ("source_len", json!(4)), // the maximum length
            ("target_len", json!(5)), // with EOS
            ("n", json!(2)),
        ] {
            assert_eq!(record[key], expected, "{key}");
        }
        for key in ["median_ms", "min_ms", "cpu_ms", "sequences_per_s"] {
            assert!(record[key].as_f64().unwrap() > 0.0, "{key} in {line}");
        }
        let of_speed = ["gflop", "gflops", "peak_gflops", "share_of_peak"];
        for key in of_speed.iter().filter(|_| work != "beam") {
            assert!(record[key].as_f64().unwrap() > 0.0, "{key} in {line}");
        }
        if cfg!(target_os = "linux") {
            assert!(record["peak_mib"].as_f64().unwrap() > 1.0, "{line}");
        }
    }
    let reference = ["--set", "model.kernels=reference", "--n", "1"];
    let command = ["bench", "step", "--config", TINY];
    let table = succeeds(s2s(home.path(), command.into_iter().chain(reference)));
    assert!(
        table.contains("reference") && table.contains("GFLOP/s"),
        "{table}"
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

// Failures.

#[test]
fn wrong_paths_and_options_are_usage_errors() {
    let home = TempDir::new().unwrap();
    fs::create_dir(home.path().join("empty")).unwrap();
    for (args, part) in [
        (&["eval", "nope"][..], "run folder nope does not exist"),
        (&["predict", "nope", "1"], "run folder nope does not exist"),
        (&["resume", "nope"], "run folder nope does not exist"),
        (&["plot", "nope"], "run folder nope does not exist"),
        (
            &["eval", "empty"],
            "empty is not a run folder: it has no config.resolved.toml",
        ),
        (
            &["eval", "nope", "--split", "dev"],
            "[possible values: train, val, test]",
        ),
        (&["eval", "nope", "--threads", "0"], "0 is not in 1..="),
        (&["eval", "nope", "--batch-size", "0"], "0 is not in 1..="),
        (&["train", "--seed", "-1"], "unexpected argument '-1'"),
        (&["train", "--device", "tpu"], "unknown device \"tpu\""),
        (
            &["train", "--device", "cuda:x"],
            "is not the number of a CUDA device",
        ),
        (&["reverse"], "unrecognized subcommand"),
    ] {
        fails(&s2s(home.path(), args), 2, &[part]);
    }
    if !cfg!(feature = "cuda") {
        let output = s2s(home.path(), ["train", "--device", "cuda"]);
        fails(&output, 2, &["built without CUDA", "--device cpu"]);
    }
    assert!(!home.path().join("runs").exists());
}

#[test]
fn unreadable_input_is_named() {
    for (file, part) in [("nope", "No such file"), (".", "cannot read .")] {
        let output = s2s(home_of_trained(), ["predict", "run", "--file", file]);
        fails(&output, 1, &[part]);
    }
}

#[test]
fn invalid_checkpoints_are_rejected() {
    let (home, run) = copy_of_trained();
    let eval = || s2s(home.path(), ["eval", "run"]);
    let best = run.join("checkpoints/best");
    let params = fs::read(best.join("params.safetensors")).unwrap();

    fs::write(best.join("params.safetensors"), &params[..100]).unwrap();
    fails(
        &eval(),
        3,
        &[
            "params.safetensors has 100 bytes; the manifest lists",
            "--checkpoint last",
        ],
    );
    succeeds(s2s(home.path(), ["eval", "run", "--checkpoint", "last"]));

    let mut flipped = params;
    flipped[5000] ^= 1;
    fs::write(best.join("params.safetensors"), &flipped).unwrap();
    fails(&eval(), 3, &["SHA-256"]);

    fs::remove_dir_all(&best).unwrap();
    fails(
        &eval(),
        3,
        &["checkpoint run/checkpoints/best does not exist"],
    );

    let config = run.join("config.resolved.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("hidden = 16", "hidden = 15")).unwrap();
    let last = s2s(home.path(), ["predict", "run", "--checkpoint", "last", "1"]);
    fails(&last, 3, &["has shape [48, 16], expected [45, 16]"]);

    fs::write(&config, text.replace("max_len = 4", "max_len = 5")).unwrap();
    let last = s2s(home.path(), ["predict", "run", "--checkpoint", "last", "1"]);
    fails(&last, 3, &["saved with a different config.resolved.toml"]);
    fs::remove_file(run.join("run.json")).unwrap();
    let resumed = s2s(home.path(), ["resume", "run"]);
    fails(
        &resumed,
        3,
        &["saved with a different config.resolved.toml"],
    );
}

#[test]
fn a_run_in_use_by_another_process_is_busy() {
    let (home, run) = copy_of_trained();
    fs::remove_file(run.join("run.json")).unwrap();
    let _lock = RunDir::open(&run).unwrap().lock().unwrap();
    let holder = format!("run folder run is in use by process {}", std::process::id());
    fails(&s2s(home.path(), ["resume", "run"]), 5, &[&holder]);
    succeeds(s2s(home.path(), ["eval", "run"]));
}

#[test]
fn attention_of_a_model_without_attention_is_a_usage_error() {
    let home = TempDir::new().unwrap();
    let sets = ["model.attention.kind=none", "train.max_steps=20"];
    let args = ["train", "--config", TINY, "--run-dir", "run"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    succeeds(s2s(home.path(), args.into_iter().chain(sets)));
    assert!(!home.path().join("run/plots/attention.svg").exists());
    let output = s2s(home.path(), ["predict", "run", "--attention", "1"]);
    fails(&output, 2, &["this model has no attention"]);
}

#[test]
fn a_full_disk_on_standard_output_is_a_failure() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        return; // exists only on Linux
    };
    let child = command(home_of_trained())
        .args(["predict", "run", "1"])
        .stdout(full)
        .spawn();
    let output = child.unwrap().wait_with_output().unwrap();
    fails(
        &output,
        1,
        &["cannot write to standard output", "No space left"],
    );
}

// Help.

#[test]
fn every_command_has_help_with_an_example() {
    let home = TempDir::new().unwrap();
    for command in [
        "train",
        "resume",
        "eval",
        "predict",
        "score",
        "average",
        "plot",
        "config",
        "bench",
        "completions",
        "man",
    ] {
        let help = succeeds(s2s(home.path(), [command, "--help"]));
        assert!(
            help.contains("Example") && help.contains(&format!("s2s {command} ")),
            "{help}"
        );
    }
    assert!(succeeds(s2s(home.path(), ["--help"])).contains("Exit codes:"));
    assert!(succeeds(s2s(home.path(), ["--version"])).starts_with("s2s "));
    assert!(succeeds(s2s(home.path(), ["completions", "bash"])).contains("--run-dir"));
    let manual = succeeds(s2s(home.path(), ["man"]));
    assert!(
        manual.contains(".TH s2s 1") && manual.contains("run\\-dir"),
        "{manual}"
    );
}

// Data.

#[test]
fn export_matches_show_and_overwrites_only_with_force() {
    let home = TempDir::new().unwrap();
    let config = ["--config", TINY, "--set", "data.task=duplicate"];
    let paths = succeeds(s2s(
        home.path(),
        ["data", "export", "a/b", "--split", "dev"]
            .iter()
            .chain(&config),
    ));
    assert_eq!(paths, "a/b/dev.src\na/b/dev.trg\n");
    let read =
        |side: &str| fs::read_to_string(home.path().join(format!("a/b/dev.{side}"))).unwrap();
    let (sources, targets) = (read("src"), read("trg"));
    let lines = sources.lines().zip(targets.lines());
    let pairs: String = lines.map(|(a, b)| format!("{a}\t{b}\n")).collect();
    let show = ["data", "show", "--split", "val", "-n", "99"];
    assert_eq!(
        succeeds(s2s(home.path(), show.iter().chain(&config))),
        pairs
    );
    assert_eq!(pairs.lines().count(), 60);
    for (source, target) in sources.lines().zip(targets.lines()) {
        assert_eq!(target, format!("{source} {source}"));
    }

    let again = ["data", "export", "a/b", "--set", "data.val_samples=3"];
    fails(
        &s2s(home.path(), again),
        2,
        &["dev.src already exists", "--force"],
    );
    assert!(!home.path().join("a/b/train.src").exists());
    assert_eq!(read("src"), sources);
    succeeds(s2s(home.path(), again.iter().chain(&["--force"])));
    assert_eq!(read("src").lines().count(), 3);
    let endless = [
        "data",
        "export",
        "c",
        "--set=data.train_samples=0",
        "--set=train.max_steps=9",
    ];
    fails(
        &s2s(home.path(), endless),
        2,
        &["the training split is endless"],
    );
}

#[test]
fn the_oracle_length_is_the_output_length_of_the_task() {
    let home = TempDir::new().unwrap();
    let sets = ["--set=data.task=duplicate", "--set=train.max_steps=2"];
    let train = ["train", "--config", TINY, "--run-dir", "run"];
    succeeds(s2s(home.path(), train.iter().chain(&sets)));
    let oracle = ["predict", "run", "--oracle-length", "3", "1", "4"];
    let answer = succeeds(s2s(home.path(), oracle));
    assert_eq!(answer.split_whitespace().count(), 6);
}
