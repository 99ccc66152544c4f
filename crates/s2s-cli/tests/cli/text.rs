//! Runs on text: tables and parallel files, kinds of tokens, metrics, warnings.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::LazyLock;

use s2s_runlog::{EvalRecord, RunDir, RunRecord, TextScores, read_json};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{TINY, code, copy, fails, s2s, s2s_reading, stderr, stdout, succeeds};

/// A folder with a corpus of reversed words and a run trained on it.
pub(crate) static TRAINED_ON_TEXT: LazyLock<TempDir> = LazyLock::new(|| {
    let home = TempDir::new().unwrap();
    succeeds(s2s(
        home.path(),
        ["data", "export", "corpus", "--config", TINY],
    ));
    for side in ["src", "trg"] {
        for split in ["train", "dev", "test"] {
            let path = home.path().join(format!("corpus/{split}.{side}"));
            let words = fs::read_to_string(&path).unwrap().replace('3', "drei,");
            fs::write(path, words).unwrap();
        }
    }
    let text = fs::read_to_string(TINY).unwrap();
    let (before, model) = text.split_once("[data]").unwrap();
    let (_, model) = model.split_once("[model]").unwrap();
    let config = format!("{before}[data]\nfolder = \"corpus\"\n[model]{model}");
    fs::write(home.path().join("text.toml"), config).unwrap();
    let train = ["train", "--config", "text.toml", "--run-dir", "run"];
    let report = succeeds(s2s(home.path(), train));
    assert!(report.contains("drei,"), "{report}");
    home
});

pub(crate) fn copy_of_trained_on_text() -> TempDir {
    let home = TempDir::new().unwrap();
    copy(TRAINED_ON_TEXT.path(), home.path());
    home
}

#[test]
fn a_model_of_text_predicts_words_without_its_corpus() {
    let home = copy_of_trained_on_text();
    fs::remove_dir_all(home.path().join("corpus")).unwrap();
    let input = b"1 drei, 2\n1 neu <unk> 2\n<s>\n";
    let output = s2s_reading(home.path(), &["predict", "run", "--json"], input);
    assert_eq!(code(&output), 1);
    let lines: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["source"], json!(["1", "drei,", "2"]));
    assert!(lines[0]["prediction"][0].is_string(), "{lines:?}");
    assert_eq!(lines[1]["source"], json!(["1", "neu", "<unk>", "2"]));
    assert_eq!(lines[2]["line"], 3);
    for part in [
        "line 2: 2 tokens are not in the vocabulary and were replaced by <unk>: \"neu\", \"<unk>\"",
        "line 3: token \"<s>\" is reserved",
    ] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    let drawn = s2s(home.path(), ["predict", "run", "--attention", "drei,", "1"]);
    assert!(stderr(&drawn).contains("drei,"), "{}", stderr(&drawn));
    let oracle = ["predict", "run", "--oracle-length", "1"];
    fails(&s2s(home.path(), oracle), 2, &["remove --oracle-length"]);
    let eval = ["eval", "run", "--data", "corpus"];
    let missing = [
        "cannot read corpus",
        "No such file",
        "try: --data with a table",
    ];
    fails(&s2s(home.path(), eval), 1, &missing);
    let corpus = ["data", "show", "--set", "data.folder=corpus"];
    let missing = [
        "cannot read the text",
        "corpus/train.src",
        "s2s data export",
    ];
    fails(&s2s(home.path(), corpus), 1, &missing);
}

#[test]
fn an_average_is_evaluated_on_the_validation_pairs() {
    let home = copy_of_trained_on_text();
    let average = ["average", "run@best", "run@last", "--run-dir", "average"];
    let table = succeeds(s2s(home.path(), average));
    assert!(
        table.contains("val loss") && !table.contains("NaN"),
        "{table}"
    );
}

