//! The rows of a decoding on slices.

use std::borrow::Cow;
use std::ops::Range;
use std::slice;

use candle_core::Result;
use s2s_kernels::slices::{Cell, Save};

use super::bridge::slices;
use super::slices::ParamSlices;
use super::{Fused, memory};
use crate::decode::Rows;
use crate::{Params, Source};

/// A model with packed weights and its own workspace. The rows of a source share its memory.
#[derive(Clone, Debug)]
pub(super) struct FusedRows<'a, C: Cell> {
    params: &'a Params,
    fused: Fused<C>,
}

impl<'a, C: Cell> FusedRows<'a, C> {
    /// Packs the weights.
    pub(super) fn new(params: &'a Params, mut fused: Fused<C>) -> Result<Self> {
        fused.pack(&ParamSlices::of(params))?;
        Ok(Self { params, fused })
    }
}

impl<C: Cell> Rows for FusedRows<'_, C> {
    fn start(&mut self, source: &Source) -> Result<()> {
        let fused = &mut self.fused;
        fused.encode(&ParamSlices::of(self.params), source, Save::Nothing)?;
        let memory = memory(source, &fused.values, fused.attention.keys(&fused.values));
        let initial = slices(&fused.bridge.states);
        fused.decoding.start(&fused.decoder, memory, &initial);
        Ok(())
    }

    fn step(&mut self, source: &Source, tokens: &[u32]) -> Result<()> {
        let fused = &mut self.fused;
        let memory = memory(source, &fused.values, fused.attention.keys(&fused.values));
        fused.decoding.step(&fused.decoder, memory, tokens);
        Ok(())
    }

    fn keep(&mut self, from: &[usize]) -> Result<()> {
        self.fused.decoding.keep(from);
        Ok(())
    }

    fn logits(&self) -> &[f32] {
        self.fused.decoding.logits()
    }

    fn attention(&self) -> Result<Cow<'_, [f32]>> {
        Ok(Cow::Borrowed(self.fused.decoding.attention()))
    }

    fn support(&self, row: usize) -> Option<&[Range<usize>]> {
        Some(slice::from_ref(&self.fused.decoding.support()[row]))
    }
}
