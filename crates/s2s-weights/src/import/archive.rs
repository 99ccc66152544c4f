//! PyTorch's archives: a zip file with a pickle that describes tensors, and a file for the numbers of
//! each storage.
//!
//! `torch.save` does not compress. A compressed file is refused, so that no archive can be larger than it
//! looks.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{PickledTensor, Refusal, state_dict};
use super::stored::{Kind, Stored};

/// The end of the name of the pickle.
const PICKLE: &str = "/data.pkl";

/// The tensors of an archive.
pub(super) fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Stored>, Refusal> {
    let mut archive = Archive::open(bytes)?;
    let Some(pickle) = archive.names().find(|name| name.ends_with(PICKLE)) else {
        return Err(Refusal::Malformed("the archive has no data.pkl".to_owned()));
    };
    let root = pickle.trim_end_matches(PICKLE).to_owned();
    let order = format!("{root}/byteorder");
    if archive.has(&order) && &bytes[archive.range(&order)?] != b"little" {
        let reason = "its numbers are not in little-endian byte order".to_owned();
        return Err(Refusal::Malformed(reason));
    }
    let mut tensors = BTreeMap::new();
    for tensor in state_dict(&bytes[archive.range(&pickle)?])? {
        let storage = archive.range(&format!("{root}/data/{}", tensor.key))?;
        let PickledTensor {
            name,
            storage: kind,
            offset,
            shape,
            strides,
            ..
        } = tensor;
        let stored = Stored {
            kind: Kind::of_storage(&kind),
            shape,
            strides,
            offset,
            bytes: storage,
        };
        if !stored.is_inside() {
            let reason = format!("{name} lies outside its storage");
            return Err(Refusal::Malformed(reason));
        }
        if tensors.insert(name.clone(), stored).is_some() {
            return Err(Refusal::Malformed(format!("it has two tensors {name}")));
        }
    }
    Ok(tensors)
}

/// A zip file in memory.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    size: usize,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let zip = ZipArchive::new(Cursor::new(bytes));
        let zip =
            zip.map_err(|error| Refusal::Malformed(format!("it is a damaged archive: {error}")))?;
        Ok(Self {
            zip,
            size: bytes.len(),
        })
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let names = self.zip.file_names();
        names.filter_map(|name| Some(name.ok()?.into_owned()))
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// Where the bytes of a file are.
    fn range(&mut self, name: &str) -> Result<Range<usize>, Refusal> {
        let refuse = |reason: String| Refusal::Malformed(format!("{name}: {reason}"));
        let Some(index) = self.zip.index_for_name(name) else {
            return Err(refuse("the archive does not have this file".to_owned()));
        };
        let file = self
            .zip
            .by_index_raw(index)
            .map_err(|error| refuse(error.to_string()))?;
        if file.compression() != CompressionMethod::Stored || file.encrypted() {
            return Err(refuse(
                "it is compressed, which torch.save never does".to_owned(),
            ));
        }
        let start = file
            .data_start()
            .and_then(|start| usize::try_from(start).ok());
        let end = start.zip(usize::try_from(file.size()).ok());
        let end = end.and_then(|(start, size)| start.checked_add(size));
        match start.zip(end) {
            Some((start, end)) if end <= self.size => Ok(start..end),
            _ => Err(refuse("it is cut off".to_owned())),
        }
    }
}
