//! From a run folder to answers.

use std::fs;
use std::path::Path;

use candle_core::Device;
use reverse_data::SequenceError;
use s2s_model::{Beam, Sampling, Stop};
use s2s_train::{
    Answer, Data, Decoding, Error, ExperimentConfig, Predictor, Result, Run, Trained, Trainer,
    load_config,
};

use crate::{runtime, tiny};

/// A run in a folder.
fn trained(folder: &Path, sets: &[&str]) -> Result<Run> {
    let mut run = Run::create(folder.join("run"), tiny(sets), "", &runtime())?;
    run.train(&mut [], |_| None)?;
    Ok(run)
}

#[test]
fn a_run_folder_answers() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = trained(folder.path(), &["data.source_markers=true"])?;
    let path = folder.path().join("run");
    let best = Trained::load(&path)?;
    let answer = best.predict("3 1 4")?;
    assert_eq!(answer, run.best()?.predict("3,1, 4")?);
    assert_eq!(answer, run.trainer().predict("3 1 4")?); // after training, its model is the best

    let vocabulary = &best.codec.vocabulary;
    let texts: Vec<String> = answer.tokens.iter().map(|t| vocabulary.text(*t)).collect();
    assert_eq!(answer.texts, texts);
    assert_eq!(answer.text, texts.join(" "));
    assert_eq!(answer.to_string(), answer.text);
    let n_probabilities = answer.tokens.len() + usize::from(answer.stopped);
    assert_eq!(answer.probabilities.len(), n_probabilities);
    let product: f64 = answer.probabilities.iter().map(|p| f64::from(*p)).product();
    assert!((product.ln() - answer.log_prob).abs() < 1e-4);
    assert_eq!(answer.attention.len(), n_probabilities);
    for weights in &answer.attention {
        assert_eq!(weights.len(), 5); // BOS, three symbols, EOS
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }

    let last = Trained::load(path.with_file_name("run@last"))?;
    assert_eq!(last.step, run.trainer().state().step);
    assert_eq!(
        Trained::load(path.with_file_name("run@best"))?.step,
        best.step
    );
    assert_eq!(
        Trained::load(path.join("checkpoints/last"))?.step,
        last.step
    );
    assert!(Trained::load(path.with_file_name("run@first")).is_err());
    assert_eq!(run.last()?.predict("3 1")?, last.predict("3 1")?);
    Ok(())
}

#[test]
fn answers_do_not_depend_on_other_lines() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trained = trained(folder.path(), &[])?.best()?;
    let lines = ["1 2 3 4", "5", "7 7 7 7 7 7 7 7 7", "2 1", "5"];
    let without_attention = |line: &str| -> Result<Answer> {
        let attention = Vec::new();
        Ok(Answer {
            attention,
            ..trained.predict(line)?
        })
    };
    let alone: Vec<Answer> = lines
        .iter()
        .map(|line| without_attention(line))
        .collect::<Result<_>>()?;
    assert_eq!(trained.predict_batch(&lines)?, alone);
    assert_eq!(trained.predict_batch(&[] as &[&str])?, []);
    let one = 1.try_into().expect("1 is not 0");
    let rows = trained.predictor()?.with_batch_size(one).predict(&lines)?;
    assert_eq!(rows.concat(), alone);
    let width_one = trained.predictor()?.with_decoding(trained.beam(1));
    assert_eq!(width_one.predict(&lines)?.concat(), alone);

    let sampling = Sampling {
        draws: 3.try_into().expect("3 is not 0"),
        temperature: 3.0,
        ..trained.sampling()
    };
    let sampler = trained.predictor()?.with_decoding(sampling);
    let drawn = sampler.predict(&lines)?;
    assert!(drawn.iter().all(|draws| draws.len() == 3));
    assert_ne!(drawn[1], drawn[4]); // the number of a line keys its draws
    assert_eq!(sampler.predict(&lines[..2])?, drawn[..2]);
    Ok(())
}

