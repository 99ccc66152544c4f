//! `x Wᵀ + b` over the last axis.

use candle_core::{Result, Tensor};

use crate::{Init, Scope};

/// An affine map with PyTorch's parameter names: `weight` is `[out, in]`, `bias` is `[out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor, // a view as [in, out], so that no step transposes it again
    bias: Option<Tensor>,
}

impl Linear {
    /// A map from `inputs` to `outputs` features.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(scope: &mut Scope<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        let mut linear = Self::without_bias(scope, inputs, outputs)?;
        linear.bias = Some(scope.get("bias", outputs, Init::fan_in(inputs))?);
        Ok(linear)
    }

    /// A map without `b`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn without_bias(scope: &mut Scope<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        let weight = scope.get("weight", (outputs, inputs), Init::fan_in(inputs))?;
        Ok(Self {
            weight: weight.t()?,
            bias: None,
        })
    }

    /// `[.., in]` to `[.., out]`.
    ///
    /// # Errors
    /// If the last axis of `x` is not `in` wide.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut dims = x.dims().to_vec();
        let flat = x.flatten_to(x.rank() - 2)?.contiguous()?; // [rows, in]; CUDA multiplies no other layout
        if let Some(last) = dims.last_mut() {
            *last = self.weight.dim(1)?;
        }
        let product = flat.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias)?.reshape(dims),
            None => product.reshape(dims),
        }
    }
}
