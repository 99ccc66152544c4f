//! Dashboards and pictures on a terminal.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use s2s_runlog::{
    AttentionRecord, EvalRecord, MetricsRecord, RunDir, RunLock, RunRecord, RunStatus, StepMetrics,
    TimingRecord, WrongOutput, WrongRecord, read_json, write_file, write_json,
};
use serde::Serialize;
use tempfile::TempDir;

use crate::pty::{self, Terminal};
use crate::{
    TINY, copy_of_trained, fails, home_of_trained, reproducible_files, s2s, stderr, succeeds,
};

const TRUE_COLOR: [(&str, &str); 1] = [("COLORTERM", "truecolor")];

/// What a terminal receives when a program takes the whole screen.
const ALTERNATE: &str = "\x1b[?1049h";

// Records that no machine could change.

/// A run whose records were written by hand, and that this process seems to train.
struct Watched {
    home: TempDir,
    run: RunDir,
    lock: Option<RunLock>,
}

impl Watched {
    fn new() -> Self {
        let (home, path) = copy_of_trained();
        let run = RunDir::open(&path).unwrap();
        let lock = Some(run.lock().unwrap());
        let watched = Self { home, run, lock };
        watched.record(60);
        watched
    }

    /// Writes the records of the first steps of 120.
    fn record(&self, last: u64) {
        let run = &self.run;
        let step = |step: u64| StepMetrics {
            step,
            loss: 2.4 * 0.97_f64.powi(step as i32),
            token_accuracy: step as f64 / 120.0,
            learning_rate: 0.01,
            grad_norm: 1.0,
            tokens_per_second: 23_456.0,
        };
        let metrics = |at: u64| MetricsRecord {
            step: at,
            epoch: Some(at as f64 / 20.0),
            train_loss: step(at).loss,
            train_token_accuracy: step(at).token_accuracy,
            train_exact_match: 0.0,
            val_loss: 1.1 * step(at).loss,
            val_forced_loss: step(at).loss,
            exposure_gap: 0.0,
            val_token_accuracy: 0.9 * step(at).token_accuracy,
            val_exact_match: 0.25,
            learning_rate: 0.01,
            grad_norm: 1.0,
            teacher_forcing_ratio: 0.5,
            is_best: true,
            attempt: None,
        };
        let timing = |step: u64| TimingRecord {
            step,
            elapsed_secs: 2.0 * step as f64,
            train_secs: 1.0,
            eval_secs: 1.0,
            tokens_per_second: 23_456.0,
        };
        let evaluations = || (20..=last).step_by(20);
        write_lines(run.steps(), (1..=last).map(step));
        write_lines(run.metrics(), evaluations().map(metrics));
        write_lines(run.timing(), evaluations().map(timing));
        let start = EvalRecord {
            split: "val".to_owned(),
            step: 0,
            n_sequences: 60,
            n_tokens: 200,
            loss: 2.5,
            forced_loss: 2.5,
            token_accuracy: 0.1,
            exact_match: 0.0,
            text: None,
        };
        write_json(run.initial(), &start).unwrap();
        let probe = |source: &str, output: &str, target: &str| {
            let (source, prediction) = (words(source), words(output));
            let (n, n_columns) = (prediction.len(), source.len());
            let weight = |row: usize, column: usize| match row + column + 1 == n_columns {
                true => 0.9,
                false => 0.1,
            };
            let row = |row: usize| (0..n_columns).map(|column| weight(row, column)).collect();
            AttentionRecord {
                step: last,
                is_exact: output == format!("{target} </s>"),
                target: words(target),
                weights: (0..n).map(row).collect(),
                source,
                prediction,
            }
        };
        let probes = [
            probe("3 1 4 1", "1 4 9 3 </s>", "1 4 1 3"),
            probe("9 2 6", "6 2 9 </s>", "6 2 9"),
            probe("5 3", "3 5 </s>", "3 5"),
        ];
        write_lines(run.attention(), probes.into_iter());
        let wrong = WrongRecord {
            step: last,
            outputs: vec![
                WrongOutput {
                    source: words("3 1 4 1"),
                    target: words("1 4 1 3"),
                    prediction: words("1 4 9 3 </s>"),
                },
                WrongOutput {
                    source: words("7 7"),
                    target: words("7 7"),
                    prediction: words("7 </s>"),
                },
            ],
        };
        write_lines(run.wrong(), [wrong].into_iter());
        let record = RunRecord {
            status: RunStatus::Running,
            test: None,
            ..read_json(run.run()).unwrap()
        };
        write_json(run.run(), &record).unwrap();
    }