#[test]
fn a_beam_returns_its_best_answers_first() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trained = trained(folder.path(), &[])?.best()?;
    let beam = Beam {
        n_best: 4.try_into().expect("4 is not 0"),
        ..trained.beam(6)
    };
    let predictor = trained.predictor()?.with_decoding(beam).with_attention();
    let answers = predictor.predict(&["3 1 4"])?.remove(0);
    assert_eq!(answers.len(), 4);
    assert!(answers.is_sorted_by(|a, b| a.log_prob >= b.log_prob));
    assert!(answers.iter().all(|answer| answer.attention[0].len() == 3));
    let greedy = trained.predict("3 1 4")?;
    assert!(answers[0].log_prob >= greedy.log_prob);
    Ok(())
}

#[test]
fn text_is_limited_by_the_lengths_in_training_and_reports_unknown_tokens() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = folder.path().join("pairs.tsv");
    let pairs: Vec<String> = (0..60).map(|i| format!("a{i} b\tb a{i}\n")).collect();
    fs::write(&table, pairs.concat()).expect("there is room");
    for (tokens, line, unknown) in [
        ("words", "a1 zebra b", &["zebra"][..]),
        ("chars", "a1 #b", &["#"]),
        ("bytes", "a1 #b", &[]),
    ] {
        let sets = [
            format!("data.file={}", table.display()),
            format!("data.tokens={tokens}"),
            "data.split=[0.6,0.2,0.2]".to_owned(),
            "train.max_steps=3".to_owned(),
            "train.eval_every=3".to_owned(),
        ];
        let path = folder.path().join(tokens);
        let config = load_config(None, &sets)?;
        let mut run = Run::create(&path, config, "", &runtime())?;
        run.train(&mut [], |_| None)?;
        fs::rename(&table, folder.path().join("gone.tsv")).expect("it exists");
        let trained = Trained::load(&path)?; // the data are not needed
        fs::rename(folder.path().join("gone.tsv"), &table).expect("it exists");

        let [longest_source, longest_target] = match tokens {
            "words" => [2, 2],
            _ => [5, 5], // "a10 b"
        };
        let answer = trained.predict(line)?;
        assert_eq!(answer.unknown, unknown);
        assert_eq!(trained.codec.longest_source, Some(longest_source));
        let Stop::AtEos(limit) = trained.beam(2).constraints.stop else {
            panic!("a beam ends at EOS");
        };
        assert_eq!(limit, trained.codec.limit);
        assert_eq!(limit.tokens(1), longest_target + 10);
        assert!(answer.probabilities.len() <= limit.tokens(line.len()));
        let text = trained.codec.vocabulary.line(&answer.tokens);
        assert_eq!(answer.text, text);
        if tokens == "words" {
            check_replacement(&trained, line)?;
        }
    }
    Ok(())
}

/// `<unk>` is replaced by the source token with the greatest weight.
fn check_replacement(trained: &Trained, line: &str) -> Result<()> {
    let unknown = trained.codec.vocabulary.unknown().expect("text has it");
    let mut beam = trained.beam(1);
    beam.constraints.prefix = vec![unknown];
    let predictor = trained.predictor()?.with_decoding(beam);
    let answer = predictor.predict(&[line])?.concat().remove(0);
    assert_eq!(answer.texts[0], "<unk>");
    let answer = predictor
        .replacing_unknown()
        .predict(&[line])?
        .concat()
        .remove(0);
    let weights = answer.attention[0].iter().enumerate();
    let greatest = weights.max_by(|(_, a), (_, b)| a.total_cmp(b));
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(answer.texts[0], words[greatest.expect("a word").0]);
    assert_eq!(answer.tokens[0], unknown);
    Ok(())
}

