//! Dropout masks, with the same draws as on the CPU.

use candle_core::Result;
use s2s_kernels::cuda::{Buffer, Dropout, Queue, View, fill_dropout_mask};

use crate::{ModelConfig, Noise, Probability};

/// The decoder's dropout masks.
#[derive(Clone, Debug, Default)]
pub(super) struct Masks {
    embedding: Mask,    // [B, T, E]
    between: Vec<Mask>, // [B, T, D] each, one between two layers
}

impl Masks {
    /// Makes room for the masks of a batch, if there is noise, and adds their keys.
    pub(super) fn resize(
        &mut self,
        queue: &Queue,
        config: &ModelConfig,
        n_targets: usize,
        noise: Option<&Noise>,
        keys: &mut Vec<u32>,
    ) -> Result<()> {
        let n = n_targets * config.embedding.get();
        let (place, drop) = ("decoder.embedding", config.embedding_dropout);
        self.embedding.resize(queue, n, noise, place, drop, keys)?;
        self.between
            .resize_with(config.layers.get() - 1, Mask::default);
        let n = n_targets * config.decoder.width().get();
        for (below, mask) in self.between.iter_mut().enumerate() {
            let place = format!("decoder.rnn.{}", below + 1);
            mask.resize(queue, n, noise, &place, config.dropout, keys)?;
        }
        Ok(())
    }

    /// Draws all masks from the keys of [`resize`](Self::resize).
    pub(super) fn draw(&self, queue: &Queue, keys: View<'_, u32>) -> Result<()> {
        let mut all = std::iter::once(&self.embedding).chain(&self.between);
        all.try_for_each(|mask| mask.draw(queue, keys))
    }

    pub(super) fn dropout(&self) -> Dropout<'_> {
        Dropout {
            embedding: self.embedding.view(),
            between: self.between.iter().map(Mask::view).collect(),
        }
    }
}

/// A dropout mask, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Mask {
    factors: Buffer<f32>,
    draw: Option<DropoutDraw>,
}

/// How a mask is drawn.
#[derive(Clone, Copy, Debug)]
struct DropoutDraw {
    key: usize, // where it begins
    threshold: u16,
    keep: f32,
}

impl Mask {
    /// Makes room for `n` factors and adds their key, if anything is dropped.
    pub(super) fn resize(
        &mut self,
        queue: &Queue,
        n: usize,
        noise: Option<&Noise>,
        place: &str,
        drop: Probability,
        keys: &mut Vec<u32>,
    ) -> Result<()> {
        self.draw = None;
        let Some(noise) = noise.filter(|_| drop > Probability::ZERO) else {
            return Ok(());
        };
        let draw = noise.dropout_draw(place, drop);
        self.draw = Some(DropoutDraw {
            key: keys.len(),
            threshold: draw.threshold,
            keep: draw.keep,
        });
        let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        keys.extend(draw.key.chunks_exact(4).map(word));
        self.factors.resize(queue, n)
    }

    pub(super) fn draw(&self, queue: &Queue, keys: View<'_, u32>) -> Result<()> {
        let Some(draw) = self.draw else {
            return Ok(());
        };
        let key = keys.range(draw.key..draw.key + 8);
        fill_dropout_mask(queue, self.factors.all(), key, draw.threshold, draw.keep)
    }

    pub(super) fn view(&self) -> Option<View<'_, f32>> {
        self.draw.is_some().then(|| self.factors.all())
    }
}
