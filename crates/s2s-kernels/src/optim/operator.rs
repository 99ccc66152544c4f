//! The fused update on candle's variables, in place.

use candle_core::{Result, Tensor, Var, bail};

use super::kernel::{adam as fused, squared_norm as fused_squared_norm};
use super::{AdamStep, Moments};
use crate::storage::{read, write};
use crate::team::Team;

pub(crate) fn squared_norm(tensor: &Tensor) -> Result<f64> {
    read(tensor, |numbers| {
        Ok(fused_squared_norm([numbers], &mut Team::single()))
    })
}

pub(crate) fn adam(
    param: &Var,
    grad: &Tensor,
    moments: &mut Moments,
    step: &AdamStep,
) -> Result<()> {
    let shape = param.dims();
    for other in [grad, &moments.first, &moments.second] {
        if other.dims() != shape {
            bail!(
                "the parameter is {shape:?}, but its gradient or moment {:?}",
                other.dims()
            );
        }
    }
    let grad = grad.contiguous()?;
    read(&grad, |grad| {
        write(param, |param| {
            write(&moments.first, |first| {
                write(&moments.second, |second| {
                    fused(param, grad, first, second, step, &mut Team::single());
                    Ok(())
                })
            })
        })
    })
}
