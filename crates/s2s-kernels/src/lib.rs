//! Recurrent layers, additive attention, cross-entropy and Adam for candle, with CPU kernels.
//!
//! Each operator is a function on candle tensors that autograd can differentiate. On f32 tensors on
//! the CPU it runs a hand-written kernel, forward and backward; for any other type or device it runs
//! its definition in plain tensor operations, which [`mod@reference`] exports.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use s2s_kernels::{Direction, Ragged, RecurrentWeights, gru};
//!
//! # fn main() -> candle_core::Result<()> {
//! let (batch, len, input, hidden) = (2, 3, 4, 5);
//! let weights = RecurrentWeights {
//!     weight_ih: Tensor::zeros((3 * hidden, input), DType::F32, &Device::Cpu)?,
//!     weight_hh: Tensor::zeros((3 * hidden, hidden), DType::F32, &Device::Cpu)?,
//!     bias_ih: Tensor::zeros(3 * hidden, DType::F32, &Device::Cpu)?,
//!     bias_hh: Tensor::zeros(3 * hidden, DType::F32, &Device::Cpu)?,
//! };
//! let rows = Ragged::new(vec![3, 1], len, DType::F32, &Device::Cpu)?;
//! let x = Tensor::ones((batch, len, input), DType::F32, &Device::Cpu)?;
//! let output = gru(&x, &weights, &rows, Direction::Backward, None)?;
//! assert_eq!(output.states.dims(), [batch, len, hidden]);
//! # Ok(())
//! # }
//! ```
//!
//! An operator is a folder: `mod.rs` has its equation and shapes, `reference.rs` its definition,
//! `kernel.rs` (or `cell.rs`, for the elementwise part of a recurrent cell) the kernel on slices, and
//! `operator.rs` wraps the kernel as a candle operator. Code that computes its own gradients, such as
//! the training step of `s2s-model`, calls the [`slices`] directly.
//!
//! With the feature `cuda`, `cuda` has the same kernels for the memory of a CUDA device, for the same callers.
//! `metal` runs the definitions on Apple's GPUs. `cudnn` and `accelerate` are candle's libraries for tensor
//! operations; the kernels do not use them.
//!
//! The crate deliberately knows no parameter names, no configuration and no randomness: dropout masks
//! and teacher-forcing coins are arguments.

/// The program of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod activation;
mod attention;
#[cfg(feature = "cuda")]
pub mod cuda;
mod decoder;
mod gemm;
#[cfg(test)]
mod gradcheck;
mod gru;
mod lanes;
mod linear;
mod loss;
mod lstm;
mod matrix;
pub mod nn;
mod norm;
mod optim;
mod pages;
mod peak;
mod ragged;
mod real;
mod recurrent;
pub mod reference;
mod simd;
pub mod slices;
mod storage;
mod table;
mod team;
mod transducer;

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor, Var};

use crate::gru::Gru;
use crate::lstm::Lstm;
use crate::recurrent::{Cell, check_state};
use crate::storage::has_kernel;

pub use attention::start::Start;
pub use gru::GruOutput;
pub use loss::TokenLoss;
pub use lstm::LstmOutput;
pub use optim::{AdamStep, Moments};
pub use pages::LargePages;
pub use peak::fma_peak_gflops;
pub use ragged::Ragged;
pub use recurrent::{Direction, RecurrentWeights, State};
pub use simd::instruction_set;

/// A GRU over whole rows. `input` is `[B, S, I]`.
///
/// Cho et al. (2014), arXiv:1406.1078, in PyTorch's form, where the reset gate acts on the projected
/// state:
///
/// ```text
/// r  = σ(W_ir x + b_ir + W_hr h + b_hr)
/// z  = σ(W_iz x + b_iz + W_hz h + b_hz)
/// n  = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))
/// h' = (1 - z) ⊙ n + z ⊙ h
/// ```
///
/// A padded position changes nothing, and the backward direction starts at each row's own end.
/// `initial` is the state before the first position that is read, `[B, H]`; 0 if absent.
///
/// # Errors
/// If the shapes disagree.
pub fn gru(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
    initial: Option<&Tensor>,
) -> Result<GruOutput> {
    if !has_kernel(&tensors(input, weights, initial.as_slice())) {
        return reference::gru(input, weights, rows, direction, initial);
    }
    weights.check(Gru::GATES, input)?;
    rows.check(input)?;
    let initial = match initial {
        Some(hidden) => {
            check_state(hidden, weights, input)?;
            // A GRU has no second vector, so this one is not read.
            Some(State {
                hidden,
                cell: hidden,
            })
        }
        None => None,
    };
    let output = recurrent::operator::sequence::<Gru>(input, weights, rows, direction, initial)?;
    Ok(GruOutput {
        states: output.states,
        last: output.last.hidden,
    })
}

