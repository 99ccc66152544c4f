//! Metadata in the header of a safetensors file.

use std::collections::BTreeMap;

/// The same file with metadata. The crate `safetensors` keeps them in a hash map, so that the order of
/// several keys would differ from process to process.
pub(crate) fn with_metadata(file: &[u8], metadata: &BTreeMap<&str, String>) -> Vec<u8> {
    let (length, rest) = file
        .split_first_chunk()
        .expect("a file starts with 8 bytes");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let metadata = serde_json::to_string(metadata).expect("texts are JSON");
    let mut new = format!("{{\"__metadata__\":{metadata},").into_bytes();
    new.extend(header.strip_prefix(b"{").expect("a header is an object"));
    while !new.len().is_multiple_of(align_of::<u64>()) {
        new.push(b' '); // so that the numbers are aligned
    }
    let length = (new.len() as u64).to_le_bytes();
    [&length[..], &new, data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, SafeTensors, View};
    use std::borrow::Cow;

    struct Bytes([u8; 4]);

    impl View for Bytes {
        fn dtype(&self) -> Dtype {
            Dtype::F32
        }
        fn shape(&self) -> &[usize] {
            &[1]
        }
        fn data(&self) -> Cow<'_, [u8]> {
            Cow::Borrowed(&self.0)
        }
        fn data_len(&self) -> usize {
            4
        }
    }

    #[test]
    fn metadata_does_not_change_the_tensors() {
        let file = safetensors::serialize([("a", Bytes([1, 2, 3, 4]))], None).unwrap();
        for text in ["", "x", "\"{}\n", "a longer text"] {
            let metadata = BTreeMap::from([("format", "pt".to_owned()), ("note", text.to_owned())]);
            let new = with_metadata(&file, &metadata);
            let (header, found) = SafeTensors::read_metadata(&new).unwrap();
            let noted = found.metadata().as_ref().unwrap();
            assert_eq!(
                (noted["format"].as_str(), noted["note"].as_str()),
                ("pt", text)
            );
            assert_eq!(header % 8, 0);
            let tensors = SafeTensors::deserialize(&new).unwrap();
            assert_eq!(tensors.tensor("a").unwrap().data(), [1, 2, 3, 4]);
        }
    }
}
