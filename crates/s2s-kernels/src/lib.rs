//! Recurrent and attention operators for candle that train fast on a CPU, each beside its reference.

pub mod activation;
pub mod gemm;
mod simd;
