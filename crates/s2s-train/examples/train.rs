//! Trains a model to reverse sequences and asks it, without any file.
//!
//! ```sh
//! cargo run --release -p s2s-train --example train
//! ```

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use candle_core::Device;
use s2s_train::{ExperimentConfig, Flow, Trainer, on_eval};

fn main() -> s2s_train::Result<()> {
    let mut config = ExperimentConfig::default();
    config.data.vocab = 10;
    config.data.max_len = 6;
    config.train.max_steps = 300;
    config.train.eval_every = 100.into();

    let mut trainer = Trainer::new(config, 1, &Device::Cpu)?;
    trainer.run(&mut [&mut on_eval(|event| {
        let metrics = event.metrics;
        println!(
            "step {}: validation loss {:.4}, exact match {:.3}",
            metrics.step, metrics.val_loss, metrics.val_exact_match
        );
        Ok(Flow::Continue)
    })])?;

    let answer = trainer.predict("3 1 4 1 5")?;
    println!(
        "3 1 4 1 5 -> {answer}, log-probability {:.3}",
        answer.log_prob
    );
    println!("attention at the first step: {:.2?}", answer.attention[0]);
    Ok(())
}
