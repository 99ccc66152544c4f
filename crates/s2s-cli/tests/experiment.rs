//! `s2s experiment` with short runs.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/tiny.toml");

fn home(experiment: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let text = format!(
        "title = \"Rates\"\nquestion = \"Which rate?\"\nconfig = {TINY:?}\nseeds = [0, 1]\n\
         plots = [\"val_loss\"]\ntable = [\"loss\"]\n{experiment}"
    );
    fs::write(home.path().join("rates.toml"), text).unwrap();
    home
}

fn experiment(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_s2s"))
        .args(["experiment", "rates.toml"])
        .args(args)
        .current_dir(home)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(stream: &[u8]) -> String {
    String::from_utf8_lossy(stream).into_owned()
}

const CELL: &str = "[[cell]]\nname = \"fast\"\nset = [\"train.max_steps=4\", \"train.eval_every=2\"]\n\
    [[lengths]]\nname = \"near\"\nlengths = \"1..2\"\nsamples = 4\nmode = \"both\"\n";

#[test]
fn an_experiment_trains_evaluates_and_reports() {
    let home = home(CELL);
    let output = experiment(home.path(), &["--jobs", "2"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (printed, messages) = (text(&output.stdout), text(&output.stderr));
    assert!(printed.contains("report: runs/experiments/rates/report.md"));
    assert!(printed.contains("near: lengths 1..2; 4 sequences per length"));
    assert!(
        messages.contains("2 runs, 0 already finished"),
        "{messages}"
    );
    let folder = home.path().join("runs/experiments/rates");
    for name in [
        "report.json",
        "lengths.csv",
        "plots/val_loss.svg",
        "plots/lengths-oracle.png",
        "fast-seed1/run.json",
        "logs/fast-seed0.log",
    ] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("\ns2s experiment rates.toml\n"), "{report}");

    let again = experiment(home.path(), &[]);
    assert!(text(&again.stderr).contains("2 runs, 2 already finished"));
    assert_eq!(
        fs::read_to_string(folder.join("report.md")).unwrap(),
        report
    );
}

#[test]
fn mistakes_are_usage_errors_and_conflicts_have_a_hint() {
    #[track_caller]
    fn check(home: &TempDir, code: i32, expected: &[&str]) {
        let output = experiment(home.path(), &["--out", "out"]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        for part in expected {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
    }
    check(
        &home("seed = 3\n"),
        2,
        &["error: rates.toml: ", "unknown field `seed`"],
    );
    let misspelled = home("[[cell]]\nname = \"a\"\nset = [\"train.max_step=4\"]\n");
    check(&misspelled, 2, &["cell \"a\" is not valid", "max_steps"]);
    let occupied = home(CELL);
    fs::create_dir_all(occupied.path().join("out/fast-seed1")).unwrap();
    fs::write(occupied.path().join("out/fast-seed1/notes"), "mine").unwrap();
    let expected = [
        "no run was started",
        "out/fast-seed1 does not belong to this experiment",
        "try: move these folders",
    ];
    check(&occupied, 1, &expected);
}
