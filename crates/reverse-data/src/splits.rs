//! Disjoint splits: the hash of a source sequence determines its split.
//!
//! The hash has no seed, so the test sequences of one seed are not training sequences of another.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::random::mix;
use crate::{Error, Token};

/// A split of the data. The order of the variants is part of the random keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// For training.
    Train,
    /// For choosing hyperparameters and checkpoints, and for early stopping.
    Val,
    /// For the final evaluation.
    Test,
}

/// Number of hash buckets, in total and per split.
const N_BUCKETS: u64 = 10;
const TRAIN_BUCKETS: u64 = 8;
const VAL_BUCKETS: u64 = 1;
const TEST_BUCKETS: u64 = N_BUCKETS - TRAIN_BUCKETS - VAL_BUCKETS;

impl Split {
    /// All splits, in order.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// The split of a source sequence, independent of seed and machine. Of all sequences, 80 % are for
    /// training, 10 % for validation and 10 % for test.
    pub fn of(source: &[Token]) -> Split {
        Self::of_hash(hash(source))
    }

    fn of_hash(hash: u64) -> Split {
        match hash % N_BUCKETS {
            bucket if bucket < TRAIN_BUCKETS => Split::Train,
            bucket if bucket < TRAIN_BUCKETS + VAL_BUCKETS => Split::Val,
            _ => Split::Test,
        }
    }

    fn n_buckets(self) -> u64 {
        match self {
            Split::Train => TRAIN_BUCKETS,
            Split::Val => VAL_BUCKETS,
            Split::Test => TEST_BUCKETS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|split| split.name() == text);
        found.ok_or_else(|| Error::UnknownSplit {
            text: text.to_owned(),
        })
    }
}

// The fraction of the golden ratio, so the empty sequence does not hash to 0.
const HASH_START: u64 = 0x9e37_79b9_7f4a_7c15;

/// A 64-bit hash of the tokens, equal on every machine.
pub(crate) fn hash(sequence: &[Token]) -> u64 {
    sequence
        .iter()
        .fold(HASH_START, |state, &token| extend(state, token))
}

fn extend(state: u64, token: Token) -> u64 {
    mix(state ^ u64::from(token))
}

/// Number of distinct sequences in each split.
pub(crate) struct Capacity([u64; 3]);

/// Up to this many sequences are counted one by one; more are estimated from the number of buckets.
const MAX_COUNTED: u128 = 1 << 20;

impl Capacity {
    /// Counts the sequences of symbols `1..=n_symbols` with a length in `lens`.
    pub(crate) fn new(n_symbols: u32, lens: RangeInclusive<usize>) -> Self {
        let space = space(n_symbols, &lens);
        if space <= MAX_COUNTED {
            return Self(count(n_symbols, &lens));
        }
        Self(Split::ALL.map(|split| {
            let expected = space / u128::from(N_BUCKETS) * u128::from(split.n_buckets());
            u64::try_from(expected).unwrap_or(u64::MAX)
        }))
    }

    pub(crate) fn of(&self, split: Split) -> u64 {
        self.0[split as usize]
    }
}

/// A length with more sequences than this has some in every split: the probability that a uniform hash
/// puts none of them into a bucket is below 10^-187.
const MAX_ENUMERATED: usize = 1 << 12;

/// The lengths with at least one sequence, for each split. Short sequences of few symbols may occur in
/// some splits only: with two symbols, both sequences of length 1 are in the training split.
pub(crate) fn nonempty_lens(n_symbols: u32, lens: RangeInclusive<usize>) -> [Vec<usize>; 3] {
    let mut nonempty = [const { Vec::new() }; 3];
    let mut states = vec![HASH_START];
    for len in 1..=*lens.end() {
        let is_enumerated = states.len() * n_symbols as usize <= MAX_ENUMERATED;
        if is_enumerated {
            states = extend_all(&states, n_symbols);
        }
        if !lens.contains(&len) {
            continue;
        }
        for split in Split::ALL {
            let mut splits = states.iter().map(|&hash| Split::of_hash(hash));
            if !is_enumerated || splits.any(|other| other == split) {
                nonempty[split as usize].push(len);
            }
        }
    }
    nonempty
}

