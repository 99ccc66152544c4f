//! The decoder on the device, over all steps of a batch: the equations are those of
//! [`Decoder`](crate::slices::Decoder).
//!
//! The top layer's state and the context of a step lie side by side, as the output reads them; the query
//! and the top layer's hidden projection, too, since both are products of that state.

use std::ops::Range;

use candle_core::Result;

use super::attention::{Attended, AttendedGrads, Attention, Scores, Size};
use super::cell::{Cell, Layer, RecurrentViews, Saved};
use super::loss::{predict, token_loss};
use super::product::{Matrix, Sum};
use super::queue::{Buffer, Queue, View};
use super::table::{Copies, Positions, column_sums, embed, embed_backward, embed_chosen};
use crate::State;

/// The sizes and kinds of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct DecoderSizes {
    /// The kind of recurrent cell.
    pub cell: Cell,
    /// The kind of attention.
    pub scores: Scores,
    /// `V`.
    pub vocab: usize,
    /// `E`.
    pub embedding: usize,
    /// `D`.
    pub units: usize,
    /// `C`, the width of the values.
    pub values: usize,
    /// `A`, the width of the keys.
    pub attention: usize,
    /// Recurrent layers.
    pub layers: usize,
}

impl DecoderSizes {
    fn gates(self) -> usize {
        self.cell.gates() * self.units
    }

    /// Numbers that the top layer's state makes for attention.
    fn queries(self) -> usize {
        self.attention + self.scores.controls()
    }

    /// Columns of the recurrent weights of a layer; the top layer's include the queries.
    fn recurrent(self, layer: usize) -> usize {
        let is_top = layer + 1 == self.layers;
        self.gates() + if is_top { self.queries() } else { 0 }
    }

    /// State and context side by side.
    fn features(self) -> usize {
        self.units + self.values
    }
}

/// The parameters of a decoder and its attention, or where their gradients go.
#[derive(Clone, Debug)]
pub struct DecoderViews<'a> {
    /// `[V, E]`.
    pub embedding: View<'a, f32>,
    /// One per layer.
    pub layers: Vec<RecurrentViews<'a>>,
    /// `[V, D + C]`.
    pub output_weight: View<'a, f32>,
    /// `[V]`.
    pub output_bias: View<'a, f32>,
    /// Weight `[n, D]` and bias `[n]` of each map from the state to the queries: `n` is `A` for the first,
    /// and 3 and 1 for the shift and the sharpness of location-relative attention.
    pub queries: Vec<[View<'a, f32>; 2]>,
    /// `[A]`.
    pub energy: View<'a, f32>,
}

/// What the decoder attends to.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// `[S, B, C]`.
    pub values: View<'a, f32>,
    /// `[S, B, A]`.
    pub keys: View<'a, f32>,
    /// Real positions of each row, `[B]`.
    pub lengths: View<'a, u32>,
}

/// Where the gradients of the memory are written.
#[derive(Clone, Copy, Debug)]
pub struct MemoryGrads<'a> {
    /// `[S, B, C]`.
    pub values: View<'a, f32>,
    /// `[S, B, A]`.
    pub keys: View<'a, f32>,
}

/// What the decoder reads at each step.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// `[B, T]`: the tokens of the targets; those that are not forced are replaced by predictions.
    pub tokens: View<'a, u32>,
    /// `[B, T]`: 1 where the token is forced.
    pub forced: View<'a, u32>,
    /// For each step, whether all its tokens are forced.
    pub all_forced: &'a [bool],
}

/// Dropout masks, batch-major; none without dropout.
#[derive(Clone, Debug, Default)]
pub struct Dropout<'a> {
    /// Of the embeddings, `[B, T, E]`.
    pub embedding: Option<View<'a, f32>>,
    /// Of the input of each layer above the first, `[B, T, D]` each.
    pub between: Vec<Option<View<'a, f32>>>,
}

impl<'a> Dropout<'a> {
    /// The mask of what a layer passes on.
    fn above(&self, layer: usize) -> Option<View<'a, f32>> {
        self.between.get(layer).copied().flatten()
    }
}

