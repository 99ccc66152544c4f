//! The example of docs/extending.md: weights of a PyTorch program that has other names.
//!
//! `scripts/foreign_weights.py` has the program; it wrote the files of `tests/pytorch`.

use std::error::Error;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::{DType, Device};
use s2s_model::{
    AdditiveConfig, AttentionConfig, Batch, Forcing, LoadOptions, Mode, ModelConfig, Renames,
    Seq2Seq, Tokens, load_weights,
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
