//! Runs the marked commands of docs/guide.md.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{copy, stderr, stdout};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What precedes a block of commands.
const RUN: &str = "<!-- run -->\n```sh\n";

/// Runs each command of the marked blocks in a folder with the repository's scripts and
/// configurations, and returns the commands with their output.
fn run_marked_blocks(page: &str) -> Vec<(String, String)> {
    let home = TempDir::new().unwrap();
    for folder in ["scripts", "configs"] {
        copy(&Path::new(ROOT).join(folder), &home.path().join(folder));
    }
    let program = Path::new(env!("CARGO_BIN_EXE_s2s")).parent().unwrap();
    let path = env::join_paths(
        [program.to_owned()]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap();
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let blocks = text
        .split(RUN)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let commands = blocks.flat_map(str::lines);
    let run = |line: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(home.path())
            .env("PATH", &path);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}\n{}", stderr(&output));
        (line.to_owned(), stdout(&output).to_owned())
    };
    commands.map(run).collect()
}

#[test]
fn the_marked_commands_of_the_guide_do_what_it_says() {
    let outputs = run_marked_blocks("docs/guide.md");
    let of = |part: &str| {
        let found = outputs.iter().find(|(line, _)| line.contains(part));
        found
            .unwrap_or_else(|| panic!("no command with {part:?}"))
            .1
            .as_str()
    };
    let dates = of("train.target_exact_match");
    assert!(dates.contains("reached its target"), "{dates}");
    assert!(of("s2s eval runs/dates").contains("character errors"));

    assert_eq!(of("--n-best 3").matches("\"prediction\"").count(), 3);
    assert_eq!(of("--draws 4").split('\t').count(), 4);
    assert!(of("--prefix").starts_with("4 1"));
    assert_eq!(of("s2s score").lines().count(), 2);
    assert_eq!(of("--resume"), "");
    // The run and the import of its export.
    let answers = outputs
        .iter()
        .filter(|(line, _)| line.contains("March 3, 2024\""));
    let answers: Vec<&str> = answers.map(|(_, output)| output.as_str()).collect();
    assert_eq!(answers, ["2024-03-03\n"; 2]);
    // The import has no steps of training, which are the last figure of the first table.
    let [run, import] = ["s2s eval runs/dates", "s2s eval runs/dates-again"].map(|command| {
        let (losses, errors) = of(command).split_once("\n\n").unwrap();
        let (losses, _steps) = losses.rsplit_once(' ').unwrap();
        (losses.trim_end(), errors)
    });
    assert_eq!(run, import);
    assert!(of("--format onnx").contains("decoder_step.onnx"));
}
