//! Exports, and runs made of weights.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::failures::write;
use crate::text::TRAINED_ON_TEXT;
use crate::{command, copy, copy_of_trained, home_of_trained, s2s, s2s_reading, stderr, succeeds};

const LINES: &[u8] = b"3 1 4\n1 5\n9 2 6 5\n";

fn predictions(home: &Path, run: &str, lines: &[u8]) -> String {
    let args = ["predict", run, "--json", "--attention"];
    succeeds(s2s_reading(home, &args, lines))
}

fn evaluation(home: &Path, args: &[&str]) -> Value {
    let output = s2s(home, [&["eval", "--json"], args].concat());
    let mut record: Value = serde_json::from_str(&succeeds(output)).unwrap();
    record.as_object_mut().unwrap().remove("step");
    record
}

#[test]
fn an_imported_export_is_the_same_model() {
    let (home, _) = copy_of_trained();
    let home = home.path();
    succeeds(s2s(home, ["export", "run", "--to", "out/a"]));
    succeeds(s2s(home, ["export", "run", "--to", "out/b"]));
    for name in [
        "model.safetensors",
        "model.py",
        "config.json",
        "vocab.json",
        "README.md",
    ] {
        let bytes = |folder: &str| fs::read(home.join(folder).join(name)).unwrap();
        assert!(bytes("out/a") == bytes("out/b"), "{name}");
    }
    let card = fs::read_to_string(home.join("out/a/README.md")).unwrap();
    assert!(card.starts_with("---\nlibrary_name: pytorch\n"), "{card}");
    assert!(
        card.contains("| exact match | 0.") && card.contains("## Limitations"),
        "{card}"
    );

    let import = ["import", "out/a/model.safetensors", "--run-dir", "again"];
    succeeds(s2s(home, import));
    assert_eq!(
        predictions(home, "run", LINES),
        predictions(home, "again", LINES)
    );
    assert_eq!(evaluation(home, &["run"]), evaluation(home, &["again"]));

    // It can be trained, in place and as the start of another run.
    let from = [
        "train",
        "--from",
        "again",
        "--run-dir",
        "tuned",
        "--set",
        "train.max_steps=2",
    ];
    let output = s2s(home, from);
    assert!(
        stderr(&output).contains("13 of 13 tokens have weights"),
        "{}",
        stderr(&output)
    );
    succeeds(output);
    assert!(succeeds(s2s(home, ["resume", "again"])).contains("finished at step 120"));
}

#[test]
fn what_a_partial_import_lacks_is_listed() {
    let home = TempDir::new().unwrap();
    let run = home_of_trained().join("run");
    let output = command(home.path())
        .arg("import")
        .arg(run.join("checkpoints/best/params.safetensors"))
        .arg("--config")
        .arg(run.join("config.resolved.toml"))
        .args([
            "--set",
            "model.attention.kind=location",
            "--set",
            "model.attention.units=16",
            "--partial",
            "--run-dir",
            "part",
        ])
        .output()
        .unwrap();
    for part in [
        "weights 22 of 24 parameters",
        "2 missing, at their initial values: attention.filters, attention.location.weight",
    ] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    assert!(succeeds(output).contains("predict part"));
}

#[test]
fn a_model_of_text_needs_no_text() {
    let text = TRAINED_ON_TEXT.path();
    let home = TempDir::new().unwrap();
    let to = home.path().join("out");
    let export = command(text)
        .args(["export", "run", "--to"])
        .arg(&to)
        .output()
        .unwrap();
    succeeds(export);
    let import = ["import", "out/model.safetensors", "--run-dir", "run"];
    let output = s2s(home.path(), import);
    assert!(
        stderr(&output).contains("so evaluation needs --data"),
        "{}",
        stderr(&output)
    );
    succeeds(output);
    let lines = fs::read(text.join("corpus/test.src")).unwrap();
    assert_eq!(
        predictions(home.path(), "run", &lines),
        predictions(text, "run", &lines)
    );
    let data = text.join("corpus").display().to_string();
    let own = evaluation(text, &["run", "--data", &data]);
    assert_eq!(
        evaluation(home.path(), &["run", "--data", &data])["exact_match"],
        own["exact_match"]
    );
}

#[test]
fn weights_imported_without_their_text_can_be_trained_on_any() {
    let text = TRAINED_ON_TEXT.path();
    let home = TempDir::new().unwrap();
    let home = home.path();
    let export = command(text)
        .args(["export", "run", "--to"])
        .arg(home.join("out"))
        .output()
        .unwrap();
    succeeds(export);
    let import = ["import", "out/model.safetensors", "--run-dir", "run"];
    let printed = succeeds(s2s(home, import));
    assert!(
        printed.contains("train --from run --set data.folder=PATH\n"),
        "{printed}"
    );

    let resume = s2s(home, ["resume", "run"]);
    let message = stderr(&resume);
    for part in ["cannot read the text of run run", "resume run --data PATH`"] {
        assert!(message.contains(part), "{message}");
    }
    copy(&text.join("corpus"), &home.join("moved"));
    copy(&text.join("corpus"), &home.join("other"));
    write(
        home,
        "other/train.src",
        &fs::read(home.join("other/train.trg")).unwrap(),
    );
    let run_dir = ["--run-dir", "next", "--set", "train.max_steps=2"];
    let from = ["train", "--from", "run", "--set", "data.folder=moved"];
    succeeds(s2s(home, [&from[..], &run_dir].concat()));

    succeeds(s2s(home, ["resume", "run", "--data", "moved"]));
    assert_eq!(
        evaluation(home, &["run"])["n_sequences"],
        evaluation(text, &["run"])["n_sequences"]
    );
    let longer = ["--set", "train.max_steps=130", "--keep-schedule"];
    succeeds(s2s(home, [&["resume", "run"], &longer[..]].concat()));
    let changed = s2s(
        home,
        [&["resume", "run", "--data", "other"], &longer[..]].concat(),
    );
    let message = stderr(&changed);
    assert!(
        message.contains("other/train.src is not the text that run run was trained on"),
        "{message}"
    );
}

#[test]
fn the_hint_for_a_common_prefix_works_as_printed() {
    let home = TempDir::new().unwrap();
    let home = home.path();
    let run = home_of_trained().join("run");
    let best = fs::read(run.join("checkpoints/best/params.safetensors")).unwrap();
    let n = u64::from_le_bytes(best[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&best[8..8 + n]).unwrap();
    let prefixed = header
        .into_iter()
        .map(|(name, tensor)| (format!("module.{name}"), tensor));
    let header = serde_json::to_vec(&prefixed.collect::<serde_json::Map<_, _>>()).unwrap();
    let file = [
        &(header.len() as u64).to_le_bytes()[..],
        &header,
        &best[8 + n..],
    ]
    .concat();
    write(home, "weights.safetensors", &file);
    fs::copy(run.join("config.resolved.toml"), home.join("run.toml")).unwrap();
    let import = [
        "import",
        "weights.safetensors",
        "--config",
        "run.toml",
        "--run-dir",
        "run",
    ];
    let output = s2s(home, import);
    let (_, hint) = stderr(&output).split_once("  try: `").unwrap();
    let (typed, rest) = hint.split_once('`').unwrap();
    assert_eq!(rest, " removes that prefix; --partial loads the others\n");
    let typed = std::process::Command::new("sh")
        .args(["-c", typed])
        .current_dir(home)
        .output()
        .unwrap();
    assert!(typed.status.success(), "{}", stderr(&typed));
}
