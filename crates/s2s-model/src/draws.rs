//! Random numbers, each keyed by the seed, a purpose and the step.

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Probability;

/// A generator that depends only on its three keys.
pub fn keyed_rng(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(key(seed, purpose, [index, 0]))
}

fn key(seed: u64, purpose: &str, [step, batch]: [u64; 2]) -> [u8; 32] {
    // FNV-1a, 64 bit: http://www.isthe.com/chongo/tech/comp/fnv
    let purpose = purpose
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&purpose.to_le_bytes());
    key[16..24].copy_from_slice(&step.to_le_bytes());
    key[24..].copy_from_slice(&batch.to_le_bytes());
    key
}

/// The draws of one training step.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    seed: u64,
    step: u64,
    batch: u64,
    progress: f64,
}

impl Noise {
    /// The draws of `step` in a run with this seed.
    pub fn new(seed: u64, step: u64) -> Self {
        Self {
            seed,
            step,
            batch: 0,
            progress: 1.0,
        }
    }

    /// The draws of one batch of an accumulated step; those of batch 0 are the draws of a step of one batch.
    pub fn of_batch(self, batch: u64) -> Self {
        Self { batch, ..self }
    }

    /// The same draws at another progress of the annealing: from 0, where the choices of a
    /// [transducer](crate::Transducer) are soft, to 1, where they are as sharp as in evaluation.
    pub fn at(self, progress: f64) -> Self {
        Self { progress, ..self }
    }

    /// Progress of the annealing.
    pub fn progress(&self) -> f64 {
        self.progress
    }

    /// `n` factors of inverted dropout: 0 with probability `drop`, else `1 / (1 - drop)`.
    ///
    /// The probability is rounded to a multiple of 1/65,536. The factor follows from the rounded value, so
    /// that the mean is 1.
    pub fn dropout_mask(&self, place: &str, n: usize, drop: Probability) -> Vec<f32> {
        let mut mask = vec![0.0; n];
        self.fill_dropout_mask(place, &mut mask, drop);
        mask
    }

    /// The same factors, written into `mask`.
    pub(crate) fn fill_dropout_mask(&self, place: &str, mask: &mut [f32], drop: Probability) {
        /// Factors drawn at a time: a whole number of the generator's blocks that fits the L1 cache.
        const DRAWS: usize = 2048;
        let DropoutDraw {
            key,
            threshold,
            keep,
        } = self.dropout_draw(place, drop);
        let mut rng = ChaCha8Rng::from_seed(key);
        let mut bytes = [0; 2 * DRAWS];
        for mask in mask.chunks_mut(DRAWS) {
            let bytes = &mut bytes[..2 * mask.len()];
            rng.fill_bytes(bytes);
            for (factor, pair) in mask.iter_mut().zip(bytes.chunks_exact(2)) {
                let draw = u16::from_le_bytes([pair[0], pair[1]]);
                *factor = if draw < threshold { 0.0 } else { keep };
            }
        }
    }

    /// How the factors of a place are drawn.
    pub(crate) fn dropout_draw(&self, place: &str, drop: Probability) -> DropoutDraw {
        const LEVELS: f64 = 65_536.0;
        let threshold = (drop.get() * LEVELS).round().min(LEVELS - 1.0);
        DropoutDraw {
            key: self.key(&format!("dropout/{place}")),
            threshold: threshold as u16,
            keep: (1.0 / (1.0 - threshold / LEVELS)) as f32,
        }
    }

    fn key(&self, purpose: &str) -> [u8; 32] {
        key(self.seed, purpose, [self.step, self.batch])
    }

    /// One coin per step, `[B, T]`: whether the decoder reads the true token, with probability `ratio`.
    pub fn coins(&self, ratio: f64, scope: CoinScope, rows: usize, steps: usize) -> Forcing {
        let mut rng = ChaCha8Rng::from_seed(self.key("teacher-forcing"));
        let mut flip =
            |n: usize| -> Vec<bool> { (0..n).map(|_| rng.random::<f64>() < ratio).collect() };
        let coins = match scope {
            CoinScope::Batch => flip(steps).repeat(rows),
            CoinScope::Sequence => flip(rows * steps),
        };
        Forcing::Coins { coins, steps }
    }
}

/// Dropout factors: 0 where 16 bits of the stream with this key are below the threshold, else `keep`.
pub(crate) struct DropoutDraw {
    pub(crate) key: [u8; 32],
    pub(crate) threshold: u16,
    pub(crate) keep: f32,
}

/// The rows that share a coin of teacher forcing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoinScope {
    /// One coin per step for the whole batch.
    #[default]
    Batch,
    /// One coin per step for each sequence.
    Sequence,
}

/// Whether the decoder reads the true token or its own prediction, at each step.
///
/// Williams, Zipser (1989); with coins, scheduled sampling: Bengio et al. (2015), arXiv:1506.03099.
/// The first step always reads BOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forcing {
    /// The true token at every step.
    Always,
    /// The predicted token at every step: free-running.
    Never,
    /// One coin per row and step: `true` for the true token.
    Coins {
        /// `[B, T]`, row by row.
        coins: Vec<bool>,
        /// `T`.
        steps: usize,
    },
}