#[test]
fn lines_that_cannot_be_read_are_named() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trained = trained(folder.path(), &[])?.best()?;
    let long = "x".repeat(300);
    for (line, message) in [
        ("", "cannot read \"\": no tokens"),
        (
            "3 8",
            "cannot read \"3 8\": token 8 is outside the vocabulary, expected 1 to 7",
        ),
        (
            "3 x",
            "cannot read \"3 x\": token \"x\" is not a number, expected 1 to 7",
        ),
    ] {
        for result in [
            trained.predict(line).map(drop),
            trained.predict_batch(&["1", line]).map(drop),
        ] {
            assert_eq!(result.expect_err("it is invalid").to_string(), message);
        }
    }
    let error = trained.predict(&long).expect_err("it is invalid");
    assert!(error.to_string().len() < 300, "{error}");

    let limit = Predictor::MAX_LEN_WITH_ATTENTION;
    let line = "1 ".repeat(limit + 1);
    assert!(trained.predict(&line)?.attention.is_empty());
    let with_attention = trained.predictor()?.with_attention();
    let error = with_attention.predict(&[line]).expect_err("it is too long");
    let (len, max) = (limit + 1, limit);
    assert!(matches!(
        error,
        Error::Sequence { problem: SequenceError::TooLong { len: l, max: m }, .. } if (l, m) == (len, max)
    ));

    let mut beam = trained.beam(2);
    beam.constraints.prefix = vec![1; 40];
    let predictor = trained.predictor()?.with_decoding(beam);
    let error = predictor.predict(&["1 2"]).expect_err("the prefix is long");
    let message = "cannot read \"1 2\": the prefix has 40 tokens, but the output may have only 14";
    assert_eq!(error.to_string(), message);
    Ok(())
}

#[test]
fn folders_without_a_model_are_named() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing");
    let error = Trained::load(&missing).expect_err("there is no run");
    assert!(error.to_string().contains(&missing.display().to_string()));
    let run = Run::create(folder.path().join("new"), tiny(&[]), "", &runtime())?;
    let error = run.best().expect_err("there is no checkpoint");
    assert!(error.to_string().contains("checkpoints/best"), "{error}");
    Ok(())
}

#[test]
fn the_reference_path_answers_long_lines_on_any_thread() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trained = trained(folder.path(), &["model.kernels=reference"])?.best()?;
    let line = "1 2 3 ".repeat(500);
    let stop = Stop::AtEos(s2s_model::OutputLimit::fixed(
        5.try_into().expect("5 is not 0"),
    ));
    let predictor = trained.predictor()?.with_decoding(Decoding::Greedy(stop));
    let answers = predictor.predict(&[&line, "3 1 4"])?;
    assert!(answers.iter().all(|answers| answers.len() == 1));
    Ok(())
}

#[test]
fn models_without_attention_answer_without_it() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trained = trained(folder.path(), &["model.attention.kind=none"])?.best()?;
    assert!(trained.predict("3 1 4")?.attention.is_empty());
    Ok(())
}

#[test]
fn a_trainer_evaluates_its_splits() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut run = trained(folder.path(), &[])?;
    let record = run
        .train(&mut [], |_| None)?
        .test
        .expect("the run is finished");
    let mut trainer = crate::trainer(&tiny(&[]));
    assert!(trainer.evaluate(reverse_data::Split::Test)?.free.loss() > record.loss);
    let mut endless = crate::trainer(&tiny(&[
        "data.train_samples=0",
        "train.epochs=0",
        "train.max_steps=2",
        "train.eval_every=2",
    ]));
    let error = endless.evaluate(reverse_data::Split::Train);
    assert!(matches!(error, Err(Error::EndlessSplit { .. })));
    Ok(())
}

#[test]
fn a_run_on_pairs_in_memory_answers_and_resumes() -> Result<()> {
    let config = tiny(&["train.epochs=0", "train.max_steps=4", "train.eval_every=2"]);
    let pairs = || -> Vec<_> { (1..8).map(|n| (vec![n, 1], vec![1, n])).collect() };
    let build = |config: ExperimentConfig| {
        let data = Data::pairs(&config, [pairs(), pairs(), pairs()])?;
        Trainer::with_data(config, data, 1, &Device::Cpu)
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run");
    let mut run = Run::create_with(&path, build(config.clone())?, "", &runtime())?;
    let record = run.train(&mut [], |_| None)?;
    assert_eq!(record.test.expect("the run is finished").n_sequences, 7);
    drop(run);
    assert!(Trained::load(&path)?.predict("7 1")?.log_prob < 0.0);
    let resumed = Run::resume_with(&path, |_, config| build(config))?;
    assert_eq!(resumed.trainer().state().step, 4);

    let bad = Data::pairs(&config, [pairs(), vec![(vec![9], vec![1])], pairs()]);
    let message = "val sample 0: its source has token 9, expected 1 to 7";
    assert_eq!(bad.expect_err("9 is no symbol").to_string(), message);
    Ok(())
}
