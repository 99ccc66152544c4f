//! Tests of training. One binary, since each binary that links candle takes a hundred megabytes.

mod accumulating;
mod by_length;
mod configs;
mod diverging;
mod examples;
mod half;
mod hostile;
mod learning;
#[cfg(feature = "tensorboard")]
mod logging;
mod predicting;
mod resuming;
mod transducer;

use candle_core::Device;
use s2s_runlog::{CheckpointName, RunDir, RunRecord, RunStatus};
use s2s_train::{
    Collector, ExperimentConfig, Flow, Observer, Result, Run, Runtime, StepRecord, Trainer,
    load_config,
};
use tempfile::TempDir;

/// A small experiment with these keys set.
fn tiny(sets: &[&str]) -> ExperimentConfig {
    let numbers = [
        "data.vocab=8",
        "data.max_len=4",
        "data.train_samples=40",
        "data.val_samples=12",
        "data.test_samples=12",
    ];
    tiny_on(&numbers, sets)
}

/// The same on as many pairs of words, many of which occur once, and the folder of the pairs.
fn tiny_on_text(sets: &[&str]) -> (TempDir, ExperimentConfig) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (split, n) in [("train", 40), ("dev", 12), ("test", 12)] {
        for side in ["src", "trg"] {
            let lines: Vec<String> = (0..n).map(|i| format!("one {split}{i} two")).collect();
            let path = folder.path().join(format!("{split}.{side}"));
            std::fs::write(path, lines.join("\n")).expect("there is room");
        }
    }
    let place = format!("data.folder={}", folder.path().display());
    let config = tiny_on(&[&place, "data.unknown_rate=0.3"], sets);
    (folder, config)
}

fn tiny_on(data: &[&str], sets: &[&str]) -> ExperimentConfig {
    let small = [
        "model.embedding=6",
        "model.hidden=5",
        "model.decoder=7",
        "model.embedding_dropout=0.2",
        "model.attention.units=4",
        "train.batch_size=8",
        "train.epochs=3",
        "train.eval_every=0",
        "train.warmup_steps=0",
        "train.learning_rate=0.001",
        "train.schedule.kind=constant",
    ];
    let sets: Vec<String> = data
        .iter()
        .chain(&small)
        .chain(sets)
        .map(|set| (*set).to_owned())
        .collect();
    load_config(None, &sets).expect("a valid configuration")
}

/// Every combination of cell and kernels, as keys to set.
fn variants() -> Vec<[String; 2]> {
    let of = |cell| {
        ["fused", "reference"].map(|kernels| {
            [
                format!("model.cell={cell}"),
                format!("model.kernels={kernels}"),
            ]
        })
    };
    ["gru", "lstm"].into_iter().flat_map(of).collect()
}

fn trainer(config: &ExperimentConfig) -> Trainer<s2s_model::Seq2Seq> {
    Trainer::new(config.clone(), 1, &Device::Cpu).expect("data and model")
}

/// Trains to the end and returns the collected records.
fn trained(config: &ExperimentConfig) -> Result<Collector> {
    let mut collector = Collector::default();
    trainer(config).run(&mut [&mut collector])?;
    Ok(collector)
}

/// Interrupts a run after a step.
struct StopAt(u64);

impl Observer for StopAt {
    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        Ok(if record.step == self.0 {
            Flow::Interrupt
        } else {
            Flow::Continue
        })
    }
}

/// Interrupts a run before its `n`-th evaluation batch.
struct StopInEval(usize);

impl Observer for StopInEval {
    fn on_eval_batch(&mut self) -> Result<Flow> {
        self.0 -= 1;
        Ok(match self.0 {
            0 => Flow::Interrupt,
            _ => Flow::Continue,
        })
    }
}

fn runtime() -> Runtime {
    Runtime::default()
}

/// The record of a run before its first step.
fn beginning() -> RunRecord {
    RunRecord {
        status: RunStatus::Running,
        step: 0,
        best_step: None,
        best_val_loss: None,
        n_parameters: 1,
        elapsed_secs: 0.0,
        test: None,
        degraded: Vec::new(),
    }
}

/// The files that are identical in two runs of the same configuration.
fn reproducible_files(dir: &RunDir) -> Vec<Vec<u8>> {
    let last = dir.checkpoint(CheckpointName::Last);
    let best = dir.checkpoint(CheckpointName::Best);
    [
        last.join("params.safetensors"),
        last.join("moments.safetensors"),
        last.join("state.json"),
        best.join("params.safetensors"),
        dir.metrics(),
        dir.attention(),
        dir.wrong(),
        dir.samples(),
    ]
    .map(|path| std::fs::read(path).expect("a file of a finished run"))
    .to_vec()
}

/// Trains a new run to its end.
fn finished(path: &std::path::Path, config: &ExperimentConfig) -> Result<(RunDir, RunRecord)> {
    let mut run = Run::create(path, config.clone(), "", &runtime())?;
    let record = run.train(&mut [], |_| None)?;
    Ok((run.dir().clone(), record))
}
