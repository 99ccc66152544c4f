//! The weights of a run, for a page that runs the model.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;
use serde_json::{Map, Value, json};

/// The parameters of a checkpoint, for a [`Page`](crate::Page) that runs the model.
#[derive(Clone, Debug, PartialEq)]
pub struct PageWeights {
    /// Optimizer steps of the parameters.
    pub step: u64,
    /// The content of a safetensors file whose tensors are f32.
    pub safetensors: Vec<u8>,
}

/// How the numbers of a page are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// As in the file: f32.
    Single,
    /// Rounded to f16.
    Half,
}

impl Precision {
    /// Single precision if these weights have at most `room` characters in base64 together.
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a PageWeights>, room: usize) -> Self {
        match all
            .map(|weights| base64_len(&weights.safetensors))
            .sum::<usize>()
        {
            needed if needed <= room => Self::Single,
            _ => Self::Half,
        }
    }
}

fn base64_len(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(3) * 4
}

impl PageWeights {
    /// The file in base64, if it has at most `room` characters. Reduces `room`.
    pub(super) fn to_json(&self, precision: Precision, room: &mut usize) -> Value {
        let (name, bytes) = match precision {
            Precision::Single => ("f32", Some(self.safetensors.clone())),
            Precision::Half => ("f16", halved(&self.safetensors)),
        };
        match bytes.filter(|bytes| base64_len(bytes) <= *room) {
            Some(bytes) => {
                *room -= base64_len(&bytes);
                json!({ "step": self.step, "precision": name, "base64": STANDARD.encode(bytes) })
            }
            None => json!({ "step": self.step, "n_bytes": self.safetensors.len() }),
        }
    }
}

/// The same file with every f32 rounded to f16; `None` if it is not a safetensors file of f32.
fn halved(file: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (header, numbers) = rest.split_at_checked(length)?;
    let mut header: Map<String, Value> = serde_json::from_slice(header).ok()?;
    for (_, tensor) in header
        .iter_mut()
        .filter(|(name, _)| *name != "__metadata__")
    {
        if tensor["dtype"] != "F32" {
            return None;
        }
        tensor["dtype"] = "F16".into();
        for offset in tensor["data_offsets"].as_array_mut()? {
            *offset = (offset.as_u64()? / 2).into();
        }
    }
    let header = serde_json::to_vec(&header).ok()?;
    let mut halves = (header.len() as u64).to_le_bytes().to_vec();
    halves.extend(header);
    let (numbers, _) = numbers.as_chunks::<4>();
    halves.extend(
        numbers
            .iter()
            .flat_map(|number| f16::from_f32(f32::from_le_bytes(*number)).to_le_bytes()),
    );
    Some(halves)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n: usize) -> PageWeights {
        let header = format!(
            r#"{{"w":{{"dtype":"F32","shape":[{n}],"data_offsets":[0,{}]}}}}"#,
            4 * n
        );
        let mut safetensors = (header.len() as u64).to_le_bytes().to_vec();
        safetensors.extend(header.bytes());
        safetensors.extend((0..n).flat_map(|i| (i as f32 / 8.0).to_le_bytes()));
        PageWeights {
            step: 7,
            safetensors,
        }
    }

    #[test]
    fn weights_take_single_precision_half_precision_or_no_room() {
        let all = [file(300), file(300)];
        let stored = |mut room: usize| {
            let precision = Precision::of(all.iter(), room);
            let values = all
                .each_ref()
                .map(|weights| weights.to_json(precision, &mut room));
            values.map(|value| value["precision"].clone())
        };
        assert_eq!(stored(4000), ["f32", "f32"]);
        assert_eq!(stored(2000), ["f16", "f16"]);
        assert_eq!(stored(1000), [Value::from("f16"), Value::Null]);
        assert_eq!(stored(100), [Value::Null, Value::Null]);
    }

    #[test]
    fn half_precision_keeps_names_and_shapes() {
        let half = halved(&file(3).safetensors).unwrap();
        let length = usize::from(half[0]);
        let header: Value = serde_json::from_slice(&half[8..8 + length]).unwrap();
        assert_eq!(
            header,
            json!({ "w": { "dtype": "F16", "shape": [3], "data_offsets": [0, 6] } })
        );
        let second = f16::from_le_bytes([half[8 + length + 2], half[8 + length + 3]]);
        assert_eq!(second, f16::from_f32(0.125));
        assert_eq!(halved(b"not safetensors"), None);
    }
}
