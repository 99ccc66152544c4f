//! Files that the user names may be links, pipes and descriptors; data cannot control a terminal.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::failures::link;
use crate::text::{TRAINED_ON_TEXT, copy_of_trained_on_text};
use crate::{TINY, code, copy, s2s, s2s_reading, stderr, succeeds};

/// Runs a script of bash in which `s2s` is the program.
fn bash(home: &Path, script: &str) -> std::process::Output {
    Command::new("bash")
        .args(["-c", &format!("s2s() {{ \"$S2S\" \"$@\"; }}; {script}")])
        .env("S2S", env!("CARGO_BIN_EXE_s2s"))
        .current_dir(home)
        .output()
        .unwrap()
}

#[test]
fn a_configuration_may_be_a_link_a_pipe_or_a_descriptor() {
    let home = TempDir::new().unwrap();
    fs::copy(TINY, home.path().join("tiny.toml")).unwrap();
    link("tiny.toml", &home.path().join("link.toml"));
    let expected = succeeds(s2s(home.path(), ["config", "--config", "tiny.toml"]));
    for script in [
        "s2s config --config link.toml",
        "s2s config --config <(cat tiny.toml)",
        "cat tiny.toml | s2s config --config /dev/stdin",
        "s2s config --config /dev/fd/3 3< tiny.toml",
        "mkfifo p; cat tiny.toml > p & s2s config --config p",
    ] {
        assert_eq!(succeeds(bash(home.path(), script)), expected, "{script}");
    }
    // It is read once, also where its text is kept.
    let train = "s2s train --config <(cat tiny.toml) --run-dir run --set train.max_steps=20";
    succeeds(bash(home.path(), train));
    let kept = fs::read(home.path().join("run/config.toml")).unwrap();
    assert_eq!(kept, fs::read(TINY).unwrap());
}

#[test]
fn text_vocabulary_and_input_may_be_links_and_pipes() {
    let home = copy_of_trained_on_text();
    let corpus = home.path().join("corpus");
    fs::rename(corpus.join("dev.src"), home.path().join("dev.text")).unwrap();
    link("../dev.text", &corpus.join("dev.src"));
    let words = "cat corpus/*.src corpus/*.trg | tr ' ' '\\n' | sort -u > words; link=words";
    let train = "s2s train --config text.toml --set train.max_steps=20 --run-dir";
    let script = format!("{words}; {train} a --set data.vocab_file=words");
    succeeds(bash(home.path(), &script));
    succeeds(bash(
        home.path(),
        &format!("{train} b --set data.vocab_file=<(cat words)"),
    ));
    let same = |name: &str| fs::read(home.path().join(name).join("metrics.jsonl")).unwrap();
    assert!(same("a") == same("b"));
    let script = "s2s predict run --file <(head -3 corpus/test.src)";
    assert_eq!(succeeds(bash(home.path(), script)).lines().count(), 3);
}

#[test]
fn a_value_is_a_string_where_the_key_expects_one() {
    for folder in ["2024", "true", "1e3", "[x]", "inf", "2024-01-01"] {
        let home = TempDir::new().unwrap();
        copy(
            &TRAINED_ON_TEXT.path().join("corpus"),
            &home.path().join(folder),
        );
        let set = format!("data.folder={folder}");
        let shown = succeeds(s2s(home.path(), ["data", "show", "-n", "2", "--set", &set]));
        assert_eq!(shown.lines().count(), 2, "{folder}");
        let quoted = format!("data.folder={folder:?}");
        let again = s2s(home.path(), ["data", "show", "-n", "2", "--set", &quoted]);
        assert_eq!(succeeds(again), shown, "{folder}");
    }
    let home = TempDir::new().unwrap();
    let output = s2s(home.path(), ["config", "--set", "model.hidden=true"]);
    assert!(
        stderr(&output).contains("expected a whole number"),
        "{}",
        stderr(&output)
    );
}