#[test]
fn a_changed_corpus_is_named() {
    let home = copy_of_trained_on_text();
    // The copied run refers to the original files.
    fs::remove_dir_all(home.path().join("run")).unwrap();
    let train = ["train", "--config", "text.toml", "--run-dir", "run"];
    succeeds(s2s(home.path(), train));
    let path = home.path().join("corpus/test.src");
    let text = fs::read_to_string(&path).unwrap();
    succeeds(s2s(home.path(), ["eval", "run"]));
    fs::write(&path, text.replacen('1', "2", 1)).unwrap();
    fs::remove_file(home.path().join("run/run.json")).unwrap(); // so that it is not finished
    for command in ["eval", "resume"] {
        let parts = ["corpus/test.src is not the text that run run was trained on"];
        fails(&s2s(home.path(), [command, "run"]), 1, &parts);
    }
    fs::write(&path, text).unwrap();
    assert!(succeeds(s2s(home.path(), ["resume", "run"])).contains("finished at step 120"));

    let record = home.path().join("run/corpus.json");
    let other = fs::read_to_string(&record)
        .unwrap()
        .replace("drei,", "vier,");
    fs::write(record, other).unwrap();
    fails(
        &s2s(home.path(), ["predict", "run", "1"]),
        3,
        &["corpus.json"],
    );
}

#[test]
fn an_invalid_corpus_is_rejected_with_its_position() {
    #[track_caller]
    fn check(spoil: impl Fn(&Path), expected: i32, parts: &[&str]) {
        let home = copy_of_trained_on_text();
        spoil(&home.path().join("corpus"));
        let output = s2s(home.path(), ["data", "show", "--config", "text.toml"]);
        fails(&output, expected, parts);
    }
    let write = |name: &'static str, bytes: &'static [u8]| {
        move |corpus: &Path| fs::write(corpus.join(name), bytes).unwrap()
    };
    check(write("dev.src", b""), 1, &["dev.src has 0 lines"]);
    check(
        write("dev.trg", b"1\n"),
        1,
        &["dev.src has 60 lines, but", "dev.trg has 1"],
    );
    check(
        write("train.trg", b"1\n2 \xff"),
        1,
        &["train.trg, line 2: byte 3 of the line is not UTF-8"],
    );
    check(
        write("test.src", b"1\n\n"),
        1,
        &["test.src, line 2: the line is empty"],
    );
    check(
        |corpus| fs::remove_file(corpus.join("test.trg")).unwrap(),
        1,
        &["cannot read corpus/test.trg", "No such file"],
    );
    let output = s2s(
        TRAINED_ON_TEXT.path(),
        ["config", "--config", "text.toml", "--set=data.vocab=9"],
    );
    fails(&output, 2, &["vocab has no effect with folder"]);
}

/// A small model that is trained for a few steps on `data`, with these keys of `[data]`.
fn train(home: &Path, file: &str, data: &str, keys: &[&str]) -> Output {
    fs::write(home.join(file), data).unwrap();
    let set = |key: &str| format!("--set=data.{key}");
    let small = [
        "model.embedding=8",
        "model.hidden=8",
        "model.decoder=8",
        "model.attention.units=8",
        "train.max_steps=20",
        "train.batch_size=16",
    ];
    let args = ["train", "--run-dir", "run"].map(str::to_owned).into_iter();
    let args = args.chain(small.map(|key| format!("--set={key}")));
    let args = args.chain([set(&format!("file={file}"))]);
    s2s(home, args.chain(keys.iter().map(|key| set(key))))
}

/// Pairs of two words and the same in reverse, all different.
fn pairs(n: usize) -> String {
    let word = |i: usize| ["red", "blue", "green", "gray", "pink"][i % 5];
    let pair = |i| (word(i), i / 5);
    let line = |(word, number)| format!("{word} {number}\t{number} {word}\n");
    (0..n).map(pair).map(line).collect()
}

fn scores(home: &Path, args: &[&str]) -> (EvalRecord, TextScores) {
    let eval = ["eval", "run", "--json"];
    let line = succeeds(s2s(home, eval.iter().chain(args)));
    let record: EvalRecord = serde_json::from_str(&line).unwrap();
    let text = record.text.expect("the scores of text");
    (record, text)
}

