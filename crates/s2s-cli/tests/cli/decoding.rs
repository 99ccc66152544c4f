//! Beam search, sampling, scores and files of lines.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    TINY, command, copy_of_trained, fails, home_of_trained, s2s, s2s_reading, stderr, stdout,
    succeeds,
};

const SOURCES: &str = "3 1 4\n1\n5 9 2 6\n10 10\n2 7 1\n";

fn predict(args: &[&str]) -> String {
    let args = [&["predict", "run"], args].concat();
    succeeds(s2s_reading(home_of_trained(), &args, SOURCES.as_bytes()))
}

fn records(lines: &str) -> Vec<Value> {
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_beam_of_one_prints_what_greedy_decoding_prints() {
    assert_eq!(predict(&["--json", "--beam", "1"]), predict(&["--json"]));
}

#[test]
fn the_best_outputs_are_on_one_line_with_their_own_probabilities() {
    let lists = records(&predict(&[
        "--json",
        "--beam",
        "4",
        "--n-best",
        "3",
        "--attention",
    ]));
    let lines = predict(&["--beam", "4", "--n-best", "3"]);
    assert_eq!((lists.len(), lines.lines().count()), (5, 5));
    for (list, line) in lists.iter().zip(lines.lines()) {
        let outputs = list["predictions"].as_array().unwrap();
        assert_eq!((outputs.len(), line.split('\t').count()), (3, 3), "{line}");
        let log_probs: Vec<f64> = outputs
            .iter()
            .map(|o| o["log_prob"].as_f64().unwrap())
            .collect();
        assert!(log_probs.is_sorted_by(|a, b| a >= b), "{log_probs:?}");
        for (output, text) in outputs.iter().zip(line.split('\t')) {
            let tokens = output["prediction"].as_array().unwrap();
            let tokens: Vec<String> = tokens.iter().map(Value::to_string).collect();
            assert_eq!(tokens.join(" "), text);
            let n_steps = output["probabilities"].as_array().unwrap().len();
            assert_eq!(output["weights"].as_array().unwrap().len(), n_steps);
        }
    }
}

#[test]
fn draws_depend_on_the_seed_and_the_line_but_not_on_threads_or_batches() {
    let sample = ["--sample", "--temperature", "2", "--draws", "3", "--seed"];
    let of = |rest: &[&str]| predict(&[&sample[..], rest].concat());
    let expected = of(&["5"]);
    assert_eq!(of(&["5", "--threads", "1", "--batch-size", "1"]), expected);
    assert_ne!(of(&["6"]), expected);
    let once = "3 1 4\n3 1 4\n3 1 4\n";
    let args = [&["predict", "run"], &sample[..], &["5"]].concat();
    let lines = succeeds(s2s_reading(home_of_trained(), &args, once.as_bytes()));
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], expected.lines().next().unwrap());
    assert!(lines[0] != lines[1] || lines[1] != lines[2]);
}

#[test]
fn outputs_keep_to_the_constraints() {
    let outputs = predict(&[
        "--prefix",
        "7, 7",
        "--allow",
        "1 2 3",
        "--min-len",
        "4",
        "--max-len",
        "6",
    ]);
    for output in outputs.lines() {
        let rest = output
            .strip_prefix("7 7 ")
            .unwrap_or_else(|| panic!("{output}"));
        let rest: Vec<&str> = rest.split(' ').collect();
        assert!((2..=4).contains(&rest.len()), "{output}");
        assert!(
            rest.iter().all(|token| ["1", "2", "3"].contains(token)),
            "{output}"
        );
    }
}

