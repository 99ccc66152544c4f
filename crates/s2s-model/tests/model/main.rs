//! The model against PyTorch, and the laws that it keeps in every architecture.
//!
//! One binary, since each that links candle weighs a hundred megabytes.

mod architectures;
mod attention;
mod closeness;
mod decoding;
mod fused;
mod laws;
#[cfg(all(feature = "cuda", target_os = "linux", target_arch = "x86_64"))]
mod libraries;
mod operations;
mod parity;
mod pytorch;
mod trace;
mod transducer;
mod weights;
