//! Learning, the end of a run, and models and data defined in code.

use candle_core::Device;
use reverse_data::Split;
use s2s_model::{Forcing, Mode, NonFinite};
use s2s_runlog::{CheckpointName, RunRecord, RunStatus, read_checkpoint};
use s2s_train::{
    Collector, Data, Error, ExperimentConfig, Flow, Model, Observer, Result, Run, StepRecord,
    StopReason, Trainer, evaluate, load_model, load_model_with, on_step, open_data, to_batch,
};

use crate::{finished, reproducible_files, runtime, tiny, trained, trainer, variants};

#[test]
fn the_initial_loss_is_that_of_a_uniform_guess() -> Result<()> {
    // All logits near 0: -log(1/V) with V = 8 + 2 tokens. The output weights are at most
    // 1/√17 and the features at most 1, so the logits deviate by a few tenths.
    let mut trainer = trainer(&tiny(&["model.embedding_dropout=0"]));
    let first = trainer.step()?;
    let guess = 10.0_f64.ln();
    assert!(
        (first.tally.loss() - guess).abs() < 0.3,
        "{} is not {guess}",
        first.tally.loss()
    );
    Ok(())
}

#[test]
fn one_batch_can_be_overfitted() -> Result<()> {
    for [cell, kernels] in variants() {
        let config = tiny(&[
            "data.train_samples=8",
            "model.hidden=16",
            "model.decoder=16",
            "model.embedding_dropout=0",
            "train.epochs=0",
            "train.max_steps=150",
            "train.learning_rate=0.02",
            "train.teacher_forcing.ratio=1",
            &cell,
            &kernels,
        ]);
        let last = trained(&config)?
            .metrics
            .pop()
            .expect("an evaluation at the end");
        let what = format!("{cell}, {kernels}");
        assert_eq!(last.train_exact_match, 1.0, "{what}");
        assert!(last.train_loss < 0.05, "{what}: {}", last.train_loss);
    }
    Ok(())
}

#[test]
fn fused_and_reference_training_agree_over_fifty_steps() -> Result<()> {
    ["gru", "lstm"].into_iter().try_for_each(check_fifty_steps)
}

fn check_fifty_steps(cell: &str) -> Result<()> {
    let losses = |kernels: &str| -> Result<Vec<f64>> {
        let config = tiny(&[
            "model.layers=2",
            "train.epochs=10",
            "train.learning_rate=0.003",
            &format!("model.cell={cell}"),
            &format!("model.kernels={kernels}"),
        ]);
        Ok(trained(&config)?
            .steps
            .iter()
            .map(|step| step.tally.loss())
            .collect())
    };
    let (fused, reference) = (losses("fused")?, losses("reference")?);
    assert_eq!(fused.len(), 50);
    for (step, (fused, reference)) in fused.iter().zip(reference).enumerate() {
        // The gradients differ by rounding, about 1e-6, which fifty steps of Adam accumulate. A
        // near tie in an argmax could make the runs diverge, but does not with these seeds.
        let difference = (fused - reference).abs() / reference;
        assert!(
            difference < 1e-4,
            "{cell}, step {step}: {fused} against {reference}"
        );
    }
    Ok(())
}

#[test]
fn losses_decrease_and_the_exposure_gap_is_reported() -> Result<()> {
    let metrics = trained(&tiny(&["train.epochs=12", "train.learning_rate=0.01"]))?.metrics;
    let (first, last) = (&metrics[0], &metrics[metrics.len() - 1]);
    assert!(last.train_loss < first.train_loss);
    assert!(last.val_loss < first.val_loss);
    assert_eq!(last.epoch, Some(12.0));
    for record in &metrics {
        assert_eq!(
            record.exposure_gap,
            record.val_loss - record.val_forced_loss
        );
    }
    assert!(metrics.iter().filter(|record| record.is_best).count() >= 2);
    Ok(())
}