#[test]
fn scores_are_the_log_probabilities_of_predictions() {
    let predictions = records(&predict(&["--json"]));
    let pair = |record: &Value| {
        let text = |tokens: &Value| {
            let tokens = tokens.as_array().unwrap().iter().map(Value::to_string);
            tokens.collect::<Vec<_>>().join(" ")
        };
        format!(
            "{}\t{}\n",
            text(&record["source"]),
            text(&record["prediction"])
        )
    };
    let stopped: Vec<&Value> = predictions
        .iter()
        .filter(|r| r["stopped"] == true)
        .collect();
    assert!(stopped.len() > 2);
    let pairs: String = stopped.iter().map(|record| pair(record)).collect();
    let output = s2s_reading(
        home_of_trained(),
        &["score", "run", "--json"],
        pairs.as_bytes(),
    );
    assert!(
        stderr(&output).contains("rank 1 for 100.00 %"),
        "{}",
        stderr(&output)
    );
    let scores = records(&succeeds(output));
    for (score, prediction) in scores.iter().zip(stopped) {
        let of = |record: &Value| record["log_prob"].as_f64().unwrap();
        assert!(
            (of(score) - of(prediction)).abs() < 1e-5,
            "{score} {prediction}"
        );
        let n_tokens = prediction["prediction"].as_array().unwrap().len() + 1;
        let perplexity = (-of(score) / n_tokens as f64).exp();
        assert!((score["perplexity"].as_f64().unwrap() - perplexity).abs() < 1e-6);
    }
}

#[test]
fn a_pair_that_cannot_be_scored_is_reported_with_its_line() {
    let output = s2s_reading(
        home_of_trained(),
        &["score", "run"],
        b"3 1\t1 3\n3 1 4\n3 1\t77\n",
    );
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].split('\t').count() == 3 && lines[1..] == ["", ""],
        "{lines:?}"
    );
    for part in ["line 2: no tab", "line 3: target: ", "1 line, 3 tokens"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}

#[test]
fn an_ensemble_of_a_run_with_itself_predicts_what_the_run_predicts() {
    let twice = records(&predict(&["--json", "--beam", "3", "--ensemble", "run"]));
    let once = records(&predict(&["--json", "--beam", "3"]));
    for (twice, once) in twice.iter().zip(&once) {
        assert_eq!(twice["prediction"], once["prediction"]);
    }
    assert_eq!(twice.len(), 5);
}

#[test]
fn a_checkpoint_is_named_by_an_option_after_the_run_or_by_its_folder() {
    let home = home_of_trained();
    // The best one of the trained run is its last.
    let evaluate = |arguments: &[&str]| {
        let output = s2s(
            home,
            [&["eval", "--split=val", "--json"], arguments].concat(),
        );
        succeeds(output)
    };
    let best = evaluate(&["run"]);
    for arguments in [
        &["run@last"][..],
        &["run@best"],
        &["run/checkpoints/last"],
        &["run", "--checkpoint=last"],
        &["run@last", "--checkpoint=last"],
    ] {
        assert_eq!(evaluate(arguments), best, "{arguments:?}");
    }
    let output = s2s(home, ["predict", "run@last", "--checkpoint=best", "1"]);
    fails(
        &output,
        2,
        &["run@last is not checkpoint best", "remove --checkpoint"],
    );
    let output = s2s(home, ["predict", "run@first", "1"]);
    fails(&output, 2, &["run@first does not exist"]);
}

#[test]
fn an_ensemble_is_evaluated_as_one_model() {
    let evaluate = |arguments: &[&str]| -> Value {
        let output = s2s(
            home_of_trained(),
            [&["eval", "--beam=4", "--json"], arguments].concat(),
        );
        serde_json::from_str(&succeeds(output)).unwrap()
    };
    let (once, twice) = (evaluate(&["run"]), evaluate(&["run", "run@last"]));
    let (Value::Object(once), Value::Object(twice)) = (once, twice) else {
        panic!("records are objects");
    };
    assert!(once.keys().eq(twice.keys()));
    for (key, value) in &once {
        match (value.as_f64(), twice[key].as_f64()) {
            (Some(once), Some(twice)) => assert!((once - twice).abs() < 1e-5, "{key}"),
            _ => assert_eq!(*value, twice[key], "{key}"),
        }
    }
    let output = s2s(home_of_trained(), ["eval", "run", "run", "--lengths=1..2"]);
    fails(&output, 2, &["cannot be used with", "--lengths"]);
}

