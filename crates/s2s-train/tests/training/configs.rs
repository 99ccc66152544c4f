//! The configurations of the project, and the errors of invalid ones.

use std::fs;
use std::path::{Path, PathBuf};

use s2s_train::{Auto, ConfigError, ConfigProblem, ExperimentConfig, Origin, load_config};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// The problems of a file with this text and these keys set.
fn problems(text: &str, sets: &[&str]) -> Vec<ConfigProblem> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("experiment.toml");
    fs::write(&path, text).expect("a file is written");
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    match load_config(Some(&path), &sets) {
        Err(ConfigError::Invalid { problems, .. }) => problems,
        other => panic!("{text:?} {sets:?} gave {other:?}"),
    }
}

#[test]
fn every_configuration_of_the_project_loads() {
    let mut n_loaded = 0;
    for entry in fs::read_dir(configs()).expect("the folder of configurations") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let config = load_config(Some(&path), &[]);
            let config = config.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let text: toml::Table = config.to_toml().unwrap().parse().unwrap();
            assert_eq!(config.to_table().unwrap(), text);
            n_loaded += 1;
        }
    }
    assert!(n_loaded >= 3);
}

#[test]
fn default_file_is_the_built_in_default() {
    let path = configs().join("default.toml");
    let loaded = load_config(Some(&path), &[]).expect("the default loads");
    let mut default = ExperimentConfig::default();
    default.resolve(None, None);
    assert_eq!(loaded, default);
    // It contains every key, as documentation.
    let table: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
    let whole = toml::Table::try_from(ExperimentConfig::default()).unwrap();
    assert_eq!(table, whole);
}

#[test]
fn default_file_lists_the_default_options_of_every_attention() {
    let text = fs::read_to_string(configs().join("default.toml")).unwrap();
    let unknown = problems("", &["model.attention.kind=?"]).remove(0).message;
    let kinds: Vec<&str> = unknown.split('`').skip(1).step_by(2).skip(1).collect();
    assert!(kinds.len() >= 8, "{unknown}");
    for kind in kinds.into_iter().filter(|kind| *kind != "additive") {
        let set = format!("model.attention.kind={kind}");
        let sets = [
            set,
            "model.hidden=64".to_owned(),
            "model.decoder=128".to_owned(),
        ];
        let config = load_config(None, &sets).expect("an attention has defaults");
        let options = toml::to_string(&config.model.attention).unwrap();
        let line = format!("# {}\n", options.trim().replace('\n', ", "));
        let is_listed = text.contains(&line) || text.contains(&line.replace('\n', "; "));
        assert!(is_listed, "default.toml lacks {line}");
    }
}

#[test]
fn all_problems_are_reported_at_once_with_their_position() {
    let text = "seed = 1\n\
                [data]\n\
                vocab = 1\n\
                max_lenn = 4\n\
                [model]\n\
                dropout = 1.5\n\
                hidden = \"wide\"\n\
                [model.attention]\n\
                kind = \"additve\"\n\
                [train]\n\
                batch_size = 0\n";
    let problems = problems(text, &["train.clip_norm=-1", "trian.epochs=2", "nonsense"]);
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        (Some((3, 1)), "data.vocab: vocab must lie in"),
        (
            Some((4, 1)),
            "unknown key \"max_lenn\" in [data] (did you mean \"max_len\"?)",
        ),
        (Some((6, 1)), "must lie in [0, 1)"),
        (Some((7, 1)), "model.hidden"),
        (Some((9, 1)), "did you mean \"additive\"?"),
        (Some((11, 1)), "train.batch_size"),
        (
            None,
            "--set train.clip_norm=-1: train.clip_norm: must be a finite number",
        ),
        (None, "did you mean \"train\"?"),
        (None, "expected key=value"),
    ];
    for (position, part) in expected {
        let found = problems
            .iter()
            .zip(&all)
            .any(|(problem, text)| problem.position == position && text.contains(part));
        assert!(
            found,
            "{position:?} {part:?} is not in:\n{}",
            all.join("\n")
        );
    }
    assert_eq!(problems.len(), expected.len(), "{}", all.join("\n"));
}

