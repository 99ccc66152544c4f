//! Black-box tests of `s2s eval --lengths`.

#![expect(clippy::unwrap_used, reason = "helper functions of tests may panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use s2s_runlog::{DecodingMode, LengthTiming, LengthsRecord, RunDir, read_json, read_lines};
use tempfile::TempDir;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/tiny.toml");

/// A finished run, to be copied.
static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let home = TempDir::new().unwrap();
    succeeds(&s2s(
        home.path(),
        &["train", "--config", TINY, "--run-dir", "run"],
    ));
    home
});

/// A folder with a copy of the run.
fn home() -> TempDir {
    let home = TempDir::new().unwrap();
    copy(&TRAINED.path().join("run"), &home.path().join("run"));
    home
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2s"));
    command
        .current_dir(home)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .args(args);
    command
}

fn s2s(home: &Path, args: &[&str]) -> Output {
    command(home, args).output().unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    str::from_utf8(&output.stdout).unwrap().to_owned()
}

#[track_caller]
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty(), "{message}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
}

fn record(home: &Path, name: &str) -> LengthsRecord {
    read_json(home.join("run").join(name)).unwrap()
}

#[test]
fn each_length_is_printed_and_written_to_files() {
    let home = home();
    let args = ["eval", "run", "--lengths", "3..6,20", "--samples", "40"];
    let output = s2s(home.path(), &args);
    let report = succeeds(&output);
    for part in [
        "until EOS",
        "oracle length",
        "95 % interval",
        "means over lengths",
        "trained",
        "seconds",
    ] {
        assert!(report.contains(part), "no {part:?} in:\n{report}");
    }
    assert!(stderr(&output).contains("length 20 oracle: exact match"));
    assert!(stderr(&output).contains("wrote run/lengths.csv"));

    let found = record(home.path(), "lengths.json");
    assert!(found.is_complete && found.deviations.is_empty());
    let lengths: Vec<(usize, DecodingMode)> = found
        .rows
        .iter()
        .map(|row| (row.length, row.mode))
        .collect();
    assert_eq!(lengths.len(), 10);
    assert_eq!(
        lengths[8..],
        [(20, DecodingMode::Eos), (20, DecodingMode::Oracle)]
    );
    for row in &found.rows {
        let classes = [
            row.n_exact,
            row.n_stopped_early,
            row.n_ran_over,
            row.n_wrong_token,
        ];
        assert_eq!(classes.iter().sum::<u64>(), 40);
        let ends = u64::from(row.mode == DecodingMode::Eos);
        assert_eq!(row.n_tokens, 40 * (row.length as u64 + ends));
        assert!(row.exact_match_low <= row.exact_match && row.exact_match <= row.exact_match_high);
        assert!(row.exact_match <= row.fine_accuracy && row.fine_accuracy <= row.token_accuracy);
        let mass = row.alignment_mass.unwrap();
        assert!((0.0..=1.0).contains(&mass) && row.normalized_entropy.unwrap() <= 1.0);
    }

    let table = fs::read_to_string(home.path().join("run/lengths.csv")).unwrap();
    assert!(table.starts_with("mode,length,n_sequences,"), "{table}");
    assert_eq!(table.lines().count(), 11);
    for plot in ["lengths.svg", "lengths.tokens.png", "lengths.attention.svg"] {
        assert!(home.path().join("run/plots").join(plot).is_file(), "{plot}");
    }
    let kept = fs::read_to_string(home.path().join("run/plots/lengths.svg")).unwrap();
    fs::remove_dir_all(home.path().join("run/plots")).unwrap();
    succeeds(&s2s(home.path(), &["plot", "run"]));
    let again = fs::read_to_string(home.path().join("run/plots/lengths.svg")).unwrap();
    assert_eq!(again, kept);
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    let [one, three] = [(); 2].map(|()| home());
    let args = |threads| {
        let lengths = ["--lengths", "2,5..30", "--step", "5", "--samples", "300"];
        [
            &["eval", "run", "--json", "--threads", threads][..],
            &lengths,
        ]
        .concat()
    };
    let first = succeeds(&s2s(one.path(), &args("1")));
    assert_eq!(succeeds(&s2s(three.path(), &args("3"))), first);
    for file in ["lengths.json", "lengths.csv", "plots/lengths.svg"] {
        let read = |home: &TempDir| fs::read(home.path().join("run").join(file)).unwrap();
        assert_eq!(read(&one), read(&three), "{file}");
    }
    let printed: LengthsRecord = serde_json::from_str(&first).unwrap();
    assert_eq!(printed, record(one.path(), "lengths.json"));
    assert_eq!(printed.request.lengths.to_string(), "2,5,10,15,20,25,30");
}

#[test]
fn a_different_evaluation_is_never_overwritten() {
    let home = home();
    let eval = |args: &[&str]| s2s(home.path(), &[&["eval", "run"], args].concat());
    succeeds(&eval(&["--lengths", "3,4", "--samples", "9"]));
    let kept = fs::read(home.path().join("run/lengths.json")).unwrap();
    fails(
        &eval(&["--lengths", "3..5", "--samples", "9", "--mode", "eos"]),
        2,
        &[
            "lengths: 3..4 saved, 3..5 requested",
            "mode: eos and oracle saved, eos requested",
            "--name",
        ],
    );
    fails(
        &eval(&["--lengths", "3,4"]),
        2,
        &["samples: 9 saved, 100 requested"],
    );
    assert_eq!(
        fs::read(home.path().join("run/lengths.json")).unwrap(),
        kept
    );

    succeeds(&eval(&[
        "--lengths",
        "3..5",
        "--mode",
        "eos",
        "--name",
        "near",
    ]));
    assert_eq!(record(home.path(), "lengths-near.json").rows.len(), 3);
    assert!(home.path().join("run/plots/lengths-near.svg").is_file());

    let again = eval(&["--lengths", "3,4", "--samples", "9"]);
    assert!(succeeds(&again).contains("means over lengths"));
    assert!(stderr(&again).contains("already evaluated"));
    assert_eq!(
        fs::read(home.path().join("run/lengths.json")).unwrap(),
        kept
    );
}