    /// Ends the run.
    fn finish(&mut self, status: RunStatus) {
        self.record(120);
        let trained: RunRecord = read_json(home_of_trained().join("run/run.json")).unwrap();
        let record = RunRecord {
            status,
            step: 120,
            elapsed_secs: 240.0,
            ..trained
        };
        write_json(self.run.run(), &record).unwrap();
        self.lock = None;
    }

    fn watch(&self, size: pty::Size, environment: &[(&str, &str)]) -> Terminal {
        let command = pty::s2s(self.home.path(), &["watch", "run"], environment);
        Terminal::start(command, size)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn write_lines<T: Serialize>(path: PathBuf, records: impl Iterator<Item = T>) {
    let lines: String = records
        .map(|record| serde_json::to_string(&record).unwrap() + "\n")
        .collect();
    write_file(path, lines.as_bytes()).unwrap();
}

// The dashboard of a run that another process trains.

#[test]
fn frames_fit_every_size_and_follow_a_resized_terminal() {
    let watched = Watched::new();
    let mut terminal = watched.watch((24, 80), &TRUE_COLOR);
    for size in [(24, 80), (40, 120), (12, 40), (5, 20), (24, 80)] {
        let (lines, columns) = size;
        terminal.resize(size);
        let last = if lines == 5 {
            "q stop"
        } else {
            "q stop watching"
        };
        terminal.wait_until("the frame of this size", |terminal| {
            let text = terminal.text();
            let mut lines = text.lines();
            let is_first = lines
                .next()
                .is_some_and(|line| line.contains("step 60 of 120"));
            is_first && lines.next_back().is_some_and(|line| line.contains(last))
        });
        terminal.settle();
        insta::assert_snapshot!(format!("dashboard-{columns}x{lines}"), terminal.text());
    }
    terminal.press("q");
    assert!(terminal.end().success());
    assert!(
        terminal.text().contains("step 60 of 120"),
        "the last frame stays"
    );
}

#[test]
fn keys_select_a_sample_freeze_the_display_and_show_help() {
    let watched = Watched::new();
    let mut terminal = watched.watch((24, 80), &[]);
    terminal.wait_for("sample 1 of 3, step 60: wrong");
    terminal.press("2");
    terminal.wait_for("sample 2 of 3, step 60: correct");
    terminal.press("4"); // there are only three
    terminal.wait_for("sample 3 of 3");
    terminal.press("?");
    terminal.wait_for("freeze the display");
    terminal.press("\x1b");
    terminal.wait_until("no help", |terminal| !terminal.text().contains("keys"));

    terminal.press(" ");
    terminal.wait_for("frozen");
    watched.record(80);
    std::thread::sleep(std::time::Duration::from_secs(1));
    terminal.settle();
    assert!(
        terminal.text().contains("step 60 of 120"),
        "{}",
        terminal.text()
    );
    terminal.press(" ");
    terminal.wait_for("step 80 of 120");
    terminal.press("\x1b[A"); // an arrow key has no effect
    terminal.press("q");
    assert!(terminal.end().success());
    assert!(terminal.text().contains("sample 3 of 3, step 80"));
}

#[test]
fn a_watched_run_is_shown_until_it_ends() {
    let mut watched = Watched::new();
    let mut terminal = watched.watch((90, 100), &[]);
    terminal.wait_for("step 60 of 120");
    watched.record(100);
    terminal.wait_for("step 100 of 120");
    watched.finish(RunStatus::Finished);
    assert!(terminal.end().success());
    terminal.check_contains(&[
        "finished  step 120 of 120",
        "4:00",
        "test results",
        "next steps",
    ]);

    // The same again: there is nothing to wait for.
    let mut terminal = watched.watch((90, 100), &[]);
    assert!(terminal.end().success());
    terminal.check_contains(&["finished  step 120 of 120", "test results"]);
    assert!(!terminal.written_text().contains(ALTERNATE));
}

#[test]
fn the_end_of_a_watched_run_that_did_not_finish_is_explained() {
    for (status, what) in [
        (
            RunStatus::Interrupted,
            "run run was interrupted at step 120",
        ),
        (
            RunStatus::Running,
            "run run is not finished, and no process trains it",
        ),
    ] {
        let mut watched = Watched::new();
        let mut terminal = watched.watch((40, 100), &[]);
        terminal.wait_for("step 60 of 120");
        watched.finish(status);
        assert!(terminal.end().success());
        terminal.check_contains(&[what, "resume run"]);
    }
}

#[test]
fn watching_ends_with_an_error_if_there_is_no_run() {
    let home = TempDir::new().unwrap();
    let missing = s2s(home.path(), ["watch", "runs/none"]);
    fails(&missing, 2, &["run folder runs/none does not exist"]);

    let watched = Watched::new();
    let mut terminal = watched.watch((24, 80), &[]);
    terminal.wait_for("step 60 of 120");
    fs::remove_dir_all(watched.run.path()).unwrap();
    assert_eq!(terminal.end().code(), Some(2));
    terminal.check_contains(&["run folder run does not exist"]);
}

#[test]
fn without_a_terminal_watch_prints_the_lines_of_train() {
    let output = s2s(home_of_trained(), ["watch", "run"]);
    let report = succeeds(output.clone());
    assert!(report.contains("finished at step 120"), "{report}");
    let lines = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| line.contains(" %  ") || line.contains("train loss"));
        lines.map(str::to_owned).collect()
    };
    let trained = &crate::TRAINED.1;
    assert_eq!(lines(stderr(&output)), lines(stderr(trained)));
}

