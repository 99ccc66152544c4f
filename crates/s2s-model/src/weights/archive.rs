//! PyTorch's archives: a zip file with a pickle that describes tensors, and a file for the numbers of
//! each storage.
//!
//! `torch.save` does not compress. A compressed file is refused, so that no archive can be larger than it
//! looks.

use std::collections::BTreeMap;
use std::ops::Range;

use super::WeightsError;
use super::pickle::{PickledTensor, state_dict};
use super::stored::{Kind, Stored};

/// The end of the name of the pickle.
const PICKLE: &str = "/data.pkl";

/// The tensors of an archive.
pub(super) fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Stored>, WeightsError> {
    let mut archive = Archive::open(bytes)?;
    let Some(pickle) = archive
        .files
        .keys()
        .find(|name| name.ends_with(PICKLE))
        .cloned()
    else {
        return Err(WeightsError::Malformed(
            "the archive has no data.pkl".to_owned(),
        ));
    };
    let root = pickle.trim_end_matches(PICKLE);
    let order = format!("{root}/byteorder");
    if archive.files.contains_key(&order) && &bytes[archive.read(&order)?] != b"little" {
        let reason = "its numbers are not in little-endian byte order".to_owned();
        return Err(WeightsError::Malformed(reason));
    }
    let mut tensors = BTreeMap::new();
    for tensor in state_dict(&bytes[archive.read(&pickle)?])? {
        let storage = archive.read(&format!("{root}/data/{}", tensor.key))?;
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
            return Err(WeightsError::Malformed(reason));
        }
        if tensors.insert(name.clone(), stored).is_some() {
            return Err(WeightsError::Malformed(format!(
                "it has two tensors {name}"
            )));
        }
    }
    Ok(tensors)
}

/// Where the files of a zip archive are. Read here, since the crate `zip` refuses some archives that
/// PyTorch writes.
struct Archive<'a> {
    bytes: &'a [u8],
    files: BTreeMap<String, Entry>,
}

/// A file of an archive.
struct Entry {
    bytes: Range<usize>,
    /// Whether it is neither compressed nor encrypted.
    is_plain: bool,
    /// CRC-32 of the content; `None` if there is none, or if it has been compared.
    unchecked: Option<u32>,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let damaged =
            || WeightsError::Malformed("it is a damaged or incomplete archive".to_owned());
        let files = files(bytes).ok_or_else(damaged)?;
        Ok(Self { bytes, files })
    }

    /// Where the bytes of a file are, after a comparison with their checksum.
    fn read(&mut self, name: &str) -> Result<Range<usize>, WeightsError> {
        let refuse = |reason: &str| Err(WeightsError::Malformed(format!("{name}: {reason}")));
        let Some(entry) = self.files.get_mut(name) else {
            return refuse("the archive does not have this file");
        };
        if !entry.is_plain {
            return refuse("it is compressed, which torch.save never does");
        }
        let content = &self.bytes[entry.bytes.clone()];
        let checksum = entry.unchecked.take(); // tensors may share a storage
        if checksum.is_some_and(|checksum| checksum != crc32fast::hash(content)) {
            return refuse("it is damaged: its checksum differs");
        }
        Ok(entry.bytes.clone())
    }
}

/// The files that the central directory lists; `None` if the archive is damaged, or has more than
/// 65,535 files or 4 GiB.
fn files(bytes: &[u8]) -> Option<BTreeMap<String, Entry>> {
    const END: &[u8] = b"PK\x05\x06";
    const MAX_COMMENT: usize = u16::MAX as usize;
    let tail = bytes.len().saturating_sub(END_BYTES + MAX_COMMENT);
    let end = tail
        + bytes[tail..]
            .windows(END.len())
            .rposition(|window| window == END)?;
    bytes.get(end..end + END_BYTES)?;
    let n_files = short(bytes, end + 10)?;
    let mut at = word(bytes, end + 16)?;
    let mut files = BTreeMap::new();
    for _ in 0..n_files {
        if bytes.get(at..)?.get(..4)? != b"PK\x01\x02" {
            return None;
        }
        let (flags, method) = (short(bytes, at + 8)?, short(bytes, at + 10)?);
        let checksum = word(bytes, at + 16)? as u32;
        let (packed, size) = (word(bytes, at + 20)?, word(bytes, at + 24)?);
        let name_len = short(bytes, at + 28)?;
        let local = word(bytes, at + 42)?;
        let name = bytes.get(at + ENTRY_BYTES..)?.get(..name_len)?;
        if bytes.get(local..)?.get(..4)? != b"PK\x03\x04" {
            return None;
        }
        let start = local + LOCAL_BYTES + short(bytes, local + 26)? + short(bytes, local + 28)?;
        let entry = Entry {
            bytes: start..start + packed,
            is_plain: method == 0 && flags & 1 == 0 && packed == size,
            // PyTorch writes 0 if its option `compute_crc32` is off.
            unchecked: (checksum != 0).then_some(checksum),
        };
        bytes.get(entry.bytes.clone())?;
        files.insert(String::from_utf8_lossy(name).into_owned(), entry);
        at += ENTRY_BYTES + name_len + short(bytes, at + 30)? + short(bytes, at + 32)?;
    }
    Some(files)
}

/// Bytes of the records of a zip file, without their texts.
const END_BYTES: usize = 22;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(usize::from(u16::from_le_bytes(*number)))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}
