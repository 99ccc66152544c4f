//! Greedy decoding on the device. All rows stay in the batch until the last has finished.

use std::borrow::Cow;

use candle_core::Result;

use super::CudaModel;
use super::params::ParamViews;
use crate::decode::{ReferenceRows, Rows};
use crate::{Decoded, Params, Seq2Seq, Source, Stop, Tokens, Watch};

/// Rows on a CUDA device. Greedy decoding runs on the kernels, single steps on the reference path.
#[derive(Clone, Debug)]
pub(super) struct CudaRows<'a> {
    model: &'a Seq2Seq,
    packed: CudaModel,
    steps: ReferenceRows<'a>,
}

impl<'a> CudaRows<'a> {
    /// `packed` has the packed weights of the model.
    pub(super) fn new(model: &'a Seq2Seq, packed: CudaModel) -> Self {
        Self {
            model,
            packed,
            steps: ReferenceRows::new(model),
        }
    }
}

impl Rows for CudaRows<'_> {
    fn start(&mut self, source: &Source) -> Result<()> {
        self.steps.start(source)
    }

    fn step(&mut self, source: &Source, tokens: &[u32]) -> Result<()> {
        self.steps.step(source, tokens)
    }

    fn keep(&mut self, from: &[usize]) -> Result<()> {
        self.steps.keep(from)
    }

    fn logits(&self) -> &[f32] {
        self.steps.logits()
    }

    fn attention(&self) -> Result<Cow<'_, [f32]>> {
        self.steps.attention()
    }

    fn greedy(
        &mut self,
        tokens: Tokens,
        source: &Source,
        stop: Stop,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>> {
        let params = self.model.params();
        self.packed.decode(params, tokens, source, stop, watch)
    }
}

impl CudaModel {
    /// The most likely token at each step; the weights must be packed.
    pub(super) fn decode(
        &mut self,
        params: &Params,
        tokens: Tokens,
        source: &Source,
        stop: Stop,
        mut watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>> {
        let (lengths, len) = (source.lengths(), source.max_len());
        let params = ParamViews::of(params)?;
        let forbidden = match stop {
            Stop::AtEos(_) => None,
            Stop::AtSourceLength { .. } => Some(tokens.eos),
        };
        self.resize(source, 1, None)?;
        self.batch.upload_source(&self.queue, source, tokens.bos)?;
        self.encode(&params)?;
        let (views, memory) = (self.decoder_views(&params)?, self.memory());
        self.decoder.start(&self.queue, memory)?;
        let read = self.batch.targets();

        let mut rows = vec![Decoded::default(); lengths.len()];
        let mut is_done: Vec<bool> = lengths.iter().map(|len| stop.limit(*len) == 0).collect();
        let mut is_first = true;
        while is_done.contains(&false) {
            self.decoder
                .decode(&self.queue, &views, memory, (read, is_first), forbidden)?;
            is_first = false;
            let (chosen, log_probs) = self.decoder.results(&self.queue)?;
            let weights = match watch {
                Some(_) => self.decoder.last_weights().download(&self.queue)?,
                None => Vec::new(),
            };
            for (b, (row, is_done)) in rows.iter_mut().zip(&mut is_done).enumerate() {
                if *is_done {
                    continue;
                }
                row.push(chosen[b], log_probs[b], tokens.eos);
                *is_done = row.stopped || row.log_probs.len() >= stop.limit(lengths[b]);
                if let Some(watch) = &mut watch {
                    let (weights, all) = (&weights[b * len..][..lengths[b]], 0..lengths[b]);
                    *is_done |= watch(b, weights, std::slice::from_ref(&all)).is_break();
                }
            }
        }
        Ok(rows)
    }
}
