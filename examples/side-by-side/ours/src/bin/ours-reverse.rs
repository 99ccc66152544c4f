//! Reverses sequences: a GRU encoder, a GRU decoder with additive attention.

use std::error::Error;

use candle_core::Device;
use s2s_train::{ExperimentConfig, Trainer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = ExperimentConfig::default();
    (config.data.vocab, config.data.max_len) = (10, 5); // 1 to 9 are symbols
    (config.data.val_samples, config.data.test_samples) = (100, 100);
    (config.train.max_steps, config.train.warmup_steps) = (300, 20);
    config.train.batch_size = 32.try_into()?;
    config.train.learning_rate = 5e-3.try_into()?;

    let mut trainer = Trainer::new(config, 1, &Device::Cpu)?;
    trainer.run(&mut [])?;
    println!("{}", trainer.predict("3 1 4 1 5")?);
    Ok(())
}
