//! A file of weights whose tensors have been located.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::stored::{Kind, Stored};
use super::{WeightsError, archive};

/// Maximum size of the header of a file of safetensors; it also has what a writer metadata.
const MAX_HEADER_BYTES: usize = 32 << 20;

/// The entry of a header that is no tensor: strings that other programs note.
const METADATA: &str = "__metadata__";

/// The tensors in the bytes of a file: safetensors, or a state dict that `torch.save` wrote.
#[derive(Clone, Debug)]
pub struct WeightsFile<'a> {
    bytes: &'a [u8],
    tensors: BTreeMap<String, Stored>,
    metadata: HashMap<String, String>,
}

impl<'a> WeightsFile<'a> {
    /// Locates the tensors of a file. No code in it is run.
    ///
    /// # Errors
    /// [`WeightsError::Malformed`] for another or a damaged file, and [`WeightsError::Code`] for a pickle
    /// that refers to code.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let (tensors, metadata) = match bytes {
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
            metadata,
        })
    }

    /// What the writer of a safetensors file noted in it; nothing for a state dict.
    pub fn header_metadata(&self) -> &HashMap<String, String> {
        &self.metadata
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
    let (header, data) = split(bytes).map_err(|error| other(&error))?;
    let begin = bytes.len() - data.len();
    let Header {
        mut infos,
        metadata,
    } = serde_json::from_slice(header).map_err(|error| other(&error))?;
    let mut tensors = BTreeMap::new();
    for (name, info) in &infos {
        let (start, end) = info.data_offsets;
        let Some((start, end)) = begin.checked_add(start).zip(begin.checked_add(end)) else {
            return Err(other(&format!("{name} ends beyond the file")));
        };
        let kind = Kind::of_safetensors(info.dtype);
        let stored = Stored::contiguous(kind, info.shape.clone(), start..end);
        if tensors.insert(name.clone(), stored).is_some() {
            return Err(malformed(format!("it has two tensors {name}")));
        }
    }
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let declared = Metadata::new(None, infos).map_err(|error| other(&error))?;
    if declared.data_len() != data.len() {
        let [declared, found] = [declared.data_len(), data.len()];
        return Err(other(&format!(
            "it has {found} bytes of data, and its header declares {declared}"
        )));
    }
    Ok((tensors, metadata))
}

/// The header of a file of safetensors, and the data behind it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let Some((len, rest)) = bytes.split_first_chunk() else {
        return Err("it is too short".to_owned());
    };
    let len = u64::from_le_bytes(*len);
    usize::try_from(len)
        .ok()
        .filter(|len| *len <= MAX_HEADER_BYTES)
        .and_then(|len| rest.split_at_checked(len))
        .ok_or_else(|| format!("it has no header of {len} bytes"))
}

/// What a header declares, in the order of the file. The crate's own reader keeps one of two tensors of the
/// same name, and holds all of a header before it looks at the first entry.
struct Header {
    infos: Vec<(String, TensorInfo)>,
    metadata: HashMap<String, String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M>(self, mut map: M) -> Result<Header, M::Error>
            where
                M: MapAccess<'de>,
            {
                let mut infos = Vec::new();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA {
                        infos.push((name, map.next_value()?));
                    } else if metadata.replace(map.next_value()?).is_some() {
                        return Err(M::Error::duplicate_field(METADATA));
                    }
                }
                Ok(Header {
                    infos,
                    metadata: metadata.unwrap_or_default(),
                })
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
