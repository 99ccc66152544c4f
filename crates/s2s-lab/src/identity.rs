//! The identity of a cell: a hash of its resolved configuration and of the text that it reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use s2s_runlog::{LATER_KEYS, exists, hex, list_folder, read_input};
use sha2::{Digest, Sha256};
use toml::Value;

use crate::settings::Settings;

/// Keys whose values are the paths of text. The content decides the results, not the path.
const TEXT_KEYS: [&str; 3] = ["data.file", "data.folder", "data.vocab_file"];

/// Larger files are identified by their path alone.
const MAX_TEXT_BYTES: u64 = 4 << 30;

/// The text that a configuration names and that does not exist.
pub(crate) fn missing_text(settings: &Settings) -> Option<String> {
    TEXT_KEYS.iter().find_map(|key| {
        let path = settings.get(*key)?.as_str()?;
        let is_missing = !path.is_empty() && !exists(path).unwrap_or(true);
        is_missing.then(|| format!("{key}: there is no file or folder {path:?}"))
    })
}

/// Hashes of cells. A file that many cells read is read once.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    files: Mutex<BTreeMap<PathBuf, String>>,
}

impl Identities {
    /// Eight hexadecimal digits that differ between configurations, apart from the seed. A later key at its
    /// default does not count, so that the runs of an earlier version are still found.
    pub(crate) fn hash(&self, settings: &Settings) -> String {
        let mut hasher = Sha256::new();
        for (key, value) in settings.iter().filter(|(key, _)| *key != "seed") {
            if LATER_KEYS.contains(&(key.as_str(), value.to_string().as_str())) {
                continue;
            }
            hasher.update(format!("{key} = {value}\n"));
            if let (true, Value::String(path)) = (TEXT_KEYS.contains(&key.as_str()), value) {
                hasher.update(self.text(Path::new(path)));
            }
        }
        hex(&hasher.finalize()[..4])
    }

    /// A hash of a file, or of the files in a folder.
    fn text(&self, path: &Path) -> String {
        let mut files = self
            .files
            .lock()
            .expect("no thread panics while it holds the lock");
        files
            .entry(path.to_owned())
            .or_insert_with(|| content(path))
            .clone()
    }
}

fn content(path: &Path) -> String {
    let mut hasher = Sha256::new();
    if let Ok(mut names) = list_folder(path) {
        names.sort();
        for name in names {
            let bytes = read_input(path.join(&name), MAX_TEXT_BYTES);
            hasher.update(name.as_encoded_bytes());
            hasher.update(bytes.unwrap_or_default());
        }
    } else if let Ok(bytes) = read_input(path, MAX_TEXT_BYTES) {
        hasher.update(bytes);
    }
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::flatten;

    fn hash(text: &str) -> String {
        Identities::default().hash(&flatten(&text.parse().unwrap()))
    }

    #[test]
    fn every_setting_but_the_seed_changes_the_identity() {
        let base = hash("seed = 0\nmodel.hidden = 32");
        assert_eq!(base.len(), 8);
        assert_eq!(hash("seed = 1\nmodel.hidden = 32"), base);
        assert_ne!(hash("seed = 0\nmodel.hidden = 33"), base);
        assert_ne!(hash("seed = 0\nmodel.hidden = 32\nmodel.layers = 1"), base);
        assert_ne!(hash("seed = 0\nmodel.hidden = \"32\""), base);
    }

    #[test]
    fn a_later_key_at_its_default_keeps_the_identity() {
        let base = hash("model.hidden = 32");
        for (key, value) in LATER_KEYS {
            assert_eq!(
                hash(&format!("model.hidden = 32\n{key} = {value}")),
                base,
                "{key}"
            );
            assert_ne!(
                hash(&format!("model.hidden = 32\n{key} = \"other\"")),
                base,
                "{key}"
            );
        }
    }

    #[test]
    fn text_that_does_not_exist_is_found() {
        let missing = |text: &str| missing_text(&flatten(&text.parse().unwrap()));
        let problem = missing("data.file = \"no/such.tsv\"").unwrap();
        assert_eq!(
            problem,
            "data.file: there is no file or folder \"no/such.tsv\""
        );
        assert_eq!(missing("data.file = \"\"\ndata.folder = \".\""), None);
    }

    #[test]
    fn the_content_of_text_is_part_of_the_identity() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pairs.tsv");
        let config = [
            format!("data.file = {file:?}"),
            format!("data.folder = {:?}", folder.path()),
        ];
        fs::write(&file, "a\tb\n").unwrap();
        let before = config.each_ref().map(|text| hash(text));
        fs::write(&file, "a\tc\n").unwrap();
        let after = config.each_ref().map(|text| hash(text));
        assert!(before.iter().zip(&after).all(|(a, b)| a != b));
    }
}
