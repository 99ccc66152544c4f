//! The bridge on slices: the equations are [`Bridge`](crate::Bridge)'s.

use candle_core::Result;
use s2s_kernels::State;
use s2s_kernels::slices::{
    Epilogue, Linear, Matrix, Team, bias_gradient, tanh_in_place, weight_gradient,
};

use super::slices::{GradSlices, ParamSlices};
use crate::{BridgeKind, ModelConfig};

#[derive(Clone)]
pub(super) struct FusedBridge {
    shape: Shape,
    /// For each layer, a map for each vector of its state.
    maps: Vec<Vec<Map>>,
    /// `[B, D]` each, one a layer.
    pub(super) states: Vec<State<Vec<f32>>>,
    /// `[B, D]` each, one a layer; [`forward`](Self::forward) makes room.
    pub(super) d_states: Vec<State<Vec<f32>>>,
    /// `[B, 2H]` each, one a layer.
    pub(super) d_last: Vec<State<Vec<f32>>>,
}

#[derive(Clone, Copy)]
struct Shape {
    kind: BridgeKind,
    encoder_width: usize, // 2H
    decoder: usize,       // D
}

impl FusedBridge {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let layers = config.layers.get();
        let maps = |k| {
            [format!("bridge.{k}"), format!("bridge.{k}.cell")]
                .map(Map::new)
                .into_iter()
                .take(config.cell.state_vectors())
                .collect()
        };
        Self {
            shape: Shape {
                kind: config.bridge,
                encoder_width: 2 * config.hidden.get(),
                decoder: config.decoder.width().get(),
            },
            maps: (0..layers).map(maps).collect(),
            states: vec![State::default(); layers],
            d_states: vec![State::default(); layers],
            d_last: vec![State::default(); layers],
        }
    }

    pub(super) fn pack(&mut self, params: &ParamSlices<'_>) -> Result<()> {
        let Shape {
            kind,
            encoder_width,
            decoder,
        } = self.shape;
        if kind == BridgeKind::Tanh {
            for map in self.maps.iter_mut().flatten() {
                let weight = params.get(&map.weight)?;
                map.linear
                    .pack(Matrix::dense(weight, decoder, encoder_width));
            }
        }
        Ok(())
    }

    /// From each layer's last states, `[B, 2H]` each.
    pub(super) fn forward<'a>(
        &mut self,
        params: &ParamSlices<'_>,
        last: impl Iterator<Item = State<&'a [f32]>>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        for (k, last) in last.enumerate() {
            let states = self.states[k].each_mut().into_array();
            let d_states = self.d_states[k].each_mut().into_array();
            let vectors = last.into_array().into_iter().zip(states).zip(d_states);
            for (map, ((last, state), d_state)) in self.maps[k].iter().zip(vectors) {
                map.forward(self.shape, params, last, state, team)?;
                d_state.resize(state.len(), 0.0);
            }
        }
        Ok(())
    }

    /// From `d_states` to `d_last`.
    pub(super) fn backward<'a>(
        &mut self,
        last: impl Iterator<Item = State<&'a [f32]>>,
        grads: &mut GradSlices<'_>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        for (k, last) in last.enumerate() {
            let states = self.states[k].each_ref().into_array();
            let d_states = self.d_states[k].each_mut().into_array();
            let d_lasts = self.d_last[k].each_mut().into_array();
            let vectors = last.into_array().into_iter().zip(states);
            let vectors = vectors.zip(d_states.into_iter().zip(d_lasts));
            for (map, ((last, state), d)) in self.maps[k].iter().zip(vectors) {
                map.backward(self.shape, last, state, d, grads, team)?;
            }
        }
        Ok(())
    }
}

/// How one vector of one layer's state is made.
#[derive(Clone)]
struct Map {
    weight: String,
    bias: String,
    linear: Linear<f32>,
}

impl Map {
    /// The map of this name, which only a bridge through tanh has.
    fn new(name: String) -> Self {
        Self {
            weight: format!("{name}.weight"),
            bias: format!("{name}.bias"),
            linear: Linear::new(),
        }
    }

    /// `last [B, 2H]` to `state [B, D]`.
    fn forward(
        &self,
        shape: Shape,
        params: &ParamSlices<'_>,
        last: &[f32],
        state: &mut Vec<f32>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        let batch = last.len() / shape.encoder_width;
        state.clear();
        state.resize(batch * shape.decoder, 0.0);
        match shape.kind {
            BridgeKind::Tanh => {
                let bias = Epilogue::Bias(params.get(&self.bias)?);
                let last = Matrix::dense(last, batch, shape.encoder_width);
                self.linear.forward_on(last, state, bias, team);
                tanh_in_place(state);
            }
            BridgeKind::Concat => state.copy_from_slice(last),
            BridgeKind::Last => {
                let rows = state.chunks_exact_mut(shape.decoder);
                for (state, last) in rows.zip(last.chunks_exact(shape.encoder_width)) {
                    state.copy_from_slice(&last[..shape.decoder]);
                }
            }
            BridgeKind::Zero => {}
        }
        Ok(())
    }

    /// `d_state [B, D]`, which is consumed, to `d_last [B, 2H]`.
    fn backward(
        &self,
        shape: Shape,
        last: &[f32],
        state: &[f32],
        (d_state, d_last): (&mut Vec<f32>, &mut Vec<f32>),
        grads: &mut GradSlices<'_>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        let batch = last.len() / shape.encoder_width;
        d_last.clear();
        d_last.resize(batch * shape.encoder_width, 0.0);
        match shape.kind {
            BridgeKind::Tanh => {
                for (d, y) in d_state.iter_mut().zip(state) {
                    *d *= 1.0 - y * y; // forward: y = tanh(x)
                }
                let d_state = Matrix::dense(d_state, batch, shape.decoder);
                let last = Matrix::dense(last, batch, shape.encoder_width);
                let d_weight = grads.take(&self.weight)?;
                weight_gradient(
                    d_weight,
                    shape.encoder_width,
                    d_state,
                    last,
                    Epilogue::Replace,
                    team,
                );
                bias_gradient(grads.take(&self.bias)?, d_state, team);
                self.linear
                    .backward_on(d_state, d_last, Epilogue::Replace, team);
            }
            BridgeKind::Concat => d_last.copy_from_slice(d_state),
            BridgeKind::Last => {
                let rows = d_state.chunks_exact(shape.decoder);
                for (d_state, d_last) in rows.zip(d_last.chunks_exact_mut(shape.encoder_width)) {
                    d_last[..shape.decoder].copy_from_slice(d_state);
                }
            }
            BridgeKind::Zero => {}
        }
        Ok(())
    }
}

/// States to read.
pub(super) fn slices(states: &[State<Vec<f32>>]) -> Vec<State<&[f32]>> {
    states
        .iter()
        .map(|state| state.each_ref().map(Vec::as_slice))
        .collect()
}