/// A decoder with its workspace. A clone is empty.
#[derive(Clone, Debug)]
pub struct Decoder {
    sizes: DecoderSizes,
    layers: Vec<DecoderLayer>,
    query_bias: Buffer<f32>, // [A + controls]
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

#[derive(Clone, Debug, Default)]
struct DecoderLayer {
    recurrent: Buffer<f32>, // [G D (+ A + controls), D]
    states: Buffer<f32>,    // [T + 1, B, D], unless this is the top layer
    input: Buffer<f32>,     // [T, B, D], unless this is the lowest layer
    d_input: Buffer<f32>,   // [T, B, D]
    saved: Saved,
}

impl Decoder {
    /// A decoder of these sizes.
    pub fn new(sizes: DecoderSizes) -> Self {
        Self {
            sizes,
            layers: vec![DecoderLayer::default(); sizes.layers],
            query_bias: Buffer::default(),
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
        let sizes = self.sizes;
        for (k, layer) in self.layers.iter_mut().enumerate() {
            layer
                .recurrent
                .resize(queue, sizes.recurrent(k) * sizes.units)?;
        }
        self.query_bias.resize(queue, sizes.queries())
    }

    /// Packs what is products of one state side by side; to be called after each change of the parameters.
    pub fn pack<'a>(&'a self, params: &DecoderViews<'a>, copies: &mut Copies<'a>) {
        for (layer, weights) in self.layers.iter().zip(&params.layers) {
            let packed = layer.recurrent.all();
            copies.push(packed.range(0..weights.weight_hh.len()), weights.weight_hh);
        }
        let (mut weight, mut bias) = (self.gates() * self.sizes.units, 0);
        for [own_weight, own_bias] in &params.queries {
            let packed = self.top().recurrent.all();
            copies.push(packed.range(weight..weight + own_weight.len()), *own_weight);
            copies.push(
                self.query_bias.all().range(bias..bias + own_bias.len()),
                *own_bias,
            );
            weight += own_weight.len();
            bias += own_bias.len();
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
        let mut predictions = self.results.all().download(queue)?;
        let rest = predictions.split_off(self.steps * self.batch);
        Ok((predictions, rest.into_iter().map(f32::from_bits).collect()))
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
            bias: self.query_bias.all(),
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

    /// Runs all steps. The initial states must have been written.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        memory: Memory<'_>,
        targets: Targets<'_>,
        dropout: &Dropout<'_>,
    ) -> Result<()> {
        let (sizes, batch, steps) = (self.sizes, self.batch, self.steps);
        let (at, embedded) = (self.positions(targets.tokens, dropout), self.embedded.all());
        let width = batch * sizes.embedding;
        self.start(queue, memory)?;
        embed(queue, at, params.embedding, embedded)?;
        self.project_embedded(queue, params, 0..steps)?;
        let mut next = 0; // the first step whose output is not computed
        for step in 0..steps {
            self.attend(queue, params, memory, step)?;
            if step > 0 && !targets.all_forced[step] {
                self.output(queue, params, next..step, None)?;
                next = step;
                let (predicted, own) = (
                    self.predictions().part(step - 1, batch),
                    embedded.part(step, width),
                );
                embed_chosen(
                    queue,
                    at,
                    params.embedding,
                    own,
                    step,
                    targets.forced,
                    predicted,
                )?;
                self.project_embedded(queue, params, step..step + 1)?;
            }
            self.cells(queue, params, step, dropout)?;
        }
        self.output(queue, params, next..steps, None)
    }

    /// Writes the attention weights before the first step.
    ///
    /// # Errors
    /// If the device fails.
    pub fn start(&self, queue: &Queue, memory: Memory<'_>) -> Result<()> {
        self.sizes
            .scores
            .start(queue, self.attended(0).previous, memory.lengths)
    }

    /// One step without targets, for a decoder of one step: it reads `tokens [B]`, or its own predictions if
    /// `is_first` is false, and replaces its state. A `forbidden` token is not predicted.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        memory: Memory<'_>,
        (tokens, never, is_first): (View<'_, u32>, View<'_, u32>, bool),
        forbidden: Option<u32>,
    ) -> Result<()> {
        assert_eq!(self.steps, 1, "decoding keeps one step");
        let dropout = Dropout::default();
        let (at, embedded) = (self.positions(tokens, &dropout), self.embedded.all());
        if is_first {
            embed(queue, at, params.embedding, embedded)?;
        } else {
            self.advance(queue)?;
            let predicted = self.predictions();
            embed_chosen(queue, at, params.embedding, embedded, 0, never, predicted)?;
        }
        self.project_embedded(queue, params, 0..1)?;
        self.attend(queue, params, memory, 0)?;
        self.cells(queue, params, 0, &dropout)?;
        self.output(queue, params, 0..1, Some(forbidden))
    }

