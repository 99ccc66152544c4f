//! The encoder on slices: the equations are [`Encoder`](crate::Encoder)'s.

use candle_core::Result;
use s2s_kernels::Direction;
use s2s_kernels::slices::{
    Columns, GruInput, GruLayer, Matrix, Output, Team, gather, last, position_first, scatter_add,
};

use super::slices::{GradSlices, ParamSlices, multiply_mask};
use crate::{ModelConfig, Noise, Probability};

const DIRECTIONS: [(Direction, &str); 2] =
    [(Direction::Forward, ""), (Direction::Backward, "_reverse")];

/// What is read: words, batch first.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) ids: &'a [u32],       // [B, S]
    pub(super) lengths: &'a [usize], // [B]
    pub(super) len: usize,           // S
}

pub(super) struct FusedEncoder {
    width: usize,
    hidden: usize,
    drop: Probability,
    layers: Vec<Layer>,
    embedding_mask: Option<Vec<f32>>, // [B, S, E]
    /// The gradient of what each layer reads, and of what the top one says: `[S, B, E]` for the
    /// lowest, `[S, B, 2H]` for the others.
    d_inputs: Vec<Vec<f32>>,
}

/// Both directions of one layer, with what they read and say.
struct Layer {
    directions: [GruLayer<f32>; 2],
    mask: Option<Vec<f32>>, // on the input of all but the lowest, [B, S, 2H]
    input: Vec<f32>,        // after dropout, [S, B, ..]; empty where nothing is dropped
    states: Vec<f32>,       // [S, B, 2H]
    last: Vec<f32>,         // [B, 2H]
}

