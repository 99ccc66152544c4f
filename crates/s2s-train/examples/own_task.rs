//! Trains on a task of your own, in a run folder that can be resumed, and asks the model in the folder.
//!
//! ```sh
//! cargo run --release -p s2s-train --example own_task
//! ```

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use std::error::Error;

use candle_core::Device;
use reverse_data::{Task, Token};
use s2s_train::{Answer, Data, ExperimentConfig, Run, Runtime, Trained, Trainer};

/// Rotates a sequence to the left.
#[derive(Debug)]
struct Rotate(usize);

impl Task for Rotate {
    fn target(&self, source: &[Token]) -> Vec<Token> {
        let mut target = source.to_vec();
        target.rotate_left(self.0 % source.len());
        target
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("3 1 4 1 5 -> {}", train_and_ask()?);
    Ok(())
}

fn train_and_ask() -> Result<Answer, Box<dyn Error>> {
    let mut config = ExperimentConfig::default();
    (config.data.vocab, config.data.max_len) = (10, 5);
    (config.data.val_samples, config.data.test_samples) = (100, 100);
    (config.train.max_steps, config.train.eval_every) = (240, 80.into());
    config.train.batch_size = 32.try_into()?;
    config.train.learning_rate = 5e-3.try_into()?;
    config.train.warmup_steps = 20;

    let data = Data::with_task(&config, Rotate(2))?;
    let trainer = Trainer::with_data(config, data, 1, &Device::Cpu)?;
    let folder = std::env::temp_dir().join(format!("own-task-{}", std::process::id()));
    // The checkpoint holds the identity of its data: a run on another task cannot resume from it.
    let mut run = Run::create_with(&folder, trainer, "", &Runtime::default())?;
    println!("test: {:?}", run.train(&mut [], |_| None)?.test);

    let answer = Trained::load(&folder)?.predict("3 1 4 1 5")?;
    std::fs::remove_dir_all(&folder)?;
    Ok(answer)
}

#[test]
fn it_learns_to_rotate() {
    assert_eq!(train_and_ask().unwrap().text, "4 1 5 3 1");
}
