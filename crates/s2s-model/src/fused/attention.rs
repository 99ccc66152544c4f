//! The attention on slices: the keys, which are projected once a sequence, and the scorer that runs
//! inside the decoder, with the names of what it is packed from. The equations are those of the
//! mechanism's own file.

use candle_core::Result;
use s2s_kernels::slices::{
    Additive, Dot, DynamicConvolution, Linear, Location, LocationRelative, Matrix, Nowhere, Ntm,
    Output, Scorer, Team, weight_gradient,
};

use super::slices::{GradSlices, ParamSlices};
use crate::{AttentionConfig, ModelConfig};

/// What a scorer compares with.
#[derive(Clone, Copy)]
enum Keys {
    /// The values after a linear map, as wide as this.
    Projected(usize),
    Values,
    Nothing,
}

impl Keys {
    fn of<'a>(self, projected: &'a [f32], values: &'a [f32]) -> &'a [f32] {
        match self {
            Self::Projected(_) => projected,
            Self::Values => values,
            Self::Nothing => &[],
        }
    }
}

#[derive(Clone)]
pub(super) struct FusedAttention {
    source: Keys,
    /// What the scorer is packed from, in its order.
    names: &'static [&'static str],
    both: usize, // 2H
    key: Linear<f32>,
    keys: Vec<f32>,   // [B, S, K], where they are projected
    d_keys: Vec<f32>, // [B, S, K]
}

impl FusedAttention {
    /// The keys of a model, and its scorer.
    pub(super) fn new(config: &ModelConfig) -> (Self, Box<dyn Scorer<f32>>) {
        let (source, names, scorer) = mechanism(&config.attention, config.decoder.get());
        let keys = Self {
            source,
            names,
            both: 2 * config.hidden.get(),
            key: Linear::new(),
            keys: Vec::new(),
            d_keys: Vec::new(),
        };
        (keys, scorer)
    }

    /// Packs what the keys are projected by.
    pub(super) fn pack(&mut self, params: &ParamSlices<'_>) -> Result<()> {
        if let Keys::Projected(width) = self.source {
            let weight = params.get("attention.key.weight")?;
            self.key.pack(Matrix::dense(weight, width, self.both));
        }
        Ok(())
    }

    /// What the scorer packs.
    pub(super) fn scorer_params<'p>(&self, params: &'p ParamSlices<'_>) -> Result<Vec<&'p [f32]>> {
        self.names.iter().map(|name| params.get(name)).collect()
    }

    /// Projects the keys of `values` `[B, S, 2H]`.
    pub(super) fn forward(&mut self, values: &[f32], team: &mut Team<f32>) {
        if let Keys::Projected(width) = self.source {
            let positions = values.len() / self.both;
            self.keys.resize(positions * width, 0.0);
            let values = Matrix::dense(values, positions, self.both);
            self.key
                .forward_on(values, &mut self.keys, Output::Replace, team);
        }
    }

    /// The keys `[B, S, K]` of `values`, which were projected.
    pub(super) fn keys<'a>(&'a self, values: &'a [f32]) -> &'a [f32] {
        self.source.of(&self.keys, values)
    }

    /// The keys of `values`, and where their gradient goes.
    pub(super) fn keys_and_gradient<'a>(
        &'a mut self,
        values: &'a [f32],
    ) -> (&'a [f32], &'a mut [f32]) {
        let keys = self.source.of(&self.keys, values);
        self.d_keys.resize(keys.len(), 0.0);
        (keys, &mut self.d_keys)
    }

    /// Where the scorer's gradients are written, in its order.
    pub(super) fn take_gradients<'a>(
        &self,
        grads: &mut GradSlices<'a>,
    ) -> Result<Vec<&'a mut [f32]>> {
        self.names.iter().map(|name| grads.take(name)).collect()
    }

    /// Adds to `d_values` what comes from the gradients of the keys.
    pub(super) fn backward(
        &mut self,
        values: &[f32],
        d_values: &mut [f32],
        grads: &mut GradSlices<'_>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        match self.source {
            Keys::Projected(width) => {
                let positions = values.len() / self.both;
                let d_keys = Matrix::dense(&self.d_keys, positions, width);
                let values = Matrix::dense(values, positions, self.both);
                let d_weight = grads.take("attention.key.weight")?;
                weight_gradient(d_weight, self.both, d_keys, values, Output::Replace, team);
                self.key.backward_on(d_keys, d_values, Output::Add, team);
            }
            Keys::Values => {
                for (d_value, d_key) in d_values.iter_mut().zip(&self.d_keys) {
                    *d_value += d_key;
                }
            }
            Keys::Nothing => {}
        }
        Ok(())
    }
}

type Mechanism = (Keys, &'static [&'static str], Box<dyn Scorer<f32>>);

/// The kernels of a mechanism, for states `state` wide.
fn mechanism(attention: &AttentionConfig, state: usize) -> Mechanism {
    let projected = Keys::Projected(attention.sizes().units);
    match attention {
        AttentionConfig::Additive(_) => (
            projected,
            &[
                "attention.query.weight",
                "attention.query.bias",
                "attention.energy",
            ],
            Box::new(Additive::new()),
        ),
        AttentionConfig::Dot(config) => {
            (Keys::Values, &[], Box::new(Dot::new(config.scale(state))))
        }
        AttentionConfig::General {} => (Keys::Projected(state), &[], Box::new(Dot::new(1.0))),
        AttentionConfig::Location(config) => (
            projected,
            &[
                "attention.query.weight",
                "attention.query.bias",
                "attention.filters",
                "attention.location.weight",
                "attention.energy",
            ],
            Box::new(Location::new(config.width.get(), config.start)),
        ),
        AttentionConfig::DynamicConvolution(config) => (
            Keys::Nothing,
            &[
                "attention.query.weight",
                "attention.query.bias",
                "attention.dynamic.weight",
                "attention.filters",
                "attention.location.weight",
                "attention.location.bias",
                "attention.energy",
            ],
            Box::new(DynamicConvolution::new(config.width.get(), config.start)),
        ),
        AttentionConfig::Ntm(config) => (
            projected,
            &[
                "attention.query.weight",
                "attention.query.bias",
                "attention.energy",
                "attention.gate.weight",
                "attention.gate.bias",
                "attention.shift.weight",
                "attention.shift.bias",
                "attention.sharpen.weight",
                "attention.sharpen.bias",
            ],
            Box::new(Ntm::new(config.start)),
        ),
        AttentionConfig::LocationRelative(config) => (
            projected,
            &[
                "attention.query.weight",
                "attention.query.bias",
                "attention.energy",
                "attention.shift.weight",
                "attention.shift.bias",
                "attention.sharpen.weight",
                "attention.sharpen.bias",
            ],
            Box::new(LocationRelative::new(config.start)),
        ),
        AttentionConfig::None {} => (Keys::Nothing, &[], Box::new(Nowhere)),
    }
}
