//! The optimizers, with accessible state.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use candle_core::{Result, Tensor, Var, bail};
#[cfg(feature = "cuda")]
use s2s_kernels::cuda::{SquaredNorm, adam_clipped};
use s2s_kernels::{AdamStep, Moments, adam, squared_norm};
use s2s_model::Params;

use crate::config::{ConfigError, OptimizerConfig, TrainConfig};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Updates the parameters that are not frozen, with decoupled weight decay and clipping by the global
/// norm; see [`OptimizerConfig`] for the rules.
#[derive(Debug)]
pub struct Optimizer {
    rule: OptimizerConfig,
    moments: Vec<Moments>,
    is_frozen: Vec<bool>,
    clip_norm: f64,
    weight_decay: f64,
}

/// The norm of gradients, which a CUDA device may still compute.
#[derive(Debug)]
pub struct GradNorm(Norm);

#[derive(Debug)]
enum Norm {
    Known(f64),
    #[cfg(feature = "cuda")]
    OnDevice(SquaredNorm),
}

impl GradNorm {
    /// The norm, once it is known.
    ///
    /// # Errors
    /// If the device fails.
    pub fn wait(&self) -> Result<f64> {
        match &self.0 {
            Norm::Known(norm) => Ok(*norm),
            #[cfg(feature = "cuda")]
            Norm::OnDevice(squared) => Ok(squared.wait()?.sqrt()),
        }
    }

    /// Whether nothing has to be waited for.
    pub fn is_known(&self) -> bool {
        matches!(self.0, Norm::Known(_))
    }
}

impl From<f64> for GradNorm {
    fn from(norm: f64) -> Self {
        Self(Norm::Known(norm))
    }
}

impl Optimizer {
    /// An optimizer with zero moments.
    ///
    /// # Errors
    /// If a pattern of `freeze` matches no parameter, if all are frozen, or if the device fails.
    pub fn new(params: &Params, config: &TrainConfig) -> crate::Result<Self> {
        let moments = params
            .iter()
            .map(|(_, var)| Moments::zeros_like(var))
            .collect::<Result<_>>()?;
        Ok(Self {
            rule: config.optimizer.clone(),
            moments,
            is_frozen: frozen(params, &config.freeze)?,
            clip_norm: config.clip_norm.get(),
            weight_decay: config.weight_decay.get(),
        })
    }

    /// The global norm of the gradients of all parameters that are not frozen: the square root of the sum of all squares.
    ///
    /// # Errors
    /// If the device fails.
    pub fn norm(&self, gradients: &[Tensor], threads: NonZeroUsize) -> Result<f64> {
        global_norm(&self.trained(gradients), threads)
    }

    /// As [`norm`](Self::norm), but with Adam on CUDA, it does not wait for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn submit_norm(
        &self,
        gradients: &[Tensor],
        threads: NonZeroUsize,
    ) -> Result<GradNorm> {
        #[cfg(feature = "cuda")]
        if matches!(self.rule, OptimizerConfig::Adam {})
            && let Some(norm) = SquaredNorm::of(&self.trained(gradients))?
        {
            return Ok(GradNorm(Norm::OnDevice(norm)));
        }
        self.norm(gradients, threads).map(GradNorm::from)
    }

    /// Those of the parameters that are not frozen.
    fn trained<'a>(&self, gradients: &'a [Tensor]) -> Cow<'a, [Tensor]> {
        if !self.is_frozen.contains(&true) {
            return Cow::Borrowed(gradients);
        }
        let all = gradients.iter().zip(&self.is_frozen);
        all.filter(|(_, is_frozen)| !**is_frozen)
            .map(|(gradient, _)| gradient.clone())
            .collect()
    }

    /// The moments of each parameter, in the parameters' order.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Replaces the moments, for a checkpoint.
    ///
    /// # Errors
    /// If their number or a shape differs from the parameters'.
    pub(crate) fn set_moments(&mut self, moments: Vec<Moments>) -> Result<()> {
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

    /// The `update`-th update (counted from 1) of all parameters that are not frozen, in place.
    ///
    /// `grad_norm` is the norm of the gradients. One on a device is not waited for, and changes nothing if it
    /// turns out not to be finite. If it exceeds `clip_norm`, all
    /// gradients are scaled by the same factor so that their norm is `clip_norm`. Pascanu, Mikolov,
    /// Bengio (2013), arXiv:1211.5063.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn step(
        &mut self,
        params: &Params,
        gradients: &[Tensor],
        grad_norm: &GradNorm,
        update: u64,
        learning_rate: f64,
        threads: NonZeroUsize,
    ) -> Result<()> {
        let grad_scale = match grad_norm.0 {
            Norm::Known(norm) if self.clip_norm > 0.0 && norm > self.clip_norm => {
                self.clip_norm / norm
            }
            _ => 1.0, // on a device, `adam_clipped` clips
        };
        let all = params.iter().zip(gradients).zip(&mut self.moments);
        let trained = all
            .zip(&self.is_frozen)
            .filter(|(_, is_frozen)| !**is_frozen)
            .map(|((((_, var), gradient), moments), _)| (var, gradient, moments));
        match self.rule {
            OptimizerConfig::Adam {} => {
                let exponent = i32::try_from(update).unwrap_or(i32::MAX);
                let step = AdamStep {
                    grad_scale,
                    learning_rate,
                    beta1: BETA1,
                    beta2: BETA2,
                    epsilon: EPSILON,
                    weight_decay: self.weight_decay,
                    correction1: 1.0 - BETA1.powi(exponent),
                    correction2: 1.0 - BETA2.powi(exponent),
                };
                match &grad_norm.0 {
                    Norm::Known(_) => adam(trained, &step, threads),
                    #[cfg(feature = "cuda")]
                    Norm::OnDevice(norm) => adam_clipped(trained, &step, norm, self.clip_norm),
                }
            }
            OptimizerConfig::Sgd { momentum } => {
                let step = SgdStep {
                    grad_scale,
                    learning_rate,
                    momentum: momentum.get(),
                    weight_decay: self.weight_decay,
                };
                for (var, gradient, moments) in trained {
                    sgd(var, gradient, moments, &step)?;
                }
                Ok(())
            }
        }
    }
}

