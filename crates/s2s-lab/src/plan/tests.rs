//! What experiment files describe, and what is refused.

use std::fs;

use super::*;

const GOOD: &str = r#"
        title = "Widths"
        question = "Does width matter?"
        config = "configs/tiny.toml"
        seeds = [0, 7]
        plots = ["val_loss"]
        table = ["exact_match"]
        [[cell]]
        name = "base"
        [[cell]]
        name = "wide"
        set = ["model.hidden=512", "model.decoder=1024"]
        [[lengths]]
        name = "near"
        lengths = "1..9,20"
        samples = 50
        mode = "both"
        [[lengths]]
        name = "protocol"
        protocol = "deepmind"
        samples = 10
        mode = "oracle"
        cells = ["base"]
        [[published]]
        name = "Others"
        source = "a paper"
        group = "protocol"
        token_accuracy = 0.5
"#;

fn read(text: &str) -> Result<Plan> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("widths.toml");
    fs::write(&path, text).unwrap();
    let out = Plan::default_folder(&path);
    Plan::read(path, out, &resolve)
}

/// The changes as they are, and a key that differs with the file and with each change.
fn resolve(config: Option<&Path>, sets: &[String]) -> Result<Table, String> {
    let pair = |set: &String| {
        let (key, value) = set.split_once('=').unwrap();
        (key.to_owned(), toml::Value::from(value))
    };
    let request = toml::Value::from(format!("{config:?} {sets:?}"));
    let pairs = sets.iter().map(pair);
    Ok(pairs.chain([("request".to_owned(), request)]).collect())
}

#[track_caller]
fn check_refused(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "{from}");
    let error = read(&GOOD.replace(from, to)).unwrap_err();
    assert!(error.is_usage());
    let message = error.to_string();
    assert!(message.contains("widths.toml: "), "{message}");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn every_cell_runs_once_with_each_seed() {
    let jobs = read(GOOD).unwrap().jobs();
    let names: Vec<String> = jobs.iter().map(Job::name).collect();
    assert_eq!(
        names,
        ["base-seed0", "base-seed7", "wide-seed0", "wide-seed7"]
    );
    assert_eq!(
        jobs[3].train_args().join(" "),
        format!(
            "train --config configs/tiny.toml --set model.hidden=512 --set model.decoder=1024 \
             --set seed=7 --run-dir runs/experiments/widths/wide-seed7-{} --resume-or-start",
            read(GOOD).unwrap().experiment.cells[1].identity
        )
    );
}

#[test]
fn a_count_of_seeds_and_a_matrix_are_a_grid() {
    let text = GOOD.replace("[0, 7]", "3").replace(
        "[[lengths]]\n        name = \"near\"",
        "[matrix]\nx = [1, 2]\n[[lengths]]\nname = \"near\"",
    );
    let plan = read(&text).unwrap();
    assert_eq!(plan.experiment.seeds, [0, 1, 2]);
    assert_eq!(plan.jobs().len(), 3 * (2 + 2));
    assert_eq!(plan.jobs().last().unwrap().name(), "x2-seed2");
}

#[test]
fn cells_with_the_same_configuration_are_refused() {
    check_refused(
        "set = [\"model.hidden=512\", \"model.decoder=1024\"]",
        "",
        "cells \"base\" and \"wide\" have the same configuration",
    );
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    check_refused("seeds", "sedes", "line 5, column 9");
    check_refused("seeds", "sedes", "unknown field `sedes`");
    check_refused("set =", "sets =", "line 12, column 9");
    check_refused("val_loss", "val_los", "line 6, column 18");
}

#[test]
fn invalid_grids_are_refused() {
    check_refused("[0, 7]", "[]", "at least one seed");
    check_refused("[0, 7]", "0", "a list of seeds, or how many");
    check_refused("[0, 7]", "2000000", "more than 100000");
    check_refused("[0, 7]", "[7, 7]", "`seeds` contains 7 twice");
    check_refused("wide", "base", "must be unique, got \"base\" twice");
    check_refused("\"wide\"", "\"../wide\"", "got \"../wide\"");
    check_refused("model.hidden=", "seed =", "use `seeds` instead");
}

#[test]
fn invalid_evaluations_are_refused() {
    check_refused("1..9", "9..1", "range 9..1 is empty");
    check_refused("\"near\"", "\"../near\"", "got \"../near\"");
    check_refused(
        "\"near\"",
        "\"protocol\"",
        "the name of a [[lengths]] must be unique",
    );
    check_refused("samples = 50", "samples = 0", "must be at least 1");
    check_refused(
        "lengths = \"1..9,20\"",
        "protocol = \"deepmind\"\nstep = 2",
        "must have either",
    );
    check_refused("[\"base\"]", "[\"bass\"]", "no cell \"bass\"");
    check_refused(
        "group = \"protocol\"",
        "group = \"none\"",
        "no [[lengths]] \"none\"",
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Plan::read("no/such.toml", "out", &resolve)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("no/such.toml: No such file"), "{error}");
}

#[test]
fn every_experiment_of_the_repository_can_be_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/experiments");
    let paths = fs::read_dir(folder).unwrap();
    let paths = paths.map(|entry| entry.unwrap().path());
    let plans = paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let plans: Vec<Plan> = plans
        .map(|path| Plan::read(path, "out", &resolve).unwrap())
        .collect();
    assert!(plans.len() > 3);
}