#[test]
fn targets_and_patience_end_a_run() -> Result<()> {
    let reason = |sets: &[&str]| -> Result<(StopReason, u64)> {
        let mut trainer = trainer(&tiny(sets));
        let reason = trainer.run(&mut [])?;
        Ok((reason, trainer.state().step))
    };
    let (ended, step) = reason(&[
        "train.epochs=400",
        "train.learning_rate=0.02",
        "train.target_exact_match=0.2",
        "model.embedding_dropout=0",
    ])?;
    assert_eq!(ended, StopReason::TargetReached);
    assert!(step < 2000);
    // With a rate near zero the validation loss does not improve after the first evaluation.
    let (ended, _) = reason(&[
        "train.epochs=50",
        "train.learning_rate=1e-30",
        "train.patience=2",
    ])?;
    assert_eq!(ended, StopReason::StoppedEarly);
    assert_eq!(reason(&[])?, (StopReason::Finished, 15));
    Ok(())
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_update() -> Result<()> {
    for kernels in ["fused", "reference"] {
        let mut trainer = trainer(&tiny(&[&format!("model.kernels={kernels}")]));
        trainer.step()?;
        let (name, poisoned) = trainer.model().params().iter().next().expect("parameters");
        assert_eq!(name, "encoder.embedding.weight");
        let nan = (poisoned.as_detached_tensor() * f64::NAN)?;
        poisoned.set(&nan)?;
        let before = trainer.state().clone();
        match trainer.step() {
            Err(Error::Diverged { step: 2, value, .. }) => assert!(!value.is_finite()),
            other => panic!("{kernels}: {other:?}"),
        }
        assert_eq!(*trainer.state(), before);
    }
    Ok(())
}

#[test]
fn logits_of_a_split_do_not_depend_on_the_batch_size() -> Result<()> {
    let mut trainer = trainer(&tiny(&["model.kernels=fused"]));
    for _ in 0..5 {
        trainer.step()?;
    }
    let mut tallies = Vec::new();
    let codec = trainer.codec().clone();
    for size in [1, 5, 12] {
        let size = std::num::NonZeroUsize::new(size).expect("a size");
        let data = trainer.eval_data().with_batch_size(size);
        let split = reverse_data::Split::Val;
        let result = s2s_train::evaluate(trainer.model_mut(), &*data, split, &codec)?;
        tallies.push((result.free.n_right, result.free.n_exact, result.free.loss()));
    }
    for tally in &tallies[1..] {
        assert_eq!((tally.0, tally.1), (tallies[0].0, tallies[0].1));
        // The loss of each row has the same bits; the f64 sum has another order.
        assert!((tally.2 - tallies[0].2).abs() < 1e-12);
    }
    Ok(())
}

/// A custom model, trained by the same loop through autograd alone.
struct Wrapped(s2s_model::Seq2Seq);

impl Model for Wrapped {
    fn params(&self) -> &s2s_model::Params {
        self.0.params()
    }
    fn tokens(&self) -> s2s_model::Tokens {
        self.0.tokens()
    }
    fn forward(
        &self,
        batch: &s2s_model::Batch,
        forcing: &Forcing,
        mode: Mode<'_>,
    ) -> candle_core::Result<s2s_model::ForwardOutput> {
        self.0.forward(batch, forcing, mode)
    }
    fn decode(
        &self,
        source: &s2s_model::Source,
        stop: s2s_model::Stop,
    ) -> candle_core::Result<Vec<s2s_model::Decoded>> {
        self.0.decode(source, stop)
    }
}

#[test]
fn the_loop_trains_any_model_through_autograd() -> Result<()> {
    let config = tiny(&["train.epochs=6", "train.learning_rate=0.01"]);
    let reference = trainer(&tiny(&["model.kernels=reference"]));
    let data = reference.data().clone();
    let model = s2s_model::Seq2Seq::new(
        &config.model,
        reference.model().tokens(),
        0,
        candle_core::DType::F32,
        &Device::Cpu,
    )?;
    let mut own = Trainer::with_model(config, data.clone(), Wrapped(model))?;
    let mut collector = Collector::default();
    own.run(&mut [&mut collector])?;
    let losses: Vec<f64> = collector
        .metrics
        .iter()
        .map(|record| record.val_loss)
        .collect();
    assert!(losses[5] < losses[0], "{losses:?}");

    let padded = data.source.batch(reverse_data::Split::Val, 0);
    let batch = to_batch(padded, own.model().tokens())?;
    let free = own.model_mut().loss(&batch, &Forcing::Never)?;
    assert_eq!(free.predictions.len(), batch.target_out().len());
    Ok(())
}

#[test]
fn a_validation_loss_that_is_not_finite_is_divergence() {
    // The first update makes the parameters so large that the next evaluation overflows.
    let mut trainer = trainer(&tiny(&["train.learning_rate=1e38", "train.eval_every=1"]));
    let mut collector = Collector::default();
    match trainer.run(&mut [&mut collector]) {
        Err(Error::Diverged { step: 1, what, .. }) => assert_eq!(what, "validation loss"),
        other => panic!("{other:?}"),
    }
    assert!(collector.metrics.is_empty() && collector.last.is_none());
}

#[test]
fn the_length_of_the_probe_is_limited() {
    let probe_len = |sets: &[&str]| trainer(&tiny(sets)).probes()[0][0].tokens.len();
    assert_eq!(probe_len(&[]), 4);
    assert_eq!(probe_len(&["data.max_len=500"]), 20);
    assert_eq!(probe_len(&["data.max_len=500", "data.min_len=400"]), 400);
}

#[test]
fn the_test_split_is_evaluated_with_the_best_checkpoint() -> Result<()> {
    let config = tiny(&["train.eval_every=1", "train.learning_rate=0.3"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dir, record) = finished(&folder.path().join("run"), &config)?;
    assert!(record.best_step < Some(record.step), "the last is the best");
    let data = open_data(&config)?.source;
    let data = data.with_batch_size(config.train.eval_batch_size);
    let tested = |name| -> Result<_> {
        let mut trained = load_model(&dir, name, NonFinite::Reject, 1, &Device::Cpu)?;
        let result = evaluate(&mut trained.model, &*data, Split::Test, &trained.codec)?;
        Ok(Some(result.record(Split::Test, trained.step)))
    };
    assert_eq!(record.test, tested(CheckpointName::Best)?);
    assert_ne!(record.test, tested(CheckpointName::Last)?);
    Ok(())
}

#[test]
fn an_error_of_an_observer_passes_through_unchanged() -> Result<()> {
    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("enough")]
    struct Enough(u64);

    let mut steps = 0;
    let mut trainer = Trainer::new(tiny(&[]), 1, &Device::Cpu)?;
    let mut stop = on_step(|record| {
        steps = record.step;
        match record.step {
            3 => Err(Error::observer(Enough(3))),
            _ => Ok(Flow::Continue),
        }
    });
    let error = trainer.run(&mut [&mut stop]).unwrap_err();
    drop(stop);
    let Error::Observer(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.downcast_ref(), Some(&Enough(3)));
    assert_eq!(steps, 3);
    Ok(())
}

#[test]
fn a_task_that_leaves_the_vocabulary_is_an_error_before_training() {
    #[derive(Debug)]
    struct Constant(u32);
    impl reverse_data::Task for Constant {
        fn target(&self, _source: &[u32]) -> Vec<u32> {
            vec![self.0]
        }
    }
    let config = tiny(&[]);
    for token in [0, config.data.vocab, config.data.vocab + 1, 999] {
        let data = Data::with_task(&config, Constant(token)).expect("the configuration is valid");
        let error = Trainer::with_data(config.clone(), data, 1, &Device::Cpu).unwrap_err();
        let max = config.data.vocab - 1;
        let expected = format!("train sample 0: its target has token {token}, expected 1 to {max}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_panic_of_an_observer_is_an_error_and_the_run_can_be_resumed() -> Result<()> {
    let mut stop = on_step(|record| match record.step {
        3 => panic!("at step {}", record.step),
        _ => Ok(Flow::Continue),
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run");
    let mut run = Run::create(&path, tiny(&[]), "", &runtime())?;
    let error = run.train(&mut [&mut stop], |_| None).unwrap_err();
    assert_eq!(error.to_string(), "an observer panicked: at step 3");
    drop(run);
    let record = Run::resume(&path, &runtime())?.train(&mut [], |_| None)?;
    assert_eq!(record.status, RunStatus::Finished);
    Ok(())
}

#[test]
fn each_optimizer_and_schedule_learns() -> Result<()> {
    for changes in [
        &["train.optimizer.kind=sgd", "train.learning_rate=0.3"][..],
        &[
            "train.schedule.kind=inverse-sqrt",
            "train.warmup_steps=5",
            "train.learning_rate=0.02",
        ],
        &["train.freeze=[\"encoder.*\"]", "train.learning_rate=0.01"],
    ] {
        let mut trainer = Trainer::new(tiny(changes), 1, &Device::Cpu)?;
        let mut collector = Collector::default();
        trainer.run(&mut [&mut collector])?;
        let losses: Vec<f64> = collector.metrics.iter().map(|it| it.val_loss).collect();
        assert!(losses.last() < losses.first(), "{changes:?}: {losses:?}");
    }
    Ok(())
}

/// Returns a flow after a step.
struct EndAt(u64, Flow);

impl Observer for EndAt {
    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        Ok(match record.step == self.0 {
            true => self.1,
            false => Flow::Continue,
        })
    }
}

#[test]
fn an_observer_can_finish_a_run_or_interrupt_it() -> Result<()> {
    let config = tiny(&["train.eval_every=4"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ended = |name: &str, flow| -> Result<RunRecord> {
        let path = folder.path().join(name);
        let mut run = Run::create(path, config.clone(), "", &runtime())?;
        run.train(&mut [&mut EndAt(2, flow)], |_| None)
    };
    let interrupted = ended("interrupted", Flow::Interrupt)?;
    assert_eq!(interrupted.status, RunStatus::Interrupted);
    assert_eq!((interrupted.step, interrupted.test), (2, None));
    let finished = ended("finished", Flow::Finish)?;
    assert_eq!(finished.status, RunStatus::StoppedEarly);
    assert_eq!((finished.step, finished.best_step), (2, Some(2)));
    assert!(finished.test.is_some(), "the test split was not evaluated");
    // A resumed run stays finished.
    let mut run = Run::resume(folder.path().join("finished"), &runtime())?;
    assert_eq!(run.train(&mut [], |_| None)?.step, 2);
    Ok(())
}

#[test]
fn a_configuration_from_code_is_checked_like_one_from_a_file() {
    let mut config = tiny(&[]);
    (config.train.epochs, config.train.max_steps) = (0.into(), 0);
    for error in [
        Trainer::new(config.clone(), 1, &Device::Cpu).err(),
        open_data(&config).err(),
        config.validate().err().map(Error::from),
    ] {
        let error = error.expect("an endless run is rejected").to_string();
        assert!(error.contains("max_steps"), "{error}");
    }
}

#[test]
fn a_checkpoint_of_different_data_is_rejected() -> Result<()> {
    #[derive(Debug)]
    struct Copy;
    impl reverse_data::Task for Copy {
        fn target(&self, source: &[reverse_data::Token]) -> Vec<reverse_data::Token> {
            source.to_vec()
        }
    }
    let config = tiny(&["train.max_steps=4", "train.eval_every=2"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dir, _) = finished(&folder.path().join("run"), &config)?;
    let checkpoint = read_checkpoint(dir.checkpoint(CheckpointName::Last))?;
    trainer(&config).restore(&checkpoint)?;

    let copy = Data::with_task(&config, Copy)?;
    let mut other = Trainer::with_data(config, copy, 1, &Device::Cpu)?;
    let error = other.restore(&checkpoint).expect_err("the data differ");
    assert!(error.to_string().contains("different data"), "{error}");
    Ok(())
}

#[test]
fn a_run_of_a_custom_model_resumes() -> Result<()> {
    let config = tiny(&[
        "train.max_steps=6",
        "train.eval_every=2",
        "model.kernels=reference",
    ]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let build = |config: ExperimentConfig| {
        let data = open_data(&config)?;
        let tokens = s2s_train::tokens_of(data.source.vocabulary());
        let model = s2s_model::Seq2Seq::builder(&config.model, tokens)
            .seed(config.seed)
            .build(&Device::Cpu)?;
        Trainer::with_model(config, data, Wrapped(model))
    };
    let (whole, path) = (folder.path().join("whole"), folder.path().join("run"));
    let mut run = Run::create_with(&whole, build(config.clone())?, "", &runtime())?;
    run.train(&mut [], |_| None)?;
    let whole = reproducible_files(run.dir());

    let mut run = Run::create_with(&path, build(config)?, "", &runtime())?;
    run.train(&mut [&mut EndAt(3, Flow::Interrupt)], |_| None)?;
    drop(run);
    let mut run = Run::resume_with(&path, |_, config| build(config))?;
    run.train(&mut [], |_| None)?;
    assert_eq!(reproducible_files(run.dir()), whole);
    let trained = load_model_with(
        run.dir(),
        CheckpointName::Best,
        NonFinite::Reject,
        |config, tokens| {
            let builder = s2s_model::Seq2Seq::builder(&config.model, tokens);
            Ok(Wrapped(builder.build(&Device::Cpu)?))
        },
    )?;
    assert_eq!(trained.config.train.max_steps, 6);
    Ok(())
}
