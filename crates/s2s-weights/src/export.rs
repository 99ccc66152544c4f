//! A trained model as a folder that PyTorch or onnxruntime can use without this program.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device};
use s2s_model::{Params, Seq2Seq, save_weights};
use s2s_runlog::{create_folder, exists, is_folder, list_folder, write_file};
use s2s_train::{Trained, tokens_of};
use serde::Serialize;

use crate::card::{self, About};
use crate::description::{Description, texts};
use crate::header::with_metadata;
use crate::onnx::onnx;
use crate::{Error, Result};

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
    /// Replace the files of the same names. Files of an export in the other [`Format`] stay.
    Replace,
}

/// Names and contents of the files of an export, in the order in which they are written.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// Every file that an export may have; and what Python writes beside them.
const NAMES: [&str; 9] = [
    "model.safetensors",
    "model.py",
    "encoder.onnx",
    "decoder_step.onnx",
    "generate.py",
    "config.json",
    "vocab.json",
    "README.md",
    "__pycache__",
];

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
    let mut files: Files = match format {
        Format::PyTorch => {
            let metadata = BTreeMap::from([
                ("format", "pt".to_owned()),
                ("config", compact(&description)),
                ("vocab", compact(&vocabulary)),
            ]);
            let weights = save_weights(trained.model.params())?;
            vec![
                ("model.safetensors", with_metadata(&weights, &metadata)),
                ("model.py", MODEL.replace(TOKENS_MARK, TOKENS).into_bytes()),
            ]
        }
        Format::Onnx => {
            let model = onnx(&trained.config.model, trained.model.params())?;
            vec![
                ("encoder.onnx", model.encoder),
                ("decoder_step.onnx", model.decoder_step),
                (
                    "generate.py",
                    GENERATE.replace(TOKENS_MARK, TOKENS).into_bytes(),
                ),
            ]
        }
    };
    files.push(("config.json", pretty(&description)));
    files.push(("vocab.json", pretty(&vocabulary)));
    let card = card::card(trained, about, format);
    files.push(("README.md", card.into_bytes()));
    Ok(files)
}

/// Writes the files of an export into a folder, which is created if it does not exist.
///
/// # Errors
/// [`Error::NotEmpty`] if the folder has files or is not a folder; with [`Existing::Replace`],
/// [`Error::NotAnExport`] instead if one of its files is not of an export. Nothing is changed then.
/// [`Error::RunLog`] if a file cannot be written.
pub fn write_export(folder: &Path, files: &Files, existing: Existing) -> Result<()> {
    let path = folder.to_owned();
    if exists(folder)? {
        if !is_folder(folder) {
            return Err(Error::NotEmpty { path });
        }
        let names = list_folder(folder)?;
        let foreign = names.iter().find(|name| {
            let temporary = name.to_str().map(|name| name.trim_start_matches('.'));
            let name = temporary.map(|name| name.strip_suffix(".tmp").unwrap_or(name));
            name.is_none_or(|name| !NAMES.contains(&name))
        });
        match (existing, foreign) {
            (Existing::Keep, _) if !names.is_empty() => return Err(Error::NotEmpty { path }),
            (Existing::Replace, Some(name)) => {
                let name = name.to_string_lossy().into_owned();
                return Err(Error::NotAnExport { path, name });
            }
            _ => {}
        }
    }
    create_folder(folder)?;
    for (name, bytes) in files {
        write_file(folder.join(name), bytes)?;
    }
    Ok(())
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
