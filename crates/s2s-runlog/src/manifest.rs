//! `manifest.json`: names, sizes and hashes of a checkpoint's files.
//!
//! ```json
//! {
//!   "format": 1,
//!   "files": [
//!     { "name": "params.safetensors", "size": 4096, "sha256": "9f86d0…" }
//!   ]
//! }
//! ```
//!
//! It is written last, so a folder with a manifest is complete. The manifest has no hash of its own;
//! to detect any change of it, [`Manifest::parse`] accepts only the exact bytes that
//! [`Manifest::to_bytes`] writes.

use crate::{Damage, MAX_CHECKPOINT_BYTES};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of the manifest file.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Maximum size of a manifest: 64 KiB, a few hundred files.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 64 << 10;

const FORMAT: u64 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u64,
    pub(crate) files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) size: u64,
    sha256: String,
}

impl Manifest {
    /// The manifest of these files; the caller has checked their names.
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| Entry::new(name, bytes));
        Self {
            format: FORMAT,
            files: files.collect(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec_pretty(self).expect("strings and integers have a JSON form");
        bytes.push(b'\n');
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        /// The field that manifests of all formats have.
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let parsing = |source| Damage::Manifest { source };
        let Format { format } = serde_json::from_slice(bytes).map_err(parsing)?;
        if format != FORMAT {
            return Err(Damage::Format {
                found: format,
                known: FORMAT,
            });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(parsing)?;
        if let Some(name) = bad_name(manifest.files.iter().map(|file| file.name.as_str())) {
            return Err(Damage::FileName {
                name: name.to_owned(),
            });
        }
        if manifest.to_bytes() != bytes {
            return Err(Damage::ManifestChanged);
        }
        let size = manifest
            .files
            .iter()
            .fold(0, |sum: u64, file| sum.saturating_add(file.size));
        if size > MAX_CHECKPOINT_BYTES {
            return Err(Damage::TooLarge {
                file: "the checkpoint".to_owned(),
                size,
                max: MAX_CHECKPOINT_BYTES,
            });
        }
        Ok(manifest)
    }
}

impl Entry {
    fn new(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            size: bytes.len() as u64,
            sha256: hash(bytes),
        }
    }

    /// Checks size and hash of the file's content.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), Damage> {
        let actual = bytes.len() as u64;
        if actual != self.size {
            return Err(Damage::Size {
                file: self.name.clone(),
                actual,
                expected: self.size,
            });
        }
        if hash(bytes) != self.sha256 {
            return Err(Damage::Hash {
                file: self.name.clone(),
            });
        }
        Ok(())
    }
}

/// The first invalid name: one that is not a plain file name (it could point outside the folder or be
/// hidden), that is the manifest's, or that occurs twice.
pub(crate) fn bad_name<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let is_plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 100
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !name.eq_ignore_ascii_case(MANIFEST)
    };
    let all = names.clone();
    names
        .enumerate()
        .find(|(i, name)| !is_plain(name) || all.clone().take(*i).any(|before| before == *name))
        .map(|(_, name)| name)
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as lowercase hexadecimal digits: the form of hashes in records.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
