//! Weights of other programs.
//!
//! ```text
//! file ─> Found: its tensors, and what an export noted ─> load_into: the parameters of a model ─> a run
//! ```

use std::path::{Path, PathBuf};

use reverse_data::{Tokenization, Vocabulary};
use s2s_model::{LoadOptions, Loaded, Params, Renames, WeightsError, WeightsFile, load_weights};
use s2s_runlog::read_input;

use crate::description::{Description, TokenKind, format_of};
use crate::{Error, Result};

/// Maximum size of a file of weights: four times that of the largest model.
const MAX_BYTES: u64 = 4 << 30;

/// Maximum size of a file of names.
const MAX_NAMES_BYTES: u64 = 1 << 20;

/// The weights in a file, read but not yet in a model.
#[derive(Clone, Debug)]
pub struct Found {
    path: PathBuf,
    bytes: Vec<u8>,
    format: Option<u32>,
    noted: Option<(Description, Vec<String>)>,
}

impl Found {
    /// Reads safetensors, or a state dict that `torch.save` wrote, of at most 4 GiB.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another file; [`Error::Code`] for a pickle that refers to code;
    /// [`Error::Unsupported`] for a sparse or quantized tensor, for example;
    /// [`Error::RunLog`] if it cannot be read or is too large.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, read_input(path, MAX_BYTES)?)
    }

    /// The weights in the bytes of a file. `path` names the file in messages; it is not read.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Code`] and [`Error::Unsupported`], as [`read`](Self::read).
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let file = WeightsFile::parse(&bytes).map_err(|error| with_path(error, path))?;
        let note = |key: &str| file.header_metadata().get(key);
        let format = note("config").and_then(|config| format_of(config.as_bytes()));
        let noted = note("config").and_then(|config| {
            let description: Description = serde_json::from_str(config).ok()?;
            let texts = serde_json::from_str(note("vocab")?).ok()?;
            description.is_supported().then_some((description, texts))
        });
        Ok(Self {
            path: path.to_owned(),
            format,
            noted,
            bytes,
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format of the export that the file belongs to, which this version of the crate may not know; `None`
    /// for a file of another program.
    pub fn format(&self) -> Option<u32> {
        self.format
    }

    /// The description that an [`export`](crate::export()) noted in the file. `None` for a file of another
    /// program, a state dict, or an export in an unknown format.
    pub fn description(&self) -> Option<&Description> {
        self.noted.as_ref().map(|(description, _)| description)
    }

    /// The vocabulary of text that an export noted in the file. `None` for a model of synthetic data, and if
    /// there is no [`description`](Self::description).
    ///
    /// # Errors
    /// [`Error::Train`] if it has too many words.
    pub fn vocabulary(&self) -> Result<Option<Vocabulary>> {
        let Some((description, texts)) = &self.noted else {
            return Ok(None);
        };
        let tokenization = match description.tokens.kind {
            TokenKind::Numbers => return Ok(None),
            TokenKind::Words => Tokenization::Words,
            TokenKind::Chars => Tokenization::Chars,
            TokenKind::Bytes => Tokenization::Bytes,
        };
        // Without PAD and <unk> in front, and BOS and EOS at the end.
        let words = texts
            .get(2..texts.len().saturating_sub(2))
            .unwrap_or_default();
        let vocabulary = Vocabulary::from_words(words.iter().cloned());
        let vocabulary = vocabulary.map_err(s2s_train::Error::from)?;
        Ok(Some(vocabulary.with_tokenization(tokenization)))
    }

    /// Sets the parameters of a model, or none of them if there is an error; see [`load_weights`].
    ///
    /// # Errors
    /// [`Error::WeightsMismatch`] with all names, shapes and types that do not fit, and all tensors that are
    /// not finite unless `options` allow them; [`Error::Tensor`].
    pub fn load_into(&self, params: &Params, options: &LoadOptions) -> Result<Loaded> {
        load_weights(params, &self.bytes, options).map_err(|error| with_path(error, &self.path))
    }
}

fn with_path(error: WeightsError, path: &Path) -> Error {
    let path = path.to_owned();
    match error {
        WeightsError::Malformed(reason) => Error::Malformed { path, reason },
        WeightsError::Code(name) => Error::Code { path, name },
        WeightsError::Unsupported(name) => Error::Unsupported { path, name },
        WeightsError::WeightsMismatch(mismatch) => Error::WeightsMismatch { path, mismatch },
        WeightsError::Tensor(error) => Error::Tensor(error),
        other => Error::Malformed {
            path,
            reason: other.to_string(),
        },
    }
}

/// Reads a TOML file with the names that differ between a file of weights and a model; [`Renames`] shows the
/// format.
///
/// # Errors
/// [`Error::Renames`] for invalid TOML or unknown keys; [`Error::RunLog`] if the file cannot be read or has
/// more than 1 MiB.
pub fn read_renames(path: &Path) -> Result<Renames> {
    let bytes = read_input(path, MAX_NAMES_BYTES)?;
    let refuse = |reason: String| Error::Renames {
        path: path.to_owned(),
        reason,
    };
    let text = str::from_utf8(&bytes).map_err(|_| refuse("not valid UTF-8".to_owned()))?;
    toml::from_str(text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))
}
