//! Weights of other programs.
//!
//! ```text
//! file ─> Found: where each tensor is ─> Renames ─> load_into: the parameters of a model ─> a run
//! ```
//!
//! Only the numbers of parameters are loaded, after their shapes were compared: a file cannot take more
//! memory than it has bytes.

mod archive;
mod pickle;
mod renames;
mod run;
mod stored;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use reverse_data::{Tokenization, Vocabulary};
use s2s_model::Params;
use s2s_runlog::read_input;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;

pub use renames::Renames;
pub use run::create_run;

use self::pickle::Refusal;
use self::renames::Place;
use self::stored::{Kind, Stored};
use crate::description::{Description, TokenKind};
use crate::{Error, Misfit, Result};

/// Maximum size of a file of weights: four times that of the largest model.
const MAX_BYTES: u64 = 4 << 30;

/// What may differ between a file and a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Convert numbers of another precision.
    pub cast: bool,
    /// Load what is there: parameters that the file lacks keep their initial values, and tensors that
    /// the model lacks are not used.
    pub partial: bool,
}

/// What was loaded, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Number of parameters with weights from the file.
    pub n_loaded: usize,
    /// Parameters that keep their initial values.
    pub missing: Vec<String>,
    /// Tensors of the file that the model does not have.
    pub unused: Vec<String>,
}

/// The weights in a file.
#[derive(Clone, Debug)]
pub struct Found {
    path: PathBuf,
    bytes: Vec<u8>,
    tensors: BTreeMap<String, Stored>,
    noted: Option<(Description, Vec<String>)>,
}