#[test]
fn among_more_outputs_a_correct_one_is_more_frequent() {
    let share = |n: &str| -> [f64; 2] {
        let args = ["eval", "run", "--beam=5", "--json", "--n-best", n];
        let record: Value = serde_json::from_str(&succeeds(s2s(home_of_trained(), args))).unwrap();
        let text = &record["text"];
        let shares = [&text["exact_match"], &text["n_best"]["exact_match"]];
        shares.map(|share| share.as_f64().unwrap())
    };
    let ([best, among_two], [same, among_five]) = (share("2"), share("5"));
    assert_eq!(best, same);
    assert!(
        best < among_two && among_two <= among_five,
        "{best} {among_two} {among_five}"
    );
    let table = succeeds(s2s(
        home_of_trained(),
        ["eval", "run", "--beam=5", "--n-best=5"],
    ));
    assert!(table.contains("in best 5"), "{table}");
    let output = s2s(home_of_trained(), ["eval", "run", "--beam=2", "--n-best=3"]);
    fails(&output, 2, &["--beam 3"]);
}

#[test]
fn runs_with_different_vocabularies_are_no_ensemble() {
    let (home, run) = copy_of_trained();
    let other = [
        "train",
        "--config",
        TINY,
        "--set",
        "data.vocab=9",
        "--set",
        "train.max_steps=1",
        "--run-dir",
        "other",
    ];
    succeeds(s2s(home.path(), other));
    let run = run.to_str().unwrap();
    let output = s2s(home.path(), ["predict", run, "--ensemble", "other", "1"]);
    fails(
        &output,
        2,
        &["different vocabularies", "other", "same data"],
    );
}

#[test]
fn an_interrupted_file_continues_at_the_first_missing_line() {
    let home = TempDir::new().unwrap();
    let run = home_of_trained().join("run");
    let run = run.to_str().unwrap();
    fs::write(home.path().join("in"), SOURCES).unwrap();
    let output = |path: &str| home.path().join(path);
    let args = |path| {
        [
            "predict", run, "--json", "--file", "in", "--sample", "--output", path,
        ]
    };
    let resume = |path| s2s(home.path(), args(path).into_iter().chain(["--resume"]));
    assert_eq!(succeeds(s2s(home.path(), args("whole"))), "");
    let whole = fs::read(output("whole")).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&whole),
        predict(&["--json", "--sample"])
    );
    for kept in [0, 7, whole.len() / 2, whole.len()] {
        fs::write(output("part"), &whole[..kept]).unwrap();
        succeeds(resume("part"));
        assert_eq!(fs::read(output("part")).unwrap(), whole, "{kept}");
    }
    succeeds(resume("new"));
    assert_eq!(fs::read(output("new")).unwrap(), whole);
    fails(
        &s2s(home.path(), args("part")),
        1,
        &["part already exists; nothing was changed", "--resume"],
    );
    fs::write(output("in"), "3 1 4\n").unwrap();
    fails(
        &resume("part"),
        1,
        &["part has 5 lines already, but the input has only 1"],
    );
    assert_eq!(fs::read(output("part")).unwrap(), whole);
}

