//! A sequence-to-sequence model with attention on candle: encoder, bridge, attention, decoder,
//! decoding.
//!
//! ```
//! use candle_core::{DType, Device};
//! use s2s_model::{Batch, Forcing, Mode, ModelConfig, Seq2Seq, Tokens};
//!
//! # fn main() -> candle_core::Result<()> {
//! let tokens = Tokens { size: 12, bos: 10, eos: 11 };
//! let mut model = Seq2Seq::new(&ModelConfig::default(), tokens, 0, DType::F32, &Device::Cpu)?;
//! let sources = [vec![3, 1, 4], vec![1, 5]];
//! let targets = [vec![4, 1, 3], vec![5, 1]];
//! let batch = Batch::new(&sources, &targets, tokens)?;
//! let logits = model.logits(&batch, &Forcing::Always, Mode::Evaluate)?;
//! assert_eq!(logits.dims(), [2, 4, 12]); // [B, T, V]: three tokens and EOS
//! # Ok(())
//! # }
//! ```
//!
//! There are two paths through the model. [`Seq2Seq::forward`] is the definition: tensor operations that
//! candle differentiates, on any device and in any precision. In f32 on the CPU, and on CUDA for some
//! attention mechanisms, training, evaluation and decoding run the same equations on the kernels of
//! `s2s-kernels`, without autograd. Tests hold the two together.
//!
//! The features `cuda` and `metal` add devices; `cudnn` and `accelerate` are candle's libraries for tensor
//! operations, which only the first path uses.
//!
//! Parameters have PyTorch's names, shapes and gate order. The crate deliberately does no I/O, draws no
//! random number that is not keyed by a seed, and has no training loop.

mod attention;
mod automaton;
mod batch;
mod bridge;
mod config;
mod connections;
mod cost;
#[cfg(feature = "cuda")]
mod cuda;
mod decode;
mod decoder;
mod draws;
mod embedding;
mod encoder;
mod fused;
mod linear;
mod loss;
mod message;
mod params;
mod recurrent;
mod seq2seq;
mod weights;

pub use attention::{
    AdditiveAttention, AdditiveConfig, Attended, Attention, AttentionConfig, AttentionKernel,
    AttentionSizes, DotAttention, DotConfig, DynamicConvolutionAttention, DynamicConvolutionConfig,
    Keys, LocationAttention, LocationConfig, LocationRelativeAttention, LocationRelativeConfig,
    Memory, NoAttention, NtmAttention, NtmConfig,
};
pub use automaton::{
    Automaton, AutomatonStep, Condition, HeadMove, MoveOrigin, Reading, Rule, automaton_steps,
    mixture_name,
};
pub use batch::{Batch, Source, Tokens};
pub use bridge::{Bridge, BridgeKind};
pub use config::{Kernels, ModelConfig, OutOfBounds, Probability, Problem};
pub use cost::{Workload, forward_flops, step_flops};
pub use decode::{
    Beam, Constraints, Decoded, Generator, Interventions, LengthPenalty, OutputLimit, Sampling,
    Scored, Stop, Stopping, TraceStep, Watch, trace,
};
pub use decoder::{
    Decoder, DecoderConfig, DecoderState, Readout, RecurrentDecoder, Transducer, TransducerConfig,
};
pub use draws::{CoinScope, Forcing, Mode, Noise, keyed_rng};
pub use embedding::Embedding;
pub use encoder::{Encoded, Encoder};
pub use linear::Linear;
pub use loss::{BatchLoss, PendingLoss};
pub use message::tensor_message;
pub use params::{Init, Params, Scope};
pub use recurrent::{CellKind, LayerState, Recurrent, recurrent_weights};
pub use seq2seq::{
    Builder, ForwardOutput, MAX_REFERENCE_LEN, REFERENCE_STACK_BYTES, Seq2Seq, TOKEN_PARAMETERS,
};
pub use weights::{
    DtypeMismatch, LoadOptions, Loaded, NonFinite, RenameConflict, Renames, ShapeMismatch,
    WeightsError, WeightsFile, WeightsMismatch, load_tensors, load_weights, save_tensors,
    save_weights,
};
