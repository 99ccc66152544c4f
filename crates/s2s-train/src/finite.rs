//! Finds values that are not finite, for the diagnosis of a diverging run.

use std::num::NonZeroUsize;

use candle_core::Tensor;
use s2s_kernels::Moments;
use s2s_model::Params;

use crate::{Result, global_norm};

/// A quantity that is not finite.
pub(crate) struct NotFinite {
    /// Its name.
    pub(crate) what: String,
    /// Its value; for a tensor, its norm.
    pub(crate) value: f64,
    /// Another tensor that is not finite and may be the cause.
    pub(crate) cause: Option<String>,
}

/// Checks the loss and the gradients of a step.
pub(crate) fn of_step(
    params: &Params,
    gradients: &[Tensor],
    loss: f64,
    grad_norm: f64,
) -> Result<Option<NotFinite>> {
    if loss.is_finite() && grad_norm.is_finite() {
        return Ok(None);
    }
    let gradient = first(params.iter().map(|(name, _)| name).zip(gradients))?;
    let gradient = gradient.map(|(name, norm)| (format!("gradient of {name}"), norm));
    let parameter = first_parameter(params)?;
    Ok(Some(if loss.is_finite() {
        let (what, value) = gradient.unwrap_or_else(|| ("gradient norm".to_owned(), grad_norm));
        NotFinite {
            what,
            value,
            cause: parameter,
        }
    } else {
        NotFinite {
            what: "loss".to_owned(),
            value: loss,
            cause: parameter.or_else(|| gradient.map(|(what, _)| what)),
        }
    }))
}

/// Checks a validation loss.
pub(crate) fn of_validation(params: &Params, loss: f64) -> Result<Option<NotFinite>> {
    if loss.is_finite() {
        return Ok(None);
    }
    Ok(Some(NotFinite {
        what: "validation loss".to_owned(),
        value: loss,
        cause: first_parameter(params)?,
    }))
}

/// Checks the parameters and moments before they are saved.
pub(crate) fn of_state(params: &Params, moments: &[Moments]) -> Result<Option<NotFinite>> {
    for ((name, param), moments) in params.iter().zip(moments) {
        let parts = [
            ("parameter", param.as_tensor()),
            ("first moment of", &moments.first),
            ("second moment of", &moments.second),
        ];
        if let Some((part, value)) = first(parts.into_iter())? {
            return Ok(Some(NotFinite {
                what: format!("{part} {name}"),
                value,
                cause: None,
            }));
        }
    }
    Ok(None)
}

fn first_parameter(params: &Params) -> Result<Option<String>> {
    let found = first(params.iter().map(|(name, param)| (name, param.as_tensor())))?;
    Ok(found.map(|(name, _)| format!("parameter {name}")))
}

/// Name and norm of the first tensor with a value that is not finite.
fn first<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> Result<Option<(&'a str, f64)>> {
    for (name, tensor) in tensors {
        // The sum is in f64, where squares of f32 values cannot overflow.
        let norm = global_norm(std::slice::from_ref(tensor), NonZeroUsize::MIN)?;
        if !norm.is_finite() {
            return Ok(Some((name, norm)));
        }
    }
    Ok(None)
}