#[test]
fn a_table_is_divided_without_leaks_and_raw_lines_come_out() {
    let home = TempDir::new().unwrap();
    let output = train(home.path(), "pairs.tsv", &pairs(400), &["tokens=chars"]);
    let report = succeeds(output.clone());
    let header = stderr(&output);
    assert!(
        header.contains("pairs.tsv, ") && header.contains(" characters, seed 0"),
        "{header}"
    );
    assert!(
        header.contains("leaks train-val 0, train-test 0, val-test 0"),
        "{header}"
    );
    assert!(report.contains("character errors"), "{report}");
    let config = fs::read_to_string(home.path().join("run/config.resolved.toml")).unwrap();
    // The number of steps is given, so epochs do not limit it.
    for line in ["tokens = \"chars\"", "epochs = 0", "eval_every = 125"] {
        assert!(config.contains(line), "{config}");
    }
    assert!(!config.contains("max_len = 12"), "{config}");

    let answer = succeeds(s2s(home.path(), ["predict", "run", "--json", "gray 7"]));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["source"], json!(["g", "r", "a", "y", " ", "7"]));
    let texts: Vec<&str> = answer["prediction"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap())
        .collect();
    assert_eq!(answer["text"], texts.concat());
    let n_probabilities = answer["probabilities"].as_array().unwrap().len();
    let stopped = answer["stopped"].as_bool().unwrap();
    assert_eq!(n_probabilities, texts.len() + usize::from(stopped));
    let product: f64 = answer["probabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_f64().unwrap().ln())
        .sum();
    // Each probability is rounded to f32.
    assert!(
        (product - answer["log_prob"].as_f64().unwrap()).abs() < 1e-4,
        "{answer}"
    );
    let line = succeeds(s2s_reading(
        home.path(),
        &["predict", "run"],
        "\u{feff}gray 7\r\n".as_bytes(),
    ));
    assert_eq!(line.trim_end_matches('\n'), texts.concat());
}

