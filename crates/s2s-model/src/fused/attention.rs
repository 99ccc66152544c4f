//! Attention on slices: the keys, which are projected once per sequence, and the parameters of the
//! scorer, which runs inside the decoder. The equations are those of the mechanism's own file.

use candle_core::Result;
use s2s_kernels::slices::{Epilogue, Linear, Matrix, Scorer, Team, weight_gradient};

use super::slices::{GradSlices, ParamSlices};
use crate::{AttentionKernel, Keys, ModelConfig};

#[derive(Clone)]
pub(super) struct FusedAttention {
    source: KeySource,
    /// Names of the scorer's parameters, in its order.
    names: Vec<String>,
    encoder_width: usize, // 2H
    keys: Vec<f32>,       // [B, S, K], if they are projected
    d_keys: Vec<f32>,     // [B, S, K]
}

/// Where the keys come from.
#[derive(Clone)]
enum KeySource {
    Projected(Projection),
    Values,
    None,
}

impl KeySource {
    fn select<'a>(&self, projected: &'a [f32], values: &'a [f32]) -> &'a [f32] {
        match self {
            Self::Projected(_) => projected,
            Self::Values => values,
            Self::None => &[],
        }
    }
}

/// The linear map from values to keys.
#[derive(Clone)]
struct Projection {
    weight: String,
    width: usize, // K
    linear: Linear<f32>,
}

impl FusedAttention {
    /// The keys of a model, and its scorer.
    pub(super) fn new(
        config: &ModelConfig,
        kernel: AttentionKernel,
    ) -> (Self, Box<dyn Scorer<f32>>) {
        let name = |name: &str| format!("attention.{name}");
        let attention = Self {
            source: match kernel.keys {
                Keys::Projected(weight) => KeySource::Projected(Projection {
                    weight: name(weight),
                    width: 0,
                    linear: Linear::new(),
                }),
                Keys::Values => KeySource::Values,
                Keys::None => KeySource::None,
            },
            names: kernel.parameters.into_iter().map(name).collect(),
            encoder_width: 2 * config.hidden.get(),
            keys: Vec::new(),
            d_keys: Vec::new(),
        };
        (attention, kernel.scorer)
    }

    /// A copy without buffers.
    pub(super) fn without_buffers(&self) -> Self {
        Self {
            source: self.source.clone(),
            names: self.names.clone(),
            encoder_width: self.encoder_width,
            keys: Vec::new(),
            d_keys: Vec::new(),
        }
    }

    /// Packs the projection of the keys.
    pub(super) fn pack(&mut self, params: &ParamSlices<'_>) -> Result<()> {
        if let KeySource::Projected(projection) = &mut self.source {
            let weight = params.get(&projection.weight)?;
            projection.width = weight.len() / self.encoder_width;
            let weight = Matrix::dense(weight, projection.width, self.encoder_width);
            projection.linear.pack(weight);
        }
        Ok(())
    }

    /// The parameters that the scorer packs.
    pub(super) fn scorer_params<'p>(&self, params: &'p ParamSlices<'_>) -> Result<Vec<&'p [f32]>> {
        self.names.iter().map(|name| params.get(name)).collect()
    }

    /// Projects the keys of `values` `[B, S, 2H]`.
    pub(super) fn forward(&mut self, values: &[f32], team: &mut Team<f32>) {
        if let KeySource::Projected(Projection { width, linear, .. }) = &self.source {
            let positions = values.len() / self.encoder_width;
            self.keys.resize(positions * width, 0.0);
            let values = Matrix::dense(values, positions, self.encoder_width);
            linear.forward_on(values, &mut self.keys, Epilogue::Replace, team);
        }
    }

    /// The keys `[B, S, K]` of `values`, after [`forward`](Self::forward).
    pub(super) fn keys<'a>(&'a self, values: &'a [f32]) -> &'a [f32] {
        self.source.select(&self.keys, values)
    }

    /// The keys of `values`, and the buffer for their gradient.
    pub(super) fn keys_and_gradient<'a>(
        &'a mut self,
        values: &'a [f32],
    ) -> (&'a [f32], &'a mut [f32]) {
        let keys = self.source.select(&self.keys, values);
        self.d_keys.resize(keys.len(), 0.0);
        (keys, &mut self.d_keys)
    }

    /// The slices for the gradients of the scorer's parameters, in its order.
    pub(super) fn take_gradients<'a>(
        &self,
        grads: &mut GradSlices<'a>,
    ) -> Result<Vec<&'a mut [f32]>> {
        self.names.iter().map(|name| grads.take(name)).collect()
    }

    /// Adds to `d_values` the part that comes from the gradients of the keys.
    pub(super) fn backward(
        &mut self,
        values: &[f32],
        d_values: &mut [f32],
        grads: &mut GradSlices<'_>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        match &self.source {
            KeySource::Projected(projection) => {
                let positions = values.len() / self.encoder_width;
                let d_keys = Matrix::dense(&self.d_keys, positions, projection.width);
                let values = Matrix::dense(values, positions, self.encoder_width);
                let d_weight = grads.take(&projection.weight)?;
                weight_gradient(
                    d_weight,
                    self.encoder_width,
                    d_keys,
                    values,
                    Epilogue::Replace,
                    team,
                );
                projection
                    .linear
                    .backward_on(d_keys, d_values, Epilogue::Add, team);
            }
            KeySource::Values => {
                for (d_value, d_key) in d_values.iter_mut().zip(&self.d_keys) {
                    *d_value += d_key;
                }
            }
            KeySource::None => {}
        }
        Ok(())
    }
}
