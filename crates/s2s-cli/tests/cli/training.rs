//! Training: files, names, threads, divergence.

use std::fs;

use s2s_runlog::{RunRecord, RunStatus, read_json};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    TINY, TRAINED, copy_of_trained, fails, home_of_trained, reproducible_files, s2s, stderr,
    succeeds,
};

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
