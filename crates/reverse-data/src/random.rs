//! Random generators, each a pure function of its key.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::Split;

/// What a random generator is for. Different purposes never share random numbers.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// A sample; one stream per sample.
    Sample { split: Split },
    /// A sample of a given length; one stream per sample.
    SampleOfLen { split: Split, len: usize },
    /// The order of all sequences of a length.
    LengthOrder { split: Split, len: usize },
    /// The length of an equal-length batch.
    BatchLen { step: u64 },
    /// The order of an epoch.
    Shuffle { epoch: u64 },
    /// The order of the batches in a window.
    Window { epoch: u64, window: u64 },
    /// The tokens that are read as unknown; one stream per sample.
    Unknown { epoch: u64 },
    /// The choice of samples to show.
    Shown,
}

impl Purpose {
    /// A name, and two numbers that distinguish generators of the same purpose.
    fn key(self) -> (&'static [u8; 8], [u64; 2]) {
        match self {
            Self::Sample { split } => (b"data    ", [split as u64, 0]),
            Self::SampleOfLen { split, len } => (b"length  ", [split as u64, len as u64]),
            Self::LengthOrder { split, len } => (b"listed  ", [split as u64, len as u64]),
            Self::BatchLen { step } => (b"onelen  ", [step, 0]),
            Self::Shuffle { epoch } => (b"shuffle ", [epoch, 0]),
            Self::Window { epoch, window } => (b"window  ", [epoch, window]),
            Self::Unknown { epoch } => (b"unknown ", [epoch, 0]),
            Self::Shown => (b"shown   ", [0, 0]),
        }
    }
}

/// A generator that depends on nothing but its arguments.
pub(crate) fn generator(seed: u64, purpose: Purpose, stream: u64) -> ChaCha8Rng {
    let (name, [a, b]) = purpose.key();
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(name);
    key[16..24].copy_from_slice(&a.to_le_bytes());
    key[24..].copy_from_slice(&b.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream);
    rng
}

/// A bijection on 64 bits in which every input bit affects every output bit: the finalizer of
/// SplitMix64.
///
/// Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators", with the constants
/// of Stafford's mix 13.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
