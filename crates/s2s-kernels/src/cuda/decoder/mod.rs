//! The decoder on the device, over all steps of a batch: the equations are those of
//! [`Decoder`](crate::slices::Decoder).
//!
//! The top layer's state and the context of a step lie side by side, as the output reads them; the query
//! and the top layer's hidden projection, too, since both are products of that state.

mod backward;
mod forward;
mod views;

use std::sync::Arc;

use candle_core::Result;

use super::attention::{Attended, Attention, Size};
use super::cell::{Layer, LayerStep, Saved};
use super::loss::token_loss;
use super::product::Matrix;
use super::queue::{Buffer, Queue, View, own};
use super::table::{Copies, Positions};
use crate::State;

pub use views::{DecoderInputs, DecoderSizes, DecoderViews, Dropout, Memory, MemoryGrads, Targets};

/// A decoder with its workspace. A clone shares the packed weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    sizes: DecoderSizes,
    packed: Arc<Packed>,
    layers: Vec<DecoderLayer>,
    embedded: Buffer<f32>,   // [T, B, E]
    features: Buffer<f32>, // [T + 1, B, D + C]: the state before each step, and the context of the one before
    weights: Buffer<f32>,  // [T + 1, B, S]: before the first step, then of each
    logits: Buffer<f32>,   // [T, B, V]
    results: Buffer<u32>,  // predictions [T, B], then losses or log-probabilities [T, B] as bits
    d_features: Buffer<f32>, // [T, B, D + C]
    d_embedded: Buffer<f32>, // [T, B, E]
    d_energy: Buffer<f32>, // [B, A]
    d_weights: Buffer<f32>, // [B, S]
    d_scores: Buffer<f32>, // [B, S]
    batch: usize,
    steps: usize,
}

/// Weights side by side where one product reads them.
#[derive(Debug, Default)]
struct Packed {
    recurrent: Vec<Buffer<f32>>, // of each layer, [G D, D]; with the queries' for the top layer
    query_bias: Buffer<f32>,     // [A + controls]
}

#[derive(Clone, Debug, Default)]
struct DecoderLayer {
    states: Buffer<f32>,  // [T + 1, B, D], unless this is the top layer
    input: Buffer<f32>,   // [T, B, D], unless this is the lowest layer
    d_input: Buffer<f32>, // [T, B, D]
    saved: Saved,
}

/// Predictions, and as many losses or log-probabilities, of a [`Decoder`]. Waits for the device.
///
/// # Errors
/// If work before this call failed.
pub fn read_results(queue: &Queue, results: &Buffer<u32>) -> Result<(Vec<u32>, Vec<f32>)> {
    let mut predictions = results.all().download(queue)?;
    let rest = predictions.split_off(predictions.len() / 2);
    Ok((predictions, rest.into_iter().map(f32::from_bits).collect()))
}

impl Decoder {
    /// A decoder of these sizes.
    pub fn new(sizes: DecoderSizes) -> Self {
        Self {
            sizes,
            layers: vec![DecoderLayer::default(); sizes.layers],
            packed: Arc::default(),
            embedded: Buffer::default(),
            features: Buffer::default(),
            weights: Buffer::default(),
            logits: Buffer::default(),
            results: Buffer::default(),
            d_features: Buffer::default(),
            d_embedded: Buffer::default(),
            d_energy: Buffer::default(),
            d_weights: Buffer::default(),
            d_scores: Buffer::default(),
            batch: 0,
            steps: 0,
        }
    }