    /// Moves the states and weights after the step to before it.
    fn advance(&self, queue: &Queue) -> Result<()> {
        for (k, layer) in self.layers.iter().enumerate() {
            let states = [self.states(k).0, layer.saved.cells.all()];
            for all in states {
                queue.copy(all.range(0..all.len() / 2), all.from(all.len() / 2))?;
            }
        }
        let Attended {
            previous, weights, ..
        } = self.attended(0);
        queue.copy(previous, weights)
    }

    fn predictions(&self) -> View<'_, u32> {
        self.results.all().range(0..self.steps * self.batch)
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

    /// The embeddings' part of the lowest layer's input projection.
    fn project_embedded(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        steps: Range<usize>,
    ) -> Result<()> {
        let (width, gates, n) = (self.sizes.embedding, self.gates(), steps.len() * self.batch);
        let first = steps.start * self.batch;
        queue.multiply(
            Matrix::dense(self.embedded.all().from(first * width), n, width),
            self.lowest(params).columns(0..width).t(),
            Matrix::dense(
                self.layers[0].saved.gates.all().from(first * gates),
                n,
                gates,
            ),
            Sum::Replace,
        )
    }

    /// The hidden projections of a step, then its attention.
    fn attend(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        memory: Memory<'_>,
        step: usize,
    ) -> Result<()> {
        let (batch, units) = (self.batch, self.sizes.units);
        for (k, layer) in self.layers.iter().enumerate() {
            let ((states, stride), cols) = (self.states(k), self.sizes.recurrent(k));
            queue.multiply(
                Matrix::strided(states.part(step, batch * stride), batch, units, stride),
                Matrix::dense(layer.recurrent.all(), cols, units).t(),
                Matrix::dense(
                    layer.saved.hidden.all().part(step, batch * cols),
                    batch,
                    cols,
                ),
                Sum::Replace,
            )?;
        }
        self.attention(params, memory)
            .attend(queue, self.queries(step), self.attended(step))
    }

    /// The states after a step, from the hidden projections, the embedding and the context.
    fn cells(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        step: usize,
        dropout: &Dropout<'_>,
    ) -> Result<()> {
        let (sizes, batch, gates) = (self.sizes, self.batch, self.gates());
        for (k, layer) in self.layers.iter().enumerate() {
            let own = Matrix::dense(
                layer.saved.gates.all().part(step, batch * gates),
                batch,
                gates,
            );
            if k == 0 {
                let context = Matrix::strided(
                    self.attended(step).contexts,
                    batch,
                    sizes.values,
                    sizes.features(),
                );
                let columns = sizes.embedding..sizes.embedding + sizes.values;
                queue.multiply(
                    context,
                    self.lowest(params).columns(columns).t(),
                    own,
                    Sum::Add,
                )?;
            } else {
                let input = layer.input.all().part(step, batch * sizes.units);
                let weight = Matrix::dense(params.layers[k].weight_ih, gates, sizes.units);
                queue.multiply(
                    Matrix::dense(input, batch, sizes.units),
                    weight.t(),
                    own,
                    Sum::Replace,
                )?;
            }
            let output = self.layers.get(k + 1).map(|above| above.input.all());
            let biases = [params.layers[k].bias_ih, params.layers[k].bias_hh];
            let written = (output, dropout.above(k));
            layer.saved.forward(
                queue,
                sizes.cell,
                self.layer(k),
                step,
                None,
                biases,
                self.states(k).0,
                written,
            )?;
        }
        Ok(())
    }