#[test]
fn columns_compression_and_bytes_are_read() {
    let home = TempDir::new().unwrap();
    let rows: String = (0..200)
        .map(|i| format!("{i},\"é, {i}\",{}\n", i % 7))
        .collect();
    let data = format!("id,from,to\n{rows}");
    let keys = ["tokens=bytes", "source_column=from", "target_column=to"];
    succeeds(train(home.path(), "pairs.csv", &data, &keys));
    let record = fs::read_to_string(home.path().join("run/corpus.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["vocabulary"].as_array().unwrap().len(), 256);
    assert_eq!(record["longest"], json!([7, 1])); // é has two bytes
    let any = "anything at all: \u{1f600}";
    let output = s2s(home.path(), ["predict", "run", any]);
    assert!(
        !stderr(&output).contains("not in the vocabulary"),
        "{}",
        stderr(&output)
    );

    // A line of input is a line of output, whatever the output contains; an argument is one sequence.
    let prefix = "a\nb\tc";
    let sampled = [
        "--sample",
        "--draws",
        "2",
        "--max-len",
        "5",
        "--prefix",
        prefix,
    ];
    let predict = ["predict", "run"].into_iter().chain(sampled);
    let of_lines = succeeds(s2s_reading(
        home.path(),
        &predict.clone().collect::<Vec<_>>(),
        b"1\n2\n3\n",
    ));
    assert_eq!(of_lines.lines().count(), 3, "{of_lines:?}");
    for line in of_lines.lines() {
        let outputs: Vec<&str> = line.split('\t').collect();
        assert_eq!(outputs.len(), 2, "{line:?}");
        assert!(
            outputs.iter().all(|output| output.starts_with(r"a\nb\tc")),
            "{line:?}"
        );
    }
    // The search finds one output, which is all of the prefix; its tab must not look like a second one.
    let one = [
        "predict",
        "run",
        "1",
        "--beam",
        "2",
        "--n-best",
        "2",
        "--prefix",
        "a\tb",
        "--max-len",
        "3",
    ];
    assert_eq!(succeeds(s2s(home.path(), one)), "a\\tb\n");

    fs::write(home.path().join("in"), "1\n2\n3\n").unwrap();
    for kept in 0..=of_lines.len() {
        fs::write(home.path().join("out"), &of_lines.as_bytes()[..kept]).unwrap();
        let resumed = ["--file", "in", "--output", "out", "--resume"];
        succeeds(s2s(home.path(), predict.clone().chain(resumed)));
        let written = fs::read_to_string(home.path().join("out")).unwrap();
        assert_eq!(written, of_lines, "{kept}");
    }
    let of_argument = succeeds(s2s(home.path(), predict.chain(["--json", "1\n2"])));
    let of_argument: Value = serde_json::from_str(&of_argument).unwrap();
    assert_eq!(of_argument["source"], json!(["1", "<0x0A>", "2"]));
    assert!(
        of_argument["predictions"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with(prefix)
    );

    let zipped = TempDir::new().unwrap();
    fs::write(zipped.path().join("pairs.csv.gz"), gzip(&data)).unwrap();
    let show = |home: &Path, file: &str| {
        let sets = keys.iter().map(|key| format!("--set=data.{key}"));
        let args = ["data", "show"].map(str::to_owned).into_iter().chain(sets);
        s2s(home, args.chain([format!("--set=data.file={file}")]))
    };
    assert_eq!(
        succeeds(show(zipped.path(), "pairs.csv.gz")),
        succeeds(show(home.path(), "pairs.csv"))
    );
    fs::write(zipped.path().join("broken.gz"), b"not compressed").unwrap();
    fails(
        &show(zipped.path(), "broken.gz"),
        1,
        &["cannot decompress broken.gz", "try: `gzip -t broken.gz`"],
    );
}

#[test]
fn unknown_tokens_are_never_correct_and_are_shown_with_each_metric() {
    let home = TempDir::new().unwrap();
    // Every target is outside a vocabulary of one word, so the best guess is always <unk>.
    fs::write(home.path().join("vocab.txt"), "red\n").unwrap();
    let data: String = (0..200).map(|i| format!("red {i}\t{i}\n")).collect();
    let output = train(home.path(), "pairs.tsv", &data, &["vocab_file=vocab.txt"]);
    let report = succeeds(output.clone());
    let warning = "of the tokens in train";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    let (record, text) = scores(home.path(), &[]);
    assert_eq!((record.exact_match, text.exact_match), (0.0, 0.0));
    assert_eq!(text.unknown_tokens, 1.0);
    // Lines are compared with the words that were given, not with <unk>.
    assert_eq!((text.chrf, text.bleu), (0.0, 0.0));
    assert!(text.char_error_rate >= 1.0, "{}", text.char_error_rate);
    assert!(report.contains("unknown tokens"), "{report}");
    let run: RunRecord = read_json(RunDir::open(home.path().join("run")).unwrap().run()).unwrap();
    assert_eq!(run.test.unwrap().text, Some(text));

    // Samples, pictures and wrong outputs show the words that were given.
    for file in ["samples.jsonl", "attention.jsonl", "failures.json"] {
        let shown = fs::read_to_string(home.path().join("run").join(file)).unwrap();
        let mut records = serde_json::Deserializer::from_str(&shown).into_iter::<Value>();
        let record = records.next().unwrap().unwrap();
        let sample = record.get("wrong").map_or(&record, |wrong| &wrong[0]);
        let [source, target] = ["source", "target"].map(|key| sample[key].as_array().unwrap());
        assert!(source.contains(&target[0]), "{file}: {record}");
        assert!(!target.contains(&json!("<unk>")), "{file}: {record}");
    }

    let replaced = [
        "predict",
        "run",
        "--replace-unknown",
        "--max-len",
        "3",
        "red",
        "77",
    ];
    let replaced = succeeds(s2s(home.path(), replaced));
    assert!(!replaced.contains("<unk>"), "{replaced}");
}

#[test]
fn the_output_limit_comes_from_training_and_a_cut_output_is_reported() {
    let home = TempDir::new().unwrap();
    // The source has one token, the target twenty.
    let data: String = (0..200)
        .map(|i| format!("{i}\t{}\n", vec!["word"; 20].join(" ")))
        .collect();
    let output = train(home.path(), "pairs.tsv", &data, &["min_count=2"]);
    let run: RunRecord = read_json(home.path().join("run/run.json")).unwrap();
    assert!(run.test.unwrap().text.unwrap().n_truncated > 0);
    let warning = "outputs were cut before their end";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    let (record, text) = scores(home.path(), &[]);
    // By the same definition, whether positions or whole outputs are compared.
    assert_eq!(record.exact_match, text.exact_match);
    let output = s2s(home.path(), ["eval", "run", "--json", "--max-len", "5"]);
    assert!(
        stderr(&output).contains("outputs were cut before their end"),
        "{}",
        stderr(&output)
    );
    let record: EvalRecord = serde_json::from_str(&succeeds(output)).unwrap();
    let text = record.text.unwrap();
    assert_eq!(text.n_truncated, text.n_sources);
    assert_eq!((record.exact_match, text.exact_match), (0.0, 0.0));

    let output = s2s(
        home.path(),
        [
            "predict",
            "run",
            "--json",
            "--max-len",
            "2",
            "word word word",
        ],
    );
    for part in [
        "the output was cut after 2 tokens, before its end; --max-len N allows N",
        "line 1 has 3 tokens; the longest source in training has 1",
    ] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    let answer: Value = serde_json::from_str(&succeeds(output)).unwrap();
    assert_eq!(answer["stopped"], false);
}

#[test]
fn pairs_with_the_same_source_can_be_references_of_one_output() {
    let home = TempDir::new().unwrap();
    let data: String = pairs(300)
        .lines()
        .map(|line| format!("{line}\n{line} again\n"))
        .collect();
    succeeds(train(home.path(), "pairs.tsv", &data, &[]));
    let (record, one) = scores(home.path(), &[]);
    let (_, several) = scores(home.path(), &["--references"]);
    assert_eq!(one.n_sources, record.n_sequences);
    assert_eq!(2 * several.n_sources, one.n_sources);
    assert!(several.token_error_rate <= one.token_error_rate);
    let (record, several) = scores(home.path(), &["--references"]);
    assert_eq!(record.exact_match, several.exact_match);
}

#[test]
fn sources_that_differ_in_unknown_words_are_different_sources() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("vocab.txt"), "red\n").unwrap();
    let data: String = (0..200).map(|i| format!("word{i} red\tred\n")).collect();
    succeeds(train(
        home.path(),
        "pairs.tsv",
        &data,
        &["vocab_file=vocab.txt"],
    ));
    let (_, one) = scores(home.path(), &[]);
    let (_, several) = scores(home.path(), &["--references"]);
    assert_eq!(several, one);
}

#[test]
fn a_dash_is_standard_input() {
    let home = copy_of_trained_on_text();
    let [named, unnamed] = [&["predict", "run", "--file", "-"][..], &["predict", "run"]]
        .map(|args| succeeds(s2s_reading(home.path(), args, b"1 drei,\n2\n")));
    assert_eq!(named, unnamed);
    assert_eq!(named.lines().count(), 2);
}

#[test]
fn other_text_with_many_unknown_words_is_reported() {
    let home = copy_of_trained_on_text();
    fs::write(home.path().join("other.tsv"), "1 2\t2 acht\n").unwrap();
    let output = s2s(home.path(), ["eval", "run", "--data", "other.tsv"]);
    let warning = "50.00 % of the reference tokens are not in the vocabulary of the run";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    succeeds(output);
    fs::write(home.path().join("sources.tsv"), "1 acht\t2\n").unwrap();
    let output = s2s(home.path(), ["eval", "run", "--data", "sources.tsv"]);
    let warning = "50.00 % of the source tokens and 0.00 % of the reference tokens";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
}

#[test]
fn the_command_that_learns_unknown_words_learns_them() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("vocab.txt"), "red\nblue\n").unwrap();
    succeeds(train(
        home.path(),
        "pairs.tsv",
        &pairs(200),
        &["vocab_file=vocab.txt"],
    ));
    let acht: String = (0..200).map(|i| format!("acht {i}\t{i} acht\n")).collect();
    fs::write(home.path().join("other.tsv"), acht).unwrap();
    let output = s2s(home.path(), ["eval", "run", "--data", "other.tsv"]);
    let mut quoted = stderr(&output).split('`');
    let learns = quoted
        .find(|part| part.contains("train --from"))
        .unwrap()
        .to_owned();
    succeeds(shell(home.path(), &format!("{learns} --run-dir new")));
    let record = fs::read_to_string(home.path().join("new/corpus.json")).unwrap();
    assert!(record.contains("\"acht\""), "{record}");
}