#[test]
fn a_file_that_is_no_output_of_the_command_is_never_changed() {
    let home = TempDir::new().unwrap();
    let run = home_of_trained().join("run");
    let run = run.to_str().unwrap();
    let path = |name: &str| home.path().join(name);
    fs::write(path("in"), SOURCES).unwrap();
    let first = &predict(&[])[..predict(&[]).find('\n').unwrap() + 1];
    for (content, part) in [
        ("my notes, no newline", "line 1 of out is not"),
        ("my notes\nand more", "line 1 of out is not"),
        (&format!("{first}my notes"), "line 2 of out is not"),
        (&predict(&["--json"]), "line 5 of out is not"),
        (&format!("{}my notes", predict(&[])), "line 6 of out is not"),
    ] {
        fs::write(path("out"), content).unwrap();
        let output = s2s(
            home.path(),
            [
                "predict", run, "--file", "in", "--output", "out", "--resume",
            ],
        );
        fails(&output, 1, &[part, "nothing was changed", "try: "]);
        assert_eq!(fs::read_to_string(path("out")).unwrap(), content);
    }
    let to = |out: &str| {
        s2s(
            home.path(),
            ["predict", run, "--file", "in", "--output", out, "--resume"],
        )
    };
    fails(&to("in"), 2, &["--file and --output are the same file"]);
    assert_eq!(fs::read_to_string(path("in")).unwrap(), SOURCES);
    fails(
        &to("."),
        1,
        &[". is not a regular file", "another --output"],
    );
    fails(&to("/dev/null"), 1, &["/dev/null is not a regular file"]);
}

#[test]
fn two_commands_never_write_to_one_output() {
    let home = TempDir::new().unwrap();
    let run = home_of_trained().join("run");
    let run = run.to_str().unwrap();
    fs::write(home.path().join("in"), SOURCES).unwrap();
    fs::write(home.path().join("out"), "").unwrap();
    let file = fs::File::open(home.path().join("out")).unwrap();
    file.lock().unwrap();
    let resume = [
        "predict", run, "--file", "in", "--output", "out", "--resume",
    ];
    fails(
        &s2s(home.path(), resume),
        5,
        &["another process is writing to out", "nothing was changed"],
    );
    assert_eq!(fs::read(home.path().join("out")).unwrap(), b"");
    drop(file);
    succeeds(s2s(home.path(), resume));
}

#[test]
fn an_output_that_the_constraints_cut_says_so() {
    let constraints = ["--no-repeat-ngram", "1", "--allow", "1 2", "--min-len", "4"];
    for decoding in [&[][..], &["--beam", "2"], &["--sample"]] {
        let args = ["predict", "run", "3", "1", "4", "--json"]
            .into_iter()
            .chain(constraints);
        let output = s2s(home_of_trained(), args.chain(decoding.iter().copied()));
        let message = stderr(&output);
        let part = "was cut after 2 tokens, before its end; the constraints left no token after it";
        assert!(
            message.contains(part) && !message.contains("--max-len"),
            "{message}"
        );
        let answer: Value = serde_json::from_str(&succeeds(output)).unwrap();
        assert_eq!(answer["stopped"], false);
    }
}

#[test]
fn file_pipe_and_argument_give_the_same_output() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("in");
    fs::write(&file, SOURCES).unwrap();
    let options = ["--beam", "3", "--n-best", "2", "--json"];
    let of_pipe = predict(&options);
    let from_file = ["predict", "run", "--file", file.to_str().unwrap()];
    let from_file = s2s(home_of_trained(), from_file.into_iter().chain(options));
    assert_eq!(succeeds(from_file), of_pipe);
    let of_argument = |source: &str| {
        let args = ["predict", "run", source].into_iter().chain(options);
        succeeds(s2s(home_of_trained(), args))
    };
    assert_eq!(
        SOURCES.lines().map(of_argument).collect::<String>(),
        of_pipe
    );
}

#[test]
fn a_beam_evaluates_its_outputs() {
    let greedy = succeeds(s2s(
        home_of_trained(),
        ["eval", "run", "--beam", "1", "--json"],
    ));
    let greedy: Value = serde_json::from_str(&greedy).unwrap();
    // Of sequences that end before the limit, free-running and greedy agree on what is exact.
    let exact = |value: &Value| value.as_f64().unwrap();
    let difference = exact(&greedy["text"]["exact_match"]) - exact(&greedy["exact_match"]);
    assert!(difference.abs() < 1e-9, "{greedy}");
    let table = succeeds(s2s(home_of_trained(), ["eval", "run", "--beam", "5"]));
    assert!(table.contains("character errors"), "{table}");
}

