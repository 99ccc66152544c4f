//! Recurrent and attention operators for candle that train fast on a CPU, each beside its
//! reference.
//!
//! An operator is a folder: `mod.rs` has its equation and shapes and is what callers use,
//! `reference.rs` the same function in plain tensor operations, which is its definition.
//! [`Kernels`] says which of the two runs. `kernel.rs` is the fused one, on slices, and
//! `operator.rs` makes a candle operator of it; for `gru` and `lstm` both stand in `recurrent`, and
//! only the equations between two products, `cell.rs`, are their own. Training that writes its own
//! gradients calls the [`slices`] directly.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use s2s_kernels::{Direction, Kernels, Ragged, RecurrentWeights};
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
//! let run = Kernels::default().gru(&x, &weights, &rows, Direction::Backward)?;
//! assert_eq!(run.states.dims(), [batch, len, hidden]);
//! # Ok(())
//! # }
//! ```
//!
//! The crate knows no parameters, no vocabulary and no randomness: masks and coins come in from
//! outside.

pub mod activation;
mod attention;
mod decoder;
pub mod gemm;
#[cfg(test)]
mod gradcheck;
mod gru;
mod lanes;
mod linear;
mod loss;
mod lstm;
mod optim;
mod pages;
mod peak;
mod ragged;
mod real;
mod recurrent;
mod simd;
pub mod slices;
mod storage;
mod table;
mod team;

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::gru::Gru;
use crate::lstm::Lstm;
use crate::recurrent::Cell;

pub use attention::start::Start;
pub use gru::GruRun;
pub use loss::TokenLoss;
pub use lstm::LstmRun;
pub use optim::{AdamStep, Moments};
pub use pages::LargePages;
pub use peak::fma_peak_gflops;
pub use ragged::Ragged;
pub use recurrent::{Direction, RecurrentWeights, State};

/// Which implementation of the operators runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernels {
    /// Hand-written kernels for f32 on the CPU; elsewhere the reference.
    #[default]
    Fused,
    /// Plain tensor operations, differentiated by candle.
    Reference,
}