#[test]
fn sources_longer_than_any_in_training_are_reported_once() {
    let home = TempDir::new().unwrap();
    succeeds(train(home.path(), "pairs.tsv", &pairs(200), &[]));
    let long = "red 1 red 1\t1 red\nred 1 red\t1 red\nred 1\t1 red\n";
    fs::write(home.path().join("long.tsv"), long).unwrap();
    let output = s2s(home.path(), ["eval", "run", "--data", "long.tsv"]);
    let warning = "2 of the 3 sources are longer than any in training (4 tokens; the longest in \
                   training has 2)";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
}

#[test]
fn warnings_about_lines_are_shown_once_and_counted() {
    let home = copy_of_trained_on_text();
    let lines = "1 neu\n1 neu neu alt\n".repeat(1000) + "1\n";
    fs::write(home.path().join("lines.txt"), lines).unwrap();
    let output = s2s(home.path(), ["predict", "run", "--file", "lines.txt"]);
    let message = stderr(&output);
    for part in [
        "warning: line 1: 1 token is not in the vocabulary and was replaced by <unk>: \"neu\"\n",
        "warning: 1999 further lines with tokens that are not in the vocabulary; in all, 4000 of 6001 \
         tokens were replaced by <unk>\n",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(message.lines().count() < 8, "{message}");
    let distinct = s2s(home.path(), ["predict", "run", "neu", "alt", "neu"]);
    let words = "2 tokens are not in the vocabulary and were replaced by <unk>: \"neu\", \"alt\"\n";
    assert!(stderr(&distinct).contains(words), "{}", stderr(&distinct));
}

#[test]
fn an_unknown_target_token_has_no_rank() {
    let home = copy_of_trained_on_text();
    let input = "1 2\tneu alt\n1 2\t2 1\n";
    let output = s2s_reading(home.path(), &["score", "run", "--json"], input.as_bytes());
    let lines: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ranks = lines[0]["ranks"].as_array().unwrap();
    assert!(ranks[0].is_null() && ranks[1].is_null() && ranks[2].is_u64());
    assert_eq!(
        (&lines[0]["unknown"], &lines[1]["unknown"]),
        (&json!(2), &json!(0))
    );
    let message = stderr(&output);
    assert!(
        message.contains("line 1: 2 tokens are not in the vocabulary"),
        "{message}"
    );
    assert!(
        message.contains(", not in the vocabulary 33.33 %"),
        "{message}"
    );
    let output = s2s_reading(home.path(), &["score", "run"], input.as_bytes());
    assert!(stdout(&output).lines().next().unwrap().ends_with("\t-"));
}

#[test]
fn more_words_than_a_vocabulary_can_have_are_reported_with_remedies() {
    let home = TempDir::new().unwrap();
    let words = |from: usize| -> String {
        let words = (from..from + 1000).map(|word| format!("{word} "));
        words.collect()
    };
    let lines = (0..2000).map(|line| format!("{}\tx\n", words(1000 * line)));
    fs::write(home.path().join("t.tsv"), lines.collect::<String>()).unwrap();
    let parts = [
        "distinct tokens; a vocabulary has at most 999998",
        "--set data.max_tokens=50000",
        "--set data.min_count=2",
        "--set data.tokens=chars",
    ];
    let show = ["data", "show", "--set=data.file=t.tsv"];
    fails(&s2s(home.path(), show), 1, &parts);
    let fewer = [
        "data",
        "show",
        "-n1",
        "--set=data.file=t.tsv",
        "--set=data.min_count=2",
    ];
    succeeds(s2s(home.path(), fewer));
}

#[test]
fn a_run_on_text_does_not_depend_on_the_current_folder() {
    let home = TempDir::new().unwrap();
    succeeds(train(home.path(), "pairs.tsv", &pairs(200), &[]));
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let from = [
        "train",
        "--from",
        "../run",
        "--run-dir",
        "again",
        "--set=train.max_steps=1",
    ];
    succeeds(s2s(&elsewhere, from));
    let resume = ["resume", "../run", "--set=model.hidden=9"];
    let output = s2s(&elsewhere, resume);
    let trains = stderr(&output).split('`').nth(1).unwrap().to_owned();
    succeeds(shell(&elsewhere, &format!("{trains} --run-dir new")));

    let config = home.path().join("run/config.toml");
    let resolved = fs::read(home.path().join("run/config.resolved.toml")).unwrap();
    fs::write(&config, resolved).unwrap();
    let again = |file: &str| {
        let set = format!("--set=data.file={file}");
        let again = [
            "train",
            "--config=../run/config.toml",
            "--run-dir=../run",
            "--resume-or-start",
        ];
        s2s(
            &elsewhere,
            again.map(str::to_owned).into_iter().chain([set]),
        )
    };
    assert!(succeeds(again("../pairs.tsv")).contains("finished at step 20"));
    fs::write(elsewhere.join("other.tsv"), pairs(100)).unwrap();
    fails(&again("other.tsv"), 2, &["data.file", "was requested"]);
}

#[test]
fn a_table_with_more_columns_than_two_says_which_ones_are_read() {
    let home = TempDir::new().unwrap();
    let wide: String = pairs(200)
        .lines()
        .map(|line| format!("{line}\tx\n"))
        .collect();
    let output = train(home.path(), "pairs.tsv", &wide, &[]);
    let warning = "the table has 3 columns; the first is read as the source";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
}

/// Runs a command that a message suggests.
fn shell(home: &Path, command: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_s2s"));
    let path = format!("{}:{}", program.parent().unwrap().display(), env!("PATH"));
    std::process::Command::new("bash")
        .args(["-c", command])
        .env("PATH", path)
        .current_dir(home)
        .output()
        .unwrap()
}

#[test]
fn reading_of_text_is_timed() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("pairs.tsv"), pairs(300)).unwrap();
    let time = ["data", "time", "--set=data.file=pairs.tsv", "-n", "2"];
    let table = succeeds(s2s(home.path(), time));
    assert!(table.contains("MB per second of CPU time"), "{table}");
    assert!(!table.contains("times the text"), "{table}"); // too little to compare memory with
    let line = succeeds(s2s(home.path(), [&time[..], &["--json"]].concat()));
    let timing: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(timing["n_pairs"], 300);
    assert_eq!(timing["n_bytes"], pairs(300).len());
    let zipped = gzip(&pairs(300));
    fs::write(home.path().join("pairs.tsv.gz"), &zipped).unwrap();
    let time = [
        "data",
        "time",
        "--set=data.file=pairs.tsv.gz",
        "-n1",
        "--json",
    ];
    let timing: Value = serde_json::from_str(&succeeds(s2s(home.path(), time))).unwrap();
    assert_eq!(timing["n_bytes"], zipped.len());
    assert_eq!(timing["n_text_bytes"], pairs(300).len());
    assert!(timing["cpu_ms"].as_f64().unwrap() > 0.0, "{line}");
}

