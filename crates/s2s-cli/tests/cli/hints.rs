//! A hint is a promise: the suggested command runs, and the command that failed then succeeds.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failures::{change, home, nothing, remove, spoil, write};
use crate::text::{TRAINED_ON_TEXT, gzip};
use crate::{TINY, code, command, copy, s2s, stderr};

/// A command that fails, and what is true after the command that its hint suggests.
struct Case {
    prepare: fn(&Path),
    typed: &'static str,
    /// Which of the commands in backquotes.
    suggestion: usize,
    then: Then,
}

enum Then {
    /// The command that failed succeeds.
    Succeeds,
    /// The suggested command replaces it, so success of that one is enough.
    Replaced,
    /// This command succeeds.
    Other(&'static str),
}

use Then::{Other, Replaced, Succeeds};

#[rustfmt::skip] // a line per case
const CASES: &[Case] = &[
    Case { prepare: |home| write(home, "full/config.json", br#"{"format": 1, "output_limit": 3}"#), typed: "export run --to full", suggestion: 0, then: Replaced },
    Case { prepare: nothing, typed: "train --run-dir run", suggestion: 0, then: Replaced },
    Case { prepare: nothing, typed: "config --config mine.toml", suggestion: 0, then: Succeeds },
    Case { prepare: nothing, typed: "resume run --set train.max_steps=130", suggestion: 0, then: Replaced },
    Case { prepare: nothing, typed: "resume run --set train.max_steps=130", suggestion: 1, then: Replaced },
    Case { prepare: nothing, typed: "train --config run/config.resolved.toml --run-dir run --resume-or-start --set train.max_steps=130", suggestion: 0, then: Succeeds },
    Case { prepare: |home| { remove(home, "begun/checkpoints"); remove(home, "begun/metrics.jsonl") }, typed: "plot begun", suggestion: 0, then: Succeeds },
    Case { prepare: |home| change(home, "run/metrics.jsonl", |bytes| bytes[0] = b'x'), typed: "plot run", suggestion: 0, then: Succeeds },
    Case { prepare: |home| write(home, "run/lengths.json", b"<html>"), typed: "eval run --lengths 3", suggestion: 0, then: Succeeds },
    Case { prepare: |home| { remove(home, "begun/checkpoints"); remove(home, "begun/metrics.jsonl") }, typed: "eval begun", suggestion: 0, then: Succeeds },
    Case { prepare: |home| remove(home, "run/checkpoints/best"), typed: "eval run", suggestion: 0, then: Replaced },
    Case { prepare: |home| change(home, "run/checkpoints/last/params.safetensors", |bytes| bytes[99] ^= 1), typed: "predict run --checkpoint last 1", suggestion: 0, then: Replaced },
    Case { prepare: |home| write(home, "corpus/dev.trg", b"1\n"), typed: "train --config text.toml --run-dir new", suggestion: 0, then: Replaced },
    Case { prepare: |home| write(home, "corpus/dev.src", b"1\n\n"), typed: "train --config text.toml --run-dir new", suggestion: 0, then: Replaced },
    Case { prepare: |home| spoil(home, "run/checkpoints/best"), typed: "predict run 1", suggestion: 0, then: Replaced },
    Case { prepare: nothing, typed: "resume run --set train.epochs=7", suggestion: 0, then: Replaced },
    Case { prepare: |home| write(home, "t.tsv.gz", &gzip("a\tb\nc\n")), typed: "data show --set data.file=t.tsv.gz", suggestion: 0, then: Replaced },
    Case { prepare: |home| write(home, "t.csv", &PAIRS.replace('\t', ";").into_bytes()), typed: "data show --set data.file=t.csv", suggestion: 0, then: Other("data show --set data.file=t.tsv") },
    Case { prepare: |home| write(home, "t.tsv", &utf16(PAIRS)), typed: "data show --set data.file=t.tsv", suggestion: 0, then: Other("data show --set data.file=utf8-t.tsv") },
    Case { prepare: |home| { write(home, "t.csv", &PAIRS.replace('\t', ";").into_bytes()); write(home, "t.tsv", b"mine") }, typed: "data show --set data.file=t.csv", suggestion: 0, then: Other("data show --set data.file=2-t.tsv") },
    Case { prepare: |home| { write(home, "t.tsv", &utf16(PAIRS)); write(home, "utf8-t.tsv", b"mine") }, typed: "data show --set data.file=t.tsv", suggestion: 0, then: Other("data show --set data.file=2-utf8-t.tsv") },
    Case { prepare: |home| write(home, "mine.toml", b"\xff"), typed: "config --config mine.toml", suggestion: 0, then: Other("config --config 2-mine.toml") },
    Case { prepare: |home| write(home, "-t.tsv", b"a\tb\nc\n"), typed: "data show --set data.file=-t.tsv", suggestion: 0, then: Replaced },
    Case { prepare: |home| copy(&home.join("begun"), &home.join("-begun")), typed: "train --run-dir=-begun", suggestion: 0, then: Other("eval ./-begun") },
    Case { prepare: |home| write(home, "out", b""), typed: "predict run --output out -- 3 1", suggestion: 0, then: Replaced },
    Case { prepare: |home| remove(home, "run/checkpoints/last"), typed: "resume run --set train.max_steps=200 --keep-schedule", suggestion: 0, then: Replaced },
    Case { prepare: |home| remove(home, "run/checkpoints/last"), typed: "resume run --set train.max_steps=200 --keep-schedule", suggestion: 1, then: Replaced },
    Case { prepare: |home| kept_schedule(home, "run"), typed: "train --config tiny.toml --set train.max_steps=130 --run-dir run --resume-or-start", suggestion: 0, then: Succeeds },
    Case { prepare: |home| { with_text_run(home); write(home, "t.tsv", b"1\t2\n") }, typed: "eval text --data t.tsv --split val", suggestion: 0, then: Other("eval text --data t.tsv") },
];

/// Enough pairs for three splits.
const PAIRS: &str = "from\tto\na\tb\nc\td\ne\tf\ng\th\ni\tj\nk\tl\nm\tn\no\tp\nq\tr\ns\tt\nu\tv\nw\tx\ny\tz\n\
                     aa\tb\ncc\td\nee\tf\ngg\th\nii\tj\nkk\tl\nmm\tn\noo\tp\nqq\tr\nss\tt\nuu\tv\nww\tx\nyy\tz\n\
                     ab\tb\ncd\td\nef\tf\ngh\th\nij\tj\nkl\tl\nmn\tn\nop\tp\nqr\tr\nst\tt\nuv\tv\nwx\tx\nyz\tz\n";

/// The text in UTF-16, with a byte order mark.
fn utf16(text: &str) -> Vec<u8> {
    let units = [0xfeff].into_iter().chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

/// Extends a finished run, whose schedule keeps its length.
fn kept_schedule(home: &Path, run: &str) {
    let extend = [
        "resume",
        run,
        "--set",
        "train.max_steps=130",
        "--keep-schedule",
    ];
    crate::succeeds(s2s(home, extend));
}

/// The finished run on text of other tests, as `text`.
fn with_text_run(home: &Path) {
    copy(&TRAINED_ON_TEXT.path().join("run"), &home.join("text"));
}

#[test]
fn a_remedy_in_the_message_is_the_only_hint() {
    let home = home();
    let set = ["config", "--config", "text.toml", "--set=data.task=copy"];
    let output = s2s(home.path(), set);
    crate::fails(
        &output,
        2,
        &["task has no effect with folder (remove task or folder)"],
    );
    assert!(!stderr(&output).contains("try:"), "{}", stderr(&output));
}

#[test]
fn suggested_commands_change_the_outcome() {
    let broken: Vec<String> = CASES.iter().filter_map(broken).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The commands of `failure/memory.rs`, which only a GPU can print.
#[test]
fn a_run_continues_after_it_ran_out_of_memory() {
    let home = home();
    let half = "train --config tiny.toml --set train.max_steps=4 --set train.eval_every=2 --set train.precision=f16 \
                --run-dir half";
    fs::copy(TINY, home.path().join("tiny.toml")).unwrap();
    for command in [
        "train --config begun/config.resolved.toml --set train.batch_size=4 --set train.accumulation_steps=2 --device cpu",
        "resume begun --set train.eval_batch_size=8 --device cpu",
        half,
        "resume half --device cpu --set train.precision=f32 --set train.max_steps=6 --keep-schedule",
    ] {
        crate::succeeds(s2s(home.path(), command.split_whitespace()));
    }
}

/// Why the hint of a case does not work, if so.
fn broken(case: &Case) -> Option<String> {
    let home = home();
    fs::copy(TINY, home.path().join("tiny.toml")).unwrap();
    (case.prepare)(home.path());
    let typed: Vec<&str> = case.typed.split_whitespace().collect();
    let before = s2s(home.path(), &typed);
    let message = stderr(&before);
    let Some((_, hint)) = message.split_once("try: ") else {
        return Some(format!("{}: no hint in:\n{message}", case.typed));
    };
    let suggested = hint.split('`').nth(2 * case.suggestion + 1).unwrap();
    if let Some((_, written)) = suggested.split_once(" > ")
        && home.path().join(written).exists()
    {
        return Some(format!("{}: `{suggested}` overwrites a file", case.typed));
    }
    let program = Path::new(env!("CARGO_BIN_EXE_s2s"));
    let path = format!("{}:{}", program.parent().unwrap().display(), env!("PATH"));
    let output = Command::new("bash")
        .args(["-c", suggested])
        .env("PATH", path)
        .current_dir(home.path())
        .output()
        .unwrap();
    if code(&before) == 0 || !output.status.success() {
        return Some(format!(
            "{}: `{suggested}` fails:\n{}",
            case.typed,
            stderr(&output)
        ));
    }
    let after = s2s(home.path(), &typed);
    match case.then {
        Succeeds if code(&after) != 0 => Some(format!(
            "{}: `{suggested}` does not help:\n{}",
            case.typed,
            stderr(&after)
        )),
        Other(typed) => {
            let output = s2s(home.path(), typed.split_whitespace());
            (code(&output) != 0).then(|| {
                let message = stderr(&output);
                format!("{typed} fails after `{suggested}`:\n{message}")
            })
        }
        Succeeds | Replaced => None,
    }
}

#[test]
fn a_misspelled_option_is_not_advised_as_a_value() {
    let home = home();
    let output = s2s(home.path(), ["predict", "run", "--bream", "3"]);
    assert_eq!(code(&output), 2);
    assert!(
        !stderr(&output).contains("-- --bream"),
        "{}",
        stderr(&output)
    );
    let output = s2s(home.path(), ["predict", "run", "--attentio", "3"]);
    assert!(
        stderr(&output).contains("'--attention'"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_missing_vocabulary_is_not_a_problem_of_the_folder() {
    let home = home();
    let output = command(home.path())
        .args(["train", "--config", "text.toml", "--run-dir", "new"])
        .args(["--set", "data.vocab_file=words.txt"])
        .output()
        .unwrap();
    let message = stderr(&output);
    assert_eq!(code(&output), 1);
    assert!(
        message.contains("words.txt") && message.contains("set data.vocab_file to a file"),
        "{message}"
    );
    assert!(!message.contains("train.src"), "{message}");
}

#[test]
fn evaluation_by_length_of_a_text_is_rejected_with_the_reason() {
    let home = crate::text::copy_of_trained_on_text();
    let output = s2s(home.path(), ["eval", "run", "--lengths", "3"]);
    crate::fails(
        &output,
        2,
        &["this run was trained on text", "remove --lengths"],
    );
}
