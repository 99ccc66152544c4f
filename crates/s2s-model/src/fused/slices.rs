//! A model's parameters and gradients as slices with names.

use candle_core::{CpuStorage, Result, Storage, StorageRef, Tensor, bail};
use s2s_kernels::slices::{DecoderGrads, DecoderParams, RecurrentGrads, RecurrentParams};

use crate::Params;

/// The numbers of every parameter, readable as long as this lives.
pub(super) struct ParamSlices<'a> {
    held: Vec<(&'a str, StorageRef<'a>)>,
}

impl<'a> ParamSlices<'a> {
    pub(super) fn of(params: &'a Params) -> Self {
        let held = params
            .iter()
            .map(|(name, var)| (name, var.storage_and_layout().0))
            .collect();
        Self { held }
    }

    /// The parameter called `name`, row by row.
    pub(super) fn get(&self, name: &str) -> Result<&[f32]> {
        match self.held.iter().find(|(held, _)| *held == name) {
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

    pub(super) fn decoder(&self, layers: usize) -> Result<DecoderParams<'_, f32>> {
        Ok(DecoderParams {
            embedding: self.get("decoder.embedding.weight")?,
            layers: (0..layers)
                .map(|k| self.recurrent("decoder.rnn", &format!("_l{k}")))
                .collect::<Result<_>>()?,
            output_weight: self.get("decoder.output.weight")?,
            output_bias: self.get("decoder.output.bias")?,
        })
    }
}

/// A gradient for each parameter, to be written once.
pub(super) struct GradSlices<'a> {
    left: Vec<(&'a str, &'a mut [f32])>,
}

impl<'a> GradSlices<'a> {
    /// Writes into `buffers`, one a parameter and in their order.
    pub(super) fn of(params: &'a Params, buffers: &'a mut [Vec<f32>]) -> Self {
        let names = params.iter().map(|(name, _)| name);
        Self {
            left: names
                .zip(buffers.iter_mut().map(Vec::as_mut_slice))
                .collect(),
        }
    }

    /// The gradient of the parameter called `name`, which is then taken.
    pub(super) fn take(&mut self, name: &str) -> Result<&'a mut [f32]> {
        match self.left.iter().position(|(left, _)| *left == name) {
            Some(index) => Ok(self.left.swap_remove(index).1),
            None => bail!("the gradient of {name} was taken before, or there is none"),
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

    pub(super) fn decoder(&mut self, layers: usize) -> Result<DecoderGrads<'a, f32>> {
        Ok(DecoderGrads {
            embedding: self.take("decoder.embedding.weight")?,
            layers: (0..layers)
                .map(|k| self.recurrent("decoder.rnn", &format!("_l{k}")))
                .collect::<Result<_>>()?,
            output_weight: self.take("decoder.output.weight")?,
            output_bias: self.take("decoder.output.bias")?,
        })
    }

    /// That no gradient was forgotten.
    pub(super) fn finish(self) -> Result<()> {
        match self.left.first() {
            Some((name, _)) => bail!("parameter {name} was given no gradient"),
            None => Ok(()),
        }
    }
}

/// A zero for each number of each parameter.
pub(super) fn zeros(params: &Params) -> Vec<Vec<f32>> {
    params
        .iter()
        .map(|(_, var)| vec![0.0; var.elem_count()])
        .collect()
}

/// The buffers as tensors of the parameters' shapes.
pub(super) fn to_tensors(params: &Params, buffers: Vec<Vec<f32>>) -> Result<Vec<Tensor>> {
    params
        .iter()
        .zip(buffers)
        .map(|((_, var), buffer)| Tensor::from_vec(buffer, var.shape(), params.device()))
        .collect()
}

/// `x [S, B, W] *= mask [B, S, W]`: activations are position first, masks batch first.
pub(super) fn multiply_mask(x: &mut [f32], mask: &[f32], batch: usize, len: usize) {
    let width = x.len() / (batch * len).max(1);
    for (index, x) in x.chunks_exact_mut(width.max(1)).enumerate() {
        let (position, row) = (index / batch, index % batch);
        let mask = &mask[(row * len + position) * width..][..width];
        for (x, mask) in x.iter_mut().zip(mask) {
            *x *= mask;
        }
    }
}
