//! Runs a model of PyTorch: its weights, under its names, and its first logits.

use std::error::Error;
use std::num::NonZeroUsize;

use candle_core::{DType, Device, IndexOp};
use s2s_model::{AdditiveConfig, AttentionConfig, Batch, Forcing, LoadOptions, Mode, ModelConfig};
use s2s_model::{Renames, Seq2Seq, Tokens, load_weights};

const WEIGHTS: &str = "../../crates/s2s-model/tests/pytorch/weights.pt";

fn main() -> Result<(), Box<dyn Error>> {
    let config = ModelConfig {
        embedding: 3.try_into()?,
        hidden: 4.try_into()?,
        decoder: NonZeroUsize::try_from(5)?.into(),
        attention: AttentionConfig::Additive(AdditiveConfig {
            units: 6.try_into()?,
        }),
        ..ModelConfig::default()
    };
    let tokens = Tokens {
        size: 8,
        bos: 6,
        eos: 7,
    };
    let mut model = Seq2Seq::new(&config, tokens, 0, DType::F32, &Device::Cpu)?;
    let attention = ["attention.query.weight", "attention.key.weight"];
    let options = LoadOptions {
        rename: Renames::default()
            .prefix("encoder.gru.", "encoder.rnn.")
            .prefix("encoder.fc.", "bridge.0.")
            .prefix("decoder.gru.", "decoder.rnn.")
            .prefix("decoder.fc_out.", "decoder.output.")
            .columns("decoder.attention.attn.weight", attention)
            .name("decoder.attention.attn.bias", "attention.query.bias")
            .name("decoder.attention.v.weight", "attention.energy")
            .unused("steps"),
        cast: true,
        ..LoadOptions::default()
    };
    load_weights(model.params(), &std::fs::read(WEIGHTS)?, &options)?;

    let batch = Batch::new(&[vec![1, 2, 3]], &[vec![3]], tokens)?;
    let logits = model.logits(&batch, &Forcing::Always, Mode::Evaluate)?;
    println!("{:.4?}", logits.i((0, 0))?.to_vec1::<f32>()?);
    Ok(())
}
