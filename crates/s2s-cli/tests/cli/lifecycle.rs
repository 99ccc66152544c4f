//! A run outlives a process: its folder may disappear, its configuration may be edited.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use s2s_runlog::{
    CheckpointName, ConfigChange, Identity, RunDir, RunRecord, RunStatus, read_json, read_lines,
};
use tempfile::TempDir;

use crate::text::TRAINED_ON_TEXT;
use crate::{
    TINY, code, command, copy, copy_of_trained, fails, home_of_trained, reproducible_files, s2s,
    s2s_reading, stderr, stdout, succeeds, wait_until,
};

/// Starts a run that would take minutes and waits for its first checkpoint.
fn long_run(home: &Path) -> Child {
    long_run_of(home, TINY)
}

/// The same with another configuration.
fn long_run_of(home: &Path, config: &str) -> Child {
    let mut child = command(home)
        .args(["train", "--config", config, "--run-dir", "run"])
        .args(["--set", "train.max_steps=100000000"])
        .spawn()
        .unwrap();
    let last = home.join("run/checkpoints/last");
    wait_until(&mut child, || last.exists());
    child
}

/// The paths of all files below a folder, with their contents.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push((path.clone(), fs::read(path).unwrap())),
            }
        }
    }
    files.sort();
    files
}

/// The command between the first two backquotes after `try:`.
fn suggested(output: &Output) -> String {
    let (_, hint) = stderr(output).split_once("try: ").unwrap();
    hint.split('`').nth(1).unwrap().to_owned()
}

