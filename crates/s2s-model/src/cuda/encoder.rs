//! The encoder on the device: the equations are [`Encoder`](crate::Encoder)'s.

use candle_core::Result;
use s2s_kernels::State;
use s2s_kernels::cuda::{
    Bidirectional, Buffer, Copies, Positions, Queue, RecurrentCell, RecurrentViews, View, embed,
    embed_backward,
};

use super::batch::DeviceSource;
use super::masks::Mask;
use super::params::ParamViews;
use crate::{ModelConfig, Noise, Probability};

#[derive(Clone, Debug)]
pub(super) struct CudaEncoder {
    width: usize,         // E
    both: usize,          // 2H
    dropout: Probability, // between layers
    embedding_dropout: Probability,
    layers: Vec<Bidirectional>,
    /// The input of each layer after dropout, and the top layer's states: `[S, B, E]` for the lowest,
    /// `[S, B, 2H]` for the others.
    inputs: Vec<Buffer<f32>>,
    /// The dropout mask of each layer's input, `[B, S, E]` for the lowest, `[B, S, 2H]` for the others; never
    /// drawn for the top layer's states.
    masks: Vec<Mask>,
    /// The gradients of each layer's input.
    d_inputs: Vec<Buffer<f32>>,
}

impl CudaEncoder {
    pub(super) fn new(config: &ModelConfig, cell: RecurrentCell) -> Self {
        let (n_layers, units) = (config.layers.get(), config.hidden.get());
        let (width, both) = (config.embedding.get(), 2 * units);
        let input = |k| if k == 0 { width } else { both };
        Self {
            width,
            both,
            dropout: config.dropout,
            embedding_dropout: config.embedding_dropout,
            layers: (0..n_layers)
                .map(|k| Bidirectional::new(cell, input(k), units))
                .collect(),
            inputs: vec![Buffer::default(); n_layers + 1],
            masks: vec![Mask::default(); n_layers + 1],
            d_inputs: vec![Buffer::default(); n_layers],
        }
    }

    pub(super) fn resize_weights(&mut self, queue: &Queue) -> Result<()> {
        let mut layers = self.layers.iter_mut();
        layers.try_for_each(|layer| layer.resize_weights(queue))
    }

    /// Makes room for a batch of rows padded to `len`, with dropout if there is noise, and adds the keys of its
    /// masks.
    pub(super) fn resize(
        &mut self,
        queue: &Queue,
        rows: usize,
        len: usize,
        noise: Option<&Noise>,
        keys: &mut Vec<u32>,
    ) -> Result<()> {
        for layer in &mut self.layers {
            layer.resize(queue, rows, len)?;
        }
        for k in 0..=self.layers.len() {
            let n = rows * len * if k == 0 { self.width } else { self.both };
            self.inputs[k].resize(queue, n)?;
            if k == self.layers.len() {
                break; // nothing drops the values, and their gradient is the caller's
            }
            self.d_inputs[k].resize(queue, n)?;
            let (place, drop) = match k {
                0 => ("encoder.embedding".to_owned(), self.embedding_dropout),
                _ => (format!("encoder.rnn.{k}"), self.dropout),
            };
            self.masks[k].resize(queue, n, noise, &place, drop, keys)?;
        }
        Ok(())
    }

    pub(super) fn pack<'a>(
        &'a self,
        params: &ParamViews<'a>,
        copies: &mut Copies<'a>,
    ) -> Result<()> {
        for (k, layer) in self.layers.iter().enumerate() {
            layer.pack(directions(params, k)?, copies);
        }
        Ok(())
    }

    pub(super) fn forward(
        &self,
        queue: &Queue,
        params: &ParamViews<'_>,
        source: DeviceSource<'_>,
        keys: View<'_, u32>,
    ) -> Result<()> {
        for mask in &self.masks {
            mask.draw(queue, keys)?;
        }
        let table = params.get("encoder.embedding.weight")?;
        embed(queue, self.positions(source), table, self.inputs[0].all())?;
        for (k, layer) in self.layers.iter().enumerate() {
            let (input, output) = (self.inputs[k].all(), self.inputs[k + 1].all());
            let mask = self.masks[k + 1].view();
            layer.forward(queue, input, source.lengths, output, mask)?;
        }
        Ok(())
    }

    fn positions<'a>(&'a self, source: DeviceSource<'a>) -> Positions<'a> {
        Positions {
            ids: source.ids,
            batch: source.lengths.len(),
            len: source.ids.len() / source.lengths.len(),
            width: self.width,
            mask: self.masks[0].view(),
        }
    }

    /// The top layer's states, `[S, B, 2H]`.
    pub(super) fn values(&self) -> View<'_, f32> {
        self.inputs[self.layers.len()].all()
    }

    /// A layer's last states, `[B, 2H]` each.
    pub(super) fn last(&self, layer: usize) -> State<View<'_, f32>> {
        self.layers[layer].last()
    }

    /// Where the gradients of a layer's last states go.
    pub(super) fn d_last(&self, layer: usize) -> State<View<'_, f32>> {
        self.layers[layer].d_last()
    }

    /// The gradients of the parameters, from those of the values and those in [`d_last`](Self::d_last).
    pub(super) fn backward(
        &self,
        queue: &Queue,
        grads: &ParamViews<'_>,
        source: DeviceSource<'_>,
        d_values: View<'_, f32>,
    ) -> Result<()> {
        let mut d_output = d_values;
        for (k, layer) in self.layers.iter().enumerate().rev() {
            let (input, d_input) = (self.inputs[k].all(), self.d_inputs[k].all());
            let read = (d_output, self.masks[k + 1].view());
            layer.backward(
                queue,
                input,
                source.lengths,
                read,
                d_input,
                directions(grads, k)?,
            )?;
            d_output = d_input;
        }
        let d_table = grads.get("encoder.embedding.weight")?;
        embed_backward(queue, self.positions(source), d_output, d_table)
    }
}

fn directions<'a>(views: &ParamViews<'a>, layer: usize) -> Result<[RecurrentViews<'a>; 2]> {
    Ok([
        views.recurrent("encoder.rnn", &format!("_l{layer}"))?,
        views.recurrent("encoder.rnn", &format!("_l{layer}_reverse"))?,
    ])
}