/// The numbers of one [`sgd`] update.
struct SgdStep {
    grad_scale: f64,
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
}

/// One update of stochastic gradient descent with momentum, in PyTorch's form:
///
/// ```text
/// m = μ m + scale · g
/// p = (1 - lr·decay) p - lr · m
/// ```
fn sgd(param: &Var, gradient: &Tensor, moments: &mut Moments, step: &SgdStep) -> Result<()> {
    let moment =
        (moments.first.affine(step.momentum, 0.0)? + gradient.affine(step.grad_scale, 0.0)?)?;
    let decayed = param.affine(1.0 - step.learning_rate * step.weight_decay, 0.0)?;
    param.set(&(decayed - moment.affine(step.learning_rate, 0.0)?)?.detach())?;
    moments.first = moment.detach();
    Ok(())
}

/// Whether each parameter matches one of the patterns.
fn frozen(params: &Params, patterns: &[String]) -> crate::Result<Vec<bool>> {
    let names: Vec<&str> = params.iter().map(|(name, _)| name).collect();
    if let Some(pattern) = patterns
        .iter()
        .find(|pattern| !names.iter().any(|name| matches(pattern, name)))
    {
        return Err(ConfigError::of(&format!(
            "train.freeze: no parameter has a name like \"{pattern}\" (for example --set 'train.freeze=[\"encoder.*\"]'; the parameters are {})",
            names.join(", ")
        ))
        .into());
    }
    let is_frozen: Vec<bool> = names
        .iter()
        .map(|name| patterns.iter().any(|pattern| matches(pattern, name)))
        .collect();
    if !is_frozen.contains(&false) {
        return Err(ConfigError::of(&"train.freeze: every parameter would be frozen").into());
    }
    Ok(is_frozen)
}

/// Whether a pattern, in which `*` stands for any characters, matches a whole name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(before) else {
        return false;
    };
    let mut tails = rest.char_indices().map(|(at, _)| &rest[at..]).chain([""]);
    tails.any(|tail| matches(after, tail))
}