#[test]
fn impossible_options_are_usage_errors() {
    for (args, parts) in [
        (
            &["--beam", "99", "1"][..],
            &["--beam 99 is wider than the vocabulary, which has 13 tokens"][..],
        ),
        (
            &["--beam", "2", "--n-best", "3", "1"],
            &["--n-best 3 needs a beam"],
        ),
        (&["--n-best", "3", "1"], &["--beam"]),
        (&["--beam", "2", "--sample", "1"], &["cannot be used with"]),
        (
            &["--sample", "--n-best", "2", "1"],
            &["cannot be used with"],
        ),
        (
            &["--sample", "--length-penalty", "2", "1"],
            &["cannot be used with"],
        ),
        (
            &["--oracle-length", "--min-len", "2", "1"],
            &["cannot be used with"],
        ),
        (&["--max-len", "0", "1"], &["0 is not in 1.."]),
        (&["--temperature", "1", "1"], &["--sample"]),
        (
            &["--sample", "--temperature", "0", "1"],
            &["must be above 0", "without --sample"],
        ),
        (
            &["--sample", "--temperature", "nan", "1"],
            &["must be a number"],
        ),
        (&["--sample", "--top-p", "1.5", "1"], &["at most 1"]),
        (&["--sample", "--min-p", "-1", "1"], &["--min-p"]),
        (
            &["--beam", "2", "--length-penalty", "long", "1"],
            &["none, average or a number"],
        ),
        (
            &["--prefix", "1 2 3", "--max-len", "2", "1"],
            &["--prefix has 3 tokens", "only 2", "--max-len 4"],
        ),
        (&["--prefix", "77", "1"], &["--prefix: "]),
        (&["--allow", "", "1"], &["--allow has no tokens"]),
        (
            &["--min-len", "5", "--max-len", "2", "1"],
            &["--min-len 5 and EOS exceed the maximum of 2", "--max-len 6"],
        ),
        (&["--resume", "1"], &["--output"]),
        (&["--file", "x", "1"], &["--file"]),
    ] {
        let args = [&["predict", "run"], args].concat();
        fails(&s2s(home_of_trained(), args), 2, parts);
    }
    let lengths = ["eval", "run", "--beam", "2", "--lengths", "1..3"];
    fails(&s2s(home_of_trained(), lengths), 2, &["remove --beam"]);
}

