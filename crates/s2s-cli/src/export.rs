//! `s2s export`.

use std::path::PathBuf;

use clap::{ValueEnum, ValueHint};
use s2s_runlog::{Identity, RunRecord, read_json};
use s2s_weights::{About, Existing, Format, export, write_export};

use crate::checkpoint::{CheckpointArgs, Loaded};
use crate::shell::quote;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s export runs/default-seed0 --to reverser
  python reverser/model.py 3 1 4
  s2s export runs/default-seed0 --to reverser-onnx --format onnx
  python reverser-onnx/generate.py 3 1 4

Files:
  model.safetensors           weights with PyTorch's names; configuration and vocabulary as metadata
  model.py                    the model in PyTorch: loads the weights and answers
  encoder.onnx, decoder_step.onnx, generate.py
                              with --format onnx, instead of these
  config.json, vocab.json     configuration, and the text of each token
  README.md                   a model card for Hugging Face: metrics with intervals, limitations";

/// Write a trained model for PyTorch or onnxruntime
///
/// The folder answers without s2s. Equal models give equal bytes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// Folder to write; must be new or empty, except with --overwrite
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    to: PathBuf,
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "pytorch")]
    format: FormatName,
    /// Replace the export in that folder, of either format
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    #[value(name = "pytorch")]
    PyTorch,
    Onnx,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let Loaded { dir, trained, .. } = args.checkpoint.load(ui)?;
    let (format, program) = match args.format {
        FormatName::PyTorch => (Format::PyTorch, "model.py"),
        FormatName::Onnx => (Format::Onnx, "generate.py"),
    };
    let folder_name = dir.path().file_name().unwrap_or_default();
    let identity: Option<Identity> = read_json(dir.identity()).ok();
    let record: Option<RunRecord> = read_json(dir.run()).ok();
    let test = record.and_then(|record| record.test);
    let about = About {
        name: identity.map_or_else(
            || folder_name.to_string_lossy().into(),
            |identity| identity.name,
        ),
        test: test.filter(|test| test.step == trained.step), // of this checkpoint
    };
    let files = export(&trained, &about, format)?;
    let existing = match args.overwrite {
        true => Existing::Replace,
        false => Existing::Keep,
    };
    write_export(&args.to, &files, existing)?;
    for (name, _) in &files {
        ui.data(&format!("{}\n", args.to.join(name).display()))?;
    }
    ui.message(format!(
        "to try it: python {}",
        quote(&args.to.join(program))
    ));
    Ok(0)
}