impl Kernels {
    /// A GRU over the whole of every row. See [`GruRun`] for the shapes of what it returns.
    ///
    /// Cho et al. (2014), arXiv:1406.1078, in PyTorch's form, where the reset gate acts on the
    /// projected state:
    ///
    /// ```text
    /// r  = σ(W_ir x + b_ir + W_hr h + b_hr)
    /// z  = σ(W_iz x + b_iz + W_hz h + b_hz)
    /// n  = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))
    /// h' = (1 - z) ⊙ n + z ⊙ h
    /// ```
    ///
    /// `input` is `[B, S, I]`; a padded position changes nothing, and the backward direction starts
    /// at each row's own end.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn gru(
        self,
        input: &Tensor,
        weights: &RecurrentWeights,
        rows: &Ragged,
        direction: Direction,
    ) -> Result<GruRun> {
        weights.check(Gru::GATES, input)?;
        rows.check(input)?;
        if self.runs(&weights.with(input)) {
            let run = recurrent::operator::sequence::<Gru>(input, weights, rows, direction)?;
            Ok(GruRun {
                states: run.states,
                last: run.last.hidden,
            })
        } else {
            gru::reference::sequence(input, weights, rows, direction)
        }
    }

    /// One step of a GRU: `input` `[B, I]` and `hidden` `[B, H]` give the next hidden state
    /// `[B, H]`.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn gru_cell(
        self,
        input: &Tensor,
        hidden: &Tensor,
        weights: &RecurrentWeights,
    ) -> Result<Tensor> {
        weights.check(Gru::GATES, input)?;
        gru::reference::cell(input, hidden, weights)
    }

    /// An LSTM over the whole of every row. See [`LstmRun`] for the shapes of what it returns.
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
    /// `input` is `[B, S, I]`; a padded position changes nothing, and the backward direction starts
    /// at each row's own end.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn lstm(
        self,
        input: &Tensor,
        weights: &RecurrentWeights,
        rows: &Ragged,
        direction: Direction,
    ) -> Result<LstmRun> {
        weights.check(Lstm::GATES, input)?;
        rows.check(input)?;
        if self.runs(&weights.with(input)) {
            let run = recurrent::operator::sequence::<Lstm>(input, weights, rows, direction)?;
            Ok(LstmRun {
                states: run.states,
                last: run.last,
            })
        } else {
            lstm::reference::sequence(input, weights, rows, direction)
        }
    }

    /// One step of an LSTM: `input` `[B, I]` and a state of two `[B, H]` give the next state.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn lstm_cell(
        self,
        input: &Tensor,
        state: &State<Tensor>,
        weights: &RecurrentWeights,
    ) -> Result<State<Tensor>> {
        weights.check(Lstm::GATES, input)?;
        lstm::reference::cell(input, state, weights)
    }

    /// The scores `[B, S]` of additive attention, from `query` `[B, A]`, `keys` `[B, S, A]` and
    /// `energy` `[A]`: `score[b,s] = Σ_a energy[a] · tanh(query[b,a] + key[b,s,a])`.
    ///
    /// Bahdanau, Cho, Bengio (2015), arXiv:1409.0473, appendix A.1.2.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn additive_scores(self, query: &Tensor, keys: &Tensor, energy: &Tensor) -> Result<Tensor> {
        if self.runs(&[query, keys, energy]) {
            attention::operator::scores(query, keys, energy)
        } else {
            attention::reference::additive_scores(query, keys, energy)
        }
    }

    /// Negative log-likelihood of the real target tokens, summed, in nats.
    ///
    /// `logits` is `[B, T, V]`, `targets` `[B, T]` (u32); padded positions add nothing, to the sum or
    /// to the count.
    ///
    /// # Errors
    /// If the shapes disagree, or if no token is real: the mean of nothing is not zero.
    pub fn token_loss(self, logits: &Tensor, targets: &Tensor, rows: &Ragged) -> Result<TokenLoss> {
        if self.runs(&[logits]) {
            loss::operator::token_loss(logits, targets, rows)
        } else {
            loss::reference::token_loss(logits, targets, rows)
        }
    }

    /// `Σ x²` over all numbers of all tensors, in f64, tensor by tensor: what clipping bounds the
    /// root of.
    ///
    /// # Errors
    /// If the device fails.
    pub fn squared_norm(self, tensors: &[Tensor], threads: NonZeroUsize) -> Result<f64> {
        let of_one = |tensor: &Tensor| {
            if self.runs(&[tensor]) && tensor.is_contiguous() {
                optim::operator::squared_norm(tensor)
            } else {
                optim::reference::squared_norm(tensor)
            }
        };
        let is_fused = tensors.iter().all(|tensor| self.runs(&[tensor]));
        let threads = if is_fused { threads } else { NonZeroUsize::MIN };
        team::each(threads, tensors.iter().collect(), of_one)
            .into_iter()
            .sum()
    }

    /// One Adam update of every parameter, in place, from its gradient and moments.
    ///
    /// Kingma, Ba (2015), arXiv:1412.6980; the decay as Loshchilov, Hutter (2019), arXiv:1711.05101:
    ///
    /// ```text
    /// g' = scale · g                                  scale clips the global norm
    /// m  = β₁ m + (1 - β₁) g'
    /// v  = β₂ v + (1 - β₂) g'²
    /// p  = (1 - lr·decay) p - lr · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)
    /// ```
    ///
    /// The moments too may be updated in place: a clone of them may share the change.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn adam<'a>(
        self,
        params: impl IntoIterator<Item = (&'a Var, &'a Tensor, &'a mut Moments)>,
        step: &AdamStep,
        threads: NonZeroUsize,
    ) -> Result<()> {
        let of_one = |(param, grad, moments): (&Var, &Tensor, &mut Moments)| {
            let tensors = [param, grad, &moments.first, &moments.second];
            if self.runs(&tensors) && tensors.iter().all(|tensor| tensor.is_contiguous()) {
                optim::operator::adam(param, grad, moments, step)
            } else {
                optim::reference::adam(param, grad, moments, step)
            }
        };
        let all: Vec<_> = params.into_iter().collect();
        let is_fused = all.iter().all(|(param, ..)| self.runs(&[param]));
        let threads = if is_fused { threads } else { NonZeroUsize::MIN };
        team::each(threads, all, of_one).into_iter().collect()
    }

    /// Whether the fused kernels take these tensors.
    fn runs(self, tensors: &[&Tensor]) -> bool {
        self == Self::Fused && storage::is_fused(tensors)
    }
}
