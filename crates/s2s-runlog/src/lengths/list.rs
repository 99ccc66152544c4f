//! Lists of lengths and ranges.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Maximum length of a source, in symbols.
pub const MAX_LENGTH: usize = 1_000_000;

/// Maximum number of lengths in a list, including duplicates.
const MAX_LISTED: usize = MAX_LENGTH;

/// Source lengths to evaluate, in symbols: sorted, without duplicates, each from 1 to [`MAX_LENGTH`]. In
/// records it is a string in the format of [`Lengths::parse`].
///
/// ```
/// use s2s_runlog::Lengths;
///
/// let lengths = Lengths::parse("40,100..500", 200)?;
/// assert_eq!(lengths.iter().collect::<Vec<_>>(), [40, 100, 300, 500]);
/// # Ok::<(), s2s_runlog::LengthsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lengths(Vec<usize>);

/// Why a list of lengths is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthsError {
    /// A part of the list is neither a length nor a range.
    #[error("{part:?} is not a length, expected a number or a range such as 40 or 1..500")]
    NotALength {
        /// The part as given.
        part: String,
    },
    /// A length outside the bounds.
    #[error("lengths must lie in [1, {MAX_LENGTH}], got {length}")]
    OutOfBounds {
        /// The length as given.
        length: usize,
    },
    /// A range whose first length exceeds its last.
    #[error("range {first}..{last} is empty: its first length must not exceed its last")]
    Empty {
        /// First length.
        first: usize,
        /// Last length.
        last: usize,
    },
    /// Too many lengths, including duplicates.
    #[error("the list has more than {MAX_LISTED} lengths, including duplicates")]
    TooMany,
}

impl Lengths {
    /// Parses a list of lengths and ranges, such as `40,80,100..500`. A range includes both ends; with a
    /// `step` above 1, it includes its first length and every `step`-th after it. A step of 0 counts as 1.
    ///
    /// # Errors
    /// If a part is neither a length nor a range, a length is out of bounds, a range is empty, or there are
    /// too many lengths.
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

    /// All lengths from `first` to `last`.
    pub(super) fn between(first: usize, last: usize) -> Self {
        Self((first..=last).collect())
    }

    /// The lengths in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}

/// In the format of [`Lengths::parse`]; consecutive lengths become a range.
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
    fn check_rejected(text: &str, expected: &str) {
        let error = text.parse::<Lengths>().unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn ranges_include_both_ends_and_mix_with_lengths() {
        check("1..5", 1, "1..5");
        check("80, 40,200", 1, "40,80,200");
        check("7,1..3,3..4,1000000", 1, "1..4,7,1000000");
        check("41..500", 100, "41,141,241,341,441");
        check("5..5,9", 3, "5,9");
    }

    #[test]
    fn invalid_lengths_are_rejected_before_a_list_is_built() {
        let expected = "is not a length, expected a number or a range such as 40 or 1..500";
        for text in ["", "x", "1..", "..5", "1,,2", "-3", "1.5", "1...5"] {
            let part = text.split(',').find(|part| part.parse::<u32>().is_err());
            check_rejected(text, &format!("{:?} {expected}", part.unwrap()));
        }
        check_rejected("0..4", "lengths must lie in [1, 1000000], got 0");
        check_rejected(
            "1..18446744073709551615",
            "lengths must lie in [1, 1000000], got 18446744073709551615",
        );
        check_rejected(
            "9..3",
            "range 9..3 is empty: its first length must not exceed its last",
        );
        check_rejected(
            &["1..100000"; 999].join(","),
            "the list has more than 1000000 lengths, including duplicates",
        );
    }
}