impl FusedEncoder {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let layer = || Layer {
            directions: DIRECTIONS.map(|(direction, _)| GruLayer::new(direction)),
            mask: None,
            input: Vec::new(),
            states: Vec::new(),
            last: Vec::new(),
        };
        Self {
            width: config.embedding.get(),
            hidden: config.hidden.get(),
            drop: config.dropout,
            layers: (0..config.layers.get()).map(|_| layer()).collect(),
            embedding_mask: None,
            d_inputs: vec![Vec::new(); config.layers.get() + 1],
        }
    }

    pub(super) fn pack(&mut self, params: &ParamSlices<'_>) -> Result<()> {
        for (k, layer) in self.layers.iter_mut().enumerate() {
            for (gru, (_, suffix)) in layer.directions.iter_mut().zip(DIRECTIONS) {
                gru.pack(params.gru("encoder.rnn", &format!("_l{k}{suffix}"))?);
            }
        }
        Ok(())
    }

    pub(super) fn forward(
        &mut self,
        params: &ParamSlices<'_>,
        words: Words<'_>,
        noise: Option<&Noise>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        let embedding = params.get("encoder.embedding.weight")?;
        let (batch, both) = (words.lengths.len(), 2 * self.hidden);
        let n = words.ids.len();
        self.draw(n, noise);
        for k in 0..self.layers.len() {
            let (below, above) = self.layers.split_at_mut(k);
            let layer = &mut above[0];
            match (below.last(), &layer.mask, &self.embedding_mask) {
                (Some(below), Some(mask), _) => {
                    layer.input.clone_from(&below.states);
                    multiply_mask(&mut layer.input, mask, batch, both);
                }
                (None, _, Some(mask)) => {
                    layer.input.resize(n * self.width, 0.0);
                    let ids = position_first(words.ids, words.len);
                    gather(&mut layer.input, embedding, self.width, ids);
                    multiply_mask(&mut layer.input, mask, batch, self.width);
                }
                _ => layer.input.clear(),
            }
            layer.states.resize(n * both, 0.0);
            layer.last.resize(batch * both, 0.0);
            let mut half = vec![0.0; batch * self.hidden];
            let rows = (words.lengths, words.len);
            for (d, gru) in layer.directions.iter_mut().enumerate() {
                let input = input(&layer.input, below.last(), words, embedding);
                let columns = columns(d, self.hidden);
                gru.forward(input, rows, (&mut layer.states, columns), team);
                last(&mut half, DIRECTIONS[d].0, rows, (&layer.states, columns));
                set_columns(&mut layer.last, &half, columns);
            }
        }
        Ok(())
    }

    /// From the gradient of the values, which stands where
    /// [`values_and_gradients`](Self::values_and_gradients) says, and for each layer that of its
    /// last states, `[B, 2H]`.
    pub(super) fn backward(
        &mut self,
        params: &ParamSlices<'_>,
        words: Words<'_>,
        d_last: &[Vec<f32>],
        grads: &mut GradSlices<'_>,
        team: &mut Team<f32>,
    ) -> Result<()> {
        let embedding = params.get("encoder.embedding.weight")?;
        let d_embedding = grads.take("encoder.embedding.weight")?;
        let (batch, hidden, n) = (words.lengths.len(), self.hidden, words.ids.len());
        let rows = (words.lengths, words.len);
        let mut half = vec![0.0; batch * hidden];
        for k in (0..self.layers.len()).rev() {
            let (below, above) = self.layers.split_at_mut(k);
            let (layer, below) = (&mut above[0], below.last());
            let (d_input, d_states) = self.d_inputs.split_at_mut(k + 1);
            let is_table = k == 0 && self.embedding_mask.is_none();
            let d_input: &mut [f32] = if is_table {
                &mut *d_embedding
            } else {
                let width = if k == 0 { self.width } else { 2 * hidden };
                d_input[k].resize(n * width, 0.0);
                &mut d_input[k]
            };
            for (d, gru) in layer.directions.iter_mut().enumerate() {
                let columns = columns(d, hidden);
                get_columns(&mut half, &d_last[k], columns);
                let output = if d == 0 { Output::Replace } else { Output::Add };
                let suffix = format!("_l{k}{}", DIRECTIONS[d].1);
                gru.backward(
                    input(&layer.input, below, words, embedding),
                    rows,
                    (&layer.states, &d_states[0], columns),
                    &half,
                    (d_input, output),
                    &mut grads.gru("encoder.rnn", &suffix)?,
                    team,
                );
            }
            if let Some(mask) = &layer.mask {
                multiply_mask(d_input, mask, batch, 2 * hidden);
            }
        }
        if let Some(mask) = &self.embedding_mask {
            let d_embedded = &mut self.d_inputs[0];
            multiply_mask(d_embedded, mask, batch, self.width);
            d_embedding.fill(0.0);
            let d_embedded = Matrix::dense(d_embedded, n, self.width);
            scatter_add(
                d_embedding,
                d_embedded,
                position_first(words.ids, words.len),
                team,
            );
        }
        Ok(())
    }

    /// The top layer's states, `[S, B, 2H]`.
    pub(super) fn values(&self) -> &[f32] {
        &self.layers[self.layers.len() - 1].states
    }

    /// The same, and where their gradients go.
    pub(super) fn values_and_gradients(&mut self) -> (&[f32], &mut [f32]) {
        let n_layers = self.layers.len();
        let (states, d_states) = (
            &self.layers[n_layers - 1].states,
            &mut self.d_inputs[n_layers],
        );
        d_states.resize(states.len(), 0.0);
        (states, d_states)
    }

    /// Each layer's last states, `[B, 2H]`.
    pub(super) fn last(&self) -> impl Iterator<Item = &[f32]> {
        self.layers.iter().map(|layer| layer.last.as_slice())
    }

    fn draw(&mut self, n: usize, noise: Option<&Noise>) {
        let drop = self.drop;
        let mask = |place: &str, width: usize| {
            let noise = noise.filter(|_| drop > Probability::ZERO)?;
            Some(noise.dropout_mask(place, n * width, drop))
        };
        self.embedding_mask = mask("encoder.embedding", self.width);
        for (k, layer) in self.layers.iter_mut().enumerate().skip(1) {
            layer.mask = mask(&format!("encoder.rnn.{k}"), 2 * self.hidden);
        }
    }
}

/// What a layer reads: after dropout, or the layer below, or the words themselves.
fn input<'a>(
    dropped: &'a [f32],
    below: Option<&'a Layer>,
    words: Words<'a>,
    embedding: &'a [f32],
) -> GruInput<'a, f32> {
    match below {
        _ if !dropped.is_empty() => GruInput::Dense(dropped),
        Some(below) => GruInput::Dense(&below.states),
        None => GruInput::Embedded {
            ids: words.ids,
            embedding,
        },
    }
}

/// The columns of a direction among both.
fn columns(direction: usize, hidden: usize) -> Columns {
    Columns {
        first: direction * hidden,
        stride: 2 * hidden,
    }
}

fn set_columns(both: &mut [f32], half: &[f32], columns: Columns) {
    let hidden = columns.stride / 2;
    for (both, half) in both
        .chunks_exact_mut(columns.stride)
        .zip(half.chunks_exact(hidden))
    {
        both[columns.first..][..hidden].copy_from_slice(half);
    }
}

fn get_columns(half: &mut [f32], both: &[f32], columns: Columns) {
    let hidden = columns.stride / 2;
    for (both, half) in both
        .chunks_exact(columns.stride)
        .zip(half.chunks_exact_mut(hidden))
    {
        half.copy_from_slice(&both[columns.first..][..hidden]);
    }
}
