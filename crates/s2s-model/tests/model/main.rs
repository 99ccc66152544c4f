//! The model against PyTorch, and the laws that it keeps in every architecture.
//!
//! One binary, since each that links candle weighs a hundred megabytes.

mod architectures;
mod attention;
mod closeness;
mod decoding;
mod fused;
mod laws;
mod operations;
mod parity;
mod pytorch;
mod trace;
mod transducer;
mod weights;
