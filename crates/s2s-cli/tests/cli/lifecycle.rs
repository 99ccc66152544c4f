//! A run outlives a process: its folder may disappear, its configuration may be edited.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};

use s2s_runlog::RunDir;
use tempfile::TempDir;

use crate::{TINY, code, command, copy, copy_of_trained, fails, s2s, stderr, succeeds, wait_until};

/// Starts a run that would take minutes and waits for its first checkpoint.
fn long_run(home: &Path) -> Child {
    let mut child = command(home)
        .args(["train", "--config", TINY, "--run-dir", "run"])
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
    // Without the extra epochs, to end soon.
    let resumed = RunDir::open(&other).unwrap();
    assert!(
        resumed
            .checkpoints()
            .join("last/params.safetensors")
            .exists()
    );
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
