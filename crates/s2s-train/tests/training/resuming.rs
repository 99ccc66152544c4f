//! A resumed run ends with the same bytes as an uninterrupted one.

use std::collections::HashSet;
use std::num::NonZeroU64;

use candle_core::Device;
use s2s_model::NonFinite;
use s2s_runlog::{
    AttentionRecord, Checkpoint, CheckpointName, ConfigChange, EvalRecord, JsonLines,
    MetricsRecord, Parent, RunStatus, StepMetrics, TimingRecord, WrongRecord, read_checkpoint,
    read_json, read_lines, write_checkpoint,
};
use s2s_train::{
    Change, Collector, Error, ExperimentConfig, Observer, Result, Run, Snapshot, StopReason,
    check_unchanged, load_model, new_identity,
};
use tempfile::TempDir;

use crate::{
    StopAt, StopInEval, finished, reproducible_files, runtime, tiny, tiny_on_text, trained,
    trainer, variants,
};

/// A snapshot's `last` on disk.
fn on_disk(snapshot: &Snapshot) -> (TempDir, Checkpoint) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("last");
    let files = snapshot.files(CheckpointName::Last);
    write_checkpoint(&path, &files).expect("a checkpoint is written");
    let checkpoint = read_checkpoint(&path).expect("a checkpoint is read");
    (folder, checkpoint)
}

fn last(collector: &Collector) -> &Snapshot {
    collector.last.as_deref().expect("a snapshot")
}

/// Interrupts after `step`, resumes in another trainer, and compares everything with an
/// uninterrupted run.
pub(crate) fn check(config: &ExperimentConfig, whole: &Collector, step: u64) -> Result<()> {
    let mut first = Collector::default();
    let mut stop = StopAt(step);
    let reason = trainer(config).run(&mut [&mut first as &mut dyn Observer, &mut stop])?;
    let n_steps = whole.steps.len() as u64;
    if step < n_steps {
        assert_eq!(reason, StopReason::Interrupted, "step {step}");
    }
    let last = last(&first);
    assert_eq!(last.step, step);

    let (_folder, checkpoint) = on_disk(last);
    check_same(&first, resumed_from(config, &checkpoint)?, whole, step)
}

/// The records of a trainer that resumes from a checkpoint.
fn resumed_from(config: &ExperimentConfig, checkpoint: &Checkpoint) -> Result<Collector> {
    let mut resumed = trainer(config);
    resumed.restore(checkpoint)?;
    let mut collector = Collector::default();
    resumed.run(&mut [&mut collector])?;
    Ok(collector)
}

/// Checks that the records of two processes together equal those of an uninterrupted run.
fn check_same(first: &Collector, second: Collector, whole: &Collector, step: u64) -> Result<()> {
    let losses = |collector: &Collector| -> Vec<(u64, f64)> {
        collector
            .steps
            .iter()
            .map(|record| (record.step, record.tally.loss_sum))
            .collect()
    };
    assert_eq!(
        [losses(first), losses(&second)].concat(),
        losses(whole),
        "step {step}"
    );
    assert_eq!(
        [&first.metrics[..], &second.metrics].concat(),
        whole.metrics,
        "step {step}"
    );
    if second.last.is_some() {
        assert!(
            last(&second) == last(whole),
            "step {step}: the last checkpoints differ"
        );
    }
    Ok(())
}

#[test]
fn resumed_run_is_the_uninterrupted_one_bit_for_bit() -> Result<()> {
    for [cell, kernels] in variants() {
        let sets = [
            &cell,
            &kernels,
            "model.layers=2",
            "train.warmup_steps=4",
            "train.schedule={kind=\"plateau\", factor=0.5, patience=1}",
            "train.teacher_forcing={schedule=\"linear\", ratio=1.0, per=\"sequence\"}",
            "train.eval_every=4",
            "train.patience=50",
            "train.learning_rate=0.02",
        ];
        let (_text, on_text) = tiny_on_text(&sets);
        for config in [tiny(&sets), on_text] {
            let whole = trained(&config)?;
            // The first step, during warm-up, mid-epoch, at an evaluation, the last two steps.
            let steps = [1, 2, 3, 4, 5, 7, 8, 11, 14, 15];
            for step in steps {
                check(&config, &whole, step)?;
            }
            println!("torture: {} trials", steps.len());
        }
    }
    Ok(())
}

