//! The loss of a batch, on the host.
//!
//! Label smoothing replaces the target distribution by `q[v] = (1 - ε) [v = target] + ε / V`: Szegedy et al.
//! (2016), arXiv:1512.00567.

use candle_core::{DType, Result, Tensor};
use s2s_kernels::reference::{token_loss, uniform_loss};

use crate::{Batch, ForwardOutput};

/// Loss and predictions of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchLoss {
    /// Negative log-likelihood of the real target tokens, in nats, summed; without label smoothing.
    pub loss_sum: f64,
    /// The most likely token at each position, `[B, T]`, row by row.
    pub predictions: Vec<u32>,
}

/// The [`BatchLoss`] of a step, which a CUDA device may still compute.
#[derive(Debug)]
pub struct PendingLoss(Pending);

#[derive(Debug)]
enum Pending {
    Known(BatchLoss),
    #[cfg(feature = "cuda")]
    OnDevice(crate::cuda::DeviceLoss),
}

impl PendingLoss {
    /// The loss, once it is known.
    ///
    /// # Errors
    /// If the device fails.
    pub fn wait(self) -> Result<BatchLoss> {
        match self.0 {
            Pending::Known(loss) => Ok(loss),
            #[cfg(feature = "cuda")]
            Pending::OnDevice(loss) => loss.wait(),
        }
    }
}

impl From<BatchLoss> for PendingLoss {
    fn from(loss: BatchLoss) -> Self {
        Self(Pending::Known(loss))
    }
}

#[cfg(feature = "cuda")]
impl From<crate::cuda::DeviceLoss> for PendingLoss {
    fn from(loss: crate::cuda::DeviceLoss) -> Self {
        Self(Pending::OnDevice(loss))
    }
}

impl BatchLoss {
    /// The loss of a model's output; and what training minimizes, as a tensor that autograd can
    /// differentiate: the mean loss per token, with the label smoothing of the batch, and the output's
    /// penalty, if it has one.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn of(output: &ForwardOutput, batch: &Batch) -> Result<(Self, Tensor)> {
        let logits = match output.logits.dtype() {
            DType::F16 | DType::BF16 => &output.logits.to_dtype(DType::F32)?, // sums need more digits
            _ => &output.logits,
        };
        let targets = batch.target_out_tensor(logits.device())?;
        let rows = batch.target_ragged(logits.dtype(), logits.device())?;
        let loss = token_loss(logits, &targets, &rows)?;
        let own = Self {
            loss_sum: loss.sum.detach().to_dtype(DType::F64)?.to_scalar()?,
            predictions: output.predictions.flatten_all()?.to_vec1()?,
        };
        let mean = match batch.label_smoothing().get() {
            0.0 => loss.mean()?,
            smoothing => {
                let uniform = uniform_loss(logits, &rows)?.mean()?;
                ((loss.mean()? * (1.0 - smoothing))? + (uniform * smoothing)?)?
            }
        };
        let objective = match &output.penalty {
            Some(penalty) => (mean + penalty)?,
            None => mean,
        };
        Ok((own, objective))
    }
}
