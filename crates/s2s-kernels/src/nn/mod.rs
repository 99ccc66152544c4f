//! Layers with parameters: what `torch.nn` calls GRU, LSTM and Linear, and additive attention.
//!
//! A layer takes its parameters from candle-nn's [`VarBuilder`](candle_nn::VarBuilder), under PyTorch's names, so that a
//! `VarMap` trains it and PyTorch's weights load into it:
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use s2s_kernels::nn;
//!
//! # fn main() -> candle_core::Result<()> {
//! let variables = VarMap::new();
//! let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
//! let encoder = nn::gru(8, 16, vb.pp("encoder"))?;
//! let output = nn::linear(16, 2, vb.pp("output"))?;
//!
//! let x = Tensor::ones((4, 5, 8), DType::F32, &Device::Cpu)?; // [B, S, I]
//! let logits = output.forward(&encoder.forward(&x)?.states)?;
//! assert_eq!(logits.dims(), [4, 5, 2]);
//! # Ok(())
//! # }
//! ```
//!
//! The kernels use as many threads as candle does: one per core, or `RAYON_NUM_THREADS`. Their number
//! does not change a bit of the results.

mod attention;
mod cell;
mod linear;
mod recurrent;

pub use attention::{AdditiveAttention, Attended, additive_attention};
pub use cell::{GruCell, LstmCell};
pub use linear::{Linear, linear, linear_no_bias};
pub use recurrent::{Gru, Lstm, RecurrentOptions, gru, gru_with, lstm, lstm_with};
