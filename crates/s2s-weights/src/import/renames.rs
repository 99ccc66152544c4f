//! Names that differ from those of the model.

use std::collections::BTreeMap;
use std::path::Path;

use s2s_runlog::read_input;
use serde::Deserialize;

use crate::{Error, Result};

/// Maximum size of a file of names.
const MAX_BYTES: u64 = 1 << 20;

/// The parameters of the model that have other names in a file.
///
/// ```toml
/// [prefix]
/// "encoder.gru." = "encoder.rnn."                 # the start of names
/// [name]
/// "decoder.fc.weight" = "decoder.output.weight"   # a name; axes of size 1 do not count
/// "decoder.attn.weight" = ["attention.query.weight", "attention.key.weight"]  # columns, from the left
/// "decoder.unused" = []                           # not used
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Renames {
    prefix: BTreeMap<String, String>,
    name: BTreeMap<String, Names>,
}

/// The parameters that a tensor has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a name or a list of names")]
enum Names {
    One(String),
    Columns(Vec<String>),
}

/// What a tensor is in the model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The parameter of this name.
    Same(String),
    /// The parameter of this name, whose axes of size 1 may be missing.
    Renamed(&'a str),
    /// These parameters side by side.
    Columns(&'a [String]),
}

impl Renames {
    /// Reads a file of names.
    ///
    /// # Errors
    /// [`Error::Renames`] for invalid TOML; [`Error::RunLog`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_input(path, MAX_BYTES)?;
        let refuse = |reason: String| Error::Renames {
            path: path.to_owned(),
            reason,
        };
        let text = str::from_utf8(&bytes).map_err(|_| refuse("not valid UTF-8".to_owned()))?;
        toml::from_str(text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))
    }

    /// What the tensor `name` is in the model.
    pub(super) fn place(&self, name: &str) -> Place<'_> {
        match self.name.get(name) {
            Some(Names::One(new)) => return Place::Renamed(new),
            Some(Names::Columns(names)) => return Place::Columns(names),
            None => {}
        }
        let fits = self
            .prefix
            .iter()
            .filter(|(prefix, _)| name.starts_with(*prefix));
        Place::Same(match fits.max_by_key(|(prefix, _)| prefix.len()) {
            Some((prefix, new)) => format!("{new}{}", &name[prefix.len()..]),
            None => name.to_owned(),
        })
    }
}
