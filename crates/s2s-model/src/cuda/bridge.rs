//! The bridge on the device: the equations are [`Bridge`](crate::Bridge)'s.

use candle_core::Result;
use s2s_kernels::State;
use s2s_kernels::cuda::{Decoder, Matrix, Queue, Update, bias_tanh, column_sums, tanh_backward};

use super::encoder::CudaEncoder;
use super::params::ParamViews;
use crate::{BridgeKind, ModelConfig};

#[derive(Clone, Debug)]
pub(super) struct CudaBridge {
    kind: BridgeKind,
    both: usize,    // 2H
    decoder: usize, // D
    /// For each layer, the name of the map of each vector of its state.
    maps: Vec<Vec<String>>,
}

impl CudaBridge {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let maps = |k| {
            let names = [format!("bridge.{k}"), format!("bridge.{k}.cell")];
            names
                .into_iter()
                .take(config.cell.state_vectors())
                .collect()
        };
        Self {
            kind: config.bridge,
            both: 2 * config.hidden.get(),
            decoder: config.decoder.width().get(),
            maps: (0..config.layers.get()).map(maps).collect(),
        }
    }

    /// Writes the decoder's initial states, from the encoder's last.
    pub(super) fn forward(
        &self,
        queue: &Queue,
        params: &ParamViews<'_>,
        encoder: &CudaEncoder,
        decoder: &Decoder,
        rows: usize,
    ) -> Result<()> {
        for (k, maps) in self.maps.iter().enumerate() {
            let last = vectors(encoder.last(k));
            let states = vectors(decoder.initial(k));
            for ((name, last), (state, stride)) in maps.iter().zip(last).zip(states) {
                match self.kind {
                    BridgeKind::Tanh => {
                        let weight = params.get(&format!("{name}.weight"))?;
                        queue.multiply(
                            Matrix::dense(last, rows, self.both),
                            Matrix::dense(weight, self.decoder, self.both).t(),
                            Matrix::strided(state, rows, self.decoder, stride),
                            Update::Replace,
                        )?;
                        let bias = params.get(&format!("{name}.bias"))?;
                        bias_tanh(queue, state, stride, bias, rows)?;
                    }
                    BridgeKind::Concat | BridgeKind::Last => {
                        queue.copy_rows((state, stride), (last, self.both), rows, self.decoder)?;
                    }
                    BridgeKind::Zero => queue.zero(state)?,
                }
            }
        }
        Ok(())
    }

    /// The gradients of the maps and of the encoder's last states, from those of the decoder's initial states,
    /// which are consumed.
    pub(super) fn backward(
        &self,
        queue: &Queue,
        params: &ParamViews<'_>,
        grads: &ParamViews<'_>,
        encoder: &CudaEncoder,
        decoder: &Decoder,
        rows: usize,
    ) -> Result<()> {
        for (k, maps) in self.maps.iter().enumerate() {
            let states = vectors(decoder.initial(k))
                .into_iter()
                .zip(vectors(decoder.d_initial(k)));
            let last = vectors(encoder.last(k))
                .into_iter()
                .zip(vectors(encoder.d_last(k)));
            for ((name, ((state, stride), d_state)), (last, d_last)) in
                maps.iter().zip(states).zip(last)
            {
                match self.kind {
                    BridgeKind::Tanh => {
                        tanh_backward(queue, d_state, state, stride, rows)?;
                        column_sums(
                            queue,
                            grads.get(&format!("{name}.bias"))?,
                            d_state,
                            self.decoder,
                            rows,
                        )?;
                        let weight = format!("{name}.weight");
                        let d_state = Matrix::dense(d_state, rows, self.decoder);
                        queue.multiply(
                            d_state.t(),
                            Matrix::dense(last, rows, self.both),
                            Matrix::dense(grads.get(&weight)?, self.decoder, self.both),
                            Update::Replace,
                        )?;
                        queue.multiply(
                            d_state,
                            Matrix::dense(params.get(&weight)?, self.decoder, self.both),
                            Matrix::dense(d_last, rows, self.both),
                            Update::Replace,
                        )?;
                    }
                    BridgeKind::Concat => queue.copy(d_last, d_state)?,
                    BridgeKind::Last => {
                        queue.zero(d_last)?;
                        queue.copy_rows(
                            (d_last, self.both),
                            (d_state, self.decoder),
                            rows,
                            self.decoder,
                        )?;
                    }
                    BridgeKind::Zero => queue.zero(d_last)?,
                }
            }
        }
        Ok(())
    }
}

/// The vectors of a state; a GRU uses the first.
fn vectors<T>(state: State<T>) -> [T; 2] {
    [state.hidden, state.cell]
}