/// A corpus whose tokens are escape sequences, wide characters and characters that turn the
/// direction of text.
fn escapes(home: &Path) {
    let tokens = [
        "a",
        "\x1b[31mred",
        "\x1b]0;title\x07",
        "\u{9b}2J",
        "\u{202e}abc",
        "漢字",
        "b",
    ];
    fs::create_dir(home.join("corpus")).unwrap();
    for split in ["train", "dev", "test"] {
        let line = |i: usize| [tokens[i % 7], tokens[i * 3 % 7]].map(str::to_owned);
        let lines = || (1..40).map(line);
        let text = |lines: &mut dyn Iterator<Item = [String; 2]>| {
            lines
                .map(|words| words.join(" ") + "\n")
                .collect::<String>()
        };
        let sources = text(&mut lines());
        let targets = text(&mut lines().map(|[a, b]| [b, a]));
        fs::write(home.join(format!("corpus/{split}.src")), sources).unwrap();
        fs::write(home.join(format!("corpus/{split}.trg")), targets).unwrap();
    }
}

#[track_caller]
fn check_clean(text: &str) {
    let is_control = |c: &char| c.is_control() && !['\n', '\t'].contains(c);
    let found: Vec<char> = text
        .chars()
        .filter(|c| is_control(c) || *c == '\u{202e}')
        .collect();
    assert!(found.is_empty(), "{found:?} in {text:?}");
}

#[test]
fn tokens_cannot_control_the_terminal_through_a_report() {
    let home = TempDir::new().unwrap();
    escapes(home.path());
    let train = ["train", "--run-dir", "run", "--set", "data.folder=corpus"];
    let sets = [
        "--set=train.max_steps=20",
        "--set=train.eval_every=10",
        "--set=model.hidden=8",
    ];
    let output = s2s(home.path(), train.iter().chain(&sets));
    check_clean(stderr(&output));
    let report = succeeds(output);
    check_clean(&report);
    // Columns are aligned by display width: the arrows are in one column.
    let column = |line: &str| {
        let before = line
            .split_once("  ->  ")
            .map(|(before, _)| before.to_owned());
        before.map(|before| unicode_width::UnicodeWidthStr::width(before.as_str()))
    };
    let columns: Vec<usize> = report.lines().filter_map(column).collect();
    assert!(
        columns.len() > 4 && columns.iter().all(|column| *column == columns[0]),
        "{report}"
    );
    assert!(report.contains("漢字"), "{report}");
    // The command for `predict` contains the tokens, quoted.
    let next = report
        .lines()
        .find(|line| line.contains(" predict "))
        .unwrap();
    succeeds(bash(home.path(), next.trim()));

    let output = s2s_reading(home.path(), &["predict", "run"], "\x1b[2J x\n".as_bytes());
    check_clean(stderr(&output));
    let output = s2s(home.path(), ["eval", "\x1b[2Jrun"]);
    assert_eq!(code(&output), 2);
    check_clean(stderr(&output));
}

#[test]
#[cfg(target_os = "linux")]
fn data_are_raw_in_a_pipe_and_clean_on_a_terminal() {
    let home = TempDir::new().unwrap();
    escapes(home.path());
    let show = ["data", "show", "-n", "30", "--set", "data.folder=corpus"];
    let piped = succeeds(s2s(home.path(), show));
    assert!(piped.contains("\x1b[31mred"), "{piped:?}");
    // `script` runs a command on a terminal of its own.
    let typed = format!("{} {}", env!("CARGO_BIN_EXE_s2s"), show.join(" "));
    let script = Command::new("script")
        .args(["-qec", &typed, "/dev/null"])
        .current_dir(home.path())
        .output();
    let Ok(output) = script else {
        return; // it is not installed
    };
    let mut shown = String::new();
    output.stdout.as_slice().read_to_string(&mut shown).unwrap();
    check_clean(&shown.replace("\r\n", "\n"));
    assert!(shown.contains("red") && shown.contains("漢字"), "{shown:?}");
}
