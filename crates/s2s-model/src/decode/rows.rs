//! The rows of a decoding, whatever computes them.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};
use dyn_clone::DynClone;

use super::{Decoded, Stop, Watch, greedy};
use crate::{DecoderState, Memory, Mode, Seq2Seq, Source, Tokens};

/// Rows that read one token each per step. Several rows can decode the same source.
///
/// Every way to decode is a loop over this interface, and greedy decoding is its default method. A clone
/// shares the packed weights and has its own workspace.
pub(crate) trait Rows: Debug + DynClone + Send + Sync {
    /// Encodes the sources and starts with one row for each, in order.
    fn start(&mut self, source: &Source) -> Result<()>;

    /// Reads one token per row. `source` is that of [`start`](Self::start).
    fn step(&mut self, source: &Source, tokens: &[u32]) -> Result<()>;

    /// Continues with rows `from[0]`, `from[1]`, ... of the current rows; a row may occur several times
    /// or not at all.
    fn keep(&mut self, from: &[usize]) -> Result<()>;

    /// The logits of the last step, `[rows, V]`.
    fn logits(&self) -> &[f32];

    /// The attention weights of the last step, `[rows, S]`.
    fn attention(&self) -> Result<Cow<'_, [f32]>>;

    /// Ascending ranges outside of which a row's attention weights are 0, or negligible and shown as 0, if they
    /// are known.
    fn support(&self, _row: usize) -> Option<&[Range<usize>]> {
        None
    }

    /// The most likely token at each step, for every source.
    fn greedy(
        &mut self,
        tokens: Tokens,
        source: &Source,
        stop: Stop,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>> {
        greedy::search(self, tokens, source, stop, watch)
    }
}

dyn_clone::clone_trait_object!(Rows);

/// Rows on the reference path.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceRows<'a> {
    model: &'a Seq2Seq,
    started: Option<Started>,
    /// `[rows, V]`.
    logits: Vec<f32>,
}

#[derive(Clone, Debug)]
struct Started {
    state: DecoderState,
    /// The memory of each source.
    sources: Memory,
    /// The source of each row.
    rows: Vec<usize>,
    /// The memory of each row.
    memory: Memory,
}

impl<'a> ReferenceRows<'a> {
    pub(crate) fn new(model: &'a Seq2Seq) -> Self {
        Self {
            model,
            started: None,
            logits: Vec::new(),
        }
    }
}

impl Rows for ReferenceRows<'_> {
    fn start(&mut self, source: &Source) -> Result<()> {
        // Detached: otherwise each step would keep the graph of all steps before it.
        let (state, memory) = self.model.encode(source, Mode::Evaluate)?;
        let memory = memory.detached();
        self.started = Some(Started {
            state: state.detached(),
            sources: memory.clone(),
            rows: (0..source.n_rows()).collect(),
            memory,
        });
        Ok(())
    }

    fn step(&mut self, _source: &Source, tokens: &[u32]) -> Result<()> {
        let Some(started) = &mut self.started else {
            bail!("a step before the start of a decoding");
        };
        let fed = Tensor::new(tokens, self.model.params().device())?;
        let decoder = self.model.decoder();
        let (logits, next) = decoder.step(&fed, &started.state, &started.memory)?; // [rows, V]
        started.state = next.detached();
        self.logits = logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        Ok(())
    }

    fn keep(&mut self, from: &[usize]) -> Result<()> {
        let Some(started) = &mut self.started else {
            bail!("rows are kept before the start of a decoding");
        };
        if from.is_empty() {
            return Ok(()); // the decoding has ended: candle has no empty tensors
        }
        let device = self.model.params().device();
        started.state = started.state.rows(&indices(from, device)?)?;
        let rows: Vec<usize> = from.iter().map(|&row| started.rows[row]).collect();
        if rows != started.rows {
            started.memory = started.sources.rows(&indices(&rows, device)?)?;
            started.rows = rows;
        }
        Ok(())
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn attention(&self) -> Result<Cow<'_, [f32]>> {
        let attended = self
            .started
            .as_ref()
            .and_then(|s| s.state.attended.as_ref());
        let Some(attended) = attended else {
            bail!("the decoder returned no attention");
        };
        let weights = attended.weights.to_dtype(DType::F32)?;
        Ok(Cow::Owned(weights.flatten_all()?.to_vec1()?))
    }
}

fn indices(rows: &[usize], device: &candle_core::Device) -> Result<Tensor> {
    let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
    Tensor::new(rows, device)
}
