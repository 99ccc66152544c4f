//! `model.decoder`: a number, or a table with a kind.

use std::fmt;
use std::num::NonZeroUsize;

use serde::de::value::{I64Deserializer, MapAccessDeserializer, U64Deserializer};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::TransducerConfig;

/// The decoder of a configuration: `decoder = 128` is a recurrent one with 128 units, and
/// `[model.decoder]` a table that names another kind.
#[derive(Clone, Debug, PartialEq)]
pub enum DecoderConfig {
    /// Attention and recurrent cells, of this many units each.
    Recurrent(NonZeroUsize),
    /// A head that walks over the encoder's states.
    Transducer(TransducerConfig),
}

/// The table of a decoder that is not recurrent.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Table {
    Transducer(TransducerConfig),
}

impl DecoderConfig {
    /// Width of the state between two steps: the units of a recurrent decoder, or the modes of a transducer.
    pub fn width(&self) -> NonZeroUsize {
        match self {
            Self::Recurrent(units) => *units,
            Self::Transducer(transducer) => transducer.modes,
        }
    }

    /// The transducer's options, if it is one.
    pub fn transducer(&self) -> Option<&TransducerConfig> {
        match self {
            Self::Recurrent(_) => None,
            Self::Transducer(transducer) => Some(transducer),
        }
    }
}

impl From<NonZeroUsize> for DecoderConfig {
    fn from(units: NonZeroUsize) -> Self {
        Self::Recurrent(units)
    }
}

impl Serialize for DecoderConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Recurrent(units) => units.serialize(serializer),
            Self::Transducer(config) => Table::Transducer(config.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DecoderConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrTable)
    }
}

struct NumberOrTable;

impl<'de> Visitor<'de> for NumberOrTable {
    type Value = DecoderConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a nonzero usize or a table such as { kind = \"transducer\" }")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<DecoderConfig, E> {
        NonZeroUsize::deserialize(I64Deserializer::new(number)).map(DecoderConfig::Recurrent)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<DecoderConfig, E> {
        NonZeroUsize::deserialize(U64Deserializer::new(number)).map(DecoderConfig::Recurrent)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DecoderConfig, A::Error> {
        let Table::Transducer(config) = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(DecoderConfig::Transducer(config))
    }
}

#[cfg(test)]
mod tests {
    use crate::ModelConfig;

    #[test]
    fn number_stays_a_number_and_a_table_keeps_its_kind() {
        for text in [
            "decoder = 9\n",
            "[decoder]\nkind = \"transducer\"\nmodes = 4\nreach = 1\n",
        ] {
            let config: ModelConfig = toml::from_str(text).unwrap();
            let written = toml::to_string(&config).unwrap();
            for line in text.lines() {
                assert!(written.contains(line), "{line} is not in {written}");
            }
            assert_eq!(toml::from_str::<ModelConfig>(&written).unwrap(), config);
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<ModelConfig>(&json).unwrap(), config);
        }
    }

    #[test]
    fn decoder_that_is_neither_is_refused_with_what_fits() {
        for (text, expected) in [
            ("decoder = 0", "nonzero"),
            ("decoder = -3", "nonzero"),
            ("decoder = \"transducer\"", "a table such as"),
            ("[decoder]\nkind = \"transformer\"", "`transducer`"),
            ("[decoder]\nmodes = 3", "`kind`"),
            ("[decoder]\nkind = \"transducer\"\nmode = 3", "`modes`"),
            ("[decoder]\nkind = \"transducer\"\nmodes = 0", "nonzero"),
        ] {
            let error = toml::from_str::<ModelConfig>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
