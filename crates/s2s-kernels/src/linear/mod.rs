//! A linear layer, `y = x Wᵀ + b`.
//!
//! ```text
//! y[m]     = W x[m] + b
//! d_x[m]   = Wᵀ d_y[m]
//! d_W[n,k] = Σ_m d_y[m,n] x[m,k]
//! d_b[n]   = Σ_m d_y[m,n]
//! ```

mod kernel;
pub(crate) mod operator;
pub(crate) mod reference;

pub use kernel::{Linear, bias_gradient, weight_gradient};
pub(crate) use kernel::{add_to, weight_gradients};

use candle_core::{D, Result, Tensor, bail};

/// Returns an error unless the shapes fit each other.
fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let (outputs, inputs) = weight.dims2()?;
    if x.dim(D::Minus1)? != inputs {
        let x = x.dims();
        bail!("the weight is [{outputs}, {inputs}], but the input {x:?}");
    }
    match bias.map(Tensor::dims) {
        Some(bias) if bias != [outputs] => {
            bail!("the weight is [{outputs}, {inputs}], but the bias {bias:?}")
        }
        _ => Ok(()),
    }
}
