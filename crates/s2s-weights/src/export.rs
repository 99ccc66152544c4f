//! A trained model as a folder that PyTorch or onnxruntime can use without this program.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device};
use s2s_model::{Params, Seq2Seq, save_weights};
use s2s_runlog::{Draft, create_folder, exists, is_folder, list_folder, read_input, remove_file};
use s2s_train::{Trained, tokens_of};
use serde::Serialize;

use crate::card::{self, About};
use crate::description::{Description, format_of, texts};
use crate::header::with_metadata;
use crate::onnx::onnx;
use crate::{Error, Found, Result};

/// The library that an export is for. Every export also has `config.json`, `vocab.json` and `README.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `model.safetensors` and `model.py`, for PyTorch.
    PyTorch,
    /// `encoder.onnx`, `decoder_step.onnx` and `generate.py`, for onnxruntime.
    Onnx,
}

/// What [`write_export`] does with a folder that already has an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it as it is and fail.
    Keep,
    /// Replace it, and remove its files of the other [`Format`].
    Replace,
}

/// Names and contents of the files of an export, in the order in which they are written: `config.json` first,
/// since it marks the folder as an export, and the weights last, since nothing runs without them.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// The weights and programs of all formats.
const MODEL_NAMES: [&str; 5] = [
    "model.safetensors",
    "encoder.onnx",
    "decoder_step.onnx",
    "model.py",
    "generate.py",
];

/// The other files of every export, and what Python writes beside them.
const OTHER_NAMES: [&str; 4] = ["config.json", "vocab.json", "README.md", "__pycache__"];

/// Maximum size of `config.json`.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The line of the programs at which [`TOKENS`] is inserted.
const TOKENS_MARK: &str = "# tokens.py\n";
const TOKENS: &str = include_str!("../python/tokens.py");
const MODEL: &str = include_str!("../python/model.py");
const GENERATE: &str = include_str!("../python/generate.py");

/// The files of an export, in memory; [`write_export`] writes them. Equal models give equal bytes.
///
/// # Errors
/// [`Error::Inexpressible`] for a transducer, and for a model whose parameters are not those that its
/// configuration describes; [`Error::Tensor`].
pub fn export(trained: &Trained, about: &About, format: Format) -> Result<Files> {
    check_described(trained)?;
    let description = Description::of(trained);
    let vocabulary = texts(&trained.codec.vocabulary);
    let card = card::card(trained, about, format);
    let mut files: Files = vec![
        ("config.json", pretty(&description)),
        ("vocab.json", pretty(&vocabulary)),
        ("README.md", card.into_bytes()),
    ];
    match format {
        Format::PyTorch => {
            let metadata = BTreeMap::from([
                ("format", "pt".to_owned()),
                ("config", compact(&description)),
                ("vocab", compact(&vocabulary)),
            ]);
            let weights = save_weights(trained.model.params())?;
            files.extend([
                ("model.py", MODEL.replace(TOKENS_MARK, TOKENS).into_bytes()),
                ("model.safetensors", with_metadata(&weights, &metadata)),
            ]);
        }
        Format::Onnx => {
            let model = onnx(&trained.config.model, trained.model.params())?;
            let program = GENERATE.replace(TOKENS_MARK, TOKENS);
            files.extend([
                ("generate.py", program.into_bytes()),
                ("encoder.onnx", model.encoder),
                ("decoder_step.onnx", model.decoder_step),
            ]);
        }
    }
    Ok(files)
}

/// Writes the files of an export into a folder, which is created if it does not exist.
///
/// The old weights are removed before the first file is replaced, and the new ones are written last. An
/// interrupted call therefore leaves the old export, or one without weights, but no mixture of the two.
///
/// # Errors
/// [`Error::NotAFolder`]; [`Error::NotAnExport`] if the folder has files that are not those of an export;
/// [`Error::Exists`] if it has an export, unless it is replaced. Nothing is changed then.
/// [`Error::RunLog`] if a file cannot be written.
pub fn write_export(folder: &Path, files: &Files, existing: Existing) -> Result<()> {
    if has_export(folder)? && existing == Existing::Keep {
        return Err(Error::Exists {
            path: folder.to_owned(),
        });
    }
    create_folder(folder)?;
    let mut drafts = Vec::new(); // on a full disk, the old export stays
    for (name, bytes) in files {
        let mut draft = Draft::create(folder.join(name))?;
        draft.write(bytes)?;
        drafts.push(draft);
    }
    for name in MODEL_NAMES {
        remove_file(folder.join(name))?;
    }
    for draft in drafts {
        draft.publish()?;
    }
    Ok(())
}

/// Whether a folder has an export that may be replaced; false if it is empty or does not exist.
fn has_export(folder: &Path) -> Result<bool> {
    let path = folder.to_owned();
    if exists(folder)? && !is_folder(folder) {
        return Err(Error::NotAFolder { path });
    }
    let names = list_folder(folder)?;
    let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    let is_known = |name: &str| MODEL_NAMES.contains(&name) || OTHER_NAMES.contains(&name);
    let is_leftover = |name: &str| {
        let name = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".tmp"));
        name.is_some_and(is_known) // of an export that was killed
    };
    let Some(first) = names.iter().find(|name| !is_leftover(name)) else {
        return Ok(false);
    };
    let foreign = names
        .iter()
        .find(|name| !is_known(name) && !is_leftover(name));
    let reason = match foreign {
        Some(name) => format!("it has {name}"),
        None if is_marked(folder) => return Ok(true),
        None => format!("it has {first}, but no config.json of s2s"),
    };
    Err(Error::NotAnExport { path, reason })
}

/// Whether s2s wrote the configuration or the weights in a folder.
fn is_marked(folder: &Path) -> bool {
    let config = read_input(folder.join("config.json"), MAX_CONFIG_BYTES);
    let weights = || Found::read(&folder.join("model.safetensors"));
    config.is_ok_and(|config| format_of(&config).is_some())
        || weights().is_ok_and(|found| found.format().is_some())
}

/// Checks that the programs of an export have the model's architecture, and that the model has exactly the
/// parameters that its configuration describes.
fn check_described(trained: &Trained) -> Result<()> {
    if trained.config.model.decoder.transducer().is_some() {
        return Err(Error::Inexpressible {
            reason: "exports have no transducer; `s2s predict` runs it".to_owned(),
        });
    }
    let (config, tokens) = (&trained.config, tokens_of(&trained.codec.vocabulary));
    let described = Seq2Seq::new(&config.model, tokens, config.seed, DType::F32, &Device::Cpu)?;
    let shapes = |params: &Params| -> BTreeMap<String, Vec<usize>> {
        let shape = |(name, var): (&str, &candle_core::Var)| (name.to_owned(), var.dims().to_vec());
        params.iter().map(shape).collect()
    };
    let (own, described) = (shapes(trained.model.params()), shapes(described.params()));
    let differs = |name: &&String| own.get(*name) != described.get(*name);
    match own.keys().chain(described.keys()).find(differs) {
        None => Ok(()),
        Some(name) => Err(Error::Inexpressible {
            reason: format!("its configuration does not describe the parameter {name}"),
        }),
    }
}

fn compact(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("descriptions are JSON")
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("descriptions are JSON");
    text.push(b'\n');
    text
}
