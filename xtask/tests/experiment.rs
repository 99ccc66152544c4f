//! `cargo xtask experiment` as a command, with a program that only pretends to train.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use assert_cmd::Command;
use tempfile::TempDir;

const FAKE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../crates/s2s-lab/tests/fake-s2s.sh"
);

const EXPERIMENT: &str = r#"
title = "Widths"
question = "Does width matter?"
config = "configs/tiny.toml"
seeds = [1, 2]
plots = ["val_loss"]
table = ["exact_match"]
[[cell]]
name = "base"
[[cell]]
name = "wide"
set = ["model.hidden=512"]
"#;

/// A repository with this one experiment.
fn repository(experiment: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("configs/experiments")).unwrap();
    fs::write(folder.path().join("configs/tiny.toml"), "").unwrap();
    let file = folder.path().join("configs/experiments/widths.toml");
    fs::write(file, experiment).unwrap();
    folder
}

fn experiment(repository: &TempDir, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["experiment", name, "--binary", FAKE])
        .env("CARGO_MANIFEST_DIR", repository.path().join("xtask"));
    command
}

#[track_caller]
fn check_fails(repository: &TempDir, name: &str, code: i32, expected: &str) {
    let failed = experiment(repository, name).assert().code(code);
    let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn an_experiment_is_found_by_its_name_and_can_be_published() {
    let repository = repository(EXPERIMENT);
    let done = experiment(&repository, "widths")
        .arg("--publish")
        .assert()
        .success();
    let printed = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    for part in [
        "0.91500 ± 0.00707",
        "report: runs/experiments/widths/report.md",
        "published: configs/experiments/reports/widths/report.md",
    ] {
        assert!(printed.contains(part), "{printed}");
    }
    let read = |path: &str| fs::read_to_string(repository.path().join(path)).unwrap();
    let published = read("configs/experiments/reports/widths/report.md");
    assert_eq!(published, read("runs/experiments/widths/report.md"));
    assert!(published.contains("\ns2s experiment configs/experiments/widths.toml\n"));
    let home = repository.path().to_str().unwrap();
    assert!(!published.contains(home), "{published}");
}

#[test]
fn usage_errors_have_exit_code_2_and_conflicts_1() {
    let repository = repository(EXPERIMENT);
    check_fails(&repository, "width", 2, "/: widths");
    experiment(&repository, "widths").assert().success();
    let file = repository.path().join("configs/experiments/widths.toml");
    fs::write(&file, EXPERIMENT.replace("512", "256")).unwrap();
    check_fails(&repository, "widths", 1, "with --accept-changes");
    fs::write(&file, EXPERIMENT.replace("model.hidden", "bad")).unwrap();
    check_fails(&repository, "widths", 2, "unknown key \"bad\"");
    fs::write(&file, "").unwrap();
    check_fails(&repository, "widths", 2, "widths.toml: ");
}