#[test]
fn a_resumed_run_of_another_optimizer_is_the_uninterrupted_one_bit_for_bit() -> Result<()> {
    let config = tiny(&[
        "train.optimizer={kind=\"sgd\", momentum=0.9}",
        "train.schedule.kind=inverse-sqrt",
        "train.freeze=[\"encoder.*\"]",
        "train.warmup_steps=4",
        "train.eval_every=4",
        "train.learning_rate=0.2",
    ]);
    let whole = trained(&config)?;
    for step in [1, 4, 5, 14] {
        check(&config, &whole, step)?;
    }
    Ok(())
}

#[test]
fn early_stopping_is_unaffected_by_an_interruption() -> Result<()> {
    // Nothing improves after the first evaluation, so the counter increases from then on.
    let sets = [
        "train.epochs=50",
        "train.eval_every=3",
        "train.learning_rate=1e-30",
        "train.warmup_steps=4",
        "train.patience=4",
    ];
    let config = tiny(&sets);
    let whole = trained(&config)?;
    let n_steps = whole.steps.len() as u64;
    assert!(n_steps < 100);
    for step in 1..n_steps {
        check(&config, &whole, step)?;
    }
    println!("torture: {} trials", n_steps - 1);
    Ok(())
}

#[test]
fn an_interrupted_evaluation_is_repeated() -> Result<()> {
    let sets = ["train.eval_every=4", "train.eval_batch_size=5"];
    let (_text, on_text) = tiny_on_text(&sets);
    for config in [tiny(&sets), on_text] {
        let whole = trained(&config)?;
        // Three batches per evaluation, four evaluations.
        for n in 1..=12 {
            let mut first = Collector::default();
            let mut stop = StopInEval(n + 3); // after the evaluation before the first step
            let reason = trainer(&config).run(&mut [&mut first as &mut dyn Observer, &mut stop])?;
            assert_eq!(reason, StopReason::Interrupted, "batch {n}");
            let last = last(&first);
            let step = [4, 8, 12, 15][(n - 1) / 3];
            assert_eq!(last.step, step);
            assert_eq!(first.metrics.len(), (n - 1) / 3);
            let (_folder, checkpoint) = on_disk(last);
            check_same(&first, resumed_from(&config, &checkpoint)?, &whole, step)?;
        }
        println!("torture: 12 trials");
    }
    Ok(())
}

#[test]
fn an_evaluation_interrupted_before_the_first_step_leaves_a_run_that_starts_again() -> Result<()> {
    let config = tiny(&["train.eval_batch_size=5"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, _) = finished(&folder.path().join("whole"), &config)?;
    for n in 1..=3 {
        let path = folder.path().join(n.to_string());
        let mut run = Run::create(&path, config.clone(), "", &runtime())?;
        let stopped = run.train(&mut [&mut StopInEval(n)], |_| None)?;
        assert_eq!((stopped.status, stopped.step), (RunStatus::Interrupted, 0));
        drop(run);
        let mut run = Run::resume(&path, &runtime())?;
        run.train(&mut [], |_| None)?;
        assert!(reproducible_files(run.dir()) == reproducible_files(&whole));
    }
    Ok(())
}

#[test]
fn the_evaluation_before_the_first_step_changes_nothing_and_is_recorded_once() -> Result<()> {
    let config = tiny(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dir, _) = finished(&folder.path().join("run"), &config)?;
    // The same steps without a loop around them.
    let mut bare = trainer(&config);
    for _ in 0..15 {
        bare.step()?;
    }
    let trained = load_model(
        &dir,
        CheckpointName::Last,
        NonFinite::Reject,
        1,
        &Device::Cpu,
    )?;
    for ((name, own), (_, other)) in trained
        .model
        .params()
        .iter()
        .zip(bare.model().params().iter())
    {
        let flat = |var: &candle_core::Var| var.flatten_all().and_then(|var| var.to_vec1::<f32>());
        assert_eq!(flat(own)?, flat(other)?, "{name}");
    }
    let initial: EvalRecord = read_json(dir.initial())?;
    assert_eq!((initial.step, initial.split.as_str()), (0, "val"));
    // Near the loss of a uniform guess.
    assert!(
        (initial.forced_loss - (10.0_f64).ln()).abs() < 0.5,
        "{initial:?}"
    );
    let probes: Vec<AttentionRecord> = read_lines(dir.attention())?;
    let of_a_step: Vec<&[AttentionRecord]> = probes.chunk_by(|a, b| a.step == b.step).collect();
    let steps: Vec<u64> = of_a_step.iter().map(|probes| probes[0].step).collect();
    assert_eq!(steps, [0, 1, 2, 4, 5, 10, 15]);
    let sources = |probes: &[AttentionRecord]| -> Vec<Vec<String>> {
        probes.iter().map(|probe| probe.source.clone()).collect()
    };
    let first = sources(of_a_step[0]);
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 4, "{first:?}");
    assert!(of_a_step.iter().all(|probes| sources(probes) == first));
    let wrong: Vec<WrongRecord> = read_lines(dir.wrong())?;
    let steps: Vec<u64> = wrong.iter().map(|line| line.step).collect();
    assert_eq!(steps, [0, 5, 10, 15]);
    for output in &wrong[0].outputs {
        assert_ne!(
            output.prediction[..],
            [&output.target[..], &["</s>".to_owned()]].concat()[..]
        );
    }
    let metrics: Vec<MetricsRecord> = read_lines(dir.metrics())?;
    assert_eq!(metrics[0].step, 5);
    Ok(())
}