#[test]
fn a_prefix_that_is_too_long_for_a_line_is_an_error_of_this_line() {
    let args = ["predict", "run", "--oracle-length", "--prefix", "1 2"];
    let output = s2s_reading(home_of_trained(), &args, b"3 1 4\n5\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("1 2 "), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("line 2: the prefix has 2 tokens"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_average_of_runs_is_evaluated_and_written_as_a_run_if_it_is_good() {
    let (home, run) = copy_of_trained();
    let run = run.to_str().unwrap();
    let other = [
        "train",
        "--config",
        TINY,
        "--seed",
        "1",
        "--run-dir",
        "other",
    ];
    succeeds(s2s(home.path(), other));
    let predict = |run: &str| {
        let args = ["predict", run, "--json"];
        succeeds(s2s_reading(home.path(), &args, SOURCES.as_bytes()))
    };
    let twice = format!("{run}@best");
    let table = succeeds(s2s(
        home.path(),
        ["average", run, &twice, "--run-dir", "same"],
    ));
    assert!(
        table.contains("average") && table.contains("val loss"),
        "{table}"
    );
    assert_eq!(predict("same"), predict(run));
    succeeds(s2s(home.path(), ["eval", "same"]));

    let output = s2s(home.path(), ["average", run, "other", "--run-dir", "mixed"]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["nothing was written", "--ensemble", "--force"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    assert!(!home.path().join("mixed").exists());
    succeeds(s2s(
        home.path(),
        ["average", run, "other", "--run-dir", "mixed", "--force"],
    ));
    assert_ne!(predict("mixed"), predict(run));

    let narrow = [
        "train",
        "--config",
        TINY,
        "--set",
        "model.hidden=8",
        "--set",
        "train.max_steps=1",
        "--run-dir",
        "narrow",
    ];
    succeeds(s2s(home.path(), narrow));
    let output = s2s(
        home.path(),
        ["average", run, "narrow", "--run-dir", "mixed2"],
    );
    fails(
        &output,
        2,
        &[
            "narrow",
            "has another shape",
            "--ensemble narrow` averages probabilities",
        ],
    );
    let output = s2s(home.path(), ["average", run, run, "--run-dir", "mixed"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

/// A folder with a small transducer in `run`, hardly trained.
pub(crate) fn home_of_transducer() -> TempDir {
    let home = TempDir::new().unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/transducer.toml");
    let settings = [
        "train.max_steps=2",
        "train.restart.kind=none",
        "data.max_len=10",
        "data.val_samples=9",
        "data.test_samples=5",
        "model.hidden=8",
    ];
    let mut train = vec!["train", "--config", config, "--run-dir", "run"];
    train.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    succeeds(s2s(home.path(), &train));
    home
}

#[test]
fn a_transducer_is_printed_as_a_program_and_followed_step_by_step() {
    let home = home_of_transducer();
    let program = succeeds(s2s(home.path(), ["automaton", "run"]));
    assert!(
        program.contains("where the head is") && program.contains("next state"),
        "{program}"
    );
    let record = succeeds(s2s(home.path(), ["automaton", "run", "--json"]));
    let record: Value = serde_json::from_str(&record).unwrap();
    assert!(!record["rules"].as_array().unwrap().is_empty());
    assert!(record["checked"].as_u64().unwrap() >= record["equal"].as_u64().unwrap());

    let steps = succeeds(s2s(home.path(), ["automaton", "run", "1", "2", "2"]));
    assert!(
        steps.contains("position") && steps.contains("certainty"),
        "{steps}"
    );
    assert!(home.path().join("run/plots/head.png").exists());
    let refused = s2s(home.path(), ["automaton", "run", "1", "x"]);
    fails(&refused, 2, &["1 x"]);
    let long = vec!["1"; 4095];
    let refused = s2s(home.path(), [&["automaton", "run"][..], &long].concat());
    fails(&refused, 1, &["4097 tokens", "up to 4096", "predict"]);
}

#[test]
fn a_recurrent_decoder_is_no_automaton() {
    let refused = s2s(home_of_trained(), ["automaton", "run"]);
    fails(&refused, 1, &["recurrent", "--attention"]);
}

/// As many threads decode as the pool has, and candle's products need threads, too.
#[test]
fn tensor_operations_decode_on_all_threads_without_waiting_for_each_other() {
    let home = TempDir::new().unwrap();
    let settings = [
        "model.kernels=reference",
        "train.epochs=0",
        "train.max_steps=1",
        "data.max_len=4",
        "data.train_samples=100",
        "data.val_samples=9",
        "data.test_samples=9",
    ];
    let mut train = vec!["train", "--run-dir", "run"];
    train.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    succeeds(s2s(home.path(), &train));
    fs::write(home.path().join("lines"), "1 2 3\n".repeat(300)).unwrap();
    let mut predict = command(home.path())
        .args(["predict", "run", "--threads", "1", "--file", "lines"])
        .env("RAYON_NUM_THREADS", "2")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let status = loop {
        match predict.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                predict.kill().unwrap();
                panic!("the threads wait for each other");
            }
            None => sleep(Duration::from_millis(20)),
        }
    };
    assert!(status.success());
}
