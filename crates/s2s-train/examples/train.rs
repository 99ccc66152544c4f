//! Trains a model to reverse sequences and runs it on a sequence, without any file.
//!
//! ```sh
//! cargo run --release -p s2s-train --example train
//! ```

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use candle_core::Device;
use s2s_model::{Source, Stop, greedy};
use s2s_train::{Collector, ExperimentConfig, Trainer};

fn main() -> s2s_train::Result<()> {
    let mut config = ExperimentConfig::default();
    config.data.vocab = 10;
    config.data.max_len = 6;
    config.train.max_steps = 300;
    config.train.eval_every = 100.into();

    let mut trainer = Trainer::new(config, 1, &Device::Cpu)?;
    let mut collector = Collector::default();
    trainer.run(&mut [&mut collector])?;
    for metrics in &collector.metrics {
        println!(
            "step {}: validation loss {:.4}, exact match {:.3}",
            metrics.step, metrics.val_loss, metrics.val_exact_match
        );
    }

    let model = trainer.model();
    let source = Source::new(&[vec![3, 1, 4, 1, 5]], model.tokens())?;
    let output = greedy(model, &source, Stop::default(), true)?.remove(0);
    println!("3 1 4 1 5 -> {:?}", output.tokens);
    println!("attention at the first step: {:.2?}", output.weights[0]);
    Ok(())
}
