//! What a model made of a batch, on the host.

use candle_core::{DType, Result, Tensor};
use s2s_kernels::Kernels;

use crate::{Batch, Output};

/// Loss and predictions of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Negative log-likelihood of the real target tokens, in nats, summed.
    pub loss_sum: f64,
    /// The likeliest token at each position, `[B, T]`, row by row.
    pub predictions: Vec<u32>,
}

impl Score {
    /// The score of a model's output, and the mean loss of a token, which autograd can
    /// differentiate.
    ///
    /// # Errors
    /// If the shapes disagree, or no target token is real.
    pub fn of(output: &Output, batch: &Batch, kernels: Kernels) -> Result<(Self, Tensor)> {
        let loss = kernels.token_loss(&output.logits, &batch.target_out, &batch.target_rows)?;
        let score = Self {
            loss_sum: loss.sum.detach().to_dtype(DType::F64)?.to_scalar()?,
            predictions: output.predictions.flatten_all()?.to_vec1()?,
        };
        Ok((score, loss.mean()?))
    }
}
