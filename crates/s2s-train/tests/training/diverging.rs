//! A value that is not finite stops training at its step, is named, and is never saved.

use std::num::NonZeroU64;

use candle_core::{DType, Device, Tensor, safetensors::load_buffer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use s2s_model::{
    Batch, BatchLoss, Decoded, Forcing, ForwardOutput, Mode, Noise, Params, Seq2Seq, Source, Stop,
    Tokens,
};
use s2s_runlog::{CheckpointName, RunDir, read_checkpoint};
use s2s_train::{Error, Model, Result, RunWriter, Trainer};

use crate::{StopAt, beginning, tiny, trainer};

/// Which value is overwritten, and at which step.
#[derive(Clone, Copy, Debug)]
struct Poison {
    step: u64,
    target: Target,
    value: f32,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Loss,
    /// An element of the gradient of the parameter with this index.
    Gradient(usize, usize),
    /// An element of that parameter itself, after its gradient was computed.
    Parameter(usize, usize),
}

/// A model with one value overwritten.
struct Poisoned {
    model: Seq2Seq,
    poison: Poison,
    step: u64,
}

impl Poisoned {
    fn overwrite(&self, tensor: &Tensor, index: usize) -> candle_core::Result<Tensor> {
        let mut values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let index = index % values.len();
        values[index] = self.poison.value;
        Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
    }
}

impl Model for Poisoned {
    fn params(&self) -> &Params {
        self.model.params()
    }
    fn tokens(&self) -> Tokens {
        self.model.tokens()
    }
    fn forward(
        &self,
        batch: &Batch,
        forcing: &Forcing,
        mode: Mode<'_>,
    ) -> candle_core::Result<ForwardOutput> {
        self.model.forward(batch, forcing, mode)
    }
    fn decode(&self, source: &Source, stop: Stop) -> candle_core::Result<Vec<Decoded>> {
        self.model.decode(source, stop)
    }
    fn loss(&mut self, batch: &Batch, forcing: &Forcing) -> candle_core::Result<BatchLoss> {
        self.model.loss(batch, forcing)
    }
    fn gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> candle_core::Result<(BatchLoss, Vec<Tensor>)> {
        let (mut loss, mut gradients) = self.model.gradients(batch, forcing, noise)?;
        self.step += 1;
        if self.step == self.poison.step {
            match self.poison.target {
                Target::Loss => loss.loss_sum = f64::from(self.poison.value),
                Target::Gradient(param, index) => {
                    gradients[param] = self.overwrite(&gradients[param], index)?;
                }
                Target::Parameter(param, index) => {
                    let (_, var) = self.params().iter().nth(param).expect("a parameter");
                    var.set(&self.overwrite(&var.as_detached_tensor(), index)?)?;
                }
            }
        }
        Ok((loss, gradients))
    }
}

/// Trains in a run directory until the poisoned value stops it.
fn train_poisoned(poison: Poison, folder: &std::path::Path) -> Result<(RunDir, Error)> {
    let config = tiny(&["train.eval_every=3"]);
    let whole = trainer(&config);
    let (data, tokens) = (whole.data().clone(), whole.model().tokens());
    let model = Poisoned {
        model: Seq2Seq::new(&config.model, tokens, 0, DType::F32, &Device::Cpu)?,
        poison,
        step: 0,
    };
    let dir = RunDir::create(folder.join("run"))?;
    let mut writer = RunWriter::open(dir.clone(), beginning(), "", NonZeroU64::MIN, |_| None)?;
    let mut trainer = Trainer::with_model(config, data, model)?;
    let error = trainer
        .run(&mut [&mut writer])
        .expect_err("a poisoned run ends");
    Ok((dir, error))
}

/// Only `last` has moments.
fn tensor_files(name: CheckpointName) -> &'static [&'static str] {
    match name {
        CheckpointName::Best => &["params.safetensors"],
        CheckpointName::Last | CheckpointName::Start => {
            &["params.safetensors", "moments.safetensors"]
        }
    }
}

