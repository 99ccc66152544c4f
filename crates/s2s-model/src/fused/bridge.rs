//! The bridge on slices: the equations are [`Bridge`](crate::Bridge)'s.

use candle_core::Result;
use s2s_kernels::activation::tanh_in_place;
use s2s_kernels::slices::{Linear, Matrix, Output, Team, bias_gradient, weight_gradient};

use super::slices::{GradSlices, ParamSlices};
use crate::{BridgeKind, ModelConfig};

pub(super) struct FusedBridge {
    kind: BridgeKind,
    both: usize,
    decoder: usize,
    layers: Vec<Linear<f32>>,
    /// One `[B, D]` a layer.
    pub(super) states: Vec<Vec<f32>>,
    /// One `[B, D]` a layer.
    pub(super) d_states: Vec<Vec<f32>>,
    /// One `[B, 2H]` a layer.
    pub(super) d_last: Vec<Vec<f32>>,
}

impl FusedBridge {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let layers = config.layers.get();
        Self {
            kind: config.bridge,
            both: 2 * config.hidden.get(),
            decoder: config.decoder.get(),
            layers: vec![Linear::new(); layers],
            states: vec![Vec::new(); layers],
            d_states: vec![Vec::new(); layers],
            d_last: vec![Vec::new(); layers],
        }
    }

    pub(super) fn pack(&mut self, params: &ParamSlices<'_>) -> Result<()> {
        if self.kind == BridgeKind::Tanh {
            for (k, linear) in self.layers.iter_mut().enumerate() {
                let weight = params.get(&format!("bridge.{k}.weight"))?;
                linear.pack(Matrix::dense(weight, self.decoder, self.both));
            }
        }
        Ok(())
    }

    /// From each layer's last states, `[B, 2H]`.
    pub(super) fn forward<'a>(
        &mut self,
        params: &ParamSlices<'_>,
        last: impl Iterator<Item = &'a [f32]>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        for (k, last) in last.enumerate() {
            let batch = last.len() / self.both;
            let state = &mut self.states[k];
            state.clear();
            state.resize(batch * self.decoder, 0.0);
            match self.kind {
                BridgeKind::Tanh => {
                    let bias = params.get(&format!("bridge.{k}.bias"))?;
                    let last = Matrix::dense(last, batch, self.both);
                    self.layers[k].forward_on(last, state, Output::Bias(bias), team);
                    tanh_in_place(state);
                }
                BridgeKind::Concat => state.copy_from_slice(last),
                BridgeKind::Last => {
                    let rows = state.chunks_exact_mut(self.decoder);
                    for (state, last) in rows.zip(last.chunks_exact(self.both)) {
                        state.copy_from_slice(&last[..self.decoder]);
                    }
                }
                BridgeKind::Zero => {}
            }
        }
        Ok(())
    }

    /// From `d_states` to `d_last`.
    pub(super) fn backward<'a>(
        &mut self,
        last: impl Iterator<Item = &'a [f32]>,
        grads: &mut GradSlices<'_>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        for (k, last) in last.enumerate() {
            let batch = last.len() / self.both;
            let (d_state, d_last) = (&mut self.d_states[k], &mut self.d_last[k]);
            d_last.clear();
            d_last.resize(batch * self.both, 0.0);
            match self.kind {
                BridgeKind::Tanh => {
                    for (d, y) in d_state.iter_mut().zip(&self.states[k]) {
                        *d *= 1.0 - y * y; // forward: y = tanh(x)
                    }
                    let d_state = Matrix::dense(d_state, batch, self.decoder);
                    let last = Matrix::dense(last, batch, self.both);
                    let d_weight = grads.take(&format!("bridge.{k}.weight"))?;
                    weight_gradient(d_weight, self.both, d_state, last, Output::Replace, team);
                    bias_gradient(grads.take(&format!("bridge.{k}.bias"))?, d_state, team);
                    self.layers[k].backward_on(d_state, d_last, Output::Replace, team);
                }
                BridgeKind::Concat => d_last.copy_from_slice(d_state),
                BridgeKind::Last => {
                    let rows = d_state.chunks_exact(self.decoder);
                    for (d_state, d_last) in rows.zip(d_last.chunks_exact_mut(self.both)) {
                        d_last[..self.decoder].copy_from_slice(d_state);
                    }
                }
                BridgeKind::Zero => {}
            }
        }
        Ok(())
    }
}