impl Found {
    /// Reads safetensors, or a state dict that `torch.save` wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another file; [`Error::Code`] for a pickle that refers to code;
    /// [`Error::RunLog`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, read_input(path, MAX_BYTES)?)
    }

    /// The weights in the bytes of a file.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let mut noted = None;
        let tensors = match &bytes[..] {
            [b'P', b'K', ..] => archive::tensors(&bytes),
            // The header length that starts a safetensors file may have these bytes, too.
            [0x80, 2..=255, rest @ ..] if rest.get(6) != Some(&b'{') => Err(Refusal::Malformed(
                "it is in the format of PyTorch before 1.6".to_owned(),
            )),
            _ => safetensors(&bytes).map(|(tensors, found)| {
                noted = found;
                tensors
            }),
        };
        let path = path.to_owned();
        match tensors {
            Ok(tensors) => Ok(Self {
                path,
                bytes,
                tensors,
                noted,
            }),
            Err(Refusal::Code(name)) => Err(Error::Code { path, name }),
            Err(Refusal::Malformed(reason)) => Err(Error::Malformed { path, reason }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration and output limit that an export noted in the file.
    pub fn description(&self) -> Option<&Description> {
        self.noted.as_ref().map(|(description, _)| description)
    }

    /// The vocabulary of text that an export noted in the file.
    ///
    /// # Errors
    /// If it has too many words.
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

    /// Sets the parameters of a model, or none of them.
    ///
    /// # Errors
    /// [`Error::Misfit`] for the first tensor that does not fit, or for missing and unexpected ones
    /// without [`Options::partial`].
    pub fn load_into(
        &self,
        params: &Params,
        renames: &Renames,
        options: Options,
    ) -> Result<Loaded> {
        let misfit = |misfit| Error::Misfit {
            path: self.path.clone(),
            misfit,
        };
        let (placed, mut unused) = self.placed(params, renames).map_err(misfit)?;
        let mut missing: Vec<String> = Vec::new();
        let mut loaded: Vec<(&candle_core::Var, Tensor)> = Vec::new();
        for (name, var) in params.iter() {
            let Some(stored) = placed.get(name) else {
                missing.push(name.to_owned());
                continue;
            };
            if stored.shape != var.dims() {
                return Err(misfit(Misfit::Shape {
                    name: name.to_owned(),
                    found: stored.shape.clone(),
                    expected: var.dims().to_vec(),
                }));
            }
            let is_single = stored.kind == Kind::Float(candle_core::DType::F32);
            let is_castable = matches!(stored.kind, Kind::Float(_));
            if !(is_single || (options.cast && is_castable)) {
                return Err(misfit(Misfit::Type {
                    name: name.to_owned(),
                    found: stored.kind.name(),
                    is_castable,
                }));
            }
            let Some(tensor) = stored.load(&self.bytes)? else {
                continue; // only floating-point numbers get here
            };
            let sum = (&tensor * 0.0)?.sum_all()?; // 0 times a number that is not finite is not 0
            if sum.to_scalar::<f32>()? != 0.0 {
                let name = name.to_owned();
                return Err(misfit(Misfit::NotFinite { name }));
            }
            loaded.push((var, tensor));
        }
        let is_complete = missing.is_empty() && unused.is_empty();
        if loaded.is_empty() || !(options.partial || is_complete) {
            return Err(misfit(Misfit::Names {
                missing,
                unexpected: unused,
            }));
        }
        for (var, tensor) in &loaded {
            var.set(&tensor.to_device(params.device())?)?;
        }
        unused.sort();
        missing.sort();
        Ok(Loaded {
            n_loaded: loaded.len(),
            missing,
            unused,
        })
    }

    /// The tensors under the names of the model, and those that it does not have.
    fn placed(
        &self,
        params: &Params,
        renames: &Renames,
    ) -> Result<(BTreeMap<String, Stored>, Vec<String>), Misfit> {
        let (mut placed, mut unused) = (BTreeMap::new(), Vec::new());
        for (name, stored) in &self.tensors {
            let mut put = |new: &str, stored: Stored| match params.get(new) {
                Some(_) if !placed.contains_key(new) => {
                    placed.insert(new.to_owned(), stored);
                }
                _ => unused.push(name.clone()),
            };
            match renames.place(name) {
                Place::Same(new) => put(&new, stored.clone()),
                Place::Renamed(new) => {
                    let squeezed = stored.squeezed();
                    let fits = params
                        .get(new)
                        .is_some_and(|var| var.dims() == squeezed.shape);
                    put(new, if fits { squeezed } else { stored.clone() });
                }
                Place::Columns(names) => {
                    let width = |name: &String| params.get(name)?.dims().get(1).copied();
                    let Some(widths) = names.iter().map(width).collect::<Option<Vec<_>>>() else {
                        put(&names.join(" | "), stored.clone()); // which the model does not have
                        continue;
                    };
                    let total: usize = widths.iter().sum();
                    if let [rows, columns] = stored.shape[..]
                        && columns != total
                        && !names.is_empty()
                    {
                        return Err(Misfit::Shape {
                            name: names.join(" | "),
                            found: vec![rows, columns],
                            expected: vec![rows, total],
                        });
                    }
                    let mut start = 0;
                    for (name, width) in names.iter().zip(widths) {
                        put(name, stored.columns(start, width));
                        start += width;
                    }
                }
            }
        }
        Ok((placed, unused))
    }
}

/// The tensors of a file of safetensors, and what an export noted in it.
#[expect(clippy::type_complexity, reason = "a pair")]
fn safetensors(
    bytes: &[u8],
) -> Result<(BTreeMap<String, Stored>, Option<(Description, Vec<String>)>), Refusal> {
    let malformed = |error: safetensors::SafeTensorError| {
        Refusal::Malformed(format!(
            "it is neither safetensors nor an archive of PyTorch ({error})"
        ))
    };
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    SafeTensors::deserialize(bytes).map_err(malformed)?; // every tensor is inside
    let begin = size_of::<u64>() + header;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let kind = Kind::of_safetensors(info.dtype);
        let stored = Stored::contiguous(kind, info.shape.clone(), begin + start..begin + end);
        (name, stored)
    });
    let noted = Metadata::metadata(&metadata).as_ref().and_then(|noted| {
        let description: Description = serde_json::from_str(noted.get("config")?).ok()?;
        let texts = serde_json::from_str(noted.get("vocab")?).ok()?;
        description.is_supported().then_some((description, texts))
    });
    Ok((tensors.collect(), noted))
}