#[test]
fn data_that_make_metrics_misleading_are_reported_with_numbers() {
    let home = TempDir::new().unwrap();
    let rare: String = (0..300)
        .map(|i| format!("word{i} x\tx word{i}\n"))
        .collect();
    let output = train(home.path(), "pairs.tsv", &rare, &[]);
    for part in [
        "of the tokens in test (",
        "distinct words in train occur only once, so little can be learned",
        "set data.tokens = \"chars\"",
    ] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    let fine = TempDir::new().unwrap();
    let output = train(
        fine.path(),
        "pairs.tsv",
        &rare,
        &["tokens=chars", "max_source_len=8"],
    );
    for part in ["not in the vocabulary", "occur only once", "also occur"] {
        assert!(!stderr(&output).contains(part), "{}", stderr(&output));
    }
    assert!(
        stderr(&output).contains("longer pairs dropped"),
        "{}",
        stderr(&output)
    );

    let overlap = copy_of_trained_on_text();
    for side in ["src", "trg"] {
        let corpus = overlap.path().join("corpus");
        fs::copy(
            corpus.join(format!("train.{side}")),
            corpus.join(format!("dev.{side}")),
        )
        .unwrap();
    }
    let again = ["train", "--config", "text.toml", "--run-dir", "again"];
    let output = s2s(overlap.path(), again);
    assert!(
        stderr(&output).contains("sources in val also occur in train"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn invalid_tables_are_rejected_with_their_position() {
    let home = TempDir::new().unwrap();
    #[track_caller]
    fn check(home: &Path, data: &str, keys: &[&str], expected: i32, parts: &[&str]) {
        let output = train(home, "pairs.tsv", data, keys);
        fails(&output, expected, parts);
        assert!(!home.join("run").exists());
    }
    let home = home.path();
    check(
        home,
        "a\tb\nc\n",
        &[],
        1,
        &[
            "pairs.tsv, line 2: expected at least 2 fields separated by tabs, found 1",
            "try: `sed -n 2p",
        ],
    );
    check(
        home,
        "from\tto\nc\td\n",
        &["source_column=form"],
        1,
        &[
            "pairs.tsv: no column \"form\" in the header; its columns are \"from\", \"to\"",
            "try: `head",
        ],
    );
    check(
        home,
        "a\tb\n",
        &[],
        1,
        &[
            "none of its 1 pairs falls in the",
            "try: a table with more pairs",
        ],
    );
    check(home, "", &[], 1, &["pairs.tsv has 0 lines"]);
    check(
        home,
        &pairs(100),
        &["max_source_len=1"],
        2,
        &[
            "training pairs are longer than data.max_source_len = 1",
            "try: raise these limits",
        ],
    );
    check(
        home,
        "a\tb\n",
        &["folder=corpus"],
        2,
        &["data.folder: folder has no effect with file"],
    );
    check(
        home,
        "a\tb\n",
        &["split=[0.5,0.5,0.0]"],
        2,
        &["split must be three shares above 0"],
    );
    check(
        home,
        "a\tb\n",
        &["tokens=letters"],
        2,
        &["letters", "chars"],
    );
    let numbers = ["eval", "run", "--references"];
    let tiny = [
        "train",
        "--config",
        TINY,
        "--run-dir",
        "run",
        "--set=train.max_steps=2",
    ];
    succeeds(s2s(home, tiny));
    fails(
        &s2s(home, numbers),
        2,
        &["--references applies to text only"],
    );
    let replace = ["predict", "run", "--replace-unknown", "1"];
    fails(&s2s(home, replace), 2, &["remove --replace-unknown"]);
}

/// A text, compressed.
pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}
