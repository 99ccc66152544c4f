//! Evaluation and prediction: files, lines, pipes, JSON.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use reverse_data::MAX_LEN;
use s2s_runlog::{EvalRecord, RunRecord, read_json};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    TIMEOUT, code, command, home_of_trained, prediction_of, s2s, s2s_reading, stderr, stdout,
    succeeds,
};

#[test]
fn evaluation_agrees_with_the_report_for_any_batch_size() {
    let record: RunRecord = read_json(home_of_trained().join("run/run.json")).unwrap();
    let test = record.test.unwrap();
    for size in ["1", "7", "64"] {
        let args = ["eval", "run", "--json", "--batch-size", size];
        let line = succeeds(s2s(home_of_trained(), args));
        let found: EvalRecord = serde_json::from_str(&line).unwrap();
        assert!(
            (found.loss - test.loss).abs() < 1e-6,
            "batches of {size}: {line}"
        );
        assert_eq!(
            (found.exact_match, found.step),
            (test.exact_match, test.step)
        );
    }
}

#[test]
fn predictions_do_not_depend_on_the_batch() {
    let sequences: Vec<String> = (0..300)
        .map(|i| {
            let tokens = (0..1 + i % 4).map(|k| (1 + (i * 7 + k * 3) % 10).to_string());
            tokens.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let predict = |sequences: &[String], batch_size: &str| -> Vec<String> {
        let input = sequences.join("\n");
        let args = ["predict", "run", "--json", "--batch-size", batch_size];
        let answers = succeeds(s2s_reading(home_of_trained(), &args, input.as_bytes()));
        answers.lines().map(str::to_owned).collect()
    };
    let alone = predict(&sequences, "1");
    for batch_size in ["2", "7", "64", "256"] {
        assert!(
            predict(&sequences, batch_size) == alone,
            "batches of {batch_size}"
        );
    }
    let backwards: Vec<String> = sequences.iter().rev().cloned().collect();
    let mut answers = predict(&backwards, "64");
    answers.reverse();
    assert!(answers == alone, "in another order");
}

#[test]
fn split_and_checkpoint_can_be_chosen() {
    let args = ["eval", "run", "--split", "val", "--checkpoint", "last"];
    let table = succeeds(s2s(home_of_trained(), args));
    assert!(
        table.contains(" val ") && table.trim_end().ends_with("120"),
        "{table}"
    );
}

#[test]
fn tokens_may_be_arguments_with_spaces_or_commas() {
    let answer = prediction_of("3 1") + "\n";
    for args in [&["3", "1"][..], &["3,1"], &["3, 1"], &["3,", "1"]] {
        let output = s2s(home_of_trained(), ["predict", "run"].iter().chain(args));
        assert_eq!(succeeds(output), answer, "{args:?}");
    }
}

#[test]
fn a_file_gets_one_prediction_per_line() {
    let home = TempDir::new().unwrap();
    let input = home.path().join("input");
    fs::write(&input, "1 2\n5,6\r\n7").unwrap();
    let answers = ["1 2", "5 6", "7"]
        .map(|tokens| prediction_of(tokens) + "\n")
        .concat();
    for batch_size in ["1", "64"] {
        let output = command(home_of_trained())
            .args(["predict", "run", "--batch-size", batch_size, "--file"])
            .arg(&input)
            .output()
            .unwrap();
        assert_eq!(succeeds(output), answers);
    }
}

#[test]
fn each_line_gets_a_prediction_or_an_error() {
    let too_long = "1 ".repeat(MAX_LEN + 1);
    let endless = "1".repeat(16 * MAX_LEN + 2);
    let lines: [(&[u8], Result<String, &str>); 9] = [
        (b"1 2", Ok(prediction_of("1 2"))),
        (b"", Err("no tokens")),
        (
            b"1 99",
            Err("token 99 is outside the vocabulary, expected 1 to 10"),
        ),
        (b"1 x", Err("token \"x\" is not a number")),
        (b"5 6", Ok(prediction_of("5 6"))),
        (b"\xff 1", Err("not valid UTF-8")),
        (
            too_long.as_bytes(),
            Err("too long: 1000001 tokens, but the limit is 1000000 tokens; split the line"),
        ),
        (endless.as_bytes(), Err("too long: 16000003 bytes")),
        (b"7", Ok(prediction_of("7"))),
    ];
    let input = lines.each_ref().map(|(line, _)| *line).join(&b'\n');

    let output = s2s_reading(home_of_trained(), &["predict", "run"], &input);
    assert_eq!(code(&output), 1);
    let answers: Vec<&str> = lines
        .iter()
        .map(|(_, answer)| answer.as_deref().unwrap_or(""))
        .collect();
    assert_eq!(stdout(&output).lines().collect::<Vec<_>>(), answers);
    let mut errors = stderr(&output).lines();
    for (index, (_, answer)) in lines.iter().enumerate() {
        if let Err(expected) = answer {
            let error = errors.next().unwrap();
            assert!(
                error.starts_with(&format!("error: line {}: {expected}", index + 1)),
                "{error}"
            );
        }
    }
    assert_eq!(errors.next(), None);

    let output = s2s_reading(home_of_trained(), &["predict", "run", "--json"], &input);
    assert_eq!(code(&output), 1);
    assert_eq!(stdout(&output).lines().count(), lines.len());
    for ((index, line), (_, answer)) in stdout(&output).lines().enumerate().zip(&lines) {
        let record: Value = serde_json::from_str(line).unwrap();
        match answer {
            Ok(_) => assert!(record["prediction"].is_array()),
            Err(why) => {
                assert_eq!(record["line"], index + 1);
                assert!(record["error"].as_str().unwrap().starts_with(why), "{line}");
            }
        }
    }
}

#[test]
fn predictions_do_not_depend_on_threads_or_batches() {
    // Lengths of 1 to 150 in mixed order, and some invalid lines.
    let line = |n: usize| match n % 11 {
        10 => "x\n".to_owned(),
        _ => "7 ".repeat(1 + n * n % 151) + &format!("{}\n", 1 + n % 10),
    };
    let input: String = (0..300).map(line).collect();
    let answers = |threads: &str, batch_size: &str| {
        let args = ["--threads", threads, "--batch-size", batch_size];
        let args = [&["predict", "run", "--json"][..], &args].concat();
        let output = s2s_reading(home_of_trained(), &args, input.as_bytes());
        assert_eq!(code(&output), 1);
        (stdout(&output).to_owned(), stderr(&output).to_owned())
    };
    let expected = answers("1", "1");
    assert_eq!(expected.0.lines().count(), 300);
    for (threads, batch_size) in [("1", "64"), ("2", "1"), ("2", "7"), ("5", "64")] {
        assert_eq!(answers(threads, batch_size), expected);
    }
}

#[test]
fn an_invalid_token_in_the_arguments_is_rejected() {
    for (token, message) in [
        ("11", "token 11 is outside the vocabulary, expected 1 to 10"),
        ("-3", "token -3 is outside"),
        ("", "no tokens"),
    ] {
        let output = s2s(home_of_trained(), ["predict", "run", token]);
        assert_eq!(code(&output), 1);
        assert_eq!(stdout(&output), "\n");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
}

#[test]
fn json_contains_the_prediction_and_optionally_the_weights() {
    let args = ["predict", "run", "--json", "--attention", "3", "1"];
    let record: Value = serde_json::from_str(&succeeds(s2s(home_of_trained(), args))).unwrap();
    assert_eq!(record["source"], json!([3, 1]));
    assert!(record["log_prob"].as_f64().unwrap() < 0.0);
    let weights = record["weights"].as_array().unwrap();
    let n_tokens = record["prediction"].as_array().unwrap().len();
    let has_end = usize::from(record["stopped"].as_bool().unwrap());
    assert_eq!(weights.len(), n_tokens + has_end);
    for row in weights {
        let sum: f64 = row
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }

    let args = ["predict", "run", "--json", "--oracle-length", "3", "1"];
    let record: Value = serde_json::from_str(&succeeds(s2s(home_of_trained(), args))).unwrap();
    assert_eq!(record["prediction"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&record["stopped"], record.get("weights")),
        (&json!(false), None)
    );
}

#[test]
fn attention_is_drawn_on_standard_error() {
    let output = s2s(
        home_of_trained(),
        ["predict", "run", "--attention", "3", "1"],
    );
    assert!(
        stderr(&output).contains(['░', '▒', '▓', '█']),
        "{}",
        stderr(&output)
    );
    assert_eq!(succeeds(output), prediction_of("3 1") + "\n");
}

#[test]
fn a_line_is_predicted_before_the_next_is_read() {
    let mut child = command(home_of_trained())
        .args(["predict", "run"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in ["1 2", "5 6"] {
        writeln!(input, "{line}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), prediction_of(line));
    }
    drop(input);
    assert!(answers.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let mut child = command(home_of_trained())
        .args(["predict", "run"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(&b"1 2\n".repeat(10_000));
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output)), (0, ""));
}

#[test]
fn a_closed_pipe_is_detected_while_waiting_for_input() {
    let mut child = command(home_of_trained())
        .args(["predict", "run"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "1 2").unwrap();
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(started.elapsed() < TIMEOUT, "it takes too long"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    drop(input);
}
