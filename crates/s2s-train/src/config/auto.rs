//! A number that may be left to the program.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number, or `"auto"`: chosen from the data when they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto {
    /// Not chosen yet.
    Auto,
    /// The number.
    Value(u64),
}

const AUTO: &str = "auto";

impl Auto {
    /// This number, or else the other.
    #[must_use]
    pub fn or(self, other: u64) -> Self {
        match self {
            Self::Auto => Self::Value(other),
            value => value,
        }
    }
}

impl From<u64> for Auto {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

impl Serialize for Auto {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::Value(value) => serializer.serialize_u64(*value),
        }
    }
}

impl<'de> Deserialize<'de> for Auto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AutoVisitor)
    }
}

struct AutoVisitor;

impl Visitor<'_> for AutoVisitor {
    type Value = Auto;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer of at least 0, or {AUTO:?}")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Auto, E> {
        Ok(Auto::Value(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Auto, E> {
        let invalid = || E::invalid_value(serde::de::Unexpected::Signed(value), &self);
        u64::try_from(value).map(Auto::Value).map_err(|_| invalid())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Auto, E> {
        match text {
            AUTO => Ok(Auto::Auto),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_auto_round_trips() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Table {
            n: Auto,
        }
        for (text, n) in [("n = \"auto\"\n", Auto::Auto), ("n = 7\n", Auto::Value(7))] {
            let table = Table { n };
            assert_eq!(toml::to_string(&table).unwrap(), text);
            assert_eq!(toml::from_str(text), Ok(table));
        }
        for text in ["n = -1", "n = \"many\"", "n = 1.5"] {
            let error = toml::from_str::<Table>(text).unwrap_err().to_string();
            assert!(
                error.contains("an integer of at least 0, or \"auto\""),
                "{error}"
            );
        }
        assert_eq!(
            [Auto::Auto.or(3), Auto::Value(0).or(3)],
            [3.into(), 0.into()]
        );
    }
}
