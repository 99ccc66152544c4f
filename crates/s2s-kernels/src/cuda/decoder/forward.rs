//! The decoder's loop over the steps, and one step of decoding.

use std::ops::Range;

use candle_core::Result;

use super::super::attention::Attended;
use super::super::loss::predict;
use super::super::product::{Matrix, Update};
use super::super::queue::{Queue, View};
use super::super::table::{embed, embed_chosen};
use super::{Decoder, DecoderInputs, DecoderViews, Dropout, Memory, Targets};

impl Decoder {
    /// Runs all steps. The initial states must have been written.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        inputs: DecoderInputs<'_>,
    ) -> Result<()> {
        let DecoderInputs {
            memory,
            targets,
            dropout,
        } = inputs;
        let (batch, steps, embedded) = (self.batch, self.steps, self.embedded.all());
        let at = self.positions(targets.tokens, dropout);
        let width = batch * self.sizes.embedding;
        self.start(queue, memory)?;
        embed(queue, at, params.embedding, embedded)?;
        self.project_embedded(queue, params, 0..steps)?;
        let mut next = 0; // the first step whose output is not computed
        for step in 0..steps {
            self.attend(queue, params, memory, step)?;
            if step > 0 && !targets.all_forced[step] {
                self.output(queue, params, next..step, None)?;
                next = step;
                let predicted = self.predictions().part(step - 1, batch);
                let own = embedded.part(step, width);
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

    /// One step without targets, for a decoder of one step: the first reads the tokens of `read`, and a later one
    /// the predictions of the step before, as no token is forced. A `forbidden` token is not predicted.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(
        &self,
        queue: &Queue,
        params: &DecoderViews<'_>,
        memory: Memory<'_>,
        (read, is_first): (Targets<'_>, bool),
        forbidden: Option<u32>,
    ) -> Result<()> {
        assert_eq!(self.steps, 1, "decoding keeps one step");
        let dropout = Dropout::default();
        let (at, embedded) = (self.positions(read.tokens, &dropout), self.embedded.all());
        if is_first {
            embed(queue, at, params.embedding, embedded)?;
        } else {
            self.advance(queue)?;
            let predicted = self.predictions();
            embed_chosen(
                queue,
                at,
                params.embedding,
                embedded,
                0,
                read.forced,
                predicted,
            )?;
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
            Update::Replace,
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
                Matrix::dense(self.packed.recurrent[k].all(), cols, units).t(),
                Matrix::dense(
                    layer.saved.hidden.all().part(step, batch * cols),
                    batch,
                    cols,
                ),
                Update::Replace,
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
                    Update::Add,
                )?;
            } else {
                let input = layer.input.all().part(step, batch * sizes.units);
                let weight = Matrix::dense(params.layers[k].weight_ih, gates, sizes.units);
                queue.multiply(
                    Matrix::dense(input, batch, sizes.units),
                    weight.t(),
                    own,
                    Update::Replace,
                )?;
            }
            let output = self.layers.get(k + 1).map(|above| above.input.all());
            let biases = [params.layers[k].bias_ih, params.layers[k].bias_hh];
            let written = (output, dropout.above(k));
            layer.saved.forward(
                queue,
                self.layer_step(k, step),
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
            Update::Replace,
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
}