/// The Euclidean norm of all gradients together, summed in f64 in the parameters' order.
///
/// # Errors
/// If the device fails.
pub(crate) fn global_norm(gradients: &[Tensor], threads: NonZeroUsize) -> Result<f64> {
    Ok(squared_norm(gradients, threads)?.sqrt())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use s2s_model::Init;

    use super::*;

    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    fn quadratic(clip_norm: f64) -> crate::Result<(Params, Optimizer)> {
        let mut params = Params::new(0, DType::F64, &Device::Cpu);
        params.root().get("w", 3, Init::Normal)?;
        let adam = optimizer(&params, &format!("clip_norm = {clip_norm:?}"))?;
        Ok((params, adam))
    }

    fn optimizer(params: &Params, config: &str) -> crate::Result<Optimizer> {
        Optimizer::new(params, &toml::from_str(config).unwrap())
    }

    #[test]
    fn first_update_moves_each_weight_by_the_learning_rate() -> crate::Result<()> {
        // m / (1 - β₁) = g and √(v / (1 - β₂)) = |g|, so the first update is lr · sign(g).
        let (params, mut adam) = quadratic(0.0)?;
        let weight = || -> Result<Vec<f64>> { params.get("w").unwrap().to_vec1() };
        let before = weight()?;
        let gradient = Tensor::new(&[3.0_f64, -0.5, 1e-3], &Device::Cpu)?;
        let norm = GradNorm::from(1.0);
        adam.step(&params, std::slice::from_ref(&gradient), &norm, 1, 0.1, ONE)?;
        for ((after, before), sign) in weight()?.iter().zip(before).zip([1.0, -1.0, 1.0]) {
            assert!((before - after - 0.1 * sign).abs() < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn clipping_scales_all_gradients_by_one_factor() -> crate::Result<()> {
        let gradient = Tensor::new(&[3.0_f64, 4.0, 0.0], &Device::Cpu)?;
        let norm = global_norm(std::slice::from_ref(&gradient), ONE)?;
        assert_eq!(norm, 5.0);
        let first_moment = |clip_norm| -> crate::Result<Vec<f64>> {
            let (params, mut adam) = quadratic(clip_norm)?;
            let norm = GradNorm::from(norm);
            adam.step(&params, std::slice::from_ref(&gradient), &norm, 1, 0.1, ONE)?;
            Ok(adam.moments()[0].first.to_vec1()?)
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

    #[test]
    fn momentum_accumulates_the_gradients() -> crate::Result<()> {
        let mut params = Params::new(0, DType::F64, &Device::Cpu);
        params.root().get("w", 2, Init::Normal)?;
        let config =
            "optimizer = { kind = \"sgd\", momentum = 0.5 }\nclip_norm = 0.0\nweight_decay = 0.1";
        let mut sgd = optimizer(&params, config)?;
        let gradient = Tensor::new(&[1.0_f64, -2.0], &Device::Cpu)?;
        let mut expected: Vec<f64> = params.get("w").unwrap().to_vec1()?;
        for (update, moment) in [(1, 1.0), (2, 1.5), (3, 1.75)] {
            sgd.step(
                &params,
                std::slice::from_ref(&gradient),
                &GradNorm::from(1.0),
                update,
                0.1,
                ONE,
            )?;
            for (expected, gradient) in expected.iter_mut().zip([1.0, -2.0]) {
                *expected = *expected * (1.0 - 0.1 * 0.1) - 0.1 * moment * gradient;
            }
        }
        let weight: Vec<f64> = params.get("w").unwrap().to_vec1()?;
        for (weight, expected) in weight.iter().zip(expected) {
            assert!(
                (weight - expected).abs() < 1e-15,
                "{weight} is not {expected}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_frozen_parameter_neither_moves_nor_counts() -> crate::Result<()> {
        let mut params = Params::new(0, DType::F64, &Device::Cpu);
        for name in ["encoder.a", "encoder.b", "decoder.a"] {
            params.root().get(name, 1, Init::Normal)?;
        }
        let all = || -> Result<Vec<f64>> {
            params
                .iter()
                .map(|(_, var)| Ok(var.to_vec1::<f64>()?[0]))
                .collect()
        };
        let before = all()?;
        let mut sgd = optimizer(
            &params,
            "freeze = [\"encoder.*\"]\noptimizer = { kind = \"sgd\" }",
        )?;
        let gradients = [3.0_f64, 4.0, 0.5].map(|x| Tensor::new(&[x], &Device::Cpu).unwrap());
        assert_eq!(sgd.norm(&gradients, ONE)?, 0.5);
        sgd.step(&params, &gradients, &GradNorm::from(0.5), 1, 0.1, ONE)?;
        let after = all()?;
        assert_eq!(after[..2], before[..2]);
        assert_eq!(after[2], before[2] - 0.1 * 0.5);
        for (patterns, says) in [("encodr.*", "no parameter"), ("*", "every parameter")] {
            let error = optimizer(&params, &format!("freeze = [\"{patterns}\"]")).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        Ok(())
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("encoder.*", "encoder.weight", true),
            ("encoder.*", "decoder.encoder.weight", false),
            ("*.weight_*", "encoder.weight_ih_l0", true),
            ("*weight", "decoder.weight", true),
            ("*weight", "decoder.weights", false),
            ("weight", "weight", true),
            ("", "weight", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
