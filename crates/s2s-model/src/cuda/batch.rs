//! A batch in the device's memory, copied there in one transfer.

use candle_core::Result;
use s2s_kernels::cuda::{Buffer, Queue, Targets, View};

use crate::{Batch, Forcing, Source};

/// The scale of the loss and its label smoothing.
const LOSS_NUMBERS: usize = 2;

/// Token ids, lengths and teacher-forcing coins of a batch, and the numbers that differ from step to step:
/// those of the loss and the keys of the dropout masks.
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
    pub(super) fn upload(
        &mut self,
        queue: &Queue,
        batch: &Batch,
        forcing: &Forcing,
        keys: &[u32],
    ) -> Result<()> {
        let steps = batch.target_len();
        let forced = forcing.to_coins(batch.n_rows(), steps)?;
        let all_forced = |step| {
            forced
                .iter()
                .skip(step)
                .step_by(steps)
                .all(|forced| *forced)
        };
        self.all_forced = (0..steps).map(all_forced).collect();
        self.resize(batch.source(), steps);
        let (scale, smoothing) = (1.0 / batch.n_tokens() as f32, batch.label_smoothing().get());
        let mut words = source_words(batch.source());
        words.extend_from_slice(batch.target_in());
        words.extend_from_slice(batch.target_out());
        words.extend(forced.into_iter().map(u32::from));
        words.extend(batch.target_lengths().iter().map(|len| *len as u32));
        words.extend([scale, smoothing as f32].map(f32::to_bits));
        words.extend_from_slice(keys);
        self.words.upload(queue, &words)
    }

    /// Sources with the token that a decoder reads first. The rest is 0: no prediction is forced.
    pub(super) fn upload_source(&mut self, queue: &Queue, source: &Source, bos: u32) -> Result<()> {
        let rows = source.n_rows();
        self.resize(source, 1);
        let mut words = source_words(source);
        words.resize(words.len() + rows, bos);
        words.resize(words.len() + 3 * rows + LOSS_NUMBERS, 0);
        self.words.upload(queue, &words)
    }

    fn resize(&mut self, source: &Source, target_len: usize) {
        (self.rows, self.source_len) = (source.n_rows(), source.max_len());
        self.target_len = target_len;
    }

    /// What follows the sources.
    fn rest(&self) -> View<'_, u32> {
        self.words.all().from(self.rows * (self.source_len + 1))
    }

    /// Part `index` of those `[B, T]`: tokens, targets, coins.
    fn target_part(&self, index: usize) -> View<'_, u32> {
        self.rest().part(index, self.rows * self.target_len)
    }

    /// The lengths of the targets, then the numbers of the loss and the keys.
    fn after_targets(&self) -> (View<'_, u32>, View<'_, u32>) {
        let (rows, target_len) = (self.rows, self.target_len);
        self.rest().from(3 * rows * target_len).split(rows)
    }

    pub(super) fn source(&self) -> DeviceSource<'_> {
        let (rows, source_len) = (self.rows, self.source_len);
        let (ids, rest) = self.words.all().split(rows * source_len);
        DeviceSource {
            ids,
            lengths: rest.range(0..rows),
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
        (self.target_part(1), self.after_targets().0)
    }

    /// One over the number of target tokens, and the label smoothing.
    pub(super) fn loss_numbers(&self) -> View<'_, f32> {
        self.after_targets().1.range(0..LOSS_NUMBERS).as_floats()
    }

    /// The keys of the dropout masks, as they were given.
    pub(super) fn keys(&self) -> View<'_, u32> {
        self.after_targets().1.from(LOSS_NUMBERS)
    }
}

/// Ids, then lengths.
fn source_words(source: &Source) -> Vec<u32> {
    let mut words = source.ids().to_vec();
    words.extend(source.lengths().iter().map(|len| *len as u32));
    words
}