#[test]
fn a_deleted_run_folder_is_reported_and_not_created_again() {
    let home = TempDir::new().unwrap();
    let child = long_run(home.path());
    // The run may write into the folder while it is being removed.
    while fs::remove_dir_all(home.path().join("run")).is_err() {}
    let output = child.wait_with_output().unwrap();
    let what = "run folder run or its run.lock was deleted while this process used it";
    fails(
        &output,
        1,
        &[what, "its checkpoints are gone too", "--run-dir run"],
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_moved_run_folder_is_found_and_can_be_resumed() {
    let home = TempDir::new().unwrap();
    let (run, other) = (home.path().join("run"), home.path().join("other"));
    let child = long_run(home.path());
    fs::rename(&run, &other).unwrap();
    let output = child.wait_with_output().unwrap();
    let moved = format!("run folder run was moved to {}", other.display());
    fails(&output, 1, &[&moved, "checkpoints/last"]);
    assert!(!run.exists());
    assert!(suggested(&output).ends_with(&format!("resume {}", other.display())));
    succeeds(s2s(home.path(), ["eval", "other"]));
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_never_writes_into_a_folder_that_took_the_place_of_its_own() {
    let (home, finished) = copy_of_trained();
    fs::rename(&finished, home.path().join("finished")).unwrap();
    let child = long_run(home.path());
    let run = home.path().join("run");
    fs::rename(&run, home.path().join("moved")).unwrap();
    copy(&home.path().join("finished"), &run);
    let before = contents(&run);
    let output = child.wait_with_output().unwrap();
    fails(
        &output,
        1,
        &["run folder run was moved to", "moved` continues it"],
    );
    assert!(contents(&run) == before);
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_without_its_lock_file_stops_since_another_process_could_take_the_folder() {
    let home = TempDir::new().unwrap();
    let child = long_run(home.path());
    fs::remove_file(home.path().join("run/run.lock")).unwrap();
    let output = child.wait_with_output().unwrap();
    fails(
        &output,
        1,
        &["its run.lock was deleted", "resume run` continues it"],
    );
}

#[test]
fn all_commands_reject_a_run_with_an_edited_configuration() {
    let (home, run) = copy_of_trained();
    let config = run.join("config.resolved.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("max_steps = 120", "max_steps = 121")).unwrap();
    for args in [
        &["resume", "run"][..],
        &["eval", "run"],
        &["eval", "run", "--lengths", "3"],
        &["predict", "run", "1"],
        &["plot", "run"],
        &["report", "run"],
    ] {
        let output = s2s(home.path(), args);
        fails(&output, 3, &["saved with a different config.resolved.toml"]);
    }
    // A comment changes nothing.
    fs::write(&config, format!("# mine\n{text}")).unwrap();
    let output = s2s(home.path(), ["resume", "run"]);
    assert_eq!(code(&output), 0);
    succeeds(s2s(home.path(), ["eval", "run"]));
}

// Extending.

#[test]
fn a_finished_run_can_be_extended() {
    let (home, run) = copy_of_trained();
    let longer = "train.max_steps=200";
    let undecided = s2s(home.path(), ["resume", "run", "--set", longer]);
    let what = "the schedule train.schedule.kind=cosine spans the whole run, whose length changes from 120 to 200";
    fails(
        &undecided,
        2,
        &[what, "--keep-schedule` keeps", "stretches it"],
    );
    succeeds(s2s(home.path(), ["eval", "run"]));

    let output = s2s(
        home.path(),
        ["resume", "run", "--set", longer, "--keep-schedule"],
    );
    assert!(stderr(&output).contains("resumed at step 120"));
    assert!(succeeds(output).contains("finished at step 200"));
    let config = fs::read_to_string(run.join("config.resolved.toml")).unwrap();
    assert!(
        config.contains("max_steps = 200") && config.contains("steps = 120"),
        "{config}"
    );
    let changes: Vec<ConfigChange> = read_lines(run.join("history.jsonl")).unwrap();
    assert_eq!(
        (changes[0].step, changes[0].set.join(" ").as_str()),
        (120, "train.max_steps=200 train.schedule.steps=120")
    );
    for args in [
        &["eval", "run"][..],
        &["predict", "run", "1"],
        &["plot", "run"],
        &["resume", "run"],
    ] {
        succeeds(s2s(home.path(), args));
    }
    // The same command again changes nothing.
    let again = s2s(home.path(), ["resume", "run", "--set", longer]);
    assert!(succeeds(again).contains("finished at step 200"));
    assert_eq!(
        read_lines::<ConfigChange>(run.join("history.jsonl"))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_key_of_the_model_cannot_change_in_a_resumed_run() {
    let (home, run) = copy_of_trained();
    let before = contents(&run);
    let sets = ["--set", "model.hidden=20", "--set", "data.max_len=3"];
    let output = s2s(home.path(), ["resume", "run"].iter().chain(&sets));
    fails(
        &output,
        2,
        &[
            "data.max_len, model.hidden cannot change",
            "s2s train --config run/config.resolved.toml --set data.max_len=3 --set model.hidden=20`",
        ],
    );
    let changed: Vec<_> = contents(&run)
        .into_iter()
        .filter(|file| !before.contains(file))
        .collect();
    assert!(
        changed.iter().all(|(path, _)| path.ends_with("run.lock")),
        "{changed:?}"
    );
}

// Starting from weights.

#[test]
fn a_run_starts_from_the_weights_of_another() {
    let (home, _) = copy_of_trained();
    let from = [
        "train",
        "--from",
        "run@last",
        "--run-dir",
        "new",
        "--seed",
        "4",
    ];
    let sets = ["--set", "data.vocab=12", "--set", "train.max_steps=40"];
    let output = s2s(home.path(), from.iter().chain(&sets));
    let message = stderr(&output).to_owned();
    for part in [
        "from    run, checkpoint last, step 120; 13 of 14 tokens have weights",
        "1 not in that run, they start untrained: \"11\"",
    ] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    assert!(succeeds(output).contains("finished at step 40"));
    let identity: Identity = read_json(home.path().join("new/identity.json")).unwrap();
    let parent = identity.parent.unwrap();
    assert_eq!(
        (parent.step, parent.n_new, parent.checkpoint.as_str()),
        (120, 1, "last")
    );
    let origin: Identity = read_json(home.path().join("run/identity.json")).unwrap();
    assert_eq!(parent.id, Some(origin.id));
    // The model of the parent, since no configuration was given.
    let config = fs::read_to_string(home.path().join("new/config.resolved.toml")).unwrap();
    assert!(
        config.contains("hidden = 16") && config.contains("seed = 4"),
        "{config}"
    );

    let wider = [
        "train",
        "--from",
        "run",
        "--run-dir",
        "wide",
        "--set",
        "model.hidden=20",
    ];
    let output = s2s(home.path(), wider);
    fails(
        &output,
        2,
        &[
            "the weights of run run do not fit",
            "model.hidden is 20 here and 16 there",
        ],
    );
    assert!(!home.path().join("wide").exists());
}

// Job scripts.

#[test]
fn one_command_starts_resumes_and_does_nothing() {
    let home = TempDir::new().unwrap();
    let run = home.path().join("run");
    let args = [
        "train",
        "--config",
        TINY,
        "--run-dir",
        "run",
        "--resume-or-start",
    ];
    let mut child = command(home.path()).args(args).spawn().unwrap();
    wait_until(&mut child, || run.join("checkpoints/last").exists());
    child.kill().unwrap();
    child.wait().unwrap();

    let resumed = s2s(home.path(), args);
    assert!(
        stderr(&resumed).contains("resumed at step"),
        "{}",
        stderr(&resumed)
    );
    assert!(succeeds(resumed).contains("finished at step 120"));
    assert!(reproducible_files(&run) == reproducible_files(&home_of_trained().join("run")));

    let before = fs::read(run.join("run.json")).unwrap();
    let done = s2s(home.path(), args);
    assert!(stderr(&done).contains("run run is already finished"));
    succeeds(done);
    assert_eq!(fs::read(run.join("run.json")).unwrap(), before);

    let other = s2s(
        home.path(),
        args.iter().chain(&["--set", "train.max_steps=130"]),
    );
    let what = "train.max_steps is 120 in the run, 130 was requested";
    fails(
        &other,
        2,
        &[
            what,
            "resume run --set train.max_steps=130 --set train.schedule.kind=cosine` changes the run",
        ],
    );
    let other = s2s(home.path(), args.iter().chain(&["--seed", "9"]));
    fails(&other, 2, &["seed is 0 in the run, 9 was requested"]);
}

#[test]
fn a_job_script_can_leave_numbers_to_the_program() {
    let home = crate::text::copy_of_trained_on_text();
    let with = |more: &[&'static str]| -> Vec<&'static str> {
        let sizes = ["--set", "model.hidden=4", "--set", "model.decoder=4"];
        let args = ["train", "--run-dir", "auto", "--resume-or-start"];
        args.iter().chain(&sizes).chain(more).copied().collect()
    };
    let samples = "data.train_samples=64";
    let few = [
        "--set",
        samples,
        "--set",
        "data.val_samples=8",
        "--set",
        "data.test_samples=8",
    ];
    for _ in 0..2 {
        assert!(succeeds(s2s(home.path(), with(&few))).contains("finished at step 3"));
    }
    let more = [&few[..], &["--set", "train.epochs=4"]].concat();
    let other = s2s(home.path(), with(&more));
    fails(
        &other,
        2,
        &["train.epochs is 3 in the run, 4 was requested"],
    );
}

// Signals.

#[cfg(unix)]
fn send(signal: &str, child: &Child) {
    let kill = Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

#[test]
#[cfg(unix)]
fn signals_of_batch_systems_and_terminals_save_and_stop() {
    for (signal, expected, config) in [
        ("USR1", 138, TINY),
        ("HUP", 129, TINY),
        ("USR1", 138, "text.toml"),
        ("HUP", 129, "text.toml"),
    ] {
        let home = TempDir::new().unwrap();
        let text = TRAINED_ON_TEXT.path();
        copy(&text.join("corpus"), &home.path().join("corpus"));
        fs::copy(text.join("text.toml"), home.path().join("text.toml")).unwrap();
        let child = long_run_of(home.path(), config);
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        fails(
            &output,
            expected,
            &["Saving and stopping", "saved at step", "s2s resume run"],
        );
        let run = RunDir::open(home.path().join("run")).unwrap();
        let record: RunRecord = read_json(run.run()).unwrap();
        assert_eq!(record.status, RunStatus::Interrupted);
        assert!(run.checkpoint(CheckpointName::Last).exists());
    }
}

/// A command of a shell that runs `s2s train` with these arguments.
#[cfg(unix)]
fn shell(home: &Path, script: &str, sets: &[&str]) -> Child {
    Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_s2s")])
        .args(["train", "--config", TINY, "--run-dir", "run"])
        .args(sets)
        .current_dir(home)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for signal in ["HUP", "INT", "TERM", "USR1"] {
        let home = TempDir::new().unwrap();
        // As `nohup` and `command &` in a script do.
        let script = format!("trap '' {signal}; exec \"$@\"");
        let mut child = shell(home.path(), &script, &[]);
        let log = home.path().join("run/metrics.jsonl");
        wait_until(&mut child, || log.exists());
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{signal}: {}", stderr(&output));
        assert!(stdout(&output).contains("finished at step 120"));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn every_command_stops_on_sigterm_as_process_1() {
    let is_possible = Command::new("unshare").args(["-rpf", "true"]).output();
    if !is_possible.is_ok_and(|output| output.status.success()) {
        return; // the system does not allow a process namespace
    }
    let (home, _) = copy_of_trained();
    for typed in ["predict run", "eval run --lengths 1..1000 --samples 1000"] {
        let mut child = Command::new("unshare")
            .args([
                "-rpf",
                "sh",
                "-c",
                "echo $$; exec \"$@\"",
                "sh",
                env!("CARGO_BIN_EXE_s2s"),
            ])
            .args(typed.split_whitespace())
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(700));
        // The child of `unshare` is process 1 of its namespace.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let inner = fs::read_to_string(children).unwrap();
        let kill = Command::new("kill").args(["-TERM", inner.trim()]).status();
        assert!(kill.unwrap().success());
        let started = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < crate::TIMEOUT, "{typed}: still running");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
#[cfg(unix)]
fn a_limit_of_file_sizes_is_an_error_and_not_a_death() {
    let home = TempDir::new().unwrap();
    let output = shell(home.path(), "ulimit -f 40; exec \"$@\"", &[])
        .wait_with_output()
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
    succeeds(s2s(home.path(), ["resume", "run"]));
    assert!(
        reproducible_files(&home.path().join("run"))
            == reproducible_files(&home_of_trained().join("run"))
    );
}

// Names.

#[test]
fn a_run_has_an_id_a_name_and_tags_wherever_it_is() {
    let home = TempDir::new().unwrap();
    let args = [
        "train", "--config", TINY, "--name", "first", "--tag", "a", "--tag", "b c",
    ];
    let sets = ["--set", "train.max_steps=20", "--log-every", "5"];
    succeeds(s2s(home.path(), args.iter().chain(&sets)));
    let run = home.path().join("runs/first");
    let identity: Identity = read_json(run.join("identity.json")).unwrap();
    assert_eq!(identity.name, "first");
    assert_eq!(identity.tags, ["a", "b c"]);
    assert_eq!(identity.id.len(), 16);
    assert_eq!(
        fs::read_to_string(run.join("steps.jsonl"))
            .unwrap()
            .lines()
            .count(),
        4
    );
    // Neither moving nor resuming changes it.
    fs::rename(&run, home.path().join("moved")).unwrap();
    let longer = [
        "resume",
        "moved",
        "--set",
        "train.max_steps=40",
        "--keep-schedule",
    ];
    succeeds(s2s(home.path(), longer));
    let moved: Identity = read_json(home.path().join("moved/identity.json")).unwrap();
    assert_eq!(moved, identity);
    // Another run of the same command is another run.
    succeeds(s2s(home.path(), args.iter().chain(&sets)));
    let other: Identity = read_json(run.join("identity.json")).unwrap();
    assert_ne!(other.id, identity.id);
    fails(
        &s2s(home.path(), args.iter().chain(&sets)),
        2,
        &["runs/first already exists"],
    );
    for name in ["", "a/b", "..", "-x", "a b"] {
        let output = s2s(home.path(), ["train", &format!("--name={name}")]);
        assert_eq!(code(&output), 2, "{name}");
    }
}

#[test]
fn default_names_are_plain_file_names() {
    for (sets, name) in [
        (
            &["--set=train.max_steps=1"][..],
            "runs/tiny-max_steps=1-seed0",
        ),
        (
            &["--set=train.max_steps=1", "--set=model.attention.kind=dot"],
            "runs/tiny-max_steps=1-attention=dot-seed0",
        ),
        (
            &[
                "--set=train.max_steps=2",
                "--set=train.max_steps=1",
                "--seed=5",
            ],
            "runs/tiny-max_steps=1-seed5",
        ),
        (
            &[
                "--set=train.max_steps=1",
                "--set=train.schedule={kind=\"constant\"}",
            ],
            "runs/tiny-max_steps=1-schedule=_kind=_constant__-seed0",
        ),
    ] {
        let home = TempDir::new().unwrap();
        succeeds(s2s(
            home.path(),
            ["train", "--config", TINY].iter().chain(sets),
        ));
        assert!(home.path().join(name).join("run.json").exists(), "{name}");
    }
}

// Content, not location.

/// The metrics that `eval` prints as JSON.
#[track_caller]
fn evaluated(home: &Path, args: &[&str]) -> serde_json::Value {
    let args = ["eval", "--json"].iter().chain(args);
    serde_json::from_str(&succeeds(s2s(home, args))).unwrap()
}

#[test]
fn a_run_on_text_depends_on_content_and_not_on_location() {
    let home = crate::text::copy_of_trained_on_text();
    succeeds(s2s(
        home.path(),
        ["train", "--config", "text.toml", "--run-dir", "run2"],
    ));
    let run = home.path().join("run2");
    let run = run.to_str().unwrap();
    let expected = evaluated(home.path(), &["run2"]);
    assert_eq!(expected["split"], "test");
    // Neither the current directory nor the files of other splits matter.
    assert_eq!(evaluated(Path::new("/"), &[run]), expected);
    let corpus = home.path().join("corpus");
    fs::rename(corpus.join("train.src"), corpus.join("train.gone")).unwrap();
    assert_eq!(evaluated(Path::new("/"), &[run]), expected);
    let gone = s2s(home.path(), ["eval", "run2", "--split", "train"]);
    fails(
        &gone,
        1,
        &[
            "cannot read the text of run run2",
            "train.src",
            "--data PATH`",
        ],
    );
    fs::rename(corpus.join("train.gone"), corpus.join("train.src")).unwrap();
    let train = evaluated(home.path(), &["run2", "--split", "train"]);
    assert_eq!(
        (&train["split"], &train["n_sequences"]),
        (&"train".into(), &640.into())
    );

    // Text that has moved with its run is found, also beside the run itself.
    let project = tempfile::TempDir::new().unwrap();
    crate::copy(&home.path().join("run2"), &project.path().join("runs/run2"));
    let there = project.path().join("runs/run2");
    let there = there.to_str().unwrap();
    let away = home.path().join("away");
    fs::rename(&corpus, &away).unwrap();
    for place in ["corpus", "runs/corpus", "runs"] {
        crate::copy(&away, &project.path().join(place));
        assert_eq!(evaluated(Path::new("/"), &[there]), expected, "{place}");
        match place {
            "runs" => break,
            _ => fs::remove_dir_all(project.path().join(place)).unwrap(),
        }
    }
    // Its content counts, not its name.
    fs::write(project.path().join("runs/test.src"), "a\n").unwrap();
    fails(
        &s2s(Path::new("/"), ["eval", there]),
        1,
        &["cannot read the text", "test.src", "--data PATH`"],
    );
    fs::rename(&away, &corpus).unwrap();

    // A corpus that has moved elsewhere is found through --data.
    fs::rename(&corpus, home.path().join("moved")).unwrap();
    fails(
        &s2s(home.path(), ["eval", "run2"]),
        1,
        &["test.src", "--data PATH`"],
    );
    assert_eq!(
        evaluated(home.path(), &["run2", "--data", "moved"]),
        expected
    );
    let change = [
        "resume",
        "run2",
        "--set",
        "train.max_steps=140",
        "--keep-schedule",
    ];
    fails(
        &s2s(home.path(), change),
        1,
        &["cannot read the text", "--data PATH`"],
    );
    let moved = s2s(home.path(), change.iter().chain(&["--data", "moved"]));
    assert!(succeeds(moved).contains("finished at step 140"));
    // Other text can be evaluated, but not trained on.
    let test = home.path().join("moved/test.src");
    fs::write(&test, fs::read_to_string(&test).unwrap().replace('1', "2")).unwrap();
    let other = evaluated(home.path(), &["run2", "--data", "moved"]);
    assert_eq!(other["split"], "test of moved");
    let train = home.path().join("moved/train.src");
    fs::write(
        &train,
        fs::read_to_string(&train).unwrap().replace('1', "2"),
    )
    .unwrap();
    let change = [
        "resume",
        "run2",
        "--set",
        "train.max_steps=160",
        "--keep-schedule",
    ];
    let changed = s2s(home.path(), change.iter().chain(&["--data", "moved"]));
    fails(
        &changed,
        1,
        &["moved/train.src is not the text that run run2 was trained on"],
    );
}

#[test]
fn a_table_is_evaluated_as_a_whole_or_by_split() {
    let home = crate::text::copy_of_trained_on_text();
    let rows: String = (0..50)
        .map(|i| format!("{} {}\t{} {}\n", i % 7, i % 5, i % 5, i % 7))
        .collect();
    fs::write(home.path().join("more.tsv"), rows).unwrap();
    let all = evaluated(home.path(), &["run", "--data", "more.tsv"]);
    assert_eq!(
        (&all["split"], &all["n_sequences"]),
        (&"more.tsv".into(), &50.into())
    );
    let none = s2s(home.path(), ["eval", "run", "--data", "nope.tsv"]);
    fails(&none, 1, &["nope.tsv", "No such file"]);
}

#[test]
fn the_training_split_of_generated_data_can_be_evaluated() {
    let train = evaluated(home_of_trained(), &["run", "--split", "train"]);
    assert_eq!(
        (&train["split"], &train["n_sequences"]),
        (&"train".into(), &640.into())
    );
    let home = TempDir::new().unwrap();
    succeeds(s2s(
        home.path(),
        ["data", "export", "corpus", "--config", TINY],
    ));
    let (copied, _) = copy_of_trained();
    let expected = evaluated(copied.path(), &["run"]);
    let run = copied.path().join("run");
    // The same numbers as text.
    let found = evaluated(home.path(), &[run.to_str().unwrap(), "--data", "corpus"]);
    for key in ["n_sequences", "n_tokens", "exact_match", "token_accuracy"] {
        assert_eq!(found[key], expected[key], "{key}");
    }
}

#[test]
fn a_run_of_a_piped_configuration_has_the_default_name_and_says_that_it_was_short() {
    let home = TempDir::new().unwrap();
    let text = fs::read(TINY).unwrap();
    let set = "--set=train.max_steps=20";
    let train = ["train", "--config", "/dev/stdin", set];
    let report = succeeds(s2s_reading(home.path(), &train, &text));
    // After one evaluation, which is compared with that before the first step.
    let longer = "the validation loss was still falling; to train twice as long:";
    assert!(report.contains(longer), "{report}");
    let run = home.path().join("runs/default-max_steps=20-seed0");
    assert!(run.join("run.json").exists());
}
