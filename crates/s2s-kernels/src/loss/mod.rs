//! Cross-entropy that ignores padding.
//!
//! ```text
//! loss = Σ_(b,t real)  log Σ_v exp(logit[b,t,v]) - logit[b,t,target[b,t]]
//! ```

pub(crate) mod kernel;
pub(crate) mod reference;

use candle_core::{Result, Tensor};

/// A loss as a sum with its count: it is divided once, by whoever needs the mean.
#[derive(Clone, Debug)]
pub struct TokenLoss {
    /// Sum over the real tokens, in nats; a scalar that autograd can differentiate.
    pub sum: Tensor,
    /// Real tokens.
    pub n_tokens: usize,
}

impl TokenLoss {
    /// Nats a token; a scalar that autograd can differentiate.
    ///
    /// # Errors
    /// If the device fails.
    pub fn mean(&self) -> Result<Tensor> {
        self.sum.affine(1.0 / self.n_tokens as f64, 0.0)
    }
}
