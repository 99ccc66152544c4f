//! Plots, configurations, benchmarks, wrong usage, help and exports.

use std::fs;

use s2s_runlog::RunDir;
use s2s_train::load_config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{TINY, command, copy_of_trained, fails, home_of_trained, s2s, succeeds};

#[test]
fn plots_can_be_redrawn() {
    let (home, run) = copy_of_trained();
    let drawn = fs::read(run.join("plots/attention.svg")).unwrap();
    fs::remove_dir_all(run.join("plots")).unwrap();
    let paths = succeeds(s2s(home.path(), ["plot", "run"]));
    assert_eq!(paths.lines().count(), 10);
    assert!(
        paths.lines().all(|path| home.path().join(path).exists()),
        "{paths}"
    );
    assert_eq!(fs::read(run.join("plots/attention.svg")).unwrap(), drawn);
}

// Configurations.

#[test]
fn a_printed_configuration_loads_unchanged() {
    let home = TempDir::new().unwrap();
    let args = [
        "config",
        "--config",
        TINY,
        "--seed",
        "3",
        "--set",
        "model.layers=2",
    ];
    let text = succeeds(s2s(home.path(), args));
    let file = home.path().join("printed.toml");
    fs::write(&file, &text).unwrap();
    let sets = ["seed=3".to_owned(), "model.layers=2".to_owned()];
    assert_eq!(
        load_config(Some(&file), &[]).unwrap(),
        load_config(Some(TINY.as_ref()), &sets).unwrap()
    );
    let again = s2s(home.path(), ["config", "--config", "printed.toml"]);
    assert_eq!(succeeds(again), text);
}

#[test]
fn invalid_configurations_are_rejected_with_all_problems() {
    #[track_caller]
    fn check(text: &[u8], sets: &[&str], parts: &[&str]) {
        let home = TempDir::new().unwrap();
        fs::write(home.path().join("c.toml"), text).unwrap();
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args = ["train", "--config", "c.toml"].into_iter().chain(sets);
        fails(&s2s(home.path(), args), 2, parts);
        assert!(!home.path().join("runs").exists(), "nothing is written");
    }
    check(
        b"[model]\nhiden = 3\n",
        &[],
        &["error: c.toml:2:1: unknown key \"hiden\" in [model] (did you mean \"hidden\"?)"],
    );
    check(
        b"seed = \"a\"\n[model]\n dropout = 1.5\n[train]\nclip = 1\n",
        &["data.vocab=x", "trian.epochs=1"],
        &[
            "c.toml:1:1: seed: string \"a\", expected a whole number",
            "c.toml:3:2: model.dropout: must lie in [0, 1), got 1.5",
            "c.toml:5:1: unknown key \"clip\"",
            "--set data.vocab=x: data.vocab: string \"x\", expected a whole number",
            "--set trian.epochs=1: unknown key \"trian\" (did you mean \"train\"?)",
        ],
    );
    check(b"seed = \n", &[], &["c.toml:1:"]);
    check(
        b"seed = \xff",
        &[],
        &["reading the configuration c.toml", "utf-8"],
    );
    check(b"", &["seed"], &["expected key=value"]);
    check(
        b"[data]\nvocab = 3\nmax_len = 2\n",
        &[],
        &[
            "train_samples is 40000, but only 6 distinct sequences",
            "raise vocab or max_len",
        ],
    );
    check(
        b"[model]\nbridge = \"concat\"\ndecoder = 9\n",
        &[],
        &["needs decoder = 128", "set decoder = 128"],
    );
}

#[test]
fn a_missing_configuration_is_named() {
    let home = TempDir::new().unwrap();
    let output = s2s(home.path(), ["config", "--config", "nope.toml"]);
    fails(
        &output,
        2,
        &["nope.toml", "No such file", "try: `s2s config"],
    );
}

