//! Files of `tests/pytorch`: weights of a PyTorch program that has other names, loaded as docs/extending.md
//! shows, and losses with label smoothing. `scripts/foreign_weights.py` and `scripts/label_smoothing.py`
//! wrote them.

use std::error::Error;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor, Var};
use s2s_kernels::slices::{Team, swap_axes, token_loss};
use s2s_model::{
    AdditiveConfig, AttentionConfig, Batch, BatchLoss, Forcing, ForwardOutput, LoadOptions, Mode,
    ModelConfig, Renames, Seq2Seq, Source, Tokens, load_weights,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    source: Vec<u32>,
    target: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

/// The code between these two names is that of the page.
fn load(path: impl AsRef<Path>) -> Result<Seq2Seq, Box<dyn Error>> {
    let tokens = Tokens {
        size: 8,
        bos: 6,
        eos: 7,
    };
    let config = ModelConfig {
        embedding: 3.try_into()?,
        hidden: 4.try_into()?,
        decoder: NonZeroUsize::try_from(5)?.into(),
        attention: AttentionConfig::Additive(AdditiveConfig {
            units: 6.try_into()?,
        }),
        ..ModelConfig::default()
    };
    let model = Seq2Seq::new(&config, tokens, 0, DType::F32, &Device::Cpu)?;
    let attention = ["attention.query.weight", "attention.key.weight"];
    let options = LoadOptions {
        rename: Renames::default()
            .prefix("encoder.gru.", "encoder.rnn.")
            .prefix("encoder.fc.", "bridge.0.")
            .prefix("decoder.gru.", "decoder.rnn.")
            .prefix("decoder.fc_out.", "decoder.output.")
            .columns("decoder.attention.attn.weight", attention) // it reads [state; value]
            .name("decoder.attention.attn.bias", "attention.query.bias")
            .name("decoder.attention.v.weight", "attention.energy")
            .unused("steps"),
        cast: true, // from double precision
        ..LoadOptions::default()
    };
    load_weights(model.params(), &fs::read(path)?, &options)?;
    Ok(model)
}

#[test]
fn weights_of_pytorch_give_its_logits() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch");
    let expected: Expected = serde_json::from_slice(&fs::read(folder.join("logits.json"))?)?;
    let mut model = load(folder.join("weights.pt"))?;
    let batch = Batch::new(&[expected.source], &[expected.target], model.tokens())?;
    let logits = model.logits(&batch, &Forcing::Always, Mode::Evaluate)?;
    let found = logits.squeeze(0)?.to_vec2::<f32>()?;
    for (found, expected) in found.iter().zip(&expected.logits) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
    Ok(())
}

#[test]
fn the_page_shows_the_code_that_is_tested() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = fs::read_to_string(root.join("tests/model/pytorch.rs"))?;
    let page = fs::read_to_string(root.join("../../docs/extending.md"))?;
    let start = "fn load(path: impl AsRef<Path>) -> Result<Seq2Seq, Box<dyn Error>> {";
    let body = code.split(start).nth(1).ok_or("no code")?;
    let body = body.split("\n}\n").next().ok_or("no end")?;
    let shown = format!("```rust\n{start}{body}\n}}\n```\n");
    assert!(
        page.contains(&shown),
        "docs/extending.md must show:\n{shown}"
    );
    Ok(())
}

#[derive(Deserialize)]
struct Smoothed {
    targets: Vec<u32>,
    lengths: Vec<usize>,
    logits: Vec<f64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    smoothing: f64,
    loss: f64,
    gradient: Vec<f64>,
}

#[test]
fn label_smoothing_is_that_of_pytorch_on_both_paths() -> Result<(), Box<dyn Error>> {
    const SHAPE: (usize, usize, usize) = (3, 4, 7); // [B, T, V]
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/label_smoothing.json");
    let expected: Smoothed = serde_json::from_slice(&fs::read(path)?)?;
    let tokens = Tokens {
        size: 7,
        bos: 0,
        eos: 6,
    };
    let source = Source::new(&vec![vec![1]; SHAPE.0], tokens)?;
    let batch = Batch::with_target(source, expected.targets, expected.lengths, tokens)?;
    let logits = Var::from_slice(&expected.logits, SHAPE, &Device::Cpu)?;
    let plain = expected.cases[0].loss;
    for case in &expected.cases {
        let batch = batch
            .clone()
            .with_label_smoothing(case.smoothing.try_into()?);
        let output = ForwardOutput {
            logits: logits.as_tensor().clone(),
            predictions: logits.argmax(D::Minus1)?,
            penalty: None,
        };
        let (loss, objective) = BatchLoss::of(&output, &batch)?;
        close(&[loss.loss_sum / batch.n_tokens() as f64], &[plain]); // without smoothing
        close(&[objective.to_scalar::<f64>()?], &[case.loss]);
        let store = objective.backward()?;
        let gradient = store.get(&logits).ok_or("no gradient")?;
        close(&gradient.flatten_all()?.to_vec1()?, &case.gradient);

        let (mut team, (rows, len, _)) = (Team::new(NonZeroUsize::MIN), SHAPE);
        let mut gradient = vec![0.0; expected.logits.len()]; // [T, B, V]
        swap_axes(&mut gradient, &expected.logits, rows, len, &mut team);
        let (scale, smoothing) = (1.0 / batch.n_tokens() as f64, case.smoothing);
        let (targets, lengths) = (batch.target_out(), batch.target_lengths());
        let loss = token_loss(&mut gradient, targets, lengths, scale, smoothing, &mut team);
        close(&[loss * scale], &[plain]);
        let gradient = Tensor::from_vec(gradient, (len, rows, 7), &Device::Cpu)?;
        let gradient = gradient.transpose(0, 1)?.contiguous()?;
        close(&gradient.flatten_all()?.to_vec1()?, &case.gradient);
    }
    Ok(())
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
}