#[track_caller]
fn check_finite(dir: &RunDir, name: CheckpointName, context: &dyn std::fmt::Debug) {
    let checkpoint = read_checkpoint(dir.checkpoint(name)).expect("a checkpoint");
    for file in tensor_files(name) {
        let bytes = checkpoint.file(file).expect("a file of a checkpoint");
        for (name, tensor) in load_buffer(bytes, &Device::Cpu).expect("tensors") {
            let values = tensor.flatten_all().and_then(|all| all.to_vec1::<f32>());
            let is_finite = values
                .expect("numbers")
                .iter()
                .all(|value| value.is_finite());
            assert!(is_finite, "{name} in {file} after {context:?}");
        }
    }
}

#[test]
fn a_number_that_is_not_finite_stops_its_step_and_reaches_no_checkpoint() -> Result<()> {
    let names: Vec<String> = {
        let trainer = trainer(&tiny(&[]));
        let names = trainer.model().params().iter();
        names.map(|(name, _)| name.to_owned()).collect()
    };
    let mut draws = ChaCha8Rng::seed_from_u64(9);
    let mut below = |n: usize| (draws.next_u64() % n as u64) as usize;
    let n_trials = 100;
    for trial in 0..n_trials {
        let (param, index) = (below(names.len()), below(1 << 16));
        let poison = Poison {
            step: 1 + below(15) as u64,
            target: match trial % 4 {
                0 => Target::Loss,
                1 => Target::Parameter(param, index),
                _ => Target::Gradient(param, index),
            },
            value: [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][below(3)],
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (dir, error) = train_poisoned(poison, folder.path())?;
        let message = error.to_string();
        let Error::Diverged {
            step, last, what, ..
        } = error
        else {
            panic!("{poison:?}: {message}")
        };
        match poison.target {
            Target::Loss => assert_eq!((step, what.as_str()), (poison.step, "loss"), "{poison:?}"),
            Target::Gradient(..) => {
                assert_eq!(step, poison.step, "{poison:?}");
                assert_eq!(what, format!("gradient of {}", names[param]));
            }
            // A parameter is detected in the next step, or earlier when it is saved.
            Target::Parameter(..) => {
                assert!(
                    (poison.step..=poison.step + 1).contains(&step),
                    "{poison:?}"
                );
                assert!(message.contains(&names[param]), "{poison:?}: {message}");
            }
        }
        if step > 1 {
            let last = last.expect("an earlier step");
            assert!(last.loss.is_finite() && last.grad_norm.is_finite());
            assert!(
                message.contains("the last finite values were loss "),
                "{message}"
            );
        }
        if step > 3 {
            check_finite(&dir, CheckpointName::Best, &poison);
            check_finite(&dir, CheckpointName::Last, &poison);
        } else {
            assert!(!dir.checkpoints().exists(), "{poison:?}");
        }
    }
    println!("torture: {n_trials} trials");
    Ok(())
}

#[test]
fn an_interrupted_run_saves_no_parameter_that_is_not_finite() -> Result<()> {
    // With this rate the parameters are finite after the first update and infinite after the
    // second.
    for (sets, step) in [
        (&["train.learning_rate=3e38", "train.clip_norm=0"][..], 1),
        (&["train.learning_rate=3e38", "train.clip_norm=0"], 2),
        (&["train.learning_rate=1e300"], 1),
    ] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let dir = RunDir::create(dir.path())?;
        let mut writer = RunWriter::open(dir.clone(), beginning(), "", NonZeroU64::MIN, |_| None)?;
        let mut stop = StopAt(step);
        match trainer(&tiny(sets)).run(&mut [&mut writer, &mut stop]) {
            Ok(_) => check_finite(&dir, CheckpointName::Last, &sets),
            Err(Error::Diverged { .. }) => assert!(!dir.checkpoints().exists(), "{sets:?}"),
            Err(error) => panic!("{sets:?}: {error}"),
        }
    }
    Ok(())
}