/// The hashes of all sequences that are one symbol longer.
fn extend_all(states: &[u64], n_symbols: u32) -> Vec<u64> {
    let extended = |&state: &u64| (1..=n_symbols).map(move |token| extend(state, token));
    states.iter().flat_map(extended).collect()
}

/// Number of sequences: Σ n^len over the lengths, saturating at `u128::MAX`.
pub(crate) fn space(n_symbols: u32, lens: &RangeInclusive<usize>) -> u128 {
    let (mut power, mut total) = (1u128, 0u128);
    for len in 1..=*lens.end() {
        power = power.saturating_mul(u128::from(n_symbols));
        if lens.contains(&len) {
            total = total.saturating_add(power);
        }
        if power == u128::MAX {
            return u128::MAX; // the last length is in the range and has at least this many
        }
    }
    total
}

/// Counts the sequences of each split by hashing all of them, length by length.
fn count(n_symbols: u32, lens: &RangeInclusive<usize>) -> [u64; 3] {
    let mut counts = [0; 3];
    let mut states = vec![HASH_START];
    for len in 1..=*lens.end() {
        states = extend_all(&states, n_symbols);
        if lens.contains(&len) {
            for &hash in &states {
                counts[Split::of_hash(hash) as usize] += 1;
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for split in Split::ALL {
            assert_eq!(split.to_string().parse(), Ok(split));
        }
        let error = "dev".parse::<Split>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "split must be train, val or test, got \"dev\""
        );
    }

    #[test]
    fn small_numbers_of_sequences_are_exact() {
        let mut expected = [0; 3];
        for a in 1..=9 {
            for b in 1..=9 {
                expected[Split::of(&[a, b]) as usize] += 1;
            }
        }
        assert_eq!(Capacity::new(9, 2..=2).0, expected);
        assert_eq!(expected.iter().sum::<u64>(), 81);
    }

    #[test]
    fn splits_have_the_nominal_proportions() {
        let counted = Capacity::new(100, 1..=3).0.map(|n| n as f64 / 1_010_100.0);
        for (split, share) in Split::ALL.into_iter().zip(counted) {
            let nominal = split.n_buckets() as f64 / N_BUCKETS as f64;
            // Five standard deviations of a uniform hash.
            assert!((share - nominal).abs() < 0.002, "{split}: {share}");
        }
    }

    #[test]
    fn large_and_degenerate_numbers_of_sequences_do_not_overflow() {
        assert_eq!(space(1, &(1..=100_000)), 100_000);
        assert_eq!(space(50, &(2..=3)), 2500 + 125_000);
        assert_eq!(space(2, &(1..=127)), u128::MAX - 1);
        assert_eq!(space(2, &(1..=128)), u128::MAX);
        assert_eq!(space(999_999, &(100_000..=100_000)), u128::MAX);
        assert_eq!(Capacity::new(50, 1..=1000).of(Split::Test), u64::MAX);
        assert_eq!(Capacity::new(1, 1..=100_000).0.iter().sum::<u64>(), 100_000);
    }

    #[test]
    fn nonempty_lengths_have_sequences() {
        for n_symbols in [1, 2, 3, 70] {
            let nonempty = nonempty_lens(n_symbols, 1..=9);
            for (split, len) in Split::ALL
                .into_iter()
                .flat_map(|split| (1..=9).map(move |len| (split, len)))
                .filter(|(_, len)| space(n_symbols, &(*len..=*len)) <= MAX_COUNTED)
            {
                let has_some = Capacity::new(n_symbols, len..=len).of(split) > 0;
                let is_listed = nonempty[split as usize].contains(&len);
                assert_eq!(is_listed, has_some, "{n_symbols} symbols, {split}, {len}");
            }
        }
        assert_eq!(nonempty_lens(2, 1..=1), [vec![1], vec![], vec![]]);
    }

    #[test]
    fn the_split_of_a_sequence_never_changes() {
        // Golden: a change moves sequences between splits, so results are no longer comparable with
        // those of earlier versions.
        let hashes = [vec![1], vec![2, 1], vec![1, 2]].map(|sequence| hash(&sequence));
        assert_eq!(
            hashes,
            [
                16490336266968443936,
                17474652204475260503,
                7255708332913644382
            ]
        );
    }
}
