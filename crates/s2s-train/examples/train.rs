//! Trains a model to reverse sequences and asks it, without any file.
//!
//! ```sh
//! cargo run --release -p s2s-train --example train
//! ```

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use std::error::Error;

use candle_core::Device;
use s2s_train::{Answer, ExperimentConfig, Flow, Trainer, on_eval};

fn main() -> Result<(), Box<dyn Error>> {
    let answer = train_and_ask()?;
    println!(
        "3 1 4 1 5 -> {answer}, log-probability {:.3}",
        answer.log_prob
    );
    println!("attention at the first step: {:.2?}", answer.attention[0]);
    Ok(())
}

fn train_and_ask() -> Result<Answer, Box<dyn Error>> {
    let mut config = ExperimentConfig::default();
    (config.data.vocab, config.data.max_len) = (10, 5);
    (config.data.val_samples, config.data.test_samples) = (100, 100);
    (config.train.max_steps, config.train.eval_every) = (120, 40.into());
    config.train.batch_size = 32.try_into()?;
    config.train.learning_rate = 5e-3.try_into()?;
    config.train.warmup_steps = 20;

    let mut trainer = Trainer::new(config, 1, &Device::Cpu)?;
    trainer.run(&mut [&mut on_eval(|event| {
        let metrics = event.metrics;
        println!(
            "step {}: validation loss {:.4}, exact match {:.3}",
            metrics.step, metrics.val_loss, metrics.val_exact_match
        );
        Ok(Flow::Continue)
    })])?;

    Ok(trainer.predict("3 1 4 1 5")?)
}

#[test]
fn it_learns_to_reverse() {
    assert_eq!(train_and_ask().unwrap().text, "5 1 4 1 3");
}
