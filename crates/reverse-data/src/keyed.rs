//! Where every random number comes from: a key that says what it is for.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Why a generator was made; two purposes never see the same numbers.
#[derive(Clone, Copy)]
pub(crate) struct Purpose(&'static [u8; 8]);

/// A sample: of (split, 0), one stream a sample.
pub(crate) const SAMPLE: Purpose = Purpose(b"data    ");
/// A sample of a given length: of (split, length), one stream a sample.
pub(crate) const SAMPLE_OF_LEN: Purpose = Purpose(b"length  ");
/// The order of all sequences of a length: of (split, length).
pub(crate) const LENGTH_ORDER: Purpose = Purpose(b"listed  ");
/// The length of a batch whose samples have one: of (step, 0).
pub(crate) const BATCH_LEN: Purpose = Purpose(b"onelen  ");
/// The order of an epoch: of (epoch, 0).
pub(crate) const SHUFFLE: Purpose = Purpose(b"shuffle ");
/// The order of the batches in a window: of (epoch, window).
pub(crate) const WINDOW: Purpose = Purpose(b"window  ");

/// A generator that is a function of nothing but its arguments.
pub(crate) fn rng(seed: u64, purpose: Purpose, of: (u64, u64), stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(purpose.0);
    key[16..24].copy_from_slice(&of.0.to_le_bytes());
    key[24..].copy_from_slice(&of.1.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream);
    rng
}

/// A bijection on 64 bits that spreads every bit over all: the finalizer of SplitMix64.
///
/// Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators", with the constants
/// of Stafford's mix 13.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
