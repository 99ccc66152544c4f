//! Names that differ from those of the model.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The parameters of the model that have other names in a file. A full name takes precedence over a
/// prefix, and a longer prefix over a shorter one.
///
/// ```
/// use s2s_model::Renames;
///
/// let renames = Renames::default()
///     .prefix("encoder.gru.", "encoder.rnn.")
///     .name("decoder.fc.weight", "decoder.output.weight")
///     .columns("decoder.attn.weight", ["attention.query.weight", "attention.key.weight"])
///     .unused("decoder.step");
/// ```
///
/// The same in a file, for `s2s import --rename`:
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
pub(super) enum Mapping<'a> {
    /// The parameter of this name.
    Same(String),
    /// The parameter of this name, whose axes of size 1 may be missing.
    Renamed(&'a str),
    /// These parameters side by side.
    Columns(&'a [String]),
}

impl Renames {
    /// Names that start with `from` start with `to` in the model.
    pub fn prefix(mut self, from: &str, to: &str) -> Self {
        self.prefix.insert(from.to_owned(), to.to_owned());
        self
    }

    /// The tensor `from` is the parameter `to`. Axes of size 1 do not count.
    pub fn name(mut self, from: &str, to: &str) -> Self {
        let to = Names::One(to.to_owned());
        self.name.insert(from.to_owned(), to);
        self
    }

    /// The matrix `from` has these parameters side by side: its columns, from the left.
    pub fn columns<'a>(mut self, from: &str, to: impl IntoIterator<Item = &'a str>) -> Self {
        let to = Names::Columns(to.into_iter().map(str::to_owned).collect());
        self.name.insert(from.to_owned(), to);
        self
    }

    /// The tensor `from` is not used.
    pub fn unused(self, from: &str) -> Self {
        self.columns(from, [])
    }

    /// The names and prefixes that none of these tensors has, in alphabetical order.
    pub(super) fn unmatched<'a>(
        &self,
        tensors: impl Iterator<Item = &'a String> + Clone,
    ) -> Vec<String> {
        let has_tensor = |prefix: &str| tensors.clone().any(|name| name.starts_with(prefix));
        let names = self
            .name
            .keys()
            .filter(|name| !tensors.clone().any(|tensor| tensor == *name));
        let prefixes = self.prefix.keys().filter(|prefix| !has_tensor(prefix));
        let mut unmatched: Vec<String> = names.chain(prefixes).cloned().collect();
        unmatched.sort();
        unmatched
    }

    /// What the tensor `name` is in the model.
    pub(super) fn place(&self, name: &str) -> Mapping<'_> {
        match self.name.get(name) {
            Some(Names::One(new)) => return Mapping::Renamed(new),
            Some(Names::Columns(names)) => return Mapping::Columns(names),
            None => {}
        }
        let fits = self
            .prefix
            .iter()
            .filter(|(prefix, _)| name.starts_with(*prefix));
        Mapping::Same(match fits.max_by_key(|(prefix, _)| prefix.len()) {
            Some((prefix, new)) => format!("{new}{}", &name[prefix.len()..]),
            None => name.to_owned(),
        })
    }
}
