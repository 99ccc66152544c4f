//! Adam in plain tensor operations.

use candle_core::{DType, Result, Tensor, Var};

use super::{AdamStep, Moments};

/// The definition of [`squared_norm`](crate::squared_norm()), of one tensor.
///
/// # Errors
/// If the device fails.
pub fn squared_norm(tensor: &Tensor) -> Result<f64> {
    let squares = tensor.detach().to_dtype(DType::F64)?.sqr()?;
    squares.sum_all()?.to_scalar()
}

/// The definition of [`adam`](crate::adam()), of one parameter.
///
/// # Errors
/// If the shapes disagree.
pub fn adam(param: &Var, grad: &Tensor, moments: &mut Moments, step: &AdamStep) -> Result<()> {
    let grad = (grad.detach() * step.grad_scale)?;
    moments.first = ((&moments.first * step.beta1)? + (&grad * (1.0 - step.beta1))?)?;
    moments.second = ((&moments.second * step.beta2)? + (grad.sqr()? * (1.0 - step.beta2))?)?;

    let first = (&moments.first / step.correction1)?;
    let root = (&moments.second / step.correction2)?.sqrt()?;
    let update = (first / (root + step.epsilon)?)?;
    let kept = (param.as_detached_tensor() * (1.0 - step.learning_rate * step.weight_decay))?;
    param.set(&(kept - (update * step.learning_rate)?)?)
}
