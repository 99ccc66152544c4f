//! A transducer in the ordinary trainer: curriculum, restarts and their resumption.

use reverse_data::Split;
use s2s_model::{DecoderConfig, NonFinite};
use s2s_runlog::{CheckpointName, RunDir};
use s2s_train::{
    Collector, ExperimentConfig, Result, Run, evaluate, load_config, load_model, open_data,
};

use crate::{StopAt, finished, reproducible_files, resuming, runtime, tiny, trained};

const STEPS: u64 = 6;

/// A small transducer whose lengths grow at every step, and whose three attempts of six steps are all lost.
fn lost() -> ExperimentConfig {
    tiny(&[
        "model.attention.units=64",
        "model.decoder={kind=\"transducer\", modes=2, reach=1, dropout=0.1}",
        "data.source_markers=true",
        "data.train_samples=0",
        "data.max_len=9",
        "train.max_steps=6",
        "train.eval_every=4",
        "train.curriculum={kind=\"loss\", start=2, growth=1.5, loss=100.0}",
        "train.restart={kind=\"loss\", attempts=3, loss=1e-9, stuck_after=2}",
        "train.schedule.kind=cosine",
        "train.learning_rate=0.01",
    ])
}

#[test]
fn lengths_grow_and_lost_attempts_are_followed_by_others() -> Result<()> {
    let collected = trained(&lost())?;
    assert_eq!(collected.steps.len() as u64, 3 * STEPS);
    let attempts: Vec<(u64, u64, u64)> = collected
        .metrics
        .iter()
        .map(|metrics| {
            let attempt = metrics.attempt.expect("a run with a curriculum has one");
            (metrics.step, attempt.index, attempt.max_len)
        })
        .collect();
    // 2 · 1.5^n tokens after n steps of an attempt, at most 9.
    assert_eq!(
        attempts,
        [(4, 0, 9), (8, 1, 4), (12, 1, 9), (16, 2, 9), (18, 2, 9)]
    );
    let rates: Vec<f64> = collected
        .steps
        .iter()
        .map(|step| step.learning_rate)
        .collect();
    let (first, others) = rates.split_at(STEPS as usize);
    assert_eq!(
        [first, first].concat(),
        others,
        "each attempt has the whole schedule"
    );
    Ok(())
}

#[test]
fn attempt_whose_lengths_do_not_grow_is_stuck() -> Result<()> {
    let mut config = lost();
    let curriculum = "kind = \"loss\"\nstart = 2\nloss = 1e-9";
    config.train.curriculum = toml::from_str(curriculum).expect("a curriculum");
    // Two attempts of two steps, and the last one to its end.
    assert_eq!(trained(&config)?.steps.len() as u64, 2 + 2 + STEPS);
    Ok(())
}

#[test]
fn resumed_run_with_curriculum_and_restarts_is_the_uninterrupted_one_bit_for_bit() -> Result<()> {
    let config = lost();
    let whole: Collector = trained(&config)?;
    // Within an attempt, at its end, after a restart, before the end.
    for step in [1, 4, 6, 7, 12, 13, 17] {
        resuming::check(&config, &whole, step)?;
    }
    Ok(())
}

#[test]
fn run_folder_of_a_transducer_is_resumed_and_evaluated() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = lost();
    let (whole, record) = finished(&folder.path().join("whole"), &config)?;
    assert_eq!(record.step, 3 * STEPS);

    let path = folder.path().join("parts");
    let mut run = Run::create(&path, config, "", &runtime())?;
    run.train(&mut [&mut StopAt(7)], |_| None)?;
    drop(run);
    Run::resume(&path, &runtime())?.train(&mut [], |_| None)?;
    let parts = RunDir::open(&path)?;
    assert!(reproducible_files(&parts) == reproducible_files(&whole));

    let mut trained = load_model(
        &whole,
        CheckpointName::Best,
        NonFinite::Reject,
        1,
        &runtime().device,
    )?;
    let data = open_data(&trained.config)?;
    let found = evaluate(
        &mut trained.model,
        &*data.source,
        Split::Test,
        &trained.codec,
    )?;
    assert_eq!(found.exposure_gap(), 0.0, "outputs are not fed back");
    Ok(())
}

fn loaded(text: &str, sets: &[&str]) -> std::result::Result<ExperimentConfig, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("experiment.toml");
    std::fs::write(&path, text).expect("a file is written");
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load_config(Some(&path), &sets).map_err(|error| error.to_string())
}

const TRANSDUCER: &str =
    "[data]\nsource_markers = true\n[model.decoder]\nkind = \"transducer\"\nmodes = 5\n";

#[test]
fn decoder_is_set_as_a_number_a_table_or_one_of_its_keys() {
    let decoder = |sets: &[&str]| loaded(TRANSDUCER, sets).expect("valid").model.decoder;
    let DecoderConfig::Transducer(set) = decoder(&["model.decoder.reach=3"]) else {
        panic!("the kind is that of the file");
    };
    assert_eq!((set.modes.get(), set.reach.get()), (5, 3));
    let number = decoder(&["model.decoder=9"]);
    assert_eq!((number.transducer(), number.width().get()), (None, 9));
    let sets = ["data.source_markers=true", "model.decoder.kind=transducer"];
    let decoder = loaded("", &sets).expect("valid").model.decoder;
    assert!(decoder.transducer().is_some());
}

#[test]
fn resolved_configuration_of_a_transducer_has_only_what_has_an_effect() {
    let config = loaded(TRANSDUCER, &[]).expect("valid");
    let text = config.to_toml().expect("TOML");
    for absent in ["attention", "bridge"] {
        assert!(!text.contains(absent), "{absent} is in {text}");
    }
    assert_eq!(loaded(&text, &[]), Ok(config));
}

#[test]
fn what_does_not_apply_is_refused_with_a_way_out() {
    let long = [
        "data.max_len=5000",
        "train.batch_size=1",
        "train.eval_batch_size=1",
        "model.kernels=reference",
    ];
    let frozen = ["train.restart.kind=loss", "train.freeze=[\"encoder.*\"]"];
    let early = ["train.curriculum={kind=\"loss\", start=50}"];
    let constant = ["train.curriculum={kind=\"loss\", growth=1.0}"];
    let cases: [(&[&str], &str); 12] = [
        (&["data.source_markers=false"], "data.source_markers = true"),
        (&["model.bridge=zero"], "has no effect on a transducer"),
        (&["model.attention.kind=none"], "its head reads the source"),
        (&["model.decoder.modes=65"], "must be at most 64"),
        (&["model.decoder.reach=0"], "a whole number above 0"),
        (&["model.decoder.kind=recurrent"], "`transducer`"),
        (&["model.decoder.mode=4"], "did you mean \"modes\"?"),
        (&["train.precision=f16"], "this transducer takes"),
        (&long, "at most 4094 tokens"),
        (&early, "between data.min_len = 1 and data.max_len = 12"),
        (&constant, "above 1"),
        (&frozen, "remove one of the two"),
    ];
    for (sets, expected) in cases {
        let error = loaded(TRANSDUCER, sets).expect_err("invalid");
        assert!(error.contains(expected), "{sets:?}: {error}");
    }
    let with_kernels = loaded(TRANSDUCER, &long[..3]);
    assert!(with_kernels.is_ok(), "{with_kernels:?}");
}
