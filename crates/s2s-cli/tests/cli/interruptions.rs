//! Signals, kills, two processes in one folder, and disks that are full.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use s2s_runlog::{RunDir, RunRecord, RunStatus, read_json};
use tempfile::TempDir;

use crate::{
    TINY, TRAINED, code, command, fails, home_of_trained, reproducible_files, s2s, stderr, stdout,
    succeeds, wait_until,
};

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
