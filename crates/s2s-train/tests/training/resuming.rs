//! A resumed run ends with the same bytes as an uninterrupted one.

use s2s_runlog::{Checkpoint, CheckpointName, RunStatus, read_checkpoint, write_checkpoint};
use s2s_train::{Collector, Error, ExperimentConfig, Observer, Result, Run, Snapshot, StopReason};
use tempfile::TempDir;

use crate::{
    StopAt, StopInEval, finished, reproducible_files, runtime, tiny, trained, trainer, variants,
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
fn check(config: &ExperimentConfig, whole: &Collector, step: u64) -> Result<()> {
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
        let config = tiny(&[
            &cell,
            &kernels,
            "model.layers=2",
            "train.warmup_steps=4",
            "train.schedule={kind=\"plateau\", factor=0.5, patience=1}",
            "train.teacher_forcing={schedule=\"linear\", ratio=1.0, per=\"sequence\"}",
            "train.eval_every=4",
            "train.patience=50",
            "train.learning_rate=0.02",
        ]);
        let whole = trained(&config)?;
        // The first step, during warm-up, mid-epoch, at an evaluation, the last two steps.
        let steps = [1, 2, 3, 4, 5, 7, 8, 11, 14, 15];
        for step in steps {
            check(&config, &whole, step)?;
        }
        println!("torture: {} trials", steps.len());
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
    let config = tiny(&["train.eval_every=4", "train.eval_batch_size=5"]);
    let whole = trained(&config)?;
    // Three batches per evaluation, four evaluations.
    for n in 1..=12 {
        let mut first = Collector::default();
        let mut stop = StopInEval(n);
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
    Ok(())
}

#[test]
fn an_interrupted_test_evaluation_is_repeated() -> Result<()> {
    let config = tiny(&["train.eval_batch_size=5"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, record) = finished(&folder.path().join("whole"), &config)?;
    let path = folder.path().join("stopped");
    let mut run = Run::create(&path, config, "", &runtime())?;
    // Three evaluations of three batches, and the first batch of the test split.
    let stopped = run.train(&mut [&mut StopInEval(10)], |_| None)?;
    assert_eq!((stopped.status, stopped.step), (RunStatus::Interrupted, 15));
    drop(run);
    let mut run = Run::resume(&path, &runtime())?;
    let resumed = run.train(&mut [], |_| None)?;
    assert_eq!((resumed.status, resumed.test), (record.status, record.test));
    assert!(reproducible_files(run.dir()) == reproducible_files(&whole));
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
