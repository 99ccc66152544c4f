//! Lists of lengths, as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The greatest length that may be asked for.
pub const MAX_LENGTH: usize = 100_000;

/// The most lengths of a list, each counted as often as it stands there.
const MAX_LISTED: usize = 10 * MAX_LENGTH;

/// Lengths to evaluate, in their order, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lengths(Vec<usize>);

/// Why a list of lengths cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthsError {
    /// Something in the list is neither a length nor a range of them.
    #[error("{part:?} is no length, expected a number or a range such as 40 or 1..500")]
    NotALength {
        /// As given.
        part: String,
    },
    /// A length that no sequence can have, or that is too long.
    #[error("lengths must lie in [1, {MAX_LENGTH}], got {length}")]
    OutOfBounds {
        /// As given.
        length: usize,
    },
    /// A range that ends before it begins.
    #[error("range {first}..{last} holds no length: it runs from its first to its last one")]
    Empty {
        /// Where it begins.
        first: usize,
        /// Where it ends.
        last: usize,
    },
    /// Ranges that lie over each other again and again.
    #[error("a list of more than {MAX_LISTED} lengths, expected each of them once")]
    TooMany,
}

impl Lengths {
    /// Reads a list of lengths and ranges, `40,80,100..500`. A range holds both its ends, or with a
    /// `step` its first and every `step`-th after it.
    ///
    /// # Errors
    /// If something is no length, or no length that can be evaluated.
    pub fn parse(text: &str, step: usize) -> Result<Self, LengthsError> {
        let mut lengths = Vec::new();
        for part in text.split(',').map(str::trim) {
            let number = |text: &str| {
                let number = text.trim().parse::<usize>();
                let length = number.map_err(|_| LengthsError::NotALength {
                    part: part.to_owned(),
                })?;
                match length {
                    1..=MAX_LENGTH => Ok(length),
                    _ => Err(LengthsError::OutOfBounds { length }),
                }
            };
            let (first, last) = match part.split_once("..") {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(LengthsError::Empty { first, last });
            }
            lengths.extend((first..=last).step_by(step.max(1)));
            if lengths.len() > MAX_LISTED {
                return Err(LengthsError::TooMany);
            }
        }
        lengths.sort_unstable();
        lengths.dedup();
        Ok(Self(lengths))
    }

    /// From one length to another, both of them bounds of a protocol.
    pub(super) fn between(first: usize, last: usize) -> Self {
        Self((first..=last).collect())
    }

    /// The lengths, from the shortest to the longest.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}

/// As [`Lengths::parse`] reads it: neighbors as a range.
impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{comma}{first}..{last}")?,
                single => write!(f, "{comma}{}", single[0])?,
            }
        }
        Ok(())
    }
}

impl FromStr for Lengths {
    type Err = LengthsError;

    fn from_str(text: &str) -> Result<Self, LengthsError> {
        Self::parse(text, 1)
    }
}

impl TryFrom<String> for Lengths {
    type Error = LengthsError;

    fn try_from(text: String) -> Result<Self, LengthsError> {
        text.parse()
    }
}

impl From<Lengths> for String {
    fn from(lengths: Lengths) -> Self {
        lengths.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, step: usize, expected: &str) {
        let lengths = Lengths::parse(text, step).unwrap();
        assert_eq!(lengths.to_string(), expected);
        assert_eq!(lengths.to_string().parse(), Ok(lengths));
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = text.parse::<Lengths>().unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn ranges_hold_both_ends_and_mix_with_single_lengths() {
        check("1..5", 1, "1..5");
        check("80, 40,200", 1, "40,80,200");
        check("7,1..3,3..4,100000", 1, "1..4,7,100000");
        check("41..500", 100, "41,141,241,341,441");
        check("5..5,9", 3, "5,9");
    }

    #[test]
    fn what_is_no_length_is_refused_without_making_a_list_of_it() {
        let expected = "is no length, expected a number or a range such as 40 or 1..500";
        for text in ["", "x", "1..", "..5", "1,,2", "-3", "1.5", "1...5"] {
            let part = text.split(',').find(|part| part.parse::<u32>().is_err());
            check_refused(text, &format!("{:?} {expected}", part.unwrap()));
        }
        check_refused("0..4", "lengths must lie in [1, 100000], got 0");
        check_refused(
            "1..18446744073709551615",
            "lengths must lie in [1, 100000], got 18446744073709551615",
        );
        check_refused(
            "9..3",
            "range 9..3 holds no length: it runs from its first to its last one",
        );
        check_refused(
            &["1..100000"; 999].join(","),
            "a list of more than 1000000 lengths, expected each of them once",
        );
    }
}
