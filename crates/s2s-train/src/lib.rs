//! Configuration, loss, optimizer, schedules, metrics, the training loop, evaluation, checkpoints.
//!
//! ```
//! use candle_core::Device;
//! use s2s_train::{Collector, ExperimentConfig, Trainer};
//!
//! # fn main() -> s2s_train::Result<()> {
//! let mut config = ExperimentConfig::default();
//! config.train.max_steps = 2;
//! config.train.eval_every = 1.into();
//! (config.data.val_samples, config.data.max_len) = (10, 3);
//!
//! let mut trainer = Trainer::new(config, 0, &Device::Cpu)?;
//! let mut collector = Collector::default();
//! trainer.run(&mut [&mut collector])?;
//! assert_eq!(collector.metrics.len(), 2);
//!
//! let answer = trainer.predict("3 1")?;
//! println!("{answer} {:?} {:?}", answer.probabilities, answer.attention);
//! # Ok(())
//! # }
//! ```
//!
//! [`Trainer`] is the training loop, with observers that receive its events; [`Run`] is the loop
//! with a run directory. The configuration and the seed determine every byte of a run: thread
//! count, clock and environment have no effect, and a resumed run ends with the same bytes as an
//! uninterrupted one.
//!
//! [`Trained::load`] loads the model of a run folder, which answers lines of input.
//!
//! [`evaluate`] computes the metrics of a split, [`ByLength`] those of a single length, including
//! lengths that were not trained on.
//!
//! # Features
//!
//! * `tensorboard`, on by default: the TensorBoard log in a run folder, and `EventWriter`. Without it, nothing else
//!   changes, and `tensorboard-rs` and `protobuf` are no dependencies.
//! * `cuda`, `metal`: devices. `cudnn`, `accelerate`: candle's libraries for tensor operations.
//!
//! The crate neither prints nor plots.

mod accumulate;
mod attempt;
mod average;
mod batch;
mod by_length;
mod change;
mod checkpoint;
mod choose;
mod codec;
mod config;
mod data;
mod device;
mod error;
mod evaluate;
mod failures;
mod finite;
mod half;
#[cfg(feature = "tensorboard")]
mod hparams;
mod metrics;
mod model;
mod observer;
mod optim;
mod predict;
mod probe;
mod run;
mod schedule;
#[cfg(feature = "tensorboard")]
mod tensorboard;
mod text;
mod train;
mod trained;
mod transfer;

pub use attempt::Attempt;
pub use average::MeanWeights;
pub use batch::{to_batch, tokens_of};
pub use by_length::{ByLength, deviations};
pub use change::{Change, Difference};
pub use checkpoint::{Best, Snapshot, TrainState};
pub use choose::{Chosen, Work, choose_device};
pub use codec::{Codec, output_limit};
pub use config::{
    AboveOne, Auto, BaseConfig, ConfigError, ConfigProblem, CurriculumConfig, ExperimentConfig,
    ForcingSchedule, NonNegative, OptimizerConfig, Origin, Positive, Precision, RestartConfig,
    ScheduleConfig, Share, TeacherForcingConfig, TrainConfig, load_config, load_given_config,
    parse_config,
};
pub(crate) use data::data_identity;
pub use data::{
    Data, OpenSplit, is_same_text, open_data, open_data_with, open_split, read_vocabulary,
    reopen_data, text_len,
};
pub use device::{DeviceError, open_device};
pub use error::{Error, LastFinite, OutOfMemory, Result};
pub use evaluate::{
    Evaluation, References, attention_record, evaluate, evaluate_ensemble, score_beam, score_text,
};
pub(crate) use evaluate::{attention_of, evaluate_observed};
pub use failures::Failures;
pub use half::LossScale;
pub use metrics::{Scoring, Tally};
pub use model::Model;
pub use observer::{
    Collector, EvalEvent, Flow, Observer, Picture, Render, RunWriter, StartEvent, StepRecord,
    on_eval, on_step,
};
pub(crate) use optim::global_norm;
pub use optim::{GradNorm, Optimizer};
pub use predict::{Answer, Decoding, Predictor};
pub use run::{Run, Runtime, check_unchanged, new_identity};
pub use schedule::Plateau;
pub(crate) use schedule::{forcing_ratio, learning_rate};
#[cfg(feature = "tensorboard")]
pub use tensorboard::{EventError, EventWriter};
pub use train::{StopReason, Trainer};
pub use trained::{Trained, load_model, load_model_with, open_checkpoint};
pub use transfer::Transfer;