#[test]
#[cfg(unix)]
fn an_interrupted_evaluation_continues_to_the_same_bytes() {
    let [stopped, whole] = [(); 2].map(|()| home());
    let args = ["eval", "run", "--lengths", "60..90", "--samples", "100"];
    let mut child = command(stopped.path(), &args).spawn().unwrap();
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    messages.read_line(&mut line).unwrap();
    assert!(line.starts_with("length 60 eos: "), "{line}");
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let mut rest = String::new();
    messages.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(
        rest.contains("saved in run/lengths.json; run the same command to continue"),
        "{rest}"
    );
    let part = record(stopped.path(), "lengths.json");
    assert!(!part.is_complete && part.means.is_empty());
    assert!((1..62).contains(&part.rows.len()));
    assert!(!stopped.path().join("run/lengths.csv").exists());

    let resumed = s2s(stopped.path(), &args);
    succeeds(&resumed);
    assert!(
        !stderr(&resumed).contains("length 60 eos"),
        "{}",
        stderr(&resumed)
    );
    succeeds(&s2s(whole.path(), &args));
    for file in ["lengths.json", "lengths.csv"] {
        let read = |home: &TempDir| fs::read(home.path().join("run").join(file)).unwrap();
        assert_eq!(read(&stopped), read(&whole), "{file}");
    }
    let run = RunDir::open(stopped.path().join("run")).unwrap();
    let times: Vec<LengthTiming> = read_lines(run.lengths_timing(None)).unwrap();
    let rows = record(stopped.path(), "lengths.json").rows;
    assert_eq!(times.len(), rows.len(), "each row has one timing");
    assert!(
        times
            .iter()
            .zip(&rows)
            .all(|(timing, row)| timing.is_of(row))
    );
}

#[test]
fn a_protocol_lists_deviations_of_the_training_data() {
    let home = home();
    let args = [
        "eval",
        "run",
        "--protocol",
        "grefenstette",
        "--samples",
        "2",
    ];
    let output = s2s(home.path(), &args);
    let report = succeeds(&output);
    for part in [
        "grefenstette: over lengths 65..128: coarse 0.00 %, fine ",
        "not comparable with the publication: data.vocab is 11, not 129; data.min_len is 1, not 8",
    ] {
        assert!(report.contains(part), "no {part:?} in:\n{report}");
    }
    assert!(stderr(&output).contains("data.max_len is 4, not 64"));
    assert_eq!(
        record(home.path(), "lengths-grefenstette.json")
            .deviations
            .len(),
        3
    );
}

#[test]
fn lengths_without_samples_are_reported_and_skipped() {
    let home = home();
    // The test split has no sequence of one symbol.
    let output = s2s(
        home.path(),
        &["eval", "run", "--lengths", "1,2", "--mode", "eos"],
    );
    succeeds(&output);
    assert!(stderr(&output).contains("the test split has no sequence of length 1"));
    let found = record(home.path(), "lengths.json");
    assert_eq!((found.without_samples, found.rows.len()), (vec![1], 1));
    assert!(found.rows[0].n_sequences < 100);
}

#[test]
fn mistakes_are_usage_errors() {
    let home = home();
    for (args, part) in [
        (
            &["--lengths", "1..1000001"][..],
            "lengths must lie in [1, 1000000], got 1000001",
        ),
        (
            &["--lengths", "0"],
            "lengths must lie in [1, 1000000], got 0",
        ),
        (&["--lengths", "9..3"], "range 9..3 is empty"),
        (&["--lengths", "ten"], "\"ten\" is not a length"),
        (&["--lengths", "5", "--step", "0"], "0 is not in 1.."),
        (
            &["--lengths", "5", "--samples", "0"],
            "0 is not in 1..=1000000",
        ),
        (
            &["--lengths", "5", "--mode", "beam"],
            "[possible values: eos, oracle, both]",
        ),
        (
            &["--lengths", "5", "--name", "../x"],
            "characters of a-z, 0-9 and `-`",
        ),
        (
            &["--lengths", "5", "--protocol", "deepmind"],
            "cannot be used with",
        ),
        (
            &["--lengths", "5", "--batch-size", "5"],
            "cannot be used with",
        ),
        (
            &["--protocol", "deepmind", "--step", "2"],
            "cannot be used with",
        ),
        (&["--samples", "5"], "--protocol"),
        (
            &["--lengths", "1000000", "--samples", "101"],
            "lower --samples to at most 100",
        ),
    ] {
        fails(
            &s2s(home.path(), &[&["eval", "run"], args].concat()),
            2,
            &[part],
        );
    }
    let run = RunDir::open(home.path().join("run")).unwrap();
    assert!(run.all_lengths().unwrap().is_empty());
}

#[test]
fn invalid_or_busy_run_folders_fail_before_the_evaluation() {
    let home = home();
    let run = home.path().join("run");
    let args = ["eval", "run", "--lengths", "3"];
    fs::write(run.join("lengths.json"), "{}").unwrap();
    fails(
        &s2s(home.path(), &args),
        1,
        &["run/lengths.json is not a valid record"],
    );
    assert_eq!(fs::read(run.join("lengths.json")).unwrap(), b"{}");

    let _lock = RunDir::open(&run).unwrap().lock().unwrap();
    fails(&s2s(home.path(), &args), 5, &["is in use by process"]);
}