// The dashboard of `train`.

fn start(home: &Path, more: &[&str], environment: &[(&str, &str)]) -> Terminal {
    let args = [&["train", "--config", TINY, "--run-dir", "run"], more].concat();
    Terminal::start(pty::s2s(home, &args, environment), (50, 100))
}

/// A run that would take minutes, on the screen and with a checkpoint.
fn long_run(home: &Path) -> Terminal {
    let mut terminal = start(home, &["--set", "train.max_steps=100000000"], &[]);
    terminal.wait_until("the screen", Terminal::is_screen);
    let last = home.join("run/checkpoints/last");
    terminal.wait_until("a checkpoint", |_| last.exists());
    terminal
}

fn status_of(home: &Path) -> RunStatus {
    let record: RunRecord = read_json(home.join("run/run.json")).unwrap();
    record.status
}

#[test]
fn a_run_with_a_dashboard_has_the_bytes_of_one_without_and_leaves_its_report() {
    let home = TempDir::new().unwrap();
    let mut terminal = start(home.path(), &[], &TRUE_COLOR);
    assert!(terminal.end().success());
    let written = terminal.written_text();
    assert!(written.contains(ALTERNATE) && written.contains("\x1b[48;2;"));
    let last = written.rsplit("\x1b[?1049l").next().unwrap();
    for part in [
        "step 120 of 120",
        "sample 1 of 4, step 120",
        "test results of the best checkpoint",
        "next steps",
    ] {
        assert!(last.contains(part), "no {part:?} in:\n{last}");
    }
    let run = home.path().join("run");
    assert!(reproducible_files(&run) == reproducible_files(&home_of_trained().join("run")));
}

#[test]
fn q_and_ctrl_c_save_and_stop_with_the_messages_and_exit_code_of_a_signal() {
    for key in ["q", "\x03", "\x03\x03"] {
        let home = TempDir::new().unwrap();
        let mut terminal = long_run(home.path());
        terminal.press(key);
        assert_eq!(terminal.end().code(), Some(130), "{key:?}");
        let text = terminal.text();
        if key != "\x03\x03" {
            let messages = ["Saving and stopping. Press Ctrl-C again", "saved at step"];
            terminal.check_contains(&messages);
            assert!(text.contains("resume run"), "{text}");
            assert_eq!(status_of(home.path()), RunStatus::Interrupted);
        }
    }
}

#[test]
fn signals_restore_the_terminal_and_save() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::USR1, 138)] {
        let home = TempDir::new().unwrap();
        let mut terminal = long_run(home.path());
        terminal.signal(signal);
        assert_eq!(terminal.end().code(), Some(code));
        assert_eq!(status_of(home.path()), RunStatus::Interrupted);
    }
}

