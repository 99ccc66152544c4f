//! Adam over a model's parameters, with accessible state.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor, bail};
use s2s_kernels::{AdamStep, Moments, adam, squared_norm};
use s2s_model::Params;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Adam with decoupled weight decay and clipping by the global norm; see [`s2s_kernels::adam`] for
/// the equations.
#[derive(Debug)]
pub struct Adam {
    moments: Vec<Moments>,
    clip_norm: f64,
    weight_decay: f64,
}

impl Adam {
    /// An optimizer with zero moments. A `clip_norm` of 0 turns clipping off.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(params: &Params, clip_norm: f64, weight_decay: f64) -> Result<Self> {
        let moments = params
            .iter()
            .map(|(_, var)| Moments::zeros_like(var))
            .collect::<Result<_>>()?;
        Ok(Self {
            moments,
            clip_norm,
            weight_decay,
        })
    }

    /// The moments of each parameter, in the parameters' order.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Replaces the moments, for a checkpoint.
    ///
    /// # Errors
    /// If their number or a shape differs from the parameters'.
    pub fn set_moments(&mut self, moments: Vec<Moments>) -> Result<()> {
        let shapes = |moments: &[Moments]| -> Vec<_> {
            moments
                .iter()
                .map(|m| (m.first.shape().clone(), m.second.shape().clone()))
                .collect()
        };
        if shapes(&moments) != shapes(&self.moments) {
            bail!("the moments do not have the shapes of the parameters");
        }
        self.moments = moments;
        Ok(())
    }

    /// The `update`-th update (counted from 1) of all parameters, in place.
    ///
    /// `grad_norm` is the [`global_norm`] of the gradients. If it exceeds `clip_norm`, all
    /// gradients are scaled by the same factor so that their norm is `clip_norm`. Pascanu, Mikolov,
    /// Bengio (2013), arXiv:1211.5063.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn step(
        &mut self,
        params: &Params,
        gradients: &[Tensor],
        grad_norm: f64,
        update: u64,
        learning_rate: f64,
        threads: NonZeroUsize,
    ) -> Result<()> {
        let is_clipped = self.clip_norm > 0.0 && grad_norm > self.clip_norm;
        let exponent = i32::try_from(update).unwrap_or(i32::MAX);
        let step = AdamStep {
            grad_scale: if is_clipped {
                self.clip_norm / grad_norm
            } else {
                1.0
            },
            learning_rate,
            beta1: BETA1,
            beta2: BETA2,
            epsilon: EPSILON,
            weight_decay: self.weight_decay,
            correction1: 1.0 - BETA1.powi(exponent),
            correction2: 1.0 - BETA2.powi(exponent),
        };
        let all = params.iter().zip(gradients).zip(&mut self.moments);
        let all = all.map(|(((_, var), gradient), moments)| (var, gradient, moments));
        adam(all, &step, threads)
    }
}

/// The Euclidean norm of all gradients together, summed in f64 in the parameters' order.
///
/// # Errors
/// If the device fails.
pub fn global_norm(gradients: &[Tensor], threads: NonZeroUsize) -> Result<f64> {
    Ok(squared_norm(gradients, threads)?.sqrt())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use s2s_model::Init;

    use super::*;

    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    fn quadratic(clip_norm: f64) -> Result<(Params, Adam)> {
        let mut params = Params::new(0, DType::F64, &Device::Cpu);
        params.root().get("w", 3, Init::Normal)?;
        let adam = Adam::new(&params, clip_norm, 0.0)?;
        Ok((params, adam))
    }

    #[test]
    fn first_update_moves_each_weight_by_the_learning_rate() -> Result<()> {
        // m / (1 - β₁) = g and √(v / (1 - β₂)) = |g|, so the first update is lr · sign(g).
        let (params, mut adam) = quadratic(0.0)?;
        let weight = || -> Result<Vec<f64>> { params.get("w").unwrap().to_vec1() };
        let before = weight()?;
        let gradient = Tensor::new(&[3.0_f64, -0.5, 1e-3], &Device::Cpu)?;
        adam.step(&params, std::slice::from_ref(&gradient), 1.0, 1, 0.1, ONE)?;
        for ((after, before), sign) in weight()?.iter().zip(before).zip([1.0, -1.0, 1.0]) {
            assert!((before - after - 0.1 * sign).abs() < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn clipping_scales_all_gradients_by_one_factor() -> Result<()> {
        let gradient = Tensor::new(&[3.0_f64, 4.0, 0.0], &Device::Cpu)?;
        let norm = global_norm(std::slice::from_ref(&gradient), ONE)?;
        assert_eq!(norm, 5.0);
        let first_moment = |clip_norm| -> Result<Vec<f64>> {
            let (params, mut adam) = quadratic(clip_norm)?;
            adam.step(&params, std::slice::from_ref(&gradient), norm, 1, 0.1, ONE)?;
            adam.moments()[0].first.to_vec1()
        };
        let (free, clipped) = (first_moment(0.0)?, first_moment(1.0)?);
        for (free, clipped) in free.iter().zip(clipped) {
            assert!((free / 5.0 - clipped).abs() < 1e-15);
        }
        assert_eq!(
            first_moment(6.0)?,
            free,
            "a bound above the norm changes nothing"
        );
        Ok(())
    }
}