#[test]
fn conflicting_values_are_reported_at_their_position() {
    let endless = problems(
        "[data]\ntrain_samples = 0\n[train]\nmax_steps = 0\neval_every = 0\n",
        &[],
    );
    let positions: Vec<_> = endless.iter().map(|problem| problem.position).collect();
    assert_eq!(positions, [Some((4, 1)), Some((5, 1))]);
    assert!(endless[0].message.contains("never end"));

    let bridge = problems("", &["model.bridge=concat", "model.hidden=3"]);
    assert_eq!(
        bridge[0].origin,
        Origin::Set("model.bridge=concat".to_owned())
    );
    assert!(bridge[0].message.contains("needs decoder = 6"));

    let crowded = problems("[data]\nvocab = 3\nmax_len = 2\n", &[]);
    assert!(
        crowded
            .iter()
            .any(|p| p.message.contains("distinct sequences")),
        "{crowded:?}"
    );

    let huge = problems("[model]\nhidden = 1000000\n", &[]);
    assert!(huge[0].message.contains("at most 16384"), "{huge:?}");

    let table = problems("", &["data.vocab=1000000", "model.embedding=16384"]);
    assert!(
        table[0].message.contains("parameters; the limit is"),
        "{table:?}"
    );
    let batch = problems("", &["data.max_len=20000", "train.batch_size=65536"]);
    assert!(
        batch[0].message.contains("65536 sequences of 20000 tokens"),
        "{batch:?}"
    );
}

#[test]
fn every_key_of_a_tagged_table_is_checked_separately() {
    let text = "[train.schedule]\nkind = \"plateau\"\nfactor = 2.0\npatience = 0\nfloor = 0.1\n\
                [model.attention]\nunits = 0\n";
    let found = problems(text, &["model.attention=none"]);
    let positions: Vec<_> = found.iter().map(|problem| problem.position).collect();
    let lines = [3, 4, 5, 7].map(|line| Some((line, 1)));
    assert_eq!(positions[..4], lines, "{found:?}");
    assert!(
        found[4].message.contains("a table such as { kind = "),
        "{found:?}"
    );
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn a_syntax_error_has_its_line() {
    let problems = problems("[data]\nvocab = \n", &[]);
    assert_eq!(
        problems[0].position.map(|(line, _)| line),
        Some(2),
        "{problems:?}"
    );
}

#[test]
fn set_replaces_one_option_or_the_whole_kind() {
    let set = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        load_config(None, &sets).expect("a valid configuration")
    };
    let units = set(&["model.attention.units=7"]);
    assert_eq!(
        toml::to_string(&units.model.attention).unwrap(),
        "kind = \"additive\"\nunits = 7\n"
    );
    let none = set(&["model.attention.kind=none"]);
    assert_eq!(
        toml::to_string(&none.model.attention).unwrap(),
        "kind = \"none\"\n"
    );
    let cosine = set(&["train.schedule.kind=cosine", "train.schedule.floor=0.1"]);
    let text = toml::to_string(&cosine.train.schedule).unwrap();
    assert_eq!(text, "kind = \"cosine\"\nfloor = 0.1\n");
    // A bare word is a string, although TOML requires quotes.
    assert_eq!(
        set(&["model.bridge=zero"]).model.bridge,
        s2s_model::BridgeKind::Zero
    );
}

#[test]
fn an_unreadable_file_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing.toml");
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    for path in [missing, binary, folder.path().to_owned()] {
        match load_config(Some(&path), &[]) {
            Err(ConfigError::Read { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn at_most_100_problems_are_reported() {
    let keys = |from: usize| (from..from + 20_000).map(|i| format!("k{i} = {i}\n"));
    let unknown: String = keys(0).collect();
    let nested = format!(
        "[model.attention]\nkind = \"dot\"\n{}",
        keys(0).collect::<String>()
    );
    let garbled: String = keys(0).map(|line| line.replace('=', "")).collect();
    for text in [unknown, nested, garbled] {
        let found = problems(&text, &[]);
        assert_eq!(found.len(), 101);
        assert!(
            found[100].message.contains("the first 100"),
            "{}",
            found[100]
        );
    }
}

#[test]
fn numbers_outside_their_bounds_are_errors_of_the_standard_library() {
    fn set(rate: f64, dropout: f64) -> Result<ExperimentConfig, Box<dyn std::error::Error>> {
        let mut config = ExperimentConfig::default();
        config.train.learning_rate = rate.try_into()?;
        config.model.embedding_dropout = dropout.try_into()?;
        Ok(config)
    }
    assert_eq!(set(0.5, 0.25).unwrap().train.learning_rate.get(), 0.5);
    for (rate, dropout, message) in [
        (-1.0, 0.0, "must be a finite number above 0, got -1"),
        (1.0, 1.5, "must lie in [0, 1), got 1.5"),
    ] {
        assert_eq!(set(rate, dropout).unwrap_err().to_string(), message);
    }
}

#[test]
fn the_duration_without_pairs_does_not_depend_on_their_number() {
    let sets = ["data.file=pairs.tsv".to_owned()];
    let resolved = |n_train: u64| {
        let mut config = load_config(None, &sets).unwrap();
        config.resolve(Some(n_train), Some(n_train));
        (config.train.epochs, config.train.max_steps)
    };
    assert_eq!(resolved(0), (Auto::Value(0), 2000));
    assert_eq!(resolved(1_000_000), (Auto::Value(5), 0));
}
