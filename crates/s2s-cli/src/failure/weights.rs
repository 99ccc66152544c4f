//! Hints for weights that cannot be exported or imported.

use s2s_model::WeightsMismatch;
use s2s_weights::Error;

use super::{OTHER, USAGE};
use crate::shell::command_line;

/// The exit code and the hint of an export or an import.
pub(super) fn classify_weights(error: &Error) -> Option<(u8, Option<String>)> {
    let (code, hint) = match error {
        Error::Exists { .. } => {
            let hint = format!(
                "another --to, or `{} --overwrite` to replace it",
                command_line()
            );
            (USAGE, hint)
        }
        Error::NotAnExport { .. } | Error::NotAFolder { .. } => (USAGE, "another --to".to_owned()),
        Error::Inexpressible { .. } => (
            OTHER,
            "`s2s_model::save_weights` writes any parameters, for a model.py of your own"
                .to_owned(),
        ),
        Error::Malformed { path, .. } => {
            let hint = format!(
                "write it again in PyTorch 1.6 or later: `torch.save(model.state_dict(), {:?})`",
                path.with_extension("pt").display().to_string()
            );
            (OTHER, hint)
        }
        Error::Code { path, .. } => {
            let hint = format!(
                "save the weights alone: `torch.save(model.state_dict(), {:?})`",
                path.with_extension("pt").display().to_string()
            );
            (OTHER, hint)
        }
        Error::Unsupported { path, name } => {
            let dense = match name.contains("_rebuild_q") || name.contains(".Q") {
                true => "dequantize",
                false => "to_dense",
            };
            let hint = format!(
                "save plain tensors: `torch.save({{name: tensor.{dense}().float() for name, tensor in \
                 model.state_dict().items()}}, {:?})`",
                path.with_extension("pt").display().to_string()
            );
            (OTHER, hint)
        }
        Error::WeightsMismatch { mismatch, .. } => (USAGE, mismatch_hint(mismatch)),
        Error::Renames { .. } => (USAGE, "`s2s import --help` shows such a file".to_owned()),
        _ => return None,
    };
    Some((code, Some(hint)))
}

fn mismatch_hint(mismatch: &WeightsMismatch) -> String {
    let shapes = &mismatch.reshaped;
    if shapes
        .iter()
        .any(|tensor| tensor.name.contains("embedding"))
    {
        "a --config with data.vocab, or --vocab, of these weights: an embedding has a row for each token, \
         and for PAD, BOS and EOS"
            .to_owned()
    } else if let Some([cell, _]) = mismatch.cells {
        format!("--set model.cell={cell}")
    } else if !shapes.is_empty() {
        "a --config with the sizes of these weights in [model]".to_owned()
    } else if !mismatch.not_finite.is_empty() {
        "weights from before the training diverged".to_owned()
    } else if mismatch.retyped.iter().any(|tensor| !tensor.is_castable) {
        "weights that are floating-point numbers".to_owned()
    } else if mismatch.missing.is_empty() && mismatch.unexpected.is_empty() {
        format!("`{} --cast` converts the numbers", command_line())
    } else {
        let cast = match mismatch.retyped.is_empty() {
            true => "",
            false => "; --cast converts the numbers",
        };
        format!(
            "--rename FILE for other names, see `s2s import --help`; --partial loads the others{cast}"
        )
    }
}
