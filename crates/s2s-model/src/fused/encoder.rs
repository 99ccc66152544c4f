//! The encoder on slices: the equations are [`Encoder`](crate::Encoder)'s.

use candle_core::Result;
use s2s_kernels::State;
use s2s_kernels::slices::{
    Bidirectional, BidirectionalStates, Cell, LayerNorm, Matrix, RecurrentBatch, RecurrentInput,
    Save, Team, add_row, gather, multiply_mask, scatter_add, time_major,
};

use super::slices::{GradSlices, ParamSlices, draw_mask, norm_names};
use crate::{ModelConfig, Noise, Probability, Source};

#[derive(Clone)]
pub(super) struct FusedEncoder<C: Cell> {
    width: usize,         // E
    encoder_width: usize, // 2H
    dropout: Probability, // between layers
    embedding_dropout: Probability,
    residual: bool,
    layers: Vec<Layer<C>>,
    /// The gradients of each layer's input and of the top layer's output: `[S, B, E]` for the lowest,
    /// `[S, B, 2H]` for the others.
    d_inputs: Vec<Vec<f32>>,
}

/// One layer with its input and output.
#[derive(Clone, Default)]
struct Layer<C: Cell> {
    rnn: Bidirectional<f32, C>,
    /// The dropout mask of the input: `[B, S, E]` for the lowest layer, `[B, S, 2H]` for the others; empty
    /// without dropout.
    mask: Vec<f32>,
    input: Vec<f32>,       // after dropout, position first; unused without dropout
    states: Vec<f32>,      // [S, B, 2H]
    last: State<Vec<f32>>, // [B, 2H] each
    norm: Option<Norm>,
    output: Option<Vec<f32>>, // [S, B, 2H], if it is not the states
}

/// A layer's normalization, and what it saves for the backward pass.
#[derive(Clone, Default)]
struct Norm {
    norm: LayerNorm<f32>,
    saved: Vec<f32>, // [S, B, 2H + 1]
}

impl<C: Cell> Layer<C> {
    /// `[S, B, 2H]`; 0 where padded.
    fn output(&self) -> &Vec<f32> {
        self.output.as_ref().unwrap_or(&self.states)
    }

    /// Computes the output, if it is not the states.
    fn connect(&mut self, below: Option<&[f32]>, source: &Source, team: &mut Team<f32>) {
        let Some(output) = &mut self.output else {
            return;
        };
        output.clone_from(&self.states);
        if let Some(below) = below {
            add_row(output, below);
        }
        if let Some(Norm { norm, saved }) = &mut self.norm {
            saved.resize(output.len() / norm.width() * norm.saved(), 0.0);
            norm.forward_on(output, saved, team);
            clear_padding(output, source);
        }
    }
}

/// Zeros where `[S, B, ..]` is padded.
fn clear_padding(values: &mut [f32], source: &Source) {
    let (batch, width) = (source.n_rows(), values.len() / source.ids().len());
    for (index, values) in values.chunks_exact_mut(width).enumerate() {
        if index / batch >= source.lengths()[index % batch] {
            values.fill(0.0);
        }
    }
}