#[test]
fn a_closed_terminal_saves_and_stops() {
    let home = TempDir::new().unwrap();
    let terminal = long_run(home.path());
    assert_eq!(terminal.close().code(), Some(129));
    assert_eq!(status_of(home.path()), RunStatus::Interrupted);
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_z_gives_the_terminal_back_and_continuing_takes_it_again() {
    let home = TempDir::new().unwrap();
    let mut terminal = long_run(home.path());
    for _ in 0..2 {
        terminal.press("\x1a");
        terminal.wait_until("the stop", Terminal::is_stopped);
        terminal.settle();
        terminal.check_restored();
        terminal.signal(Signal::CONT);
        terminal.wait_until("the screen", Terminal::is_screen);
        terminal.wait_for("q save and stop");
    }
    terminal.press("q");
    assert_eq!(terminal.end().code(), Some(130));
}

#[test]
fn without_a_capable_terminal_or_with_plain_training_prints_lines() {
    let plain: &[&str] = &["--plain"];
    let none: &[(&str, &str)] = &[];
    for (more, environment) in [
        (plain, none),
        (&[], &[("TERM", "dumb")]),
        (&[], &[("LC_ALL", "C")]),
    ] {
        let home = TempDir::new().unwrap();
        let mut terminal = start(home.path(), more, environment);
        assert!(terminal.end().success());
        let written = terminal.written_text();
        assert!(!written.contains(ALTERNATE), "{written}");
        assert!(
            written.contains("train loss  accuracy  val loss"),
            "{written}"
        );
        assert!(written.contains("next steps"), "{written}");
    }
}

#[test]
fn no_color_is_respected() {
    let watched = Watched::new();
    let mut terminal = watched.watch((24, 80), &[("NO_COLOR", "1")]);
    terminal.wait_for("q stop watching");
    assert!(terminal.text().contains("██"), "{}", terminal.text());
    terminal.press("q");
    assert!(terminal.end().success());
    let written = terminal.written_text();
    for color in ["38;5;", "48;5;", "38;2;", "48;2;"] {
        assert!(!written.contains(color), "{color}");
    }
}

// Pictures of attention.

#[test]
fn attention_is_drawn_with_what_the_terminal_has() {
    let home = home_of_trained();
    let drawn = |environment: &[(&str, &str)]| {
        let args = ["predict", "run", "--attention", "3", "1", "4"];
        let mut terminal = Terminal::start(pty::s2s(home, &args, environment), (24, 80));
        assert!(terminal.end().success());
        terminal.written_text()
    };
    assert!(drawn(&TRUE_COLOR).contains("\x1b[48;2;"));
    let indexed = drawn(&[]);
    assert!(indexed.contains("\x1b[48;5;") && !indexed.contains("48;2;"));
    let plain = drawn(&[("NO_COLOR", "1")]);
    assert!(!plain.contains('\x1b') && !plain.is_ascii(), "{plain}");
    let dumb = drawn(&[("TERM", "dumb")]);
    assert!(!dumb.contains('\x1b') && dumb.is_ascii(), "{dumb}");
}

#[test]
fn attention_is_written_to_files() {
    let home = copy_of_trained().0;
    let args = ["predict", "run", "3", "1", "4", "--out"];
    let write = |name: &str, more: &[&str]| s2s(home.path(), [&args[..], &[name], more].concat());
    let starts: [(&str, &[u8]); 4] = [
        ("a.svg", b"<svg"),
        ("a.png", b"\x89PNG"),
        ("new/a.gif", b"GIF89a"),
        ("a.HTML", b"<!doctype html>"),
    ];
    let prediction = succeeds(s2s(home.path(), &args[..5]));
    for (name, start) in starts {
        let output = write(name, &[]);
        assert_eq!(succeeds(output.clone()), prediction);
        assert!(stderr(&output).contains(&format!("attention written to {name}")));
        let bytes = fs::read(home.path().join(name)).unwrap();
        assert!(bytes.starts_with(start), "{name}");
    }
    let page = fs::read_to_string(home.path().join("a.HTML")).unwrap();
    assert!(page.contains("data:image/svg+xml;base64,") && !page.contains("<script"));

    fs::write(home.path().join("mine.svg"), "mine").unwrap();
    fails(
        &write("mine.svg", &[]),
        2,
        &["mine.svg exists", "nothing was changed", "--force"],
    );
    assert_eq!(fs::read(home.path().join("mine.svg")).unwrap(), b"mine");
    succeeds(write("mine.svg", &["--force"]));
    assert!(
        fs::read(home.path().join("mine.svg"))
            .unwrap()
            .starts_with(b"<svg")
    );

    fails(
        &write("a.jpg", &[]),
        2,
        &[".html, .svg, .png or .gif, got a.jpg"],
    );
    fails(&write("a", &[]), 2, &["got a"]);
    assert!(!home.path().join("a.jpg").exists());
}
