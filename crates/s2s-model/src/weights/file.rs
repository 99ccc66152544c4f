//! A file of weights whose tensors have been located.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::stored::{Kind, Stored};
use super::{WeightsError, archive};

/// Maximum size of the header of a file of safetensors; it also has what a writer notes.
const MAX_HEADER_BYTES: usize = 32 << 20;

/// What may stand in a header beside tensors: what other programs note.
const METADATA: &str = "__metadata__";

/// The tensors in the bytes of a file: safetensors, or a state dict that `torch.save` wrote.
#[derive(Clone, Debug)]
pub struct WeightsFile<'a> {
    bytes: &'a [u8],
    tensors: BTreeMap<String, Stored>,
    notes: HashMap<String, String>,
}

impl<'a> WeightsFile<'a> {
    /// Locates the tensors of a file. No code in it is run.
    ///
    /// # Errors
    /// [`WeightsError::Malformed`] for another or a damaged file, and [`WeightsError::Code`] for a pickle
    /// that refers to code.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let (tensors, notes) = match bytes {
            [b'P', b'K', ..] => (archive::tensors(bytes)?, HashMap::new()),
            // The header length that starts a safetensors file may have these bytes, too.
            [0x80, 2..=255, rest @ ..] if rest.get(6) != Some(&b'{') => {
                return Err(malformed("it is in the format of PyTorch before 1.6"));
            }
            _ => safetensors(bytes)?,
        };
        Ok(Self {
            bytes,
            tensors,
            notes,
        })
    }

    /// What the writer of a safetensors file noted in it; nothing for a state dict.
    pub fn notes(&self) -> &HashMap<String, String> {
        &self.notes
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.tensors
    }
}

fn malformed(reason: impl fmt::Display) -> WeightsError {
    WeightsError::Malformed(reason.to_string())
}

/// The tensors of a file of safetensors, each once, and what is noted in it.
#[expect(clippy::type_complexity, reason = "a pair")]
fn safetensors(
    bytes: &[u8],
) -> Result<(BTreeMap<String, Stored>, HashMap<String, String>), WeightsError> {
    let other = |error: &dyn fmt::Display| {
        malformed(format!(
            "it is neither safetensors nor an archive of PyTorch ({error})"
        ))
    };
    let mut names = header_names(bytes).map_err(|error| other(&error))?;
    names.sort_unstable();
    if let Some([Name(name), _]) = names.array_windows().find(|[a, b]| a == b) {
        return Err(malformed(format!("it has two tensors {name}")));
    }
    drop(names); // there may be millions
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| other(&error))?;
    SafeTensors::deserialize(bytes).map_err(|error| other(&error))?; // every tensor is inside
    let begin = size_of::<u64>() + header;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let kind = Kind::of_safetensors(info.dtype);
        let stored = Stored::contiguous(kind, info.shape.clone(), begin + start..begin + end);
        (name, stored)
    });
    let notes = Metadata::metadata(&metadata).clone().unwrap_or_default();
    Ok((tensors.collect(), notes))
}

/// The names in a header, as often as they stand there.
fn header_names(bytes: &[u8]) -> Result<Vec<Name<'_>>, String> {
    let Some((len, rest)) = bytes.split_first_chunk() else {
        return Err("it is too short".to_owned());
    };
    let len = u64::from_le_bytes(*len);
    let header = usize::try_from(len)
        .ok()
        .filter(|len| *len <= MAX_HEADER_BYTES);
    let Some(header) = header.and_then(|len| rest.get(..len)) else {
        return Err(format!("it has no header of {len} bytes"));
    };
    let names: Names = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    Ok(names.0)
}

/// The keys of a JSON object, whose values are passed over.
struct Names<'a>(Vec<Name<'a>>);

/// A key, which is a part of the file unless it has escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Names<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Names<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M>(self, mut map: M) -> Result<Names<'de>, M::Error>
            where
                M: MapAccess<'de>,
            {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<Name<'de>, _>()? {
                    names.push(name);
                }
                names.retain(|Name(name)| name != METADATA);
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
