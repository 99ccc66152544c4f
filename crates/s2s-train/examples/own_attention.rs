//! Trains a model with an attention mechanism of your own: additive attention with several heads.
//!
//! ```sh
//! cargo run --release -p s2s-train --example own_attention
//! ```

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use std::error::Error;
use std::num::NonZeroUsize;

use candle_core::{D, Device, Result, Tensor};
use s2s_model::{Attended, Attention, Init, Linear, Memory, Scope, Seq2Seq};
use s2s_train::{Collector, ExperimentConfig, Trainer, open_data, tokens_of};

/// Additive attention with `n` heads. Each head scores all positions and reads its own part of the
/// values; the context is the concatenation of the parts.
#[derive(Debug)]
struct MultiHead {
    query: Linear,  // D -> n·A
    key: Linear,    // H -> n·A
    energy: Tensor, // [n, A]
    n_heads: usize,
}

impl MultiHead {
    fn new(
        scope: &mut Scope<'_>,
        n_heads: usize,
        units: usize,
        values: usize,
        state: usize,
    ) -> Result<Self> {
        Ok(Self {
            query: Linear::new(&mut scope.pp("query"), state, n_heads * units)?,
            key: Linear::without_bias(&mut scope.pp("key"), values, n_heads * units)?,
            energy: scope.get("energy", (n_heads, units), Init::Uniform { bound: 0.1 })?,
            n_heads,
        })
    }
}

impl Attention for MultiHead {
    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        Memory::new(values, &self.key.forward(values)?, mask)
    }

    fn attend(&self, query: &Tensor, memory: &Memory, _previous: &Tensor) -> Result<Attended> {
        let (batch, len, width) = memory.values().dims3()?;
        let sums = memory
            .keys()
            .broadcast_add(&self.query.forward(query)?.unsqueeze(1)?)?;
        let sums = sums.tanh()?.reshape((batch, len, self.n_heads, ()))?; // [B, S, n, A]
        let scores = sums.broadcast_mul(&self.energy)?.sum(D::Minus1)?; // [B, S, n]
        let mut contexts = Vec::with_capacity(self.n_heads);
        let mut mean = memory.mask().zeros_like()?;
        for head in 0..self.n_heads {
            let weights = memory.softmax(&scores.narrow(2, head, 1)?.squeeze(2)?)?; // [B, S]
            let part = width / self.n_heads;
            let values = memory.values().narrow(2, head * part, part)?;
            let context = weights.unsqueeze(1)?.matmul(&values.contiguous()?)?;
            contexts.push(context.squeeze(1)?); // [B, H / n]
            mean = (mean + weights.affine(1.0 / self.n_heads as f64, 0.0)?)?;
        }
        Ok(Attended {
            context: Tensor::cat(&contexts, 1)?,
            weights: mean,
            controls: Vec::new(),
        })
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    for metrics in &train()?.metrics {
        println!(
            "step {}: validation loss {:.4}",
            metrics.step, metrics.val_loss
        );
    }
    Ok(())
}

fn train() -> std::result::Result<Collector, Box<dyn Error>> {
    let mut config = ExperimentConfig::default();
    (config.data.vocab, config.data.max_len) = (10, 5);
    (config.data.val_samples, config.data.test_samples) = (100, 100);
    (config.train.max_steps, config.train.eval_every) = (100, 50.into());
    (config.model.hidden, config.model.decoder) =
        (32.try_into()?, NonZeroUsize::try_from(64)?.into());
    config.train.batch_size = 32.try_into()?;
    config.train.learning_rate = 1e-2.try_into()?;
    config.train.warmup_steps = 10;

    let data = open_data(&config)?;
    let tokens = tokens_of(data.source.vocabulary());
    let model = Seq2Seq::builder(&config.model, tokens)
        .attention(|scope, values, state| MultiHead::new(scope, 4, 16, values, state))
        .build(&Device::Cpu)?;
    let mut collector = Collector::default();
    Trainer::with_model(config, data, model)?.run(&mut [&mut collector])?;
    Ok(collector)
}

#[test]
fn it_learns() {
    let last = train().unwrap().metrics.pop();
    assert!(last.unwrap().val_loss < 0.5);
}
