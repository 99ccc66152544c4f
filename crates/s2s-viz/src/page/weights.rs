//! The weights of a run, for a page that runs the model.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;
use serde_json::{Map, Value, json};

/// The parameters of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct PageWeights {
    /// Optimizer steps so far.
    pub step: u64,
    /// A safetensors file of f32.
    pub safetensors: Vec<u8>,
}

impl PageWeights {
    /// The file in base64, if it has at most `room` characters: in single precision, or rounded to half
    /// precision. Reduces `room`.
    pub(super) fn to_json(&self, room: &mut usize) -> Value {
        let halves = || halved(&self.safetensors).map(|bytes| ("f16", bytes));
        let fits = |bytes: &[u8]| bytes.len().div_ceil(3) * 4 <= *room;
        let single = Some(("f32", self.safetensors.clone()));
        let chosen = single
            .filter(|(_, bytes)| fits(bytes))
            .or_else(|| halves().filter(|(_, bytes)| fits(bytes)));
        match chosen {
            Some((precision, bytes)) => {
                let base64 = STANDARD.encode(bytes);
                *room -= base64.len();
                json!({ "step": self.step, "precision": precision, "base64": base64 })
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
        let weights = file(300);
        let precision = |mut room: usize| weights.to_json(&mut room)["precision"].clone();
        assert_eq!(precision(2000), "f32");
        assert_eq!(precision(1000), "f16");
        assert_eq!(precision(500), Value::Null);
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
