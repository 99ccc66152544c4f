//! What the decoder's forward pass keeps, and its parts for ranges of rows.

use std::ops::Range;

use super::step::features_stride;
use super::{DecoderDropout, DecoderSizes};
use crate::real::Real;
use crate::recurrent::Cell;
use crate::team::Steps;

/// What the forward pass keeps, position first.
#[derive(Clone, Debug, Default)]
pub(super) struct DecoderTrace<T> {
    pub(super) batch: usize,
    pub(super) len: usize,
    pub(super) source_len: usize,
    /// `[T, B]`: the tokens read.
    pub(super) tokens: Vec<u32>,
    /// `[T, B, E]`: their embeddings, where some numbers of them are dropped.
    pub(super) words: Vec<T>,
    /// `[T + 1, B, D + C]`, padded: the top layer's states and the contexts beside them, one
    /// position late; at position 0 the first states.
    pub(super) features: Vec<T>,
    /// `[T + 1, B, D]` for each layer below the top, likewise.
    pub(super) states: Vec<Vec<T>>,
    /// `[T + 1, B, D]` for each layer, likewise, of a cell that has cell states.
    pub(super) cell_states: Vec<Vec<T>>,
    /// `[T, B, D]` for each layer below the top: its states with some numbers dropped.
    pub(super) dropped: Vec<Vec<T>>,
    /// `[T, B, SAVED·D]` for each layer, padded; the gates, then their derivatives.
    pub(super) gates: Vec<Vec<T>>,
    /// `[T + 1, B, S]`, one position late; at position 0 where attention starts.
    pub(super) weights: Vec<T>,
    /// `[T, B, kept]`: what the scorer keeps.
    pub(super) kept: Vec<T>,
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
        (batch, len, source_len): (usize, usize, usize),
        kept: usize,
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
        let rows = batch * len;
        (self.batch, self.len, self.source_len) = (batch, len, source_len);
        self.tokens.resize(rows, 0);
        let words = if dropout.embedding.is_some() {
            rows * embedding
        } else {
            0
        };
        self.words.resize(words, T::ZERO);
        self.features.resize((len + 1) * batch * features, T::ZERO);
        self.d_features.resize(rows * features, T::ZERO);
        self.weights.resize((len + 1) * batch * source_len, T::ZERO);
        self.kept.resize(rows * kept, T::ZERO);
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
        self.dropped.resize_with(
            if dropout.between.is_some() {
                layers - 1
            } else {
                0
            },
            Vec::new,
        );
        for dropped in &mut self.dropped {
            dropped.resize(rows * units, T::ZERO);
        }
    }

    /// Cuts everything into ranges of rows.
    pub(super) fn split<'a, C: Cell>(
        &'a mut self,
        sizes: DecoderSizes,
        kept: usize,
        ranges: &[Range<usize>],
    ) -> Vec<Rows<'a, T>> {
        let DecoderSizes {
            vocab,
            embedding,
            units,
            ..
        } = sizes;
        let (len, stride) = (self.len, features_stride(sizes));
        let cut = |all, len, width| Steps::split(all, len, width, ranges).into_iter();
        let layers = |all: &'a mut [Vec<T>], len, width| -> Vec<_> {
            all.iter_mut().map(|all| cut(all, len, width)).collect()
        };
        let mut words = (!self.words.is_empty()).then(|| cut(&mut self.words, len, embedding));
        let mut tokens = Steps::split(&mut self.tokens, len, 1, ranges).into_iter();
        let mut features = cut(&mut self.features, len + 1, stride);
        let mut d_features = cut(&mut self.d_features, len, stride);
        let mut weights = cut(&mut self.weights, len + 1, self.source_len);
        let mut kept_steps = cut(&mut self.kept, len, kept);
        let mut logits = cut(&mut self.logits, len, vocab);
        let mut states = layers(&mut self.states, len + 1, units);
        let mut dropped = layers(&mut self.dropped, len, units);
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
                    words: words.as_mut().and_then(Iterator::next),
                    features: features.next()?,
                    d_features: d_features.next()?,
                    weights: weights.next()?,
                    kept: kept_steps.next()?,
                    logits: logits.next()?,
                    states: states.iter_mut().map_while(Iterator::next).collect(),
                    cell_states: cell_states.iter_mut().map_while(Iterator::next).collect(),
                    dropped: dropped.iter_mut().map_while(Iterator::next).collect(),
                    gates: gates.iter_mut().map_while(Iterator::next).collect(),
                })
            })
            .collect()
    }
}

/// The trace of some rows.
pub(super) struct Rows<'a, T> {
    pub(super) range: Range<usize>,
    /// The rows of the batch.
    pub(super) memory: Vec<usize>,
    /// The same, counted from the range's first.
    pub(super) active: Vec<usize>,
    pub(super) tokens: Steps<'a, u32>,
    pub(super) words: Option<Steps<'a, T>>,
    pub(super) features: Steps<'a, T>,
    pub(super) d_features: Steps<'a, T>,
    pub(super) states: Vec<Steps<'a, T>>,
    pub(super) cell_states: Vec<Steps<'a, T>>,
    pub(super) dropped: Vec<Steps<'a, T>>,
    pub(super) gates: Vec<Steps<'a, T>>,
    pub(super) weights: Steps<'a, T>,
    pub(super) kept: Steps<'a, T>,
    pub(super) logits: Steps<'a, T>,
}
