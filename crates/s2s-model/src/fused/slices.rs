//! A model's parameters and gradients as named slices.

use candle_core::{CpuStorage, Result, Storage, StorageRef, Tensor, Var, bail};
use s2s_kernels::slices::{
    AttentionalGrads, AttentionalParams, Connections, DecoderGrads, DecoderParams, LayerNorm,
    NormGrads, RecurrentGrads, RecurrentParams, write,
};

use crate::{ModelConfig, Noise, Params, Probability};

/// The values of every parameter, borrowed for reading.
pub(super) struct ParamSlices<'a> {
    all: Vec<(&'a str, StorageRef<'a>)>,
}

impl<'a> ParamSlices<'a> {
    pub(super) fn of(params: &'a Params) -> Self {
        let all = params
            .iter()
            .map(|(name, var)| (name, var.storage_and_layout().0))
            .collect();
        Self { all }
    }

    /// The parameter called `name`, row by row.
    pub(super) fn get(&self, name: &str) -> Result<&[f32]> {
        match self.all.iter().find(|(other, _)| *other == name) {
            Some((_, storage)) => match &**storage {
                Storage::Cpu(CpuStorage::F32(numbers)) => Ok(numbers),
                _ => bail!("parameter {name} is not in f32 on the CPU"),
            },
            None => bail!("the model has no parameter {name}"),
        }
    }

    pub(super) fn recurrent(&self, rnn: &str, suffix: &str) -> Result<RecurrentParams<'_, f32>> {
        Ok(RecurrentParams {
            weight_ih: self.get(&format!("{rnn}.weight_ih{suffix}"))?,
            weight_hh: self.get(&format!("{rnn}.weight_hh{suffix}"))?,
            bias_ih: self.get(&format!("{rnn}.bias_ih{suffix}"))?,
            bias_hh: self.get(&format!("{rnn}.bias_hh{suffix}"))?,
        })
    }

    pub(super) fn decoder(&self, config: &ModelConfig) -> Result<DecoderParams<'_, f32>> {
        let layers = config.layers.get();
        let norms = (0..config.n_norms()).map(|k| {
            let [gain, bias] = norm_names("decoder", k);
            let mut norm = LayerNorm::default();
            norm.pack(self.get(&gain)?, self.get(&bias)?);
            Ok(norm)
        });
        Ok(DecoderParams {
            embedding: self.get("decoder.embedding.weight")?,
            layers: (0..layers)
                .map(|k| self.recurrent("decoder.rnn", &format!("_l{k}")))
                .collect::<Result<_>>()?,
            connections: Connections {
                residual: config.residual,
                norms: norms.collect::<Result<_>>()?,
            },
            attentional: match config.input_feeding {
                true => Some(AttentionalParams {
                    weight: self.get("decoder.attentional.weight")?,
                    bias: self.get("decoder.attentional.bias")?,
                }),
                false => None,
            },
            output_weight: self.get("decoder.output.weight")?,
            output_bias: self.get("decoder.output.bias")?,
        })
    }
}

/// The memory of all gradients, in the parameters' order. It is reused from step to step: allocating it
/// anew would take longer than filling it.
#[derive(Debug, Default)]
pub(super) struct GradBuffer(Option<Tensor>);