    /// Makes room for the packed weights.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn resize_weights(&mut self, queue: &Queue) -> Result<()> {
        let (sizes, packed) = (self.sizes, own(&mut self.packed));
        packed.recurrent.resize_with(sizes.layers, Buffer::default);
        for (k, recurrent) in packed.recurrent.iter_mut().enumerate() {
            recurrent.resize(queue, sizes.recurrent(k) * sizes.units)?;
        }
        packed.query_bias.resize(queue, sizes.queries())
    }

    /// Packs what is products of one state side by side; to be called after each change of the parameters.
    pub fn pack<'a>(&'a self, params: &DecoderViews<'a>, copies: &mut Copies<'a>) {
        let mut top = None;
        for (packed, weights) in self.packed.recurrent.iter().zip(&params.layers) {
            let (own, queries) = packed.all().split(weights.weight_hh.len());
            copies.push(own, weights.weight_hh);
            top = Some(queries);
        }
        let (Some(mut weights), mut biases) = (top, self.packed.query_bias.all()) else {
            return;
        };
        for [weight, bias] in &params.queries {
            let (own_weight, own_bias);
            (own_weight, weights) = weights.split(weight.len());
            (own_bias, biases) = biases.split(bias.len());
            copies.push(own_weight, *weight);
            copies.push(own_bias, *bias);
        }
    }

    /// Makes room for a batch of sources padded to `source_len`, and so many steps.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn resize(
        &mut self,
        queue: &Queue,
        batch: usize,
        source_len: usize,
        steps: usize,
    ) -> Result<()> {
        (self.batch, self.steps) = (batch, steps);
        let (sizes, n) = (self.sizes, steps * batch);
        for k in 0..sizes.layers {
            let shape = self.layer(k);
            let layer = &mut self.layers[k];
            layer.saved.resize(queue, sizes.cell, &shape)?;
            if k + 1 < sizes.layers {
                layer.states.resize(queue, (n + batch) * sizes.units)?;
            }
            if k > 0 {
                layer.input.resize(queue, n * sizes.units)?;
                layer.d_input.resize(queue, n * sizes.units)?;
            }
        }
        self.embedded.resize(queue, n * sizes.embedding)?;
        self.features
            .resize(queue, (n + batch) * sizes.features())?;
        self.weights.resize(queue, (n + batch) * source_len)?;
        self.logits.resize(queue, n * sizes.vocab)?;
        self.results.resize(queue, 2 * n)?;
        self.d_features.resize(queue, n * sizes.features())?;
        self.d_embedded.resize(queue, n * sizes.embedding)?;
        self.d_energy.resize(queue, batch * sizes.attention)?;
        self.d_weights.resize(queue, batch * source_len)?;
        self.d_scores.resize(queue, batch * source_len)
    }

    /// Where a layer's initial state goes before the forward pass, and how far apart its rows are; `cell` is
    /// used by an LSTM.
    pub fn initial(&self, layer: usize) -> State<(View<'_, f32>, usize)> {
        let (states, stride) = self.states(layer);
        let units = self.sizes.units;
        let cells = self.layers[layer].saved.cells.all();
        State {
            hidden: (states.range(0..self.batch * stride), stride),
            cell: (cells.range(0..cells.len().min(self.batch * units)), units),
        }
    }

    /// The gradients of a layer's initial state after the backward pass, `[B, D]` each.
    pub fn d_initial(&self, layer: usize) -> State<View<'_, f32>> {
        let saved = &self.layers[layer].saved;
        State {
            hidden: saved.d_state.all(),
            cell: saved.d_cell.all(),
        }
    }

    /// `[T, B, V]`.
    pub fn logits(&self) -> View<'_, f32> {
        self.logits.all()
    }

    /// The weights of the last step of a decoding, `[B, S]`.
    pub fn last_weights(&self) -> View<'_, f32> {
        let all = self.weights.all();
        all.part(self.steps, all.len() / (self.steps + 1))
    }

    /// Predictions `[T, B]`, and losses or log-probabilities `[T, B]`. Waits for the device.
    ///
    /// # Errors
    /// If work before this call failed.
    pub fn results(&self, queue: &Queue) -> Result<(Vec<u32>, Vec<f32>)> {
        read_results(queue, &self.results)
    }

    /// The memory of the results, for [`read_results`]; to be called after the backward pass. The next
    /// [`resize`](Self::resize) makes room for others.
    pub fn take_results(&mut self) -> Buffer<u32> {
        std::mem::take(&mut self.results)
    }

    fn gates(&self) -> usize {
        self.sizes.gates()
    }

    fn top(&self) -> &DecoderLayer {
        &self.layers[self.sizes.layers - 1]
    }

    /// The states of a layer, one more than steps, and how far apart rows are.
    fn states(&self, layer: usize) -> (View<'_, f32>, usize) {
        match layer + 1 == self.sizes.layers {
            true => (self.features.all(), self.sizes.features()),
            false => (self.layers[layer].states.all(), self.sizes.units),
        }
    }

    fn layer(&self, layer: usize) -> Layer {
        let int = |n: usize| i32::try_from(n).expect("a size fits 31 bits");
        let (units, features) = (self.sizes.units, self.sizes.features());
        let stride = if layer + 1 == self.sizes.layers {
            features
        } else {
            units
        };
        Layer {
            batch: int(self.batch),
            units: int(units),
            directions: 1,
            len: int(self.steps),
            hidden_stride: int(self.sizes.recurrent(layer)),
            state_stride: int(stride),
            output_stride: int(stride),
        }
    }

    fn layer_step(&self, layer: usize, step: usize) -> LayerStep<'static> {
        LayerStep {
            cell: self.sizes.cell,
            layer: self.layer(layer),
            step,
            lengths: None,
        }
    }

    fn attention<'a>(&'a self, params: &DecoderViews<'a>, memory: Memory<'a>) -> Attention<'a> {
        let int = |n: usize| i32::try_from(n).expect("a size fits 31 bits");
        let sizes = self.sizes;
        assert_eq!(
            (memory.values.len() / sizes.values, memory.lengths.len()),
            (memory.keys.len() / sizes.attention, self.batch),
            "a key for each value"
        );
        Attention {
            size: Size {
                batch: int(self.batch),
                len: int(memory.values.len() / (sizes.values * self.batch)),
                units: int(sizes.attention),
                values: int(sizes.values),
                query_stride: int(sizes.recurrent(sizes.layers - 1)),
                context_stride: int(sizes.features()),
                has_prior: i32::from(sizes.scores.controls() > 0),
            },
            lengths: memory.lengths,
            bias: self.packed.query_bias.all(),
            energy: params.energy,
            keys: memory.keys,
            values: memory.values,
        }
    }

    /// Weights and contexts of a step; the contexts are those that the step's output reads.
    fn attended(&self, step: usize) -> Attended<'_> {
        let width = self.weights.all().len() / (self.steps + 1);
        let features = self
            .features
            .all()
            .part(step + 1, self.batch * self.sizes.features());
        Attended {
            previous: self.weights.all().part(step, width),
            weights: self.weights.all().part(step + 1, width),
            contexts: features.from(self.sizes.units),
        }
    }

    /// The queries of a step, beside the top layer's hidden projection.
    fn queries(&self, step: usize) -> View<'_, f32> {
        let stride = self.sizes.recurrent(self.sizes.layers - 1);
        let hidden = self
            .top()
            .saved
            .hidden
            .all()
            .part(step, self.batch * stride);
        hidden.from(self.gates())
    }

    /// The weights of the lowest layer, `[G D, E + C]`.
    fn lowest<'a>(&self, params: &DecoderViews<'a>) -> Matrix<'a> {
        let inputs = self.sizes.embedding + self.sizes.values;
        Matrix::dense(params.layers[0].weight_ih, self.gates(), inputs)
    }

    /// The tokens `[B, T]` and their dropout.
    fn positions<'a>(&self, ids: View<'a, u32>, dropout: &Dropout<'a>) -> Positions<'a> {
        Positions {
            ids,
            batch: self.batch,
            len: self.steps,
            width: self.sizes.embedding,
            mask: dropout.embedding,
        }
    }

    fn losses(&self) -> View<'_, f32> {
        self.results.all().from(self.steps * self.batch).as_floats()
    }

    /// The losses of the targets `[B, T]`; the logits become the gradients of their sum with label smoothing,
    /// times a scale. `numbers [2]` are the scale and the smoothing.
    ///
    /// # Errors
    /// If the device fails.
    pub fn loss(
        &self,
        queue: &Queue,
        targets: View<'_, u32>,
        lengths: View<'_, u32>,
        numbers: View<'_, f32>,
    ) -> Result<()> {
        token_loss(
            queue,
            self.logits.all(),
            targets,
            lengths,
            self.losses(),
            numbers,
        )
    }
}
