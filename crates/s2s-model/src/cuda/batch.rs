//! A batch in the device's memory, copied there in one transfer.

use std::ops::Range;

use candle_core::Result;
use s2s_kernels::cuda::{Buffer, Queue, Targets, View};

use crate::{Batch, Forcing, Source};

/// Token ids, lengths and teacher-forcing coins of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceBatch {
    words: Buffer<u32>,
    rows: usize,
    source_len: usize,
    target_len: usize,
    all_forced: Vec<bool>, // [T]
}

/// The sources of a batch: ids `[B, S]` and lengths `[B]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceSource<'a> {
    pub(super) ids: View<'a, u32>,
    pub(super) lengths: View<'a, u32>,
}

impl DeviceBatch {
    pub(super) fn upload(&mut self, queue: &Queue, batch: &Batch, forcing: &Forcing) -> Result<()> {
        let (rows, steps) = (batch.n_rows(), batch.target_len());
        let forced = forcing.to_coins(rows, steps)?;
        let all_forced = |step| {
            forced
                .iter()
                .skip(step)
                .step_by(steps)
                .all(|forced| *forced)
        };
        self.all_forced = (0..steps).map(all_forced).collect();
        let target_lengths = batch.target_lengths().iter().map(|len| *len as u32);
        let mut words = self.start(batch.source(), steps);
        words.extend_from_slice(batch.target_in());
        words.extend_from_slice(batch.target_out());
        words.extend(forced.into_iter().map(u32::from));
        words.extend(target_lengths);
        self.words.upload(queue, &words)
    }

    /// Sources with the token that a decoder reads first, and a row of zeros: no prediction is forced.
    pub(super) fn upload_source(&mut self, queue: &Queue, source: &Source, bos: u32) -> Result<()> {
        let rows = source.n_rows();
        let mut words = self.start(source, 1);
        words.resize(words.len() + rows, bos);
        words.resize(words.len() + 3 * rows, 0);
        self.words.upload(queue, &words)
    }

    fn start(&mut self, source: &Source, steps: usize) -> Vec<u32> {
        (self.rows, self.source_len, self.target_len) = (source.n_rows(), source.max_len(), steps);
        let mut words = source.ids().to_vec();
        words.extend(source.lengths().iter().map(|len| *len as u32));
        words
    }

    fn part(&self, range: Range<usize>) -> View<'_, u32> {
        self.words.all().range(range)
    }

    /// Part `index` of those `[B, T]`: tokens, targets, coins.
    fn target_part(&self, index: usize) -> View<'_, u32> {
        let start = self.rows * (self.source_len + 1);
        self.words
            .all()
            .from(start)
            .part(index, self.rows * self.target_len)
    }

    pub(super) fn source(&self) -> DeviceSource<'_> {
        let n = self.rows * self.source_len;
        DeviceSource {
            ids: self.part(0..n),
            lengths: self.part(n..n + self.rows),
        }
    }

    pub(super) fn targets(&self) -> Targets<'_> {
        Targets {
            tokens: self.target_part(0),
            forced: self.target_part(2),
            all_forced: &self.all_forced,
        }
    }

    /// What the decoder should output, `[B, T]`, with its lengths.
    pub(super) fn target_out(&self) -> (View<'_, u32>, View<'_, u32>) {
        let all = self.words.all();
        (self.target_part(1), all.from(all.len() - self.rows))
    }
}
