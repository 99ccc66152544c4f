//! Disjoint by construction: a sequence's own hash decides its split.
//!
//! The hash has no seed, so what one seed tests on, no other seed trains on.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::keyed::mix;
use crate::{Error, Token};

/// What a sample is for. The order is part of the samples' keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by: settings, checkpoints, when to stop.
    Val,
    /// To report, once.
    Test,
}

/// The buckets of the hash; each split owns as many as its share.
const N_BUCKETS: u64 = 10;
const TRAIN_SHARE: u64 = 8;
const VAL_SHARE: u64 = 1;
const TEST_SHARE: u64 = N_BUCKETS - TRAIN_SHARE - VAL_SHARE;

impl Split {
    /// All of them, in order.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// The one split that a source sequence belongs to, for every seed and on every machine:
    /// eight sequences in ten are for training, one for validation and one for testing.
    pub fn of(source: &[Token]) -> Split {
        Self::of_hash(hash(source))
    }

    fn of_hash(hash: u64) -> Split {
        match hash % N_BUCKETS {
            bucket if bucket < TRAIN_SHARE => Split::Train,
            bucket if bucket < TRAIN_SHARE + VAL_SHARE => Split::Val,
            _ => Split::Test,
        }
    }

    fn share(self) -> u64 {
        match self {
            Split::Train => TRAIN_SHARE,
            Split::Val => VAL_SHARE,
            Split::Test => TEST_SHARE,
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

// The fraction of the golden ratio, so that the empty sequence does not hash to 0.
const HASH_START: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence's 64 bits: of its tokens alone, the same on every machine.
pub(crate) fn hash(sequence: &[Token]) -> u64 {
    sequence
        .iter()
        .fold(HASH_START, |state, &token| extend(state, token))
}

fn extend(state: u64, token: Token) -> u64 {
    mix(state ^ u64::from(token))
}

/// How many distinct sequences there are to draw, split by split.
pub(crate) struct Capacity([u64; 3]);

/// Spaces up to this size are counted, sequence by sequence; larger ones are estimated by share.
const MAX_COUNTED: u128 = 1 << 20;

impl Capacity {
    /// Counts the sequences of symbols `1..=n_symbols` whose length lies in `lens`.
    pub(crate) fn new(n_symbols: u32, lens: RangeInclusive<usize>) -> Self {
        let space = space(n_symbols, &lens);
        if space <= MAX_COUNTED {
            return Self(count(n_symbols, &lens));
        }
        Self(Split::ALL.map(|split| {
            let expected = space / u128::from(N_BUCKETS) * u128::from(split.share());
            u64::try_from(expected).unwrap_or(u64::MAX)
        }))
    }

    pub(crate) fn of(&self, split: Split) -> u64 {
        self.0[split as usize]
    }
}

/// Lengths with more sequences than this have some in every split: that a fair hash leaves a tenth
/// of them empty has a chance below 10^-187.
const MAX_TRIED: usize = 1 << 12;

/// The lengths of which each split has sequences. Short ones of few symbols may be in some splits
/// only: of two symbols, both sequences of length 1 are for training.
pub(crate) fn inhabited(n_symbols: u32, lens: RangeInclusive<usize>) -> [Vec<usize>; 3] {
    let mut inhabited = [const { Vec::new() }; 3];
    let mut states = vec![HASH_START];
    for len in 1..=*lens.end() {
        let is_tried = states.len() * n_symbols as usize <= MAX_TRIED;
        if is_tried {
            states = longer(&states, n_symbols);
        }
        if !lens.contains(&len) {
            continue;
        }
        for split in Split::ALL {
            let mut splits = states.iter().map(|&hash| Split::of_hash(hash));
            if !is_tried || splits.any(|other| other == split) {
                inhabited[split as usize].push(len);
            }
        }
    }
    inhabited
}

/// The hashes of all sequences that are one symbol longer.
fn longer(states: &[u64], n_symbols: u32) -> Vec<u64> {
    let extended = |&state: &u64| (1..=n_symbols).map(move |token| extend(state, token));
    states.iter().flat_map(extended).collect()
}

/// Σ n^len over the lengths, or `u128::MAX` if it is more.
pub(crate) fn space(n_symbols: u32, lens: &RangeInclusive<usize>) -> u128 {
    let (mut power, mut total) = (1u128, 0u128);
    for len in 1..=*lens.end() {
        power = power.saturating_mul(u128::from(n_symbols));
        if lens.contains(&len) {
            total = total.saturating_add(power);
        }
        if power == u128::MAX {
            return u128::MAX; // the greatest length is in the range and has at least as many
        }
    }
    total
}

/// Hashes every sequence, a length at a time: each state extends to one for each symbol.
fn count(n_symbols: u32, lens: &RangeInclusive<usize>) -> [u64; 3] {
    let mut counts = [0; 3];
    let mut states = vec![HASH_START];
    for len in 1..=*lens.end() {
        states = longer(&states, n_symbols);
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
    fn a_small_space_is_counted_exactly() {
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
    fn counted_shares_are_near_the_nominal_ones() {
        let counted = Capacity::new(100, 1..=3).0.map(|n| n as f64 / 1_010_100.0);
        for (split, share) in Split::ALL.into_iter().zip(counted) {
            let nominal = split.share() as f64 / N_BUCKETS as f64;
            // Five standard deviations of a fair hash.
            assert!((share - nominal).abs() < 0.002, "{split}: {share}");
        }
    }

    #[test]
    fn vast_and_degenerate_spaces_are_sized_without_overflow() {
        assert_eq!(space(1, &(1..=100_000)), 100_000);
        assert_eq!(space(50, &(2..=3)), 2500 + 125_000);
        assert_eq!(space(2, &(1..=127)), u128::MAX - 1);
        assert_eq!(space(2, &(1..=128)), u128::MAX);
        assert_eq!(space(999_999, &(100_000..=100_000)), u128::MAX);
        assert_eq!(Capacity::new(50, 1..=1000).of(Split::Test), u64::MAX);
        assert_eq!(Capacity::new(1, 1..=100_000).0.iter().sum::<u64>(), 100_000);
    }

    #[test]
    fn inhabited_lengths_are_those_with_sequences() {
        for n_symbols in [1, 2, 3, 70] {
            let inhabited = inhabited(n_symbols, 1..=9);
            for (split, len) in Split::ALL
                .into_iter()
                .flat_map(|split| (1..=9).map(move |len| (split, len)))
                .filter(|(_, len)| space(n_symbols, &(*len..=*len)) <= MAX_COUNTED)
            {
                let has_some = Capacity::new(n_symbols, len..=len).of(split) > 0;
                let is_listed = inhabited[split as usize].contains(&len);
                assert_eq!(is_listed, has_some, "{n_symbols} symbols, {split}, {len}");
            }
        }
        assert_eq!(inhabited(2, 1..=1), [vec![1], vec![], vec![]]);
    }

    #[test]
    fn a_sequence_keeps_its_split() {
        // Golden: a change here moves sequences between splits, which breaks every comparison
        // with earlier runs.
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
