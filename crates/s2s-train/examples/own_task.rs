//! Trains on a task of your own, in a run folder that can be resumed and evaluated.
//!
//! ```sh
//! cargo run --release -p s2s-train --example own_task
//! ```

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use std::sync::Arc;

use candle_core::Device;
use reverse_data::{Split, Synthetic, Task, Token};
use s2s_model::NonFinite;
use s2s_runlog::{CheckpointName, RunDir};
use s2s_train::{Data, ExperimentConfig, Result, Run, Runtime, Trainer, evaluate, load_model};

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

fn data(config: &ExperimentConfig) -> Result<Data> {
    let task: Arc<dyn Task> = Arc::new(Rotate(2));
    let batch_size = config.train.batch_size;
    Ok(Data::new(Synthetic::with_task(
        &config.data,
        task,
        config.seed,
        batch_size,
    )?))
}

fn main() -> Result<()> {
    let mut config = ExperimentConfig::default();
    (config.data.vocab, config.data.max_len) = (10, 6);
    (config.train.max_steps, config.train.eval_every) = (300, 100.into());
    (config.data.val_samples, config.data.test_samples) = (200, 200);

    let runtime = Runtime {
        device: Device::Cpu,
        device_name: "cpu".to_owned(),
        device_reason: String::new(),
        threads: 1,
        command: Vec::new(),
    };
    let folder = std::env::temp_dir().join(format!("own-task-{}", std::process::id()));
    let trainer = Trainer::with_data(config.clone(), data(&config)?, 1, &runtime.device)?;
    let mut run = Run::create_with(&folder, trainer, "", &runtime)?;
    let record = run.train(&mut [], |_| None)?;
    println!("test: {:?}", record.test);

    // The checkpoint holds the identity of its data: a run on another task cannot resume from it.
    let dir = RunDir::open(&folder)?;
    let mut trained = load_model(
        &dir,
        CheckpointName::Best,
        NonFinite::Reject,
        1,
        &Device::Cpu,
    )?;
    let source = data(&trained.config)?.source;
    let result = evaluate(&mut trained.model, &*source, Split::Val, &trained.codec)?;
    println!("validation exact match: {:.3}", result.free.exact_match());
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
