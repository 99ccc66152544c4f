//! The values that the decoder's forward pass saves for the backward pass.

use std::ops::Range;

use super::step::features_stride;
use super::{Connections, DecoderDropout, DecoderSizes};
use crate::real::Real;
use crate::recurrent::Cell;
use crate::team::TimeMajor;

/// The sizes of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BatchSizes {
    pub(super) batch: usize,
    /// Target length, `T`.
    pub(super) len: usize,
    pub(super) source_len: usize,
    /// Numbers per row that the scorer saves in each step.
    pub(super) scorer: usize,
}

/// The saved values, time-major.
#[derive(Clone, Debug, Default)]
pub(super) struct DecoderTrace<T> {
    pub(super) sizes: BatchSizes,
    /// `[T, B]`: the input tokens.
    pub(super) tokens: Vec<u32>,
    /// `[T, B, E]`: their embeddings after dropout; empty without dropout.
    pub(super) embeddings: Vec<T>,
    /// `[T + 1, B, D + C]`, padded: the top layer's states and the contexts. Index `t` holds the values
    /// before step `t`; index 0 holds the initial states.
    pub(super) features: Vec<T>,
    /// `[T + 1, B, D]` for each layer below the top, with the same indices.
    pub(super) states: Vec<Vec<T>>,
    /// `[T + 1, B, D]` for each layer, with the same indices, if the cell has cell states.
    pub(super) cell_states: Vec<Vec<T>>,
    /// `[T, B, D]` for each layer below the top: its output, if that is not its states.
    pub(super) outputs: Vec<Vec<T>>,
    /// `[T, B, D + 1]` for each layer below the top: what its normalization saves; empty without.
    pub(super) normalized: Vec<Vec<T>>,
    /// `[T, B, D]` for each layer below the top: the gradient of its normalized output; empty without.
    pub(super) d_outputs: Vec<Vec<T>>,
    /// `[T, B, D + C]`, padded: the top layer's output and the contexts, if that is not its states.
    pub(super) readout: Vec<T>,
    /// `[T + 1, B, D]`: the attentional vectors, with the indices of `features`; empty without input feeding.
    pub(super) vectors: Vec<T>,
    /// `[T, B, D]`: the gradients of the vectors before tanh; empty without input feeding.
    pub(super) d_vectors: Vec<T>,
    /// `[T, B, D]` for each layer below the top: its output after dropout; empty without dropout.
    pub(super) dropped: Vec<Vec<T>>,
    /// `[T, B, SAVED·D]` for each layer, padded: the gates, then their derivatives.
    pub(super) gates: Vec<Vec<T>>,
    /// The attention weights, `[T + 1, B, S]`. Index `t` holds the weights before step `t`; index 0 holds
    /// the initial weights.
    pub(super) weights: Vec<T>,
    /// `[T, B, scorer]`: the values that the scorer saves.
    pub(super) scorer: Vec<T>,
    /// `[T, B, V]`.
    pub(super) logits: Vec<T>,
    /// `[T, B, D + C]`, padded: the gradients of the features.
    pub(super) d_features: Vec<T>,
}

impl<T: Real> DecoderTrace<T> {
    /// Makes room for a batch.
    pub(super) fn resize<C: Cell>(
        &mut self,
        sizes: DecoderSizes,
        connections: &Connections<T>,
        batch_sizes: BatchSizes,
        dropout: &DecoderDropout<'_, T>,
    ) {
        let DecoderSizes {
            vocab,
            embedding,
            units,
            layers,
            ..
        } = sizes;
        let features = features_stride(sizes);
        let BatchSizes {
            batch,
            len,
            source_len,
            scorer,
        } = batch_sizes;
        let rows = batch * len;
        self.sizes = batch_sizes;
        self.tokens.resize(rows, 0);
        let embeddings = dropout.embedding.map_or(0, |_| rows * embedding);
        self.embeddings.resize(embeddings, T::ZERO);
        self.features.resize((len + 1) * batch * features, T::ZERO);
        self.d_features.resize(rows * features, T::ZERO);
        self.weights.resize((len + 1) * batch * source_len, T::ZERO);
        self.scorer.resize(rows * scorer, T::ZERO);
        self.logits.resize(rows * vocab, T::ZERO);
        self.gates.resize_with(layers, Vec::new);
        for gates in &mut self.gates {
            gates.resize(rows * C::gates_stride(units), T::ZERO);
        }
        self.states.resize_with(layers - 1, Vec::new);
        for states in &mut self.states {
            states.resize((len + 1) * batch * units, T::ZERO);
        }
        self.cell_states.resize_with(layers, Vec::new);
        for states in &mut self.cell_states {
            states.resize((len + 1) * batch * C::CELL_STATES * units, T::ZERO);
        }
        let resize = |buffers: &mut Vec<Vec<T>>, is_used: bool, len: usize| {
            buffers.resize_with(if is_used { layers - 1 } else { 0 }, Vec::new);
            let buffers = buffers.iter_mut();
            buffers.for_each(|buffer| buffer.resize(len, T::ZERO));
        };
        let is_normalized = !connections.norms.is_empty();
        resize(&mut self.dropped, dropout.between.is_some(), rows * units);
        resize(&mut self.outputs, !connections.are_plain(), rows * units);
        resize(&mut self.normalized, is_normalized, rows * (units + 1));
        resize(&mut self.d_outputs, is_normalized, rows * units);
        let fed = if sizes.input_feeding {
            batch * units
        } else {
            0
        };
        self.vectors.resize((len + 1) * fed, T::ZERO);
        self.d_vectors.resize(len * fed, T::ZERO);
        let has_readout = connections.residual && layers > 1;
        let readout = if has_readout { rows * features } else { 0 };
        self.readout.resize(readout, T::ZERO);
    }