#[test]
fn the_step_log_of_a_resumed_run_is_that_of_an_uninterrupted_one() -> Result<()> {
    let config = tiny(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = |run: &Run| -> Result<Vec<StepMetrics>> {
        let mut lines: Vec<StepMetrics> = read_lines(run.dir().steps())?;
        for line in &mut lines {
            assert!(line.tokens_per_second > 0.0);
            line.tokens_per_second = 0.0;
        }
        Ok(lines)
    };
    let every = NonZeroU64::MIN.saturating_add(2);
    let create = |name: &str| -> Result<Run> {
        let mut run = Run::create(folder.path().join(name), config.clone(), "", &runtime())?;
        run.log_every(every);
        Ok(run)
    };
    let mut whole = create("whole")?;
    whole.train(&mut [], |_| None)?;
    let expected = lines(&whole)?;
    let steps: Vec<u64> = expected.iter().map(|line| line.step).collect();
    assert_eq!(steps, [3, 6, 9, 12, 15]);
    for step in [1, 6, 7] {
        let mut run = create(&step.to_string())?;
        let first = run.train(&mut [&mut StopAt(step)], |_| None)?;
        let path = run.dir().path().to_owned();
        drop(run);
        let mut run = Run::resume(path, &runtime())?;
        run.log_every(every);
        let last = run.train(&mut [], |_| None)?;
        assert_eq!(lines(&run)?, expected, "stopped at step {step}");
        // The time of both processes counts.
        assert!(last.elapsed_secs > first.elapsed_secs);
        let timing: Vec<TimingRecord> = read_lines(run.dir().timing())?;
        assert!(
            timing
                .windows(2)
                .all(|two| two[0].elapsed_secs < two[1].elapsed_secs)
        );
        assert!(last.elapsed_secs >= timing[timing.len() - 1].elapsed_secs);
    }
    Ok(())
}

#[test]
fn an_interrupted_test_evaluation_is_repeated() -> Result<()> {
    let config = tiny(&["train.eval_batch_size=5"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, record) = finished(&folder.path().join("whole"), &config)?;
    let path = folder.path().join("stopped");
    let mut run = Run::create(&path, config, "", &runtime())?;
    // Four evaluations of three batches, and the first batch of the test split.
    let stopped = run.train(&mut [&mut StopInEval(13)], |_| None)?;
    assert_eq!((stopped.status, stopped.step), (RunStatus::Interrupted, 15));
    drop(run);
    let mut run = Run::resume(&path, &runtime())?;
    let resumed = run.train(&mut [], |_| None)?;
    assert_eq!((resumed.status, resumed.test), (record.status, record.test));
    assert!(reproducible_files(run.dir()) == reproducible_files(&whole));
    Ok(())
}

/// Extends a finished run and returns its directory.
fn extended(
    path: &std::path::Path,
    config: &ExperimentConfig,
    sets: &[&str],
    keeps_schedule: bool,
) -> Result<s2s_runlog::RunDir> {
    finished(path, config)?;
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let change = Change {
        sets: &sets,
        keeps_schedule,
    };
    let mut run = Run::resume_changed(path, &change, None, &runtime())?;
    let record = run.train(&mut [], |_| None)?;
    assert_eq!(record.status, RunStatus::Finished);
    Ok(run.dir().clone())
}

#[test]
fn an_extended_run_equals_a_longer_one_bit_for_bit() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    // A constant schedule does not depend on the length.
    let dir = extended(
        &path("a"),
        &tiny(&["train.epochs=2"]),
        &["train.epochs=5"],
        false,
    )?;
    let (whole, _) = finished(&path("b"), &tiny(&["train.epochs=5"]))?;
    assert!(reproducible_files(&dir) == reproducible_files(&whole));
    // A schedule that keeps its length equals one that always had it.
    let cosine = "train.schedule={kind=\"cosine\", floor=0.1}";
    let short = tiny(&["train.epochs=2", cosine]);
    let dir = extended(&path("c"), &short, &["train.epochs=5"], true)?;
    let cosine = "train.schedule={kind=\"cosine\", floor=0.1, steps=10}";
    let (whole, _) = finished(&path("d"), &tiny(&["train.epochs=5", cosine]))?;
    assert!(reproducible_files(&dir) == reproducible_files(&whole));
    let lines: Vec<MetricsRecord> = read_lines(dir.metrics()).expect("metrics");
    let rates: Vec<f64> = lines.iter().map(|line| line.learning_rate).collect();
    assert_eq!(rates[1..], [1e-4; 4]);
    // All of them are recorded.
    let changes: Vec<ConfigChange> = read_lines(dir.history()).expect("a history");
    assert_eq!((changes.len(), changes[0].step), (1, 10));
    check_unchanged(&dir)?;
    load_model(
        &dir,
        CheckpointName::Best,
        NonFinite::Reject,
        1,
        &Device::Cpu,
    )?;
    Ok(())
}

#[test]
fn a_run_extended_twice_equals_one_extended_once() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a");
    let once = extended(
        &folder.path().join("b"),
        &tiny(&["train.epochs=1"]),
        &["train.epochs=3"],
        false,
    )?;
    extended(
        &path,
        &tiny(&["train.epochs=1"]),
        &["train.epochs=2"],
        false,
    )?;
    let sets = ["train.epochs=3".to_owned()];
    let change = Change {
        sets: &sets,
        keeps_schedule: false,
    };
    let mut run = Run::resume_changed(&path, &change, None, &runtime())?;
    run.train(&mut [], |_| None)?;
    assert!(reproducible_files(run.dir()) == reproducible_files(&once));
    Ok(())
}