impl Forcing {
    /// Whether `row` reads the true token at `step`.
    pub fn is_forced(&self, row: usize, step: usize) -> bool {
        step == 0
            || match self {
                Self::Always => true,
                Self::Never => false,
                Self::Coins { coins, steps } => coins[row * steps + step],
            }
    }

    /// Whether each position of a batch is forced, `[B, T]`, row by row.
    ///
    /// # Errors
    /// If there are coins of another shape.
    pub(crate) fn to_coins(&self, rows: usize, steps: usize) -> Result<Vec<bool>> {
        self.check(rows, steps)?;
        Ok((0..rows * steps)
            .map(|index| self.is_forced(index / steps, index % steps))
            .collect())
    }

    /// Refuses coins that are not `[B, T]`.
    pub(crate) fn check(&self, rows: usize, steps: usize) -> Result<()> {
        match self {
            Self::Coins { coins, steps: own } if (coins.len(), *own) != (rows * steps, steps) => {
                bail!(
                    "{} coins in rows of {own} cannot force {rows} targets of {steps} steps",
                    coins.len()
                )
            }
            Self::Coins { .. } | Self::Always | Self::Never => Ok(()),
        }
    }
}

/// Training mode or evaluation mode.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Dropout is on, with masks drawn from the noise of a step.
    Train(&'a Noise),
    /// Dropout is off.
    Evaluate,
}

impl<'a> Mode<'a> {
    /// The noise of dropout, if it is on.
    pub(crate) fn noise(self) -> Option<&'a Noise> {
        match self {
            Self::Train(noise) => Some(noise),
            Self::Evaluate => None,
        }
    }

    /// Progress of the annealing.
    pub(crate) fn progress(self) -> f64 {
        self.noise().map_or(1.0, Noise::progress)
    }

    /// The dropout mask of a place in the model, or none without dropout.
    pub(crate) fn dropout_mask(
        self,
        place: &str,
        shape: impl Into<Shape>,
        drop: Probability,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Tensor>> {
        match self {
            Self::Train(noise) if drop > Probability::ZERO => {
                let shape = shape.into();
                let mask = noise.dropout_mask(place, shape.elem_count(), drop);
                let mask = Tensor::from_vec(mask, shape, device)?.to_dtype(dtype)?;
                Ok(Some(mask))
            }
            Self::Train(_) | Self::Evaluate => Ok(None),
        }
    }
}

/// `x` times its mask, if it has one.
pub(crate) fn dropped(x: Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    match mask {
        Some(mask) => x * mask,
        None => Ok(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_keeps_the_mean_and_drops_the_share() {
        let drop = Probability::try_from(0.1).unwrap();
        let mask = Noise::new(3, 5).dropout_mask("here", 100_000, drop);
        let mean = mask.iter().sum::<f32>() / 1e5;
        let share = mask.iter().filter(|m| **m == 0.0).count() as f32 / 1e5;
        // Four standard errors at 100,000 draws.
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
        assert!((share - 0.1).abs() < 0.004, "{share}");
    }

    #[test]
    fn draws_differ_by_seed_purpose_step_and_batch_and_by_nothing_else() {
        let drop = Probability::try_from(0.5).unwrap();
        let draw = |seed, step, place| Noise::new(seed, step).dropout_mask(place, 64, drop);
        assert_eq!(draw(1, 2, "a"), draw(1, 2, "a"));
        let of_batch = |batch| {
            let noise = Noise::new(1, 2).of_batch(batch);
            noise.dropout_mask("a", 64, drop)
        };
        assert_eq!(of_batch(0), draw(1, 2, "a"));
        assert_ne!(of_batch(1), draw(1, 2, "a"));
        for other in [draw(2, 2, "a"), draw(1, 3, "a"), draw(1, 2, "b")] {
            assert_ne!(draw(1, 2, "a"), other);
        }
    }

    #[test]
    fn coin_of_a_batch_is_shared_and_the_first_step_is_always_forced() {
        let noise = Noise::new(0, 1);
        let forcing = noise.coins(0.5, CoinScope::Batch, 3, 40);
        let row = |row| {
            (0..40)
                .map(|step| forcing.is_forced(row, step))
                .collect::<Vec<_>>()
        };
        assert_eq!(row(0), row(2));
        assert!(row(0)[0]);
        assert!(row(0).contains(&false));
        let apart = noise.coins(0.5, CoinScope::Sequence, 2, 40);
        assert!((0..40).any(|step| apart.is_forced(0, step) != apart.is_forced(1, step)));
    }

    #[test]
    fn ratios_of_zero_and_one_are_certain() {
        let noise = Noise::new(0, 1);
        let [never, always] = [0.0, 1.0].map(|r| noise.coins(r, CoinScope::Sequence, 2, 9));
        assert!((1..9).all(|step| !never.is_forced(1, step) && always.is_forced(1, step)));
    }
}