impl<C: Cell> FusedEncoder<C> {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let n_layers = config.layers.get();
        let layer = |k| {
            let is_normalized = config.layer_norm && k + 1 < n_layers;
            let is_connected = is_normalized || (config.residual && k > 0);
            Layer {
                norm: is_normalized.then(Norm::default),
                output: is_connected.then(Vec::new),
                ..Layer::default()
            }
        };
        Self {
            width: config.embedding.get(),
            encoder_width: 2 * config.hidden.get(),
            dropout: config.dropout,
            embedding_dropout: config.embedding_dropout,
            residual: config.residual,
            layers: (0..n_layers).map(layer).collect(),
            d_inputs: vec![Vec::new(); n_layers + 1],
        }
    }

    /// Packs the weights; the masks must have been drawn.
    pub(super) fn pack(&mut self, params: &ParamSlices<'_>) -> Result<()> {
        let embedding = params.get("encoder.embedding.weight")?;
        for (k, layer) in self.layers.iter_mut().enumerate() {
            let reads_ids = k == 0 && layer.mask.is_empty();
            let weights = [
                params.recurrent("encoder.rnn", &format!("_l{k}"))?,
                params.recurrent("encoder.rnn", &format!("_l{k}_reverse"))?,
            ];
            layer
                .rnn
                .pack(weights, if reads_ids { embedding } else { &[] });
            if let Some(Norm { norm, .. }) = &mut layer.norm {
                let [gain, bias] = norm_names("encoder", k);
                norm.pack(params.get(&gain)?, params.get(&bias)?);
            }
        }
        Ok(())
    }

    pub(super) fn forward(
        &mut self,
        params: &ParamSlices<'_>,
        source: &Source,
        save: Save,
        team: &mut Team<f32>,
    ) -> Result<()> {
        let embedding = params.get("encoder.embedding.weight")?;
        let (batch, len, n) = (source.n_rows(), source.max_len(), source.ids().len());
        for k in 0..self.layers.len() {
            let (below, above) = self.layers.split_at_mut(k);
            let (layer, below) = (&mut above[0], below.last());
            if !layer.mask.is_empty() {
                match below {
                    Some(below) => layer.input.clone_from(below.output()),
                    None => {
                        layer.input.resize(n * self.width, 0.0);
                        let ids = time_major(source.ids(), len);
                        gather(&mut layer.input, embedding, self.width, ids);
                    }
                }
                multiply_mask(&mut layer.input, &layer.mask, len, batch, team);
            }
            layer.states.resize(n * self.encoder_width, 0.0);
            let (width, last) = (batch * self.encoder_width, &mut layer.last);
            last.hidden.resize(width, 0.0);
            last.cell.resize(C::CELL_STATES * width, 0.0);
            let dropped = (!layer.mask.is_empty()).then_some(&*layer.input);
            let read = layer_input(dropped, below, source, embedding);
            let last = layer.last.each_mut().map(Vec::as_mut_slice);
            layer.rnn.forward(read, &mut layer.states, last, save, team);
            let added = below.filter(|_| self.residual);
            layer.connect(added.map(|below| &**below.output()), source, team);
        }
        Ok(())
    }

    /// The gradients of the parameters, from the gradient of the values in
    /// [`d_values_mut`](Self::d_values_mut) and those of each layer's last states, `[B, 2H]` each.
    pub(super) fn backward(
        &mut self,
        params: &ParamSlices<'_>,
        source: &Source,
        d_last: &[State<&[f32]>],
        grads: &mut GradSlices<'_>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        let embedding = params.get("encoder.embedding.weight")?;
        let d_embedding = grads.take("encoder.embedding.weight")?;
        let (batch, len, n) = (source.n_rows(), source.max_len(), source.ids().len());
        for k in (0..self.layers.len()).rev() {
            let (below, above) = self.layers.split_at_mut(k);
            let (layer, below) = (&mut above[0], below.last());
            let (d_inputs, d_states) = self.d_inputs.split_at_mut(k + 1);
            let d_input: &mut [f32] = if k == 0 && layer.mask.is_empty() {
                &mut *d_embedding
            } else {
                d_inputs[k].resize(
                    n * if k == 0 {
                        self.width
                    } else {
                        self.encoder_width
                    },
                    0.0,
                );
                &mut d_inputs[k]
            };
            let d_output = &mut d_states[0];
            if let Some(Norm { norm, saved }) = &layer.norm {
                clear_padding(d_output, source);
                norm.gradients(grads.norm("encoder", k)?, d_output, saved, team);
                norm.backward_on(d_output, saved, team);
            }
            let seen = BidirectionalStates {
                states: &layer.states,
                d_states: &*d_output,
                d_last: d_last[k],
            };
            let mut d_weights = [
                grads.recurrent("encoder.rnn", &format!("_l{k}"))?,
                grads.recurrent("encoder.rnn", &format!("_l{k}_reverse"))?,
            ];
            let dropped = (!layer.mask.is_empty()).then_some(&*layer.input);
            let read = layer_input(dropped, below, source, embedding);
            layer
                .rnn
                .backward(read, seen, d_input, &mut d_weights, team);
            if !layer.mask.is_empty() {
                multiply_mask(d_input, &layer.mask, len, batch, team);
            }
            if self.residual && k > 0 {
                add_row(d_input, d_output);
            }
        }
        if !self.layers[0].mask.is_empty() {
            d_embedding.fill(0.0);
            let d_embedded = Matrix::dense(&self.d_inputs[0], n, self.width);
            scatter_add(d_embedding, d_embedded, time_major(source.ids(), len), team);
        }
        Ok(())
    }

    /// The top layer's output, `[S, B, 2H]`.
    pub(super) fn values(&self) -> &[f32] {
        self.layers[self.layers.len() - 1].output()
    }

    /// The buffer of [`values`](Self::values). A backward pass needs its contents.
    pub(super) fn values_mut(&mut self) -> &mut Vec<f32> {
        let n_layers = self.layers.len();
        let top = &mut self.layers[n_layers - 1];
        top.output.as_mut().unwrap_or(&mut top.states)
    }

    /// The buffer for the gradient of the values, `[S, B, 2H]`.
    pub(super) fn d_values_mut(&mut self) -> &mut [f32] {
        let n_layers = self.layers.len();
        self.d_inputs[n_layers].resize(self.layers[n_layers - 1].states.len(), 0.0);
        &mut self.d_inputs[n_layers]
    }

    /// Each layer's last states, `[B, 2H]` each.
    pub(super) fn last(&self) -> impl Iterator<Item = State<&[f32]>> {
        self.layers
            .iter()
            .map(|layer| layer.last.each_ref().map(Vec::as_slice))
    }

    /// Draws the dropout masks for `n` source positions.
    pub(super) fn draw(&mut self, n: usize, noise: Option<&Noise>) {
        for (k, layer) in self.layers.iter_mut().enumerate() {
            let (place, width, drop) = match k {
                0 => (
                    "encoder.embedding".to_owned(),
                    self.width,
                    self.embedding_dropout,
                ),
                _ => (format!("encoder.rnn.{k}"), self.encoder_width, self.dropout),
            };
            draw_mask(&mut layer.mask, noise, &place, n * width, drop);
        }
    }
}

/// The input of a layer: its own copy after dropout, the output of the layer below, or the token ids.
fn layer_input<'a, C: Cell>(
    dropped: Option<&'a [f32]>,
    below: Option<&'a Layer<C>>,
    source: &'a Source,
    embedding: &'a [f32],
) -> RecurrentBatch<'a, f32> {
    let input = match (dropped, below) {
        (Some(dropped), _) => RecurrentInput::Dense(dropped),
        (None, Some(below)) => RecurrentInput::Dense(below.output()),
        (None, None) => RecurrentInput::Embedded {
            ids: source.ids(),
            embedding,
        },
    };
    RecurrentBatch {
        initial: None,
        input,
        lengths: source.lengths(),
        len: source.max_len(),
    }
}