    /// Logits and predictions of some steps; with log-probabilities, and perhaps a forbidden token, if this is
    /// decoding.
    fn output(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        steps: Range<usize>,
        decoding: Option<Option<u32>>,
    ) -> Result<()> {
        let (sizes, batch) = (self.sizes, self.batch);
        let (first, n) = (steps.start * batch, steps.len() * batch);
        let logits = self
            .logits
            .all()
            .range(first * sizes.vocab..(first + n) * sizes.vocab);
        let features = self.features.all().from((first + batch) * sizes.features());
        queue.multiply(
            Matrix::dense(features, n, sizes.features()),
            Matrix::dense(params.output_weight, sizes.vocab, sizes.features()).t(),
            Matrix::dense(logits, n, sizes.vocab),
            Sum::Replace,
        )?;
        let predictions = self.predictions().range(first..first + n);
        let log_probs = decoding.map(|_| self.losses());
        predict(
            queue,
            logits,
            params.output_bias,
            predictions,
            log_probs,
            decoding.flatten(),
        )
    }

    fn losses(&self) -> View<'_, f32> {
        self.results.all().from(self.steps * self.batch).as_floats()
    }

    /// The losses of the targets `[B, T]`; the logits become their gradients of the sum times `scale`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn loss(
        &self,
        queue: &Queue,
        targets: View<'_, u32>,
        lengths: View<'_, u32>,
        scale: f32,
    ) -> Result<()> {
        token_loss(
            queue,
            self.logits.all(),
            targets,
            lengths,
            self.losses(),
            scale,
        )
    }

    /// All gradients, from those of the logits. Overwrites what the forward pass saved.
    ///
    /// # Errors
    /// If the device fails.
    pub fn backward(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        memory: Memory<'_>,
        targets: Targets<'_>,
        dropout: &Dropout<'_>,
        d_memory: MemoryGrads<'_>,
        grads: &DecoderViews<'_>,
    ) -> Result<()> {
        let (sizes, batch, n) = (self.sizes, self.batch, self.steps * self.batch);
        let d_features = self.d_features.all();
        // forward: logits = features W
        queue.multiply(
            Matrix::dense(self.logits.all(), n, sizes.vocab),
            Matrix::dense(params.output_weight, sizes.vocab, sizes.features()),
            Matrix::dense(d_features, n, sizes.features()),
            Sum::Replace,
        )?;
        for layer in &self.layers {
            queue.zero(layer.saved.d_state.all())?;
            if sizes.cell.has_cell() {
                queue.zero(layer.saved.d_cell.all())?;
            }
        }
        let attention = self.attention(params, memory);
        for step in (0..self.steps).rev() {
            let d_contexts = d_features
                .part(step, batch * sizes.features())
                .from(sizes.units);
            self.cells_backward(queue, params, step, d_contexts, dropout)?;
            let queries = self.queries(step);
            let d_step = AttendedGrads {
                contexts: d_contexts,
                queries,
                keys: d_memory.keys,
                energy: self.d_energy.all(),
                weights: self.d_weights.all(),
                scores: self.d_scores.all(),
            };
            let is_first = step + 1 == self.steps;
            attention.backward(queue, is_first, queries, self.attended(step), d_step)?;
            // forward: hidden = states W
            for (k, layer) in self.layers.iter().enumerate() {
                let cols = sizes.recurrent(k);
                queue.multiply(
                    Matrix::dense(
                        layer.saved.hidden.all().part(step, batch * cols),
                        batch,
                        cols,
                    ),
                    Matrix::dense(layer.recurrent.all(), cols, sizes.units),
                    Matrix::dense(layer.saved.d_state.all(), batch, sizes.units),
                    Sum::Add,
                )?;
            }
        }
        let (weights, width) = (self.weights.all(), self.attended(0).weights.len());
        let d_contexts = d_features.from(sizes.units);
        attention.values_backward(
            queue,
            self.steps,
            weights.from(width),
            d_contexts,
            d_memory.values,
        )?;
        self.gradients(
            queue,
            params,
            self.positions(targets.tokens, dropout),
            grads,
        )
    }

    /// The gradients of both projections of all layers at a step; adds to those of the contexts.
    fn cells_backward(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        step: usize,
        d_contexts: View<'_, f32>,
        dropout: &Dropout<'_>,
    ) -> Result<()> {
        let (sizes, batch, gates) = (self.sizes, self.batch, self.gates());
        for (k, layer) in self.layers.iter().enumerate().rev() {
            let d_output = match self.layers.get(k + 1) {
                Some(above) => above.d_input.all(),
                None => self.d_features.all(),
            };
            let read = (Some(d_output), dropout.above(k));
            let saved = &layer.saved;
            saved.backward(
                queue,
                sizes.cell,
                self.layer(k),
                step,
                None,
                self.states(k).0,
                read,
            )?;
            let d_gates = Matrix::dense(saved.gates.all().part(step, batch * gates), batch, gates);
            if k == 0 {
                let columns = sizes.embedding..sizes.embedding + sizes.values;
                let d_context = Matrix::strided(d_contexts, batch, sizes.values, sizes.features());
                queue.multiply(
                    d_gates,
                    self.lowest(params).columns(columns),
                    d_context,
                    Sum::Add,
                )?;
            } else {
                let weight = Matrix::dense(params.layers[k].weight_ih, gates, sizes.units);
                let d_input = layer.d_input.all().part(step, batch * sizes.units);
                let d_input = Matrix::dense(d_input, batch, sizes.units);
                queue.multiply(d_gates, weight, d_input, Sum::Replace)?;
            }
        }
        Ok(())
    }

    /// The gradients of the parameters, each from one product over all steps.
    fn gradients(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        at: Positions<'_>,
        grads: &DecoderViews<'_>,
    ) -> Result<()> {
        let (sizes, gates, n) = (self.sizes, self.gates(), self.steps * self.batch);
        let (units, width) = (sizes.units, sizes.features());
        let replace = |a: Matrix<'_>, b, c| queue.multiply(a.t(), b, c, Sum::Replace);
        let after = Matrix::dense(self.features.all().from(self.batch * width), n, width);
        let d_logits = self.logits.all();
        replace(
            Matrix::dense(d_logits, n, sizes.vocab),
            after,
            Matrix::dense(grads.output_weight, sizes.vocab, width),
        )?;
        column_sums(queue, grads.output_bias, d_logits, sizes.vocab, n)?;

        for (k, (layer, own)) in self.layers.iter().zip(&grads.layers).enumerate() {
            let (d_gates, d_hidden) = (layer.saved.gates.all(), layer.saved.hidden.all());
            let (stride, (states, state_stride)) = (sizes.recurrent(k), self.states(k));
            let states = Matrix::strided(states, n, units, state_stride);
            let (own_gates, own_hidden) = (
                Matrix::dense(d_gates, n, gates),
                Matrix::dense(d_hidden, n, stride),
            );
            if k == 0 {
                let embedded = Matrix::dense(self.embedded.all(), n, sizes.embedding);
                let weight = self.lowest(grads);
                let inputs = sizes.embedding + sizes.values;
                replace(own_gates, embedded, weight.columns(0..sizes.embedding))?;
                replace(
                    own_gates,
                    after.columns(units..width),
                    weight.columns(sizes.embedding..inputs),
                )?;
            } else {
                let input = Matrix::dense(layer.input.all(), n, units);
                replace(own_gates, input, Matrix::dense(own.weight_ih, gates, units))?;
            }
            replace(
                own_hidden.columns(0..gates),
                states,
                Matrix::dense(own.weight_hh, gates, units),
            )?;
            column_sums(queue, own.bias_ih, d_gates, gates, n)?;
            column_sums(queue, own.bias_hh, d_hidden, stride, n)?;
            if k + 1 < sizes.layers {
                continue;
            }
            let mut first = gates;
            for [weight, bias] in &grads.queries {
                let rows = bias.len();
                let d_queries = own_hidden.columns(first..first + rows);
                replace(d_queries, states, Matrix::dense(*weight, rows, units))?;
                column_sums(queue, *bias, d_hidden.from(first), stride, n)?;
                first += rows;
            }
        }
        column_sums(
            queue,
            grads.energy,
            self.d_energy.all(),
            sizes.attention,
            self.batch,
        )?;

        // forward: the lowest layer's projection of the embeddings
        queue.multiply(
            Matrix::dense(self.layers[0].saved.gates.all(), n, gates),
            self.lowest(params).columns(0..sizes.embedding),
            Matrix::dense(self.d_embedded.all(), n, sizes.embedding),
            Sum::Replace,
        )?;
        embed_backward(queue, at, self.d_embedded.all(), grads.embedding)
    }
}