#[test]
fn a_change_that_is_not_allowed_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run");
    let cosine = "train.schedule={kind=\"cosine\", floor=0.1}";
    let (dir, _) = finished(&path, &tiny(&[cosine]))?;
    let state = || {
        let files = [
            dir.run(),
            dir.resolved_config(),
            dir.checkpoint(CheckpointName::Last).join("state.json"),
        ];
        files.map(|file| std::fs::read(file).expect("a file of a run"))
    };
    let before = state();
    for (sets, part) in [
        (
            &["model.hidden=6"][..],
            "model.hidden cannot change in a resumed run",
        ),
        (
            &["seed=3", "data.vocab=9", "train.batch_size=4"],
            "data.vocab, seed, train.batch_size cannot change",
        ),
        (
            &["train.epochs=5"],
            "spans the whole run, whose length changes from 15 to 25 steps",
        ),
        (
            &["train.max_steps=7", cosine],
            "the run has taken 15 steps; it cannot end after 7",
        ),
        (
            &["train.epochs=x"],
            "train.epochs: string \"x\", expected an integer",
        ),
    ] {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let change = Change {
            sets: &sets,
            keeps_schedule: false,
        };
        let error = Run::resume_changed(&path, &change, None, &runtime()).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert!(!dir.history().exists());
        assert!(state() == before, "{part}");
    }
    Ok(())
}

