//! A sequence-to-sequence model with attention on candle: encoder, bridge, attention, decoder,
//! decoding.
//!
//! ```
//! use candle_core::{DType, Device};
//! use s2s_model::{Batch, Forcing, Mode, ModelConfig, Seq2Seq, Tokens};
//!
//! # fn main() -> candle_core::Result<()> {
//! let tokens = Tokens { size: 12, bos: 10, eos: 11 };
//! let model = Seq2Seq::new(&ModelConfig::default(), tokens, 0, DType::F32, &Device::Cpu)?;
//! let source = vec![vec![3, 1, 4], vec![1, 5]];
//! let target = vec![vec![4, 1, 3], vec![5, 1]];
//! let batch = Batch::new(&source, &target, tokens, DType::F32, &Device::Cpu)?;
//! let output = model.forward(&batch, &Forcing::Always, Mode::Evaluate)?;
//! assert_eq!(output.logits.dims(), [2, 4, 12]); // [B, T, V]: three tokens and the end
//! # Ok(())
//! # }
//! ```
//!
//! Parameters have PyTorch's names, shapes and gate order, so that weights pass both ways without
//! renaming. The crate reads no file, draws no number that is not keyed by a seed, and does not
//! train.

mod attention;
mod batch;
mod bridge;
mod config;
mod cost;
mod decode;
mod decoder;
mod draws;
mod embedding;
mod encoder;
mod fused;
mod linear;
mod params;
mod recurrent;
mod score;
mod seq2seq;
mod weights;

pub use attention::{
    AdditiveAttention, AdditiveConfig, Attended, Attention, AttentionConfig, AttentionSizes,
    DotAttention, DotConfig, DynamicConvolutionAttention, DynamicConvolutionConfig,
    LocationAttention, LocationConfig, LocationRelativeAttention, LocationRelativeConfig, Memory,
    NoAttention, NtmAttention, NtmConfig,
};
pub use batch::{Batch, Source, Tokens};
pub use bridge::{Bridge, BridgeKind};
pub use config::{ModelConfig, Probability, Problem};
pub use cost::{Workload, forward_flops, step_flops};
pub use decode::{Decoded, Greedy, Stop, Watch, greedy};
pub use decoder::{Decoder, DecoderState};
pub use draws::{CoinScope, Forcing, Mode, Noise, keyed_rng};
pub use embedding::Embedding;
pub use encoder::{Encoded, Encoder};
pub use linear::Linear;
pub use params::{Init, Params, Scope};
pub use recurrent::{CellKind, LayerState, Recurrent, recurrent_weights};
pub use score::Score;
pub use seq2seq::{MAX_REFERENCE_LEN, Output, REFERENCE_STACK_BYTES, Seq2Seq};
pub use weights::{Numbers, load_tensors, load_weights, save_tensors, save_weights};
