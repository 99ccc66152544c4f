//! Reverses sequences, with additive attention of four heads: each scores all positions and reads its part of
//! the values.

use std::error::Error;

use candle_core::{D, Device, Result, Tensor};
use s2s_model::{Attended, Attention, Init, Linear, Memory, Scope, Seq2Seq};
use s2s_train::{ExperimentConfig, Trainer, open_data, tokens_of};

const HEADS: usize = 4;
const UNITS: usize = 64;

#[derive(Debug)]
struct MultiHead {
    query: Linear,
    key: Linear,
    energy: Tensor, // [n, A / n]
}

impl MultiHead {
    fn new(scope: &mut Scope<'_>, values: usize, state: usize) -> Result<Self> {
        let init = Init::Uniform { bound: 0.1 };
        Ok(Self {
            query: Linear::new(&mut scope.pp("query"), state, UNITS)?,
            key: Linear::without_bias(&mut scope.pp("key"), values, UNITS)?,
            energy: scope.get("energy", (HEADS, UNITS / HEADS), init)?,
        })
    }
}

impl Attention for MultiHead {
    fn prepare(&self, values: &Tensor, mask: &Tensor) -> Result<Memory> {
        Memory::new(values, &self.key.forward(values)?, mask)
    }

    fn attend(&self, query: &Tensor, memory: &Memory, _previous: &Tensor) -> Result<Attended> {
        let (batch, len, width) = memory.values().dims3()?;
        let query = self.query.forward(query)?.unsqueeze(1)?;
        let sums = memory.keys().broadcast_add(&query)?.tanh()?;
        let scores = sums
            .reshape((batch, len, HEADS, UNITS / HEADS))?
            .broadcast_mul(&self.energy)?
            .sum(D::Minus1)?;
        let weights = |head| memory.softmax(&scores.get_on_dim(2, head)?);
        let weights = (0..HEADS).map(weights).collect::<Result<Vec<_>>>()?;
        let weights = Tensor::stack(&weights, 2)?; // [B, S, n]
        let parts = memory
            .values()
            .reshape((batch, len, HEADS, width / HEADS))?
            .broadcast_mul(&weights.unsqueeze(3)?)?;
        Ok(Attended {
            context: parts.sum(1)?.flatten_from(1)?,
            weights: weights.mean(2)?,
            controls: Vec::new(),
        })
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut config = ExperimentConfig::default();
    (config.data.vocab, config.data.max_len) = (10, 5); // 1 to 9 are symbols
    (config.data.val_samples, config.data.test_samples) = (100, 100);
    (config.train.max_steps, config.train.warmup_steps) = (300, 20);
    config.train.batch_size = 32.try_into()?;
    config.train.learning_rate = 5e-3.try_into()?;

    let data = open_data(&config)?;
    let model = Seq2Seq::builder(&config.model, tokens_of(data.source.vocabulary()))
        .attention(MultiHead::new)
        .build(&Device::Cpu)?;
    let mut trainer = Trainer::with_model(config, data, model)?;
    trainer.run(&mut [])?;
    println!("{}", trainer.predict("3 1 4 1 5")?);
    Ok(())
}
