//! A linear layer with its parameters.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// `y = x Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor, // [N, K]
    bias: Option<Tensor>,
}

/// A layer from `inputs` to `outputs` numbers, initialized like `torch.nn.Linear`. Its parameters are
/// `weight` `[outputs, inputs]` and `bias` `[outputs]`.
///
/// # Errors
/// If the builder has no parameters of these names and shapes.
pub fn linear(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    let bound = bound(inputs);
    Ok(Linear {
        weight: vb.get_with_hints((outputs, inputs), "weight", bound)?,
        bias: Some(vb.get_with_hints(outputs, "bias", bound)?),
    })
}

/// [`linear`] without `bias`.
///
/// # Errors
/// If the builder has no parameter of this name and shape.
pub fn linear_no_bias(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    Ok(Linear {
        weight: vb.get_with_hints((outputs, inputs), "weight", bound(inputs))?,
        bias: None,
    })
}

/// PyTorch's initialization, uniform within ±1/√n.
pub(super) fn bound(n: usize) -> Init {
    let up = 1.0 / (n.max(1) as f64).sqrt();
    Init::Uniform { lo: -up, up }
}

impl Linear {
    /// `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// If the input has another width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        crate::linear(x, &self.weight, self.bias.as_ref())
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward(x)
    }
}
