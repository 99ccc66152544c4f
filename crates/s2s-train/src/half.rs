//! Gradients in half precision.
//!
//! A copy of the model computes the gradients of a step in bf16 or f16. The parameters, their moments,
//! evaluation and decoding stay in f32. Micikevicius et al. (2018), arXiv:1710.03740.
//!
//! The smallest positive f16 is 6e-8, below which gradients vanish. So the loss is multiplied by a scale
//! before the backward pass, and the gradients are divided by it. If they overflow, the scale is halved and
//! the step is repeated; after many steps without overflow, it is doubled.

use candle_core::{DType, Result, Tensor, bail};
use s2s_model::{Batch, BatchLoss, Forcing, Mode, Noise, Params};
use serde::{Deserialize, Serialize};

use crate::{Model, Precision};

/// A model in half precision.
#[derive(Debug)]
pub(crate) struct Half<M>(M);

impl<M: Model> Half<M> {
    /// A copy of a model, whose parameters are set before each use.
    ///
    /// # Errors
    /// If it is in another precision, or has other parameters than `params`.
    pub(crate) fn new(copy: M, precision: Precision, params: &Params) -> Result<Self> {
        let own = copy.params();
        if own.dtype() != precision.dtype() {
            bail!(
                "the copy of the model is in {:?}, expected {precision}",
                own.dtype()
            );
        }
        let is_alike = own.iter().len() == params.iter().len()
            && (own.iter().zip(params.iter()))
                .all(|((name, a), (other, b))| name == other && a.shape() == b.shape());
        if !is_alike {
            bail!("the copy of the model has other parameters");
        }
        Ok(Self(copy))
    }

    /// The loss, and the gradients in f32, at a scale at which they and their `norm` do not overflow.
    pub(crate) fn gradients(
        &self,
        params: &Params,
        (batch, forcing, noise): (&Batch, &Forcing, &Noise),
        scale: &mut LossScale,
        norm: impl Fn(&[Tensor]) -> Result<f64>,
    ) -> Result<(BatchLoss, Vec<Tensor>)> {
        let copies = self.0.params();
        for ((_, copy), (_, param)) in copies.iter().zip(params.iter()) {
            copy.set(&param.to_dtype(copies.dtype())?)?;
        }
        loop {
            let output = self.0.forward(batch, forcing, Mode::Train(noise))?;
            let (loss, mean) = BatchLoss::of(&output, batch)?;
            let scaled = copies.gradients(&(mean * scale.factor)?)?;
            let gradients = scaled
                .iter()
                .map(|gradient| gradient.to_dtype(DType::F32)? / scale.factor)
                .collect::<Result<Vec<_>>>()?;
            let is_finite = loss.loss_sum.is_finite() && norm(&gradients)?.is_finite();
            if !scale.update(is_finite) {
                return Ok((loss, gradients));
            }
        }
    }
}

/// The factor on the loss in f16, and since how many steps it has not overflowed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    /// A power of two.
    pub factor: f64,
    /// Steps since it changed.
    pub n_steps: u64,
}

impl LossScale {
    const MAX: f64 = 65_536.0;
    /// Steps without overflow after which the scale is doubled.
    const PATIENCE: u64 = 2000;

    /// The scale before the first step.
    pub(crate) fn start(precision: Precision) -> Self {
        let factor = match precision {
            Precision::F16 => Self::MAX,
            Precision::F32 | Precision::Bf16 => 1.0, // these have the range of f32
        };
        Self { factor, n_steps: 0 }
    }

    /// Whether it can occur in a run.
    pub(crate) fn is_plausible(self) -> bool {
        let is_power = (0..=16).any(|exponent| self.factor == f64::from(1u32 << exponent));
        is_power && self.n_steps < Self::PATIENCE
    }

    /// Updates the scale after the gradients of a step. Returns whether it was lowered, so that the step
    /// must be repeated. Without scaling, an overflow is an error of the run.
    fn update(&mut self, is_finite: bool) -> bool {
        if !is_finite && self.factor > 1.0 {
            *self = Self {
                factor: self.factor / 2.0,
                n_steps: 0,
            };
            return true;
        }
        self.n_steps += 1;
        if self.n_steps == Self::PATIENCE {
            *self = Self {
                factor: (2.0 * self.factor).min(Self::MAX),
                n_steps: 0,
            };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_halved_at_an_overflow_and_doubled_after_many_steps() {
        let mut scale = LossScale::start(Precision::F16);
        assert!(scale.update(false) && scale.update(false));
        assert_eq!(scale.factor, 16_384.0);
        for _ in 1..LossScale::PATIENCE {
            assert!(!scale.update(true));
            assert!(scale.is_plausible());
        }
        assert_eq!(scale.factor, 16_384.0);
        assert!(!scale.update(true));
        assert_eq!(
            scale,
            LossScale {
                factor: 32_768.0,
                n_steps: 0
            }
        );
    }

    #[test]
    fn a_scale_of_one_is_not_lowered() {
        let mut scale = LossScale {
            factor: 2.0,
            n_steps: 7,
        };
        assert!(scale.update(false));
        assert!(!scale.update(false));
        assert_eq!(scale.factor, 1.0);
    }
}
