//! Evaluation by length.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use reverse_data::{DataConfig, Example, Split, Synthetic};
use s2s_model::Seq2Seq;
use s2s_runlog::{DecodingMode, LengthRecord};
use s2s_train::{ByLength, Result, Trainer};

use super::{tiny, trainer};

const MODES: [DecodingMode; 2] = [DecodingMode::Eos, DecodingMode::Oracle];

fn evaluate(
    model: &Seq2Seq,
    data: &DataConfig,
    examples: &[Example],
    mode: DecodingMode,
) -> Result<LengthRecord> {
    let by_length = ByLength::new(model, data)?;
    let record = by_length.evaluate(examples, mode, &|| ControlFlow::Continue(()))?;
    Ok(record.expect("the evaluation was not stopped"))
}

fn synthetic(trainer: &Trainer<Seq2Seq>) -> Synthetic {
    let config = trainer.config();
    Synthetic::new(&config.data, config.seed, config.train.batch_size).expect("valid data")
}

/// A model after eight steps, and test sequences longer than its training data.
fn half_trained(sets: &[&str]) -> Result<(Trainer<Seq2Seq>, Vec<Example>)> {
    let mut trainer = trainer(&tiny(sets));
    for _ in 0..8 {
        trainer.step()?;
    }
    let examples = synthetic(&trainer).of_length(Split::Test, 6, 300); // more than one batch
    assert_eq!(examples.len(), 300);
    Ok((trainer, examples))
}

#[test]
fn metrics_do_not_depend_on_threads_or_batches() -> Result<()> {
    let (mut trainer, examples) = half_trained(&[])?;
    let data = trainer.config().data.clone();
    for mode in MODES {
        let together = evaluate(trainer.model(), &data, &examples, mode)?;
        trainer.model_mut().set_threads(3);
        assert_eq!(evaluate(trainer.model(), &data, &examples, mode)?, together);

        let mut sum = [0; 6];
        let mut mass = 0.0;
        for example in &examples {
            let one = evaluate(trainer.model(), &data, std::slice::from_ref(example), mode)?;
            let counts = [
                one.n_sequences,
                one.n_tokens,
                one.n_exact,
                one.n_stopped_early,
                one.n_ran_over,
                one.n_wrong_token,
            ];
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
            mass += one.n_steps as f64 * one.alignment_mass.unwrap_or(0.0);
        }
        let counts = [
            together.n_sequences,
            together.n_tokens,
            together.n_exact,
            together.n_stopped_early,
            together.n_ran_over,
            together.n_wrong_token,
        ];
        assert_eq!(sum, counts);
        let expected = together.alignment_mass.expect("it has attention");
        // The weights are bit-identical; the sums were divided and multiplied again.
        assert!((mass / together.n_steps as f64 - expected).abs() < 1e-12);
    }
    Ok(())
}

#[test]
fn fused_and_reference_agree_on_attention() -> Result<()> {
    let record = |kernels: &str, markers: &str| -> Result<LengthRecord> {
        let (trainer, examples) = half_trained(&[kernels, markers])?;
        let data = trainer.config().data.clone();
        evaluate(
            trainer.model(),
            &data,
            &examples[..20],
            DecodingMode::Oracle,
        )
    };
    for markers in ["data.source_markers=false", "data.source_markers=true"] {
        let fused = record("model.kernels=fused", markers)?;
        let reference = record("model.kernels=reference", markers)?;
        assert_eq!(fused.n_steps, reference.n_steps);
        let pairs = [
            (fused.alignment_mass, reference.alignment_mass),
            (fused.attention_entropy, reference.attention_entropy),
        ];
        for (fused, reference) in pairs {
            let (fused, reference) = (fused.expect("attention"), reference.expect("attention"));
            // The two models were trained for eight steps on different paths.
            assert!((fused - reference).abs() < 1e-3, "{fused} {reference}");
        }
    }
    Ok(())
}

#[test]
fn a_perfect_model_scores_the_same_with_and_without_the_length() -> Result<()> {
    let sets = [
        "data.vocab=4",
        "data.train_samples=0",
        "train.max_steps=600",
        "train.epochs=0",
        "train.eval_every=600",
        "data.val_samples=1",
        "data.test_samples=1",
        "model.embedding=16",
        "model.hidden=16",
        "model.decoder=32",
        "model.embedding_dropout=0.0",
        "train.batch_size=16",
        "train.learning_rate=0.01",
    ];
    let mut trainer = trainer(&tiny(&sets));
    let data = trainer.config().data.clone();
    for _ in 0..600 {
        trainer.step()?;
    }
    let examples = synthetic(&trainer).of_length(Split::Train, 4, 100);
    let [eos, oracle] = [0, 1].map(|i| evaluate(trainer.model(), &data, &examples, MODES[i]));
    let (eos, oracle) = (eos?, oracle?);
    assert_eq!((eos.exact_match, oracle.exact_match), (1.0, 1.0));
    assert_eq!((eos.token_accuracy, oracle.token_accuracy), (1.0, 1.0));
    assert_eq!((eos.fine_accuracy, oracle.fine_accuracy), (1.0, 1.0));
    // Outputs and attention are bit-identical; EOS adds one token per sequence.
    assert_eq!(eos.n_tokens, oracle.n_tokens + oracle.n_sequences);
    assert_eq!(eos.n_steps, oracle.n_steps);
    assert_eq!(eos.alignment_mass, oracle.alignment_mass);
    assert_eq!(eos.attention_entropy, oracle.attention_entropy);
    Ok(())
}

#[test]
fn decoding_stops_at_the_end_of_the_reference() -> Result<()> {
    let (trainer, examples) = half_trained(&[])?;
    let data = trainer.config().data.clone();
    let by_length = ByLength::new(trainer.model(), &data)?;
    for (mode, most) in [(DecodingMode::Eos, 7), (DecodingMode::Oracle, 6)] {
        let steps = AtomicU64::new(0);
        let count = || {
            steps.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        by_length.evaluate(&examples, mode, &count)?;
        assert!(steps.load(Ordering::Relaxed) <= most * examples.len() as u64);
    }
    Ok(())
}

#[test]
fn a_stopped_evaluation_returns_no_record() -> Result<()> {
    let (trainer, examples) = half_trained(&[])?;
    let data = trainer.config().data.clone();
    let by_length = ByLength::new(trainer.model(), &data)?;
    let record = by_length.evaluate(&examples, DecodingMode::Eos, &|| ControlFlow::Break(()))?;
    assert_eq!(record, None);
    Ok(())
}

#[test]
fn a_model_without_attention_has_no_alignment() -> Result<()> {
    let (trainer, examples) = half_trained(&["model.attention.kind=none"])?;
    let data = trainer.config().data.clone();
    let record = evaluate(trainer.model(), &data, &examples[..3], DecodingMode::Eos)?;
    assert_eq!((record.n_steps, record.alignment_mass), (0, None));
    Ok(())
}
