//! `s2s experiment` with short runs.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
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
    s2s(home, &[&["experiment", "rates.toml"], args].concat())
}

fn s2s(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_s2s"))
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

/// The folder of a run, whose name ends in a hash.
fn run_folder(folder: &Path, start: &str) -> PathBuf {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_run = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(start)
    };
    paths.into_iter().find(is_run).unwrap()
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
        "cells.csv",
        "runs.csv",
        "runs.json",
        "experiment.toml",
        "plots/val_loss.svg",
        "plots/seeds-loss.svg",
        "plots/lengths-oracle.png",
        "logs/fast-seed0.log",
    ] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    assert!(
        run_folder(&folder, "fast-seed1-")
            .join("run.json")
            .is_file()
    );
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
fn a_dry_run_lists_the_selection_and_writes_nothing() {
    let home = home(CELL);
    let planned = |args: &[&str]| {
        let output = experiment(home.path(), &[args, &["--dry-run"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    for args in [&["--index", "1"][..], &["--only", "seed1"]] {
        let printed = planned(args);
        assert!(printed.contains("1 run: 1 pending"), "{printed}");
        assert!(printed.contains("fast-seed1") && !printed.contains("fast-seed0"));
    }
    planned(&["--launcher", "slurm"]);
    planned(&["--launcher", "hq"]);
    assert!(!home.path().join("runs").exists());
}

#[test]
fn another_file_than_the_started_one_is_noticed_without_starting_a_run() {
    let home = home(CELL);
    assert!(experiment(home.path(), &[]).status.success());
    let report = home.path().join("runs/experiments/rates/report.md");
    let before = fs::read(&report).unwrap();
    let file = home.path().join("rates.toml");
    let changed = fs::read_to_string(&file)
        .unwrap()
        .replace("samples = 4", "samples = 8");
    fs::write(&file, changed).unwrap();
    for args in [["--collect"], ["--watch"]] {
        let output = experiment(home.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        assert!(
            text(&output.stderr).contains("+ samples = 8"),
            "{}",
            text(&output.stderr)
        );
    }
    assert_eq!(
        fs::read(&report).unwrap(),
        before,
        "the report is as it was"
    );
    let planned = experiment(home.path(), &["--dry-run"]);
    assert!(planned.status.success());
    assert!(
        text(&planned.stderr).contains("warning: "),
        "{}",
        text(&planned.stderr)
    );
}

#[test]
fn refused_commands_say_why_and_leave_nothing_behind() {
    #[track_caller]
    fn check(home: &Path, args: &[&str], expected: &str) {
        let output = s2s(home, args);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(expected), "no {expected:?} in {message}");
        assert!(!home.join("runs").exists(), "{args:?} left a folder");
    }
    let home = home(CELL);
    let sweep = ["sweep", "--config", TINY, "--vary"];
    let vary = |more: &[&'static str]| [&sweep[..], more].concat();
    check(home.path(), &vary(&["model.hiden=8,16"]), "model.hiden");
    check(
        home.path(),
        &vary(&["model.hidden=8", "--vary", "model.hidden=16"]),
        "model.hidden is set twice",
    );
    fs::write(home.path().join("text.toml"), "[data]\nfile = \"no.tsv\"\n").unwrap();
    check(
        home.path(),
        &[
            "sweep",
            "--config",
            "text.toml",
            "--vary",
            "model.hidden=8,16",
        ],
        "data.file: there is no file or folder \"no.tsv\"",
    );
    check(
        home.path(),
        &["runs", "nosuch"],
        "there is no folder nosuch",
    );
    check(
        home.path(),
        &["clean", "nosuch"],
        "there is no folder nosuch",
    );
    let launch = ["experiment", "rates.toml", "--launcher", "slurm"];
    check(
        home.path(),
        &[&launch[..], &["--max-parallel", "0"]].concat(),
        "--max-parallel",
    );
}

#[cfg(unix)]
#[test]
fn a_signal_to_the_experiment_saves_its_run() {
    use std::io::Read;
    use std::thread::sleep;
    use std::time::Duration;

    let home = home(
        "[[cell]]\nname = \"long\"\nset = [\"train.max_steps=1000000\", \"train.eval_every=2\"]\n",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2s"));
    command
        .args(["experiment", "rates.toml"])
        .current_dir(home.path())
        .env("RAYON_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let folder = home.path().join("runs/experiments/rates");
    let run = || {
        let names = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut paths = names.map(|entry| entry.path());
        paths.find(|path| path.to_string_lossy().contains("long-seed0-"))
    };
    let has_begun = || {
        let metrics = run().map(|run| fs::read_to_string(run.join("metrics.jsonl")));
        metrics.is_some_and(|text| text.is_ok_and(|text| text.lines().count() > 1))
    };
    while !has_begun() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        sleep(Duration::from_millis(20));
    }
    let listed = experiment(home.path(), &["--dry-run"]);
    assert!(
        text(&listed.stdout).contains("1 running"),
        "{}",
        text(&listed.stdout)
    );
    let other = experiment(home.path(), &["--only", "seed0"]);
    let message = text(&other.stderr);
    assert!(
        message.contains("another process is working on it"),
        "{message}"
    );
    assert!(!message.contains("error: run"), "{message}");

    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut messages = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut messages)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{messages}");
    assert!(
        messages.contains("the same command resumes them"),
        "{messages}"
    );
    let record = fs::read_to_string(run().unwrap().join("run.json")).unwrap();
    assert!(record.contains("\"interrupted\""), "{record}");
    assert!(
        !messages.contains("long-seed1"),
        "no other run starts: {messages}"
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
    assert!(
        experiment(occupied.path(), &["--out", "out"])
            .status
            .success()
    );
    let run = run_folder(&occupied.path().join("out"), "fast-seed1-");
    fs::remove_file(run.join("config.resolved.toml")).unwrap();
    let expected = [
        "no run was started",
        "out/fast-seed1-",
        " does not belong to this experiment",
        "try: move these folders",
    ];
    check(&occupied, 1, &expected);
}

#[test]
fn a_sweep_is_planned_started_once_and_continued_by_its_file() {
    let home = tempfile::tempdir().unwrap();
    let args = [
        "sweep",
        "--config",
        TINY,
        "--vary",
        "model.cell=gru,lstm",
        "--set",
        "train.max_steps=2",
        "--set",
        "train.eval_every=2",
        "--seeds",
        "1",
    ];
    let with = |more: &[&str]| s2s(home.path(), &[&args, more].concat());
    let planned = with(&["--dry-run"]);
    let printed = text(&planned.stdout);
    assert!(printed.contains("lstm-seed0   pending"), "{printed}");
    assert!(
        printed.contains("2 runs: 2 pending; no run has been measured yet"),
        "{printed}"
    );

    let done = with(&[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let folder = "runs/experiments/tiny-cell";
    assert!(text(&done.stdout).contains(&format!("report: {folder}/report.md")));
    let again = s2s(
        home.path(),
        &["experiment", &format!("{folder}/experiment.toml")],
    );
    let messages = text(&again.stderr);
    assert!(
        messages.contains("2 runs, 2 already finished"),
        "{messages}"
    );

    let changed = with(&["--set", "model.hidden=8"]);
    let message = text(&changed.stderr);
    assert_eq!(changed.status.code(), Some(1), "{message}");
    for part in [
        "is not the experiment that was started",
        "model.hidden=8",
        "--accept-changes",
    ] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}

#[cfg(unix)]
#[test]
fn emitted_commands_can_be_run_in_any_order_and_repeated() {
    let home = home(CELL);
    let emitted = experiment(home.path(), &["--emit", "cells.txt"]);
    assert!(emitted.status.success(), "{}", text(&emitted.stderr));
    let commands = fs::read_to_string(home.path().join("cells.txt")).unwrap();
    assert_eq!(commands.lines().count(), 2);
    let mut shell = Command::new("sh");
    shell
        .current_dir(home.path())
        .arg("-e")
        .stdin(Stdio::piped());
    let mut shell = shell.stderr(Stdio::null()).spawn().unwrap();
    let all: Vec<&str> = commands.lines().rev().chain(commands.lines()).collect();
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), all.join("\n").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    let collected = experiment(home.path(), &["--collect"]);
    assert!(collected.status.success(), "{}", text(&collected.stderr));
    assert!(text(&collected.stdout).contains("report: runs/experiments/rates/report.md"));
}

#[test]
fn each_cell_starts_from_its_own_configuration() {
    let home = home(
        "[matrix]\nrecipe = [{ name = \"short\", config = \"short.toml\" }, \
         { name = \"long\", config = \"long.toml\" }]\n",
    );
    let tiny = fs::read_to_string(TINY).unwrap();
    for (file, steps) in [("short.toml", 2), ("long.toml", 4)] {
        let text = format!("{tiny}\n").replace("max_steps = ", "max_steps = 1 # ");
        let text = text.replace("max_steps = 1 #", &format!("max_steps = {steps} #"));
        fs::write(home.path().join(file), text).unwrap();
    }
    let first = experiment(home.path(), &[]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    for (start, steps) in [("short-seed0", 2), ("long-seed1", 4)] {
        let folder = run_folder(&home.path().join("runs/experiments/rates"), start);
        let config = fs::read_to_string(folder.join("config.resolved.toml")).unwrap();
        assert!(
            config.contains(&format!("max_steps = {steps}\n")),
            "{config}"
        );
    }
    let planned = experiment(home.path(), &["--dry-run"]);
    assert!(
        text(&planned.stdout).contains("4 done"),
        "{}",
        text(&planned.stdout)
    );
}

#[test]
fn runs_are_listed_compared_and_cleaned() {
    let home = home(CELL);
    assert!(experiment(home.path(), &[]).status.success());
    let run = |args: &[&str]| {
        let output = s2s(home.path(), args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let list = run(&["runs", "--column", "seed", "--sort", "seed", "--descending"]);
    let lines: Vec<&str> = list.lines().skip(2).collect();
    assert!(
        lines[0].contains("fast-seed1-") && lines[1].contains("fast-seed0-"),
        "{list}"
    );
    let one = run(&["runs", "--filter", "seed=1", "--filter", "step>3", "--json"]);
    assert!(
        one.contains("fast-seed1-") && !one.contains("fast-seed0-"),
        "{one}"
    );
    let unknown = s2s(home.path(), &["runs", "--filter", "model.hiden=1"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("no run in runs has the key \"model.hiden\""));

    let folder = home.path().join("runs/experiments/rates");
    let paths = ["fast-seed0-", "fast-seed1-"].map(|start| run_folder(&folder, start));
    let [a, b] = paths.each_ref().map(|path| path.to_str().unwrap());
    let csv = run(&["compare", a, b, "--csv"]);
    assert!(csv.contains("\nconfiguration,seed,0,1\n"), "{csv}");
    assert!(csv.contains("\nresult,step,4,4\n"), "{csv}");

    run(&["compare", a, b, "--html", "both.html"]);
    let page = fs::read_to_string(home.path().join("both.html")).unwrap();
    assert!(
        page.contains("./runs/experiments/rates/fast-seed0-"),
        "a link to the run"
    );

    let sizes = run(&["clean"]);
    assert!(
        sizes.contains("2 runs") && paths[0].join("plots").is_dir(),
        "{sizes}"
    );
    run(&["clean", "--delete", "plots,last"]);
    for path in &paths {
        assert!(!path.join("plots").exists() && !path.join("checkpoints/last").exists());
        assert!(path.join("checkpoints/best").is_dir());
    }
    assert!(text(&experiment(home.path(), &[]).stderr).contains("2 already finished"));
}

#[test]
fn hyperqueue_gets_a_task_for_each_run_that_is_not_finished() {
    let home = home(CELL);
    let launch = ["--launcher", "hq", "--cpus", "2", "--dry-run"];
    let shown = experiment(home.path(), &launch);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    for part in [
        "\"--index\", \"1\", \"--threads\", \"2\"]",
        "cpus = 2",
        "submit-file ",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    let mixed = experiment(home.path(), &["--launcher", "hq", "--partition", "cpu"]);
    assert_eq!(mixed.status.code(), Some(2));

    assert!(experiment(home.path(), &[]).status.success());
    let nothing = experiment(home.path(), &["--launcher", "hq"]);
    assert!(text(&nothing.stderr).contains("nothing was submitted"));
    let watched = experiment(home.path(), &["--watch"]);
    assert_eq!(text(&watched.stdout), "2 runs: 2 done\n");
}

/// Runs `s2s experiment` for SLURM with a `sbatch` that is this shell script; without one, SLURM is
/// missing.
#[cfg(unix)]
fn with_sbatch(home: &Path, sbatch: Option<&str>, args: &[&str]) -> Output {
    use std::os::unix::fs::PermissionsExt;

    let bin = home.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = bin.join("sbatch");
    let _ = fs::remove_file(&program);
    if let Some(script) = sbatch {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_s2s"))
        .args(["experiment", "rates.toml", "--launcher", "slurm"])
        .args(args)
        .current_dir(home)
        .env("PATH", &bin)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
#[cfg(unix)]
fn slurm_gets_the_runs_that_are_not_finished_and_its_refusal_is_shown() {
    let home = home(CELL);
    let options = ["--partition", "cpu", "--sbatch=--comment=two words"];
    let shown = with_sbatch(home.path(), None, &[&options[..], &["--dry-run"]].concat());
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    for part in [
        "#SBATCH --partition=cpu\n",
        "--array=0-1 ",
        " '--comment=two words' ",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }

    let refused = with_sbatch(
        home.path(),
        Some("echo 'invalid partition' >&2; exit 1"),
        &[],
    );
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("invalid partition"),
        "{}",
        text(&refused.stderr)
    );
    let missing = with_sbatch(home.path(), None, &[]);
    assert!(!missing.status.success());
    assert!(
        text(&missing.stderr).contains("sbatch"),
        "{}",
        text(&missing.stderr)
    );

    let one = experiment(home.path(), &["--index", "0"]);
    assert!(one.status.success(), "{}", text(&one.stderr));
    let accepted = with_sbatch(
        home.path(),
        Some("echo \"$@\" > submitted; echo 77"),
        &options,
    );
    let messages = text(&accepted.stderr);
    assert!(messages.contains("submitted: 77"), "{messages}");
    let submitted = fs::read_to_string(home.path().join("submitted")).unwrap();
    assert!(submitted.contains("--array=1 "), "{submitted}");

    // A run that is in the queue is not submitted again.
    let squeue = home.path().join("bin/squeue");
    fs::copy(home.path().join("bin/sbatch"), &squeue).unwrap();
    fs::write(&squeue, "#!/bin/sh\necho 1\n").unwrap();
    let again = with_sbatch(home.path(), Some("echo 78"), &options);
    let message = text(&again.stderr);
    assert!(message.contains("nothing was submitted"), "{message}");
    fs::remove_file(&squeue).unwrap();

    // The commands of the message.
    let left = experiment(home.path(), &["--dry-run"]);
    assert!(
        text(&left.stdout).contains("pending"),
        "{}",
        text(&left.stdout)
    );
    assert!(
        messages.contains("experiment rates.toml --dry-run"),
        "{messages}"
    );
}

#[test]
#[cfg(unix)]
fn jobs_that_were_accepted_before_a_refusal_are_shown() {
    use std::os::unix::fs::PermissionsExt;

    let home = home(CELL);
    fs::create_dir(home.path().join("bin")).unwrap();
    let scontrol = home.path().join("bin/scontrol");
    fs::write(&scontrol, "#!/bin/sh\necho 'MaxArraySize = 2'\n").unwrap();
    fs::set_permissions(&scontrol, fs::Permissions::from_mode(0o755)).unwrap();
    let once = "[ ! -e one ] || { echo 'too many jobs' >&2; exit 1; }\n: > one\necho 41";
    let refused = with_sbatch(home.path(), Some(once), &[]);
    let message = text(&refused.stderr);
    assert!(!refused.status.success());
    for part in [
        "too many jobs",
        "accepted before that: 41",
        "the same command again",
    ] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    let known = home.path().join("runs/experiments/rates/submitted.json");
    assert!(fs::read_to_string(known).unwrap().contains("\"41\""));
}
