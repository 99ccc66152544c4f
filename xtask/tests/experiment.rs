//! `cargo xtask experiment` from outside, with a program that only pretends to train.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-s2s.sh");

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
struct Repository(TempDir);

impl Repository {
    fn new(experiment: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("configs/experiments")).unwrap();
        let repository = Self(folder);
        repository.write("configs/tiny.toml", "");
        repository.write("configs/experiments/widths.toml", experiment);
        repository
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The runs that were started since it was last asked.
    fn started(&self) -> Vec<String> {
        let started = fs::read_to_string(self.path("started")).unwrap_or_default();
        self.write("started", "");
        started.lines().map(str::to_owned).collect()
    }

    fn experiment(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["experiment", "widths", "--binary", FAKE])
            .env("CARGO_MANIFEST_DIR", self.path("xtask"));
        command
    }

    #[track_caller]
    fn check_fails(&self, code: i32, expected: &str) {
        let failed = self.experiment().assert().code(code);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn an_experiment_trains_each_cell_once_a_seed_and_writes_its_report() {
    let repository = Repository::new(EXPERIMENT);
    let done = repository.experiment().assert().success();
    let table = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(table.contains("0.91500 ± 0.00707"), "{table}");
    assert_eq!(
        repository.started(),
        [
            "train base-seed1",
            "train base-seed2",
            "train wide-seed1",
            "train wide-seed2"
        ]
    );
    let folder = Path::new("runs/experiments/widths");
    for name in [
        "report.md",
        "report.json",
        "plots/val_loss.svg",
        "plots/val_loss.png",
    ] {
        assert!(
            repository.path("").join(folder).join(name).is_file(),
            "{name}"
        );
    }
    let report = repository.read("runs/experiments/widths/report.md");
    assert!(report.contains("Does width matter?"), "{report}");

    repository.experiment().assert().success();
    assert!(repository.started().is_empty(), "finished runs are skipped");
    assert_eq!(repository.read("runs/experiments/widths/report.md"), report);
}

#[test]
fn what_was_cut_off_is_resumed_and_what_was_not_begun_is_begun() {
    let repository = Repository::new(EXPERIMENT);
    let died = repository
        .experiment()
        .env("FAKE_DIE", "*base-seed2")
        .assert();
    died.code(1);
    assert_eq!(
        repository.started(),
        ["train base-seed1", "train base-seed2"]
    );
    repository.experiment().assert().success();
    assert_eq!(
        repository.started(),
        ["resume base-seed2", "train wide-seed1", "train wide-seed2"]
    );
}

#[test]
fn several_runs_at_a_time_come_to_the_same_report() {
    let [single, parallel] = [(); 2].map(|()| Repository::new(EXPERIMENT));
    single.experiment().assert().success();
    parallel
        .experiment()
        .args(["--jobs", "3"])
        .assert()
        .success();
    let report = |repository: &Repository| repository.read("runs/experiments/widths/report.md");
    assert_eq!(report(&single), report(&parallel));
}

#[test]
fn a_failed_run_is_named_with_what_it_said() {
    #[track_caller]
    fn check(jobs: &str, expected: &str) {
        let repository = Repository::new(EXPERIMENT);
        let failed = repository
            .experiment()
            .args(["--jobs", jobs])
            .env("FAKE_FAIL", "*wide-seed1")
            .assert()
            .code(1);
        let message = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(message.contains(expected), "{message}");
        assert!(
            !repository
                .path("runs/experiments/widths/report.md")
                .exists()
        );
    }
    check(
        "1",
        "cannot\nerror: wide-seed1 failed (exit status: 1): see above",
    );
    check(
        "2",
        "(exit status: 1): see runs/experiments/widths/logs/wide-seed1.log",
    );
}

#[test]
fn a_changed_experiment_is_refused_before_anything_runs() {
    let repository = Repository::new(EXPERIMENT);
    repository.experiment().assert().success();
    repository.started();
    let changed = EXPERIMENT
        .replace("512", "256")
        .replace("[1, 2]", "[1, 2, 3]");
    repository.write("configs/experiments/widths.toml", &changed);
    repository.check_fails(1, "wide-seed2 cannot be used; move or remove it");
    repository.check_fails(
        1,
        "model.hidden is \"512\" there, and \"256\" in the experiment",
    );
    assert!(repository.started().is_empty());
}

const BY_LENGTH: &str = r#"
[[lengths]]
name = "far"
lengths = "8,16"
samples = 10
mode = "eos"
[[published]]
name = "Others"
source = "a paper"
group = "far"
exact_match = 0.25
"#;

#[test]
fn runs_are_evaluated_by_length_and_go_on_where_they_stopped() {
    let repository = Repository::new(&format!("{EXPERIMENT}{BY_LENGTH}"));
    let died = repository
        .experiment()
        .env("FAKE_DIE_EVAL", "*base-seed2")
        .assert()
        .code(1);
    let message = String::from_utf8_lossy(&died.get_output().stderr).into_owned();
    assert!(
        message.contains("evaluating base-seed2 by length, far, failed"),
        "{message}"
    );
    assert_eq!(
        repository.started(),
        [
            "train base-seed1",
            "eval base-seed1",
            "train base-seed2",
            "eval base-seed2"
        ]
    );
    let done = repository.experiment().assert().success();
    assert_eq!(
        repository.started(),
        [
            "eval base-seed2",
            "train wide-seed1",
            "eval wide-seed1",
            "train wide-seed2",
            "eval wide-seed2"
        ]
    );
    let tables = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(tables.contains("0.52500 ± 0.03536"), "{tables}"); // of 0.9 and 0.1, 0.9 and 0.2
    let folder = "runs/experiments/widths";
    let report = repository.read(&format!("{folder}/report.md"));
    for part in [
        "## By length",
        "90.0 (90.0) [",
        "15.0 (0 of 2) [", // of 1 and 2 in 10
        "* **base**, until EOS: of 2 lengths from 8 to 16, the first with an error is 8,",
        "| Others",
        "published: a paper",
        "plots/lengths-eos.svg",
        "--lengths 8,16 --samples 10 --mode eos --name far",
    ] {
        assert!(report.contains(part), "no {part:?} in:\n{report}");
    }
    let table = repository.read(&format!("{folder}/lengths.csv"));
    assert_eq!(table.lines().count(), 1 + 2 * 2, "{table}");
    assert!(
        repository
            .path(folder)
            .join("plots/lengths-eos.png")
            .is_file()
    );

    repository.experiment().assert().success();
    assert!(repository.started().is_empty(), "complete ones are kept");
    let changed = format!("{EXPERIMENT}{BY_LENGTH}").replace("samples = 10", "samples = 20");
    repository.write("configs/experiments/widths.toml", &changed);
    repository.check_fails(1, "base-seed1/lengths-far.json cannot be used");
    assert!(repository.started().is_empty());
}

#[test]
fn a_published_report_stands_beside_its_experiment_and_lacks_no_picture() {
    let repository = Repository::new(&format!("{EXPERIMENT}{BY_LENGTH}"));
    let done = repository.experiment().arg("--publish").assert().success();
    let said = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    let folder = "configs/experiments/reports/widths";
    assert!(
        said.contains(&format!("published: {folder}/report.md")),
        "{said}"
    );
    let report = repository.read(&format!("{folder}/report.md"));
    assert_eq!(report, repository.read("runs/experiments/widths/report.md"));
    let pictures: Vec<&str> = report
        .split("](plots/")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    assert_eq!(pictures, ["lengths-eos.svg", "val_loss.svg"]);
    for picture in pictures {
        let path = repository.path(&format!("{folder}/plots/{picture}"));
        assert!(path.is_file(), "{picture}");
    }
    assert!(!report.contains(env!("CARGO_MANIFEST_DIR")), "{report}");
}

#[test]
fn mistakes_in_the_file_are_usage_errors() {
    Repository::new(&EXPERIMENT.replace("model.hidden", "bad"))
        .check_fails(2, "unknown key \"bad\"");
    Repository::new(&EXPERIMENT.replace("tiny", "absent")).check_fails(2, "configs/absent.toml");
    Repository::new("").check_fails(2, "widths.toml: ");
    let repository = Repository::new(EXPERIMENT);
    let renamed = repository.path("configs/experiments/width.toml");
    fs::rename(repository.path("configs/experiments/widths.toml"), renamed).unwrap();
    repository.check_fails(2, "did you mean \"width\"?");
}