/// A clone starts without memory.
impl Clone for GradBuffer {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl GradBuffer {
    /// Lets `backward` write every gradient, and returns them as tensors in the parameters' order, which
    /// the next call overwrites.
    pub(super) fn fill(
        &mut self,
        params: &Params,
        backward: impl FnOnce(&mut GradSlices<'_>) -> Result<()>,
    ) -> Result<Vec<Tensor>> {
        let all = match &self.0 {
            Some(all) => all.clone(),
            None => {
                let n: usize = params.iter().map(|(_, var)| var.elem_count()).sum();
                let all = Tensor::from_vec(vec![0.0_f32; n], n, params.device())?;
                self.0.insert(all).clone()
            }
        };
        write(&all, |all| {
            let mut grads = GradSlices::of(params, all);
            backward(&mut grads)?;
            grads.finish()
        })?;
        let mut start = 0;
        let gradient = |(_, var): (&str, &Var)| {
            let gradient = all.narrow(0, start, var.elem_count())?;
            start += var.elem_count();
            gradient.reshape(var.shape())
        };
        params.iter().map(gradient).collect()
    }
}

/// One gradient per parameter, each to be written once.
pub(super) struct GradSlices<'a> {
    left: Vec<(&'a str, &'a mut [f32])>,
}

impl<'a> GradSlices<'a> {
    /// Slices of `all`, in the parameters' order.
    fn of(params: &'a Params, all: &'a mut [f32]) -> Self {
        let mut rest = all;
        let left = params.iter().map(|(name, var)| {
            let (own, after) = std::mem::take(&mut rest).split_at_mut(var.elem_count());
            rest = after;
            (name, own)
        });
        Self {
            left: left.collect(),
        }
    }

    /// Takes the gradient of the parameter called `name`.
    pub(super) fn take(&mut self, name: &str) -> Result<&'a mut [f32]> {
        match self.left.iter().position(|(left, _)| *left == name) {
            Some(index) => Ok(self.left.swap_remove(index).1),
            None => bail!("the gradient of {name} was taken before or does not exist"),
        }
    }

    pub(super) fn recurrent(&mut self, rnn: &str, suffix: &str) -> Result<RecurrentGrads<'a, f32>> {
        Ok(RecurrentGrads {
            weight_ih: self.take(&format!("{rnn}.weight_ih{suffix}"))?,
            weight_hh: self.take(&format!("{rnn}.weight_hh{suffix}"))?,
            bias_ih: self.take(&format!("{rnn}.bias_ih{suffix}"))?,
            bias_hh: self.take(&format!("{rnn}.bias_hh{suffix}"))?,
        })
    }

    /// The gradients of the layer normalization of layer `k` in this part of the model.
    pub(super) fn norm(&mut self, part: &str, k: usize) -> Result<NormGrads<'a, f32>> {
        let [gain, bias] = norm_names(part, k);
        Ok(NormGrads {
            gain: self.take(&gain)?,
            bias: self.take(&bias)?,
        })
    }

    pub(super) fn decoder(&mut self, config: &ModelConfig) -> Result<DecoderGrads<'a, f32>> {
        Ok(DecoderGrads {
            embedding: self.take("decoder.embedding.weight")?,
            layers: (0..config.layers.get())
                .map(|k| self.recurrent("decoder.rnn", &format!("_l{k}")))
                .collect::<Result<_>>()?,
            norms: (0..config.n_norms())
                .map(|k| self.norm("decoder", k))
                .collect::<Result<_>>()?,
            attentional: match config.input_feeding {
                true => Some(AttentionalGrads {
                    weight: self.take("decoder.attentional.weight")?,
                    bias: self.take("decoder.attentional.bias")?,
                }),
                false => None,
            },
            output_weight: self.take("decoder.output.weight")?,
            output_bias: self.take("decoder.output.bias")?,
        })
    }

    /// Checks that every gradient was taken.
    fn finish(self) -> Result<()> {
        match self.left.first() {
            Some((name, _)) => bail!("the gradient of parameter {name} was not written"),
            None => Ok(()),
        }
    }
}

/// The gain and the bias that normalize the output of layer `k` in a part of the model.
pub(super) fn norm_names(part: &str, k: usize) -> [String; 2] {
    ["weight", "bias"].map(|name| format!("{part}.norm.{k}.{name}"))
}

/// Draws `n` dropout factors into `mask`, or empties it without dropout.
pub(super) fn draw_mask(
    mask: &mut Vec<f32>,
    noise: Option<&Noise>,
    place: &str,
    n: usize,
    drop: Probability,
) {
    match noise {
        Some(noise) if drop > Probability::ZERO => {
            mask.resize(n, 0.0);
            noise.fill_dropout_mask(place, mask, drop);
        }
        _ => mask.clear(),
    }
}
