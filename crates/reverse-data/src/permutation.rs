//! A shuffle without an array: a pseudorandom bijection on `0..n`.
//!
//! A Feistel network permutes the integers of the minimum number of bits for n: each half is XORed in
//! turn with a hash of the other. An output outside `0..n` is permuted again until it is inside ("cycle
//! walking"). This takes fewer than two rounds on average and always ends, because every cycle returns
//! to its start.
//!
//! Black, Rogaway (2002), "Ciphers with arbitrary finite domains".

use rand::Rng;

use crate::random::{Purpose, generator, mix};

// Two pairs of rounds suffice for large halves; small halves need more.
const ROUND_PAIRS: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    n: u64,
    left_bits: u32,
    right_bits: u32,
    round_keys: [[u64; 2]; ROUND_PAIRS],
}

impl Permutation {
    /// A random permutation of `0..n`.
    pub(crate) fn generate(n: u64, rng: &mut impl Rng) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let right_bits = bits / 2;
        Self {
            n,
            left_bits: bits - right_bits,
            right_bits,
            round_keys: rng.random(),
        }
    }

    /// The image of `index`, which must be less than n.
    pub(crate) fn at(&self, index: u64) -> u64 {
        debug_assert!(index < self.n, "{index} is outside 0..{}", self.n);
        let mut image = self.feistel(index);
        while image >= self.n {
            image = self.feistel(image);
        }
        image
    }

    fn feistel(&self, x: u64) -> u64 {
        let low = |bits: u32| (1 << bits) - 1;
        let (mut left, mut right) = (x >> self.right_bits, x & low(self.right_bits));
        for [left_key, right_key] in self.round_keys {
            left ^= mix(right ^ left_key) & low(self.left_bits);
            right ^= mix(left ^ right_key) & low(self.right_bits);
        }
        left << self.right_bits | right
    }
}

/// The numbers `0..n` in a fixed order that has nothing to do with theirs: to show samples of data that may be
/// sorted.
pub fn scattered(n: u64) -> impl Iterator<Item = u64> {
    let order = Permutation::generate(n, &mut generator(0, Purpose::Shown, 0));
    (0..n).map(move |index| order.at(index))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::{Purpose, generator};

    fn permutation(n: u64, seed: u64) -> Permutation {
        Permutation::generate(n, &mut generator(seed, Purpose::Shuffle { epoch: 0 }, 0))
    }

    #[track_caller]
    fn check_bijection(n: u64, seed: u64) {
        let permutation = permutation(n, seed);
        let mut images: Vec<_> = (0..n).map(|index| permutation.at(index)).collect();
        images.sort_unstable();
        assert!(images.into_iter().eq(0..n), "n = {n}, seed = {seed}");
    }

    #[test]
    fn sizes_near_powers_of_two_are_bijections() {
        for n in (0..70).chain([255, 256, 257, 4095, 4096, 4097]) {
            check_bijection(n, n);
        }
    }

    #[test]
    fn the_largest_size_stays_inside() {
        let permutation = permutation(u64::MAX, 0);
        for index in [0, 1, u64::MAX / 2, u64::MAX - 1] {
            assert!(permutation.at(index) < u64::MAX);
        }
    }

    #[test]
    fn all_orders_of_three_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6000 {
            let permutation = permutation(3, seed);
            *counts
                .entry([0, 1, 2].map(|index| permutation.at(index)))
                .or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // 1000 expected, standard deviation 29.
        assert!(
            counts.values().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn all_sizes_are_bijections(n in 1u64..3000, seed: u64) {
            check_bijection(n, seed);
        }
    }
}