    /// Splits everything into ranges of rows.
    pub(super) fn split<'a, C: Cell>(
        &'a mut self,
        sizes: DecoderSizes,
        ranges: &[Range<usize>],
    ) -> Vec<Rows<'a, T>> {
        let DecoderSizes {
            vocab,
            embedding,
            units,
            ..
        } = sizes;
        let BatchSizes {
            len,
            source_len,
            scorer,
            ..
        } = self.sizes;
        let stride = features_stride(sizes);
        let cut = |all, len, width| TimeMajor::split(all, len, width, ranges).into_iter();
        let layers = |all: &'a mut [Vec<T>], len, width| -> Vec<_> {
            all.iter_mut().map(|all| cut(all, len, width)).collect()
        };
        let has_dropout = !self.embeddings.is_empty();
        let mut embeddings = has_dropout.then(|| cut(&mut self.embeddings, len, embedding));
        let mut tokens = TimeMajor::split(&mut self.tokens, len, 1, ranges).into_iter();
        let mut features = cut(&mut self.features, len + 1, stride);
        let mut d_features = cut(&mut self.d_features, len, stride);
        let mut weights = cut(&mut self.weights, len + 1, source_len);
        let mut saved = cut(&mut self.scorer, len, scorer);
        let mut logits = cut(&mut self.logits, len, vocab);
        let mut states = layers(&mut self.states, len + 1, units);
        let mut dropped = layers(&mut self.dropped, len, units);
        let mut outputs = layers(&mut self.outputs, len, units);
        let mut normalized = layers(&mut self.normalized, len, units + 1);
        let mut d_outputs = layers(&mut self.d_outputs, len, units);
        let fed = if sizes.input_feeding { units } else { 0 };
        let mut vectors = cut(&mut self.vectors, len + 1, fed);
        let mut d_vectors = cut(&mut self.d_vectors, len, fed);
        let has_readout = !self.readout.is_empty();
        let mut readout = has_readout.then(|| cut(&mut self.readout, len, stride));
        let mut gates = layers(&mut self.gates, len, C::gates_stride(units));
        let mut cell_states = layers(&mut self.cell_states, len + 1, C::CELL_STATES * units);
        ranges
            .iter()
            .map_while(|range| {
                Some(Rows {
                    range: range.clone(),
                    memory: range.clone().collect(),
                    active: (0..range.len()).collect(),
                    tokens: tokens.next()?,
                    embeddings: embeddings.as_mut().and_then(Iterator::next),
                    features: features.next()?,
                    d_features: d_features.next()?,
                    weights: weights.next()?,
                    scorer: saved.next()?,
                    logits: logits.next()?,
                    states: states.iter_mut().map_while(Iterator::next).collect(),
                    cell_states: cell_states.iter_mut().map_while(Iterator::next).collect(),
                    dropped: dropped.iter_mut().map_while(Iterator::next).collect(),
                    outputs: outputs.iter_mut().map_while(Iterator::next).collect(),
                    normalized: normalized.iter_mut().map_while(Iterator::next).collect(),
                    d_outputs: d_outputs.iter_mut().map_while(Iterator::next).collect(),
                    readout: readout.as_mut().and_then(Iterator::next),
                    vectors: vectors.next()?,
                    d_vectors: d_vectors.next()?,
                    gates: gates.iter_mut().map_while(Iterator::next).collect(),
                })
            })
            .collect()
    }
}

/// The saved values of some rows.
pub(super) struct Rows<'a, T> {
    pub(super) range: Range<usize>,
    /// The range as a list: the memory's row for each row.
    pub(super) memory: Vec<usize>,
    /// All rows, relative to the start of the range.
    pub(super) active: Vec<usize>,
    pub(super) tokens: TimeMajor<'a, u32>,
    pub(super) embeddings: Option<TimeMajor<'a, T>>,
    pub(super) features: TimeMajor<'a, T>,
    pub(super) d_features: TimeMajor<'a, T>,
    pub(super) states: Vec<TimeMajor<'a, T>>,
    pub(super) cell_states: Vec<TimeMajor<'a, T>>,
    pub(super) dropped: Vec<TimeMajor<'a, T>>,
    pub(super) outputs: Vec<TimeMajor<'a, T>>,
    pub(super) normalized: Vec<TimeMajor<'a, T>>,
    pub(super) d_outputs: Vec<TimeMajor<'a, T>>,
    pub(super) readout: Option<TimeMajor<'a, T>>,
    pub(super) vectors: TimeMajor<'a, T>,
    pub(super) d_vectors: TimeMajor<'a, T>,
    pub(super) gates: Vec<TimeMajor<'a, T>>,
    pub(super) weights: TimeMajor<'a, T>,
    pub(super) scorer: TimeMajor<'a, T>,
    pub(super) logits: TimeMajor<'a, T>,
}
