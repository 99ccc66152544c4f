//! Cross-entropy without the padded positions.
//!
//! ```text
//! loss = Σ_(b,t real)  log Σ_v exp(logit[b,t,v]) - logit[b,t,target[b,t]]
//! ```

pub(crate) mod kernel;
pub(crate) mod operator;
pub(crate) mod reference;

use candle_core::{Result, Tensor};

/// A summed loss and the number of tokens in the sum.
#[derive(Clone, Debug)]
pub struct TokenLoss {
    /// The sum over the real tokens, in nats; a scalar that autograd can differentiate.
    pub sum: Tensor,
    /// The number of real tokens.
    pub n_tokens: usize,
}

impl TokenLoss {
    /// The mean, in nats per token; a scalar that autograd can differentiate.
    ///
    /// # Errors
    /// If the device fails.
    pub fn mean(&self) -> Result<Tensor> {
        self.sum.affine(1.0 / self.n_tokens as f64, 0.0)
    }
}