#[test]
fn a_change_interrupted_between_two_files_leaves_a_usable_run() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run");
    let dir = extended(
        &path,
        &tiny(&["train.epochs=1"]),
        &["train.epochs=2"],
        false,
    )?;
    // The history has another change, but the configuration was not replaced.
    let mut lines = JsonLines::resume(dir.history(), |_: &ConfigChange| true)?;
    let last: Vec<ConfigChange> = read_lines(dir.history())?;
    lines.append(&ConfigChange {
        step: 10,
        set: vec!["train.epochs=9".to_owned()],
        before: last[0].after.clone(),
        after: "0".repeat(64),
    })?;
    check_unchanged(&dir)?;
    Run::resume(&path, &runtime())?;
    Ok(())
}

#[test]
fn weights_of_another_run_are_matched_by_token() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dir, _) = finished(&folder.path().join("parent"), &tiny(&[]))?;
    let parent = load_model(
        &dir,
        CheckpointName::Best,
        NonFinite::Reject,
        1,
        &Device::Cpu,
    )?;
    let config = tiny(&["data.vocab=10", "seed=5"]);
    let mut own = trainer(&config);
    let fresh = trainer(&config);
    let transfer = own.start_from(&parent, dir.path())?;
    // PAD, BOS, EOS and the symbols 1 to 7.
    assert_eq!(
        (transfer.n_matched, transfer.new, transfer.unused),
        (10, vec!["8".to_owned(), "9".to_owned()], vec![])
    );
    let rows = |params: &s2s_model::Params, name: &str| -> Vec<Vec<f32>> {
        let var = params.get(name).expect("a parameter");
        var.to_vec2().expect("a matrix")
    };
    for name in [
        "encoder.embedding.weight",
        "decoder.embedding.weight",
        "decoder.output.weight",
    ] {
        let [own, fresh, parent] = [
            own.model().params(),
            fresh.model().params(),
            parent.model.params(),
        ]
        .map(|params| rows(params, name));
        assert_eq!(own[..8], parent[..8], "{name}: PAD and symbols");
        assert_eq!(own[8..10], fresh[8..10], "{name}: new symbols");
        assert_eq!(own[10..], parent[8..], "{name}: BOS and EOS");
    }
    for (name, var) in own
        .model()
        .params()
        .iter()
        .filter(|(name, _)| name.contains("rnn"))
    {
        let flat = |var: &candle_core::Var| var.flatten_all().and_then(|var| var.to_vec1::<f32>());
        let other = parent.model.params().get(name).expect("a parameter");
        assert_eq!(flat(var)?, flat(other)?, "{name}");
    }
    assert_eq!(own.state().step, 0);

    let error = trainer(&tiny(&["model.hidden=6"]))
        .start_from(&parent, dir.path())
        .expect_err("another width");
    assert!(
        error
            .to_string()
            .contains("model.hidden is 6 here and 5 there"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_run_from_weights_resumes_before_its_first_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dir, _) = finished(&folder.path().join("parent"), &tiny(&[]))?;
    let parent = load_model(
        &dir,
        CheckpointName::Best,
        NonFinite::Reject,
        1,
        &Device::Cpu,
    )?;
    let create = |name: &str| -> Result<Run> {
        let path = folder.path().join(name);
        let mut trainer = trainer(&tiny(&["seed=5"]));
        let transfer = trainer.start_from(&parent, dir.path())?;
        let mut identity = new_identity(&path);
        identity.parent = Some(Parent {
            path: dir.path().display().to_string(),
            id: None,
            checkpoint: "best".to_owned(),
            step: parent.step,
            n_matched: transfer.n_matched,
            n_new: 0,
            n_unused: 0,
        });
        Run::create_as(path, trainer, "", &runtime(), &identity)
    };
    let mut whole = create("whole")?;
    whole.train(&mut [], |_| None)?;
    drop(create("killed")?);
    let mut resumed = Run::resume(folder.path().join("killed"), &runtime())?;
    resumed.train(&mut [], |_| None)?;
    assert!(reproducible_files(resumed.dir()) == reproducible_files(whole.dir()));
    let (fresh, _) = finished(&folder.path().join("fresh"), &tiny(&["seed=5"]))?;
    assert!(reproducible_files(&fresh) != reproducible_files(whole.dir()));
    Ok(())
}

