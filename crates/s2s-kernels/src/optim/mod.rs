//! Adam with decoupled weight decay, and the norm that clipping bounds.
//!
//! Kingma, Ba (2015), arXiv:1412.6980; the decay as Loshchilov, Hutter (2019), arXiv:1711.05101.
//!
//! ```text
//! g' = scale · g                                  scale clips the global norm
//! m  = β₁ m + (1 - β₁) g'
//! v  = β₂ v + (1 - β₂) g'²
//! p  = (1 - lr·decay) p - lr · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)
//! ```

pub(crate) mod kernel;
pub(crate) mod operator;
pub(crate) mod reference;

use candle_core::{Result, Tensor};

/// The running means of one parameter's gradient, of the parameter's shape.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Of the gradient.
    pub first: Tensor,
    /// Of its square.
    pub second: Tensor,
}

impl Moments {
    /// Zeros of the parameter's shape.
    ///
    /// # Errors
    /// If the device fails.
    pub fn zeros_like(param: &Tensor) -> Result<Self> {
        Ok(Self {
            first: param.zeros_like()?,
            second: param.zeros_like()?,
        })
    }
}

/// The numbers of one update, equal for all parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Factor on the gradient, from clipping the global norm.
    pub grad_scale: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; 0 for plain Adam.
    pub weight_decay: f64,
    /// `1 - β₁ᵗ`, at update `t` counted from 1.
    pub correction1: f64,
    /// `1 - β₂ᵗ`.
    pub correction2: f64,
}