#[test]
fn a_benchmark_prints_one_line_of_positive_numbers() {
    let home = TempDir::new().unwrap();
    for work in ["step", "decode", "beam", "sample"] {
        let args = ["--batch", "3", "--threads", "1", "--n", "2", "--json"];
        let command = ["bench", work, "--config", TINY];
        let line = succeeds(s2s(home.path(), command.into_iter().chain(args)));
        assert_eq!(line.lines().count(), 1, "{line}");
        let record: Value = serde_json::from_str(&line).unwrap();
        for (key, expected) in [
            ("work", json!(work)),
            ("kernels", json!("fused")),
            ("threads", json!(1)),
            ("batch", json!(3)),
            ("source_len", json!(4)), // the maximum length
            ("target_len", json!(5)), // with EOS
            ("n", json!(2)),
        ] {
            assert_eq!(record[key], expected, "{key}");
        }
        for key in ["median_ms", "min_ms", "cpu_ms", "sequences_per_s"] {
            assert!(record[key].as_f64().unwrap() > 0.0, "{key} in {line}");
        }
        let of_speed = ["gflop", "gflops", "peak_gflops", "share_of_peak"];
        for key in of_speed.iter().filter(|_| work != "beam") {
            assert!(record[key].as_f64().unwrap() > 0.0, "{key} in {line}");
        }
        if cfg!(target_os = "linux") {
            assert!(record["peak_mib"].as_f64().unwrap() > 1.0, "{line}");
        }
    }
    let reference = ["--set", "model.kernels=reference", "--n", "1"];
    let command = ["bench", "step", "--config", TINY];
    let table = succeeds(s2s(home.path(), command.into_iter().chain(reference)));
    assert!(
        table.contains("reference") && table.contains("GFLOP/s"),
        "{table}"
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

// Failures.

#[test]
fn wrong_paths_and_options_are_usage_errors() {
    let home = TempDir::new().unwrap();
    fs::create_dir(home.path().join("empty")).unwrap();
    for (args, part) in [
        (&["eval", "nope"][..], "run folder nope does not exist"),
        (&["predict", "nope", "1"], "run folder nope does not exist"),
        (&["resume", "nope"], "run folder nope does not exist"),
        (&["plot", "nope"], "run folder nope does not exist"),
        (
            &["eval", "empty"],
            "empty is not a run folder: it has no config.resolved.toml",
        ),
        (
            &["eval", "nope", "--split", "dev"],
            "[possible values: train, val, test]",
        ),
        (&["eval", "nope", "--threads", "0"], "0 is not in 1..="),
        (&["eval", "nope", "--batch-size", "0"], "0 is not in 1..="),
        (&["train", "--seed", "-1"], "unexpected argument '-1'"),
        (&["train", "--device", "tpu"], "unknown device \"tpu\""),
        (
            &["train", "--device", "cuda:x"],
            "is not the number of a CUDA device",
        ),
        (&["reverse"], "unrecognized subcommand"),
    ] {
        fails(&s2s(home.path(), args), 2, &[part]);
    }
    if !cfg!(feature = "cuda") {
        let output = s2s(home.path(), ["train", "--device", "cuda"]);
        fails(&output, 2, &["built without CUDA", "--device cpu"]);
    }
    assert!(!home.path().join("runs").exists());
}

#[test]
fn unreadable_input_is_named() {
    for (file, part) in [("nope", "No such file"), (".", "cannot read .")] {
        let output = s2s(home_of_trained(), ["predict", "run", "--file", file]);
        fails(&output, 1, &[part]);
    }
}

#[test]
fn invalid_checkpoints_are_rejected() {
    let (home, run) = copy_of_trained();
    let eval = || s2s(home.path(), ["eval", "run"]);
    let best = run.join("checkpoints/best");
    let params = fs::read(best.join("params.safetensors")).unwrap();

    fs::write(best.join("params.safetensors"), &params[..100]).unwrap();
    fails(
        &eval(),
        3,
        &[
            "params.safetensors has 100 bytes; the manifest lists",
            "--checkpoint last",
        ],
    );
    succeeds(s2s(home.path(), ["eval", "run", "--checkpoint", "last"]));

    let mut flipped = params;
    flipped[5000] ^= 1;
    fs::write(best.join("params.safetensors"), &flipped).unwrap();
    fails(&eval(), 3, &["SHA-256"]);

    fs::remove_dir_all(&best).unwrap();
    fails(
        &eval(),
        3,
        &["checkpoint run/checkpoints/best does not exist"],
    );

    let config = run.join("config.resolved.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("hidden = 16", "hidden = 15")).unwrap();
    let last = s2s(home.path(), ["predict", "run", "--checkpoint", "last", "1"]);
    fails(&last, 3, &["has shape [48, 16], expected [45, 16]"]);

    fs::write(&config, text.replace("max_len = 4", "max_len = 5")).unwrap();
    let last = s2s(home.path(), ["predict", "run", "--checkpoint", "last", "1"]);
    fails(&last, 3, &["saved with a different config.resolved.toml"]);
    fs::remove_file(run.join("run.json")).unwrap();
    let resumed = s2s(home.path(), ["resume", "run"]);
    fails(
        &resumed,
        3,
        &["saved with a different config.resolved.toml"],
    );
}

#[test]
fn a_run_in_use_by_another_process_is_busy() {
    let (home, run) = copy_of_trained();
    fs::remove_file(run.join("run.json")).unwrap();
    let _lock = RunDir::open(&run).unwrap().lock().unwrap();
    let holder = format!("run folder run is in use by process {}", std::process::id());
    fails(&s2s(home.path(), ["resume", "run"]), 5, &[&holder]);
    succeeds(s2s(home.path(), ["eval", "run"]));
}

#[test]
fn attention_of_a_model_without_attention_is_a_usage_error() {
    let home = TempDir::new().unwrap();
    let sets = ["model.attention.kind=none", "train.max_steps=20"];
    let args = ["train", "--config", TINY, "--run-dir", "run"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    succeeds(s2s(home.path(), args.into_iter().chain(sets)));
    assert!(!home.path().join("run/plots/attention.svg").exists());
    let output = s2s(home.path(), ["predict", "run", "--attention", "1"]);
    fails(&output, 2, &["this model has no attention"]);
}

#[test]
fn a_full_disk_on_standard_output_is_a_failure() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        return; // exists only on Linux
    };
    let child = command(home_of_trained())
        .args(["predict", "run", "1"])
        .stdout(full)
        .spawn();
    let output = child.unwrap().wait_with_output().unwrap();
    fails(
        &output,
        1,
        &["cannot write to standard output", "No space left"],
    );
}

// Help.

#[test]
fn every_command_has_help_with_an_example() {
    let home = TempDir::new().unwrap();
    for command in [
        "train",
        "resume",
        "eval",
        "predict",
        "score",
        "average",
        "plot",
        "config",
        "bench",
        "completions",
        "man",
    ] {
        let help = succeeds(s2s(home.path(), [command, "--help"]));
        assert!(
            help.contains("Example") && help.contains(&format!("s2s {command} ")),
            "{help}"
        );
    }
    assert!(succeeds(s2s(home.path(), ["--help"])).contains("Exit codes:"));
    assert!(succeeds(s2s(home.path(), ["--version"])).starts_with("s2s "));
    assert!(succeeds(s2s(home.path(), ["completions", "bash"])).contains("--run-dir"));
    let manual = succeeds(s2s(home.path(), ["man"]));
    assert!(
        manual.contains(".TH s2s 1") && manual.contains("run\\-dir"),
        "{manual}"
    );
}

// Data.

#[test]
fn export_matches_show_and_overwrites_only_with_force() {
    let home = TempDir::new().unwrap();
    let config = ["--config", TINY, "--set", "data.task=duplicate"];
    let paths = succeeds(s2s(
        home.path(),
        ["data", "export", "a/b", "--split", "dev"]
            .iter()
            .chain(&config),
    ));
    assert_eq!(paths, "a/b/dev.src\na/b/dev.trg\n");
    let read =
        |side: &str| fs::read_to_string(home.path().join(format!("a/b/dev.{side}"))).unwrap();
    let (sources, targets) = (read("src"), read("trg"));
    let lines = sources.lines().zip(targets.lines());
    let pairs: String = lines.map(|(a, b)| format!("{a}\t{b}\n")).collect();
    let show = ["data", "show", "--split", "val", "-n", "99"];
    assert_eq!(
        succeeds(s2s(home.path(), show.iter().chain(&config))),
        pairs
    );
    assert_eq!(pairs.lines().count(), 60);
    for (source, target) in sources.lines().zip(targets.lines()) {
        assert_eq!(target, format!("{source} {source}"));
    }

    let again = ["data", "export", "a/b", "--set", "data.val_samples=3"];
    fails(
        &s2s(home.path(), again),
        2,
        &["dev.src already exists", "--force"],
    );
    assert!(!home.path().join("a/b/train.src").exists());
    assert_eq!(read("src"), sources);
    succeeds(s2s(home.path(), again.iter().chain(&["--force"])));
    assert_eq!(read("src").lines().count(), 3);
    let endless = [
        "data",
        "export",
        "c",
        "--set=data.train_samples=0",
        "--set=train.max_steps=9",
    ];
    fails(
        &s2s(home.path(), endless),
        2,
        &["the training split is endless"],
    );
}

#[test]
fn the_oracle_length_is_the_output_length_of_the_task() {
    let home = TempDir::new().unwrap();
    let sets = ["--set=data.task=duplicate", "--set=train.max_steps=2"];
    let train = ["train", "--config", TINY, "--run-dir", "run"];
    succeeds(s2s(home.path(), train.iter().chain(&sets)));
    let oracle = ["predict", "run", "--oracle-length", "3", "1", "4"];
    let answer = succeeds(s2s(home.path(), oracle));
    assert_eq!(answer.split_whitespace().count(), 6);
}