#[test]
fn parameters_alone_do_not_resume_a_run() -> Result<()> {
    let config = tiny(&[]);
    let whole = trained(&config)?;
    let mut first = Collector::default();
    trainer(&config).run(&mut [&mut first as &mut dyn Observer, &mut StopAt(5)])?;
    let mut interrupted = last(&first).clone();
    let fresh = {
        let mut fresh = Collector::default();
        trainer(&config).run(&mut [&mut fresh as &mut dyn Observer, &mut StopAt(1)])?;
        last(&fresh).clone()
    };
    interrupted.moments = fresh.moments;
    let (_folder, checkpoint) = on_disk(&interrupted);
    let mut resumed = trainer(&config);
    resumed.restore(&checkpoint)?;
    let mut second = Collector::default();
    resumed.run(&mut [&mut second])?;
    assert!(last(&second) != last(&whole), "the moments have no effect");
    Ok(())
}

#[test]
fn same_seed_gives_the_same_bytes_for_any_number_of_threads() -> Result<()> {
    ["gru", "lstm"].into_iter().try_for_each(check_threads)
}

fn check_threads(cell: &str) -> Result<()> {
    let cell = format!("model.cell={cell}");
    let config = tiny(&["model.kernels=fused", "model.layers=2", &cell]);
    let run = |threads| -> Result<Collector> {
        let mut collector = Collector::default();
        let device = candle_core::Device::Cpu;
        s2s_train::Trainer::new(config.clone(), threads, &device)?.run(&mut [&mut collector])?;
        Ok(collector)
    };
    let one = run(1)?;
    for threads in [2, 3, 8] {
        let other = run(threads)?;
        assert_eq!(one.metrics, other.metrics, "{cell}, {threads} threads");
        assert_eq!(one.probes, other.probes, "{cell}, {threads} threads");
        assert!(one.best == other.best, "{cell}, {threads} threads: best");
        assert!(one.last == other.last, "{cell}, {threads} threads: last");
    }
    Ok(())
}

#[test]
fn another_seed_gives_another_run() -> Result<()> {
    let run = |seed: &str| trained(&tiny(&[seed]));
    assert_ne!(run("seed=0")?.metrics, run("seed=1")?.metrics);
    Ok(())
}

#[test]
fn a_mismatched_checkpoint_is_rejected_and_nothing_changes() -> Result<()> {
    let snapshot_of = |sets: &[&str]| -> Result<Snapshot> {
        let collector = trained(&tiny(sets))?;
        Ok(last(&collector).clone())
    };
    let mut other_shape = snapshot_of(&["model.hidden=6"])?;
    let own = snapshot_of(&[])?;
    // Same configuration hash, parameters of another shape.
    other_shape.state = own.state.clone();
    let mut garbled = own.clone();
    garbled.state = b"{\"step\": 3}".to_vec();
    let mut truncated = own.clone();
    truncated.params.truncate(own.params.len() / 2);

    for (snapshot, part) in [
        (snapshot_of(&["seed=7"])?, "different config.resolved.toml"),
        (other_shape, "moments.safetensors: first/encoder"),
        (garbled, "state.json"),
        (truncated, "params.safetensors"),
    ] {
        let (_folder, checkpoint) = on_disk(&snapshot);
        let mut trainer = trainer(&tiny(&[]));
        match trainer.restore(&checkpoint) {
            Err(Error::Checkpoint { reason, .. }) => assert!(reason.contains(part), "{reason}"),
            other => panic!("expected an error with {part:?}, got {other:?}"),
        }
        assert_eq!(trainer.state().step, 0);
        let fresh = trained(&tiny(&[]))?;
        let mut collector = Collector::default();
        trainer.run(&mut [&mut collector])?;
        assert_eq!(
            collector.metrics, fresh.metrics,
            "the rejected checkpoint changed the model: {part}"
        );
    }
    Ok(())
}