/// An LSTM over whole rows. `input` is `[B, S, I]`.
///
/// Hochreiter, Schmidhuber (1997), doi:10.1162/neco.1997.9.8.1735, with the forget gate of Gers,
/// Schmidhuber, Cummins (2000), doi:10.1162/089976600300015015, in PyTorch's form:
///
/// ```text
/// i  = σ(W_ii x + b_ii + W_hi h + b_hi)
/// f  = σ(W_if x + b_if + W_hf h + b_hf)
/// g  = tanh(W_ig x + b_ig + W_hg h + b_hg)
/// o  = σ(W_io x + b_io + W_ho h + b_ho)
/// c' = f ⊙ c + i ⊙ g
/// h' = o ⊙ tanh(c')
/// ```
///
/// A padded position changes nothing, and the backward direction starts at each row's own end.
/// `initial` is the state before the first position that is read, `[B, H]` each; 0 if absent.
///
/// # Errors
/// If the shapes disagree.
pub fn lstm(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
    initial: Option<&State<Tensor>>,
) -> Result<LstmOutput> {
    let vectors = initial.map(|state| state.each_ref().into_array());
    if !has_kernel(&tensors(input, weights, vectors.as_slice().as_flattened())) {
        return reference::lstm(input, weights, rows, direction, initial);
    }
    weights.check(Lstm::GATES, input)?;
    rows.check(input)?;
    for vector in vectors.iter().flatten() {
        check_state(vector, weights, input)?;
    }
    let initial = initial.map(State::each_ref);
    let output = recurrent::operator::sequence::<Lstm>(input, weights, rows, direction, initial)?;
    Ok(LstmOutput {
        states: output.states,
        last: output.last,
    })
}

/// All tensors of a call.
fn tensors<'a>(
    input: &'a Tensor,
    weights: &'a RecurrentWeights,
    initial: &[&'a Tensor],
) -> Vec<&'a Tensor> {
    [&[input], &weights.all()[..], initial].concat()
}

/// `y = x Wᵀ + b`, of `x` `[.., K]`, `weight` `[N, K]` and `bias` `[N]`: `y` is `[.., N]`.
///
/// # Errors
/// If the shapes disagree.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if has_kernel(&[&[x, weight], bias.as_slice()].concat()) {
        linear::operator::linear(x, weight, bias)
    } else {
        reference::linear(x, weight, bias)
    }
}

/// The scores `[B, S]` of additive attention, from `query` `[B, A]`, `keys` `[B, S, A]` and `energy`
/// `[A]`: `score[b,s] = Σ_a energy[a] · tanh(query[b,a] + key[b,s,a])`.
///
/// Bahdanau, Cho, Bengio (2015), arXiv:1409.0473, appendix A.1.2.
///
/// # Errors
/// If the shapes disagree.
pub fn additive_scores(query: &Tensor, keys: &Tensor, energy: &Tensor) -> Result<Tensor> {
    if has_kernel(&[query, keys, energy]) {
        attention::operator::scores(query, keys, energy)
    } else {
        reference::additive_scores(query, keys, energy)
    }
}

/// Negative log-likelihood of the real target tokens, summed, in nats.
///
/// `logits` is `[B, T, V]` and `targets` `[B, T]` (u32). Padded positions add nothing, to the sum or
/// to the count.
///
/// # Errors
/// If the shapes disagree, or if no token is real: the mean of an empty set is undefined.
pub fn token_loss(logits: &Tensor, targets: &Tensor, rows: &Ragged) -> Result<TokenLoss> {
    if has_kernel(&[logits]) {
        loss::operator::token_loss(logits, targets, rows)
    } else {
        reference::token_loss(logits, targets, rows)
    }
}

/// `Σ x²` over all elements of all tensors, in f64, tensor by tensor: the square of the norm that
/// gradient clipping bounds.
///
/// # Errors
/// If the device fails.
pub fn squared_norm(tensors: &[Tensor], threads: NonZeroUsize) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if let Some(norm) = cuda::SquaredNorm::of(tensors)? {
        return norm.wait();
    }
    let of_one = |tensor: &Tensor| {
        if has_kernel(&[tensor]) && tensor.is_contiguous() {
            optim::operator::squared_norm(tensor)
        } else {
            reference::squared_norm(tensor)
        }
    };
    let threads = match tensors.iter().all(|tensor| has_kernel(&[tensor])) {
        true => threads,
        false => NonZeroUsize::MIN,
    };
    team::each(threads, tensors.iter().collect(), of_one)
        .into_iter()
        .sum()
}

/// One Adam update of every parameter, in place, from its gradient and moments.
///
/// Kingma, Ba (2015), arXiv:1412.6980; the decay as in Loshchilov, Hutter (2019), arXiv:1711.05101:
///
/// ```text
/// g' = scale · g                                  scale clips the global norm
/// m  = β₁ m + (1 - β₁) g'
/// v  = β₂ v + (1 - β₂) g'²
/// p  = (1 - lr·decay) p - lr · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)
/// ```
///
/// The moments may be updated in place: tensors that share their storage see the change.
///
/// # Errors
/// If the shapes disagree.
pub fn adam<'a>(
    params: impl IntoIterator<Item = (&'a Var, &'a Tensor, &'a mut Moments)>,
    step: &AdamStep,
    threads: NonZeroUsize,
) -> Result<()> {
    let of_one = |(param, grad, moments): (&Var, &Tensor, &mut Moments)| {
        let tensors = [param, grad, &moments.first, &moments.second];
        if has_kernel(&tensors) && tensors.iter().all(|tensor| tensor.is_contiguous()) {
            optim::operator::adam(param, grad, moments, step)
        } else {
            reference::adam(param, grad, moments, step)
        }
    };
    let all: Vec<_> = params.into_iter().collect();
    #[cfg(feature = "cuda")]
    if all.iter().all(|(param, grad, moments)| {
        cuda::has_kernel(&[param, grad, &moments.first, &moments.second])
    }) {
        return cuda::adam(&all, step);
    }
    let threads = match all.iter().all(|(param, ..)| has_kernel(&[param])) {
        true => threads,
        false => NonZeroUsize::MIN,
    };
    team::each(threads, all, of_one).into_iter().collect()
}
