//! Hints for weights that cannot be exported or imported.

use s2s_model::WeightsMismatch;
use s2s_weights::Error;

use super::{OTHER, USAGE};
use crate::shell::{command_line, is_given, program, quote_text};

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
        Error::Renames { .. } => {
            let hint = format!("`{} import --help` shows such a file", program());
            (USAGE, hint)
        }
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
    } else if !mismatch.conflicts.is_empty() {
        "a --rename file with one tensor for each parameter; `\"NAME\" = []` in [name] leaves one out"
            .to_owned()
    } else if mismatch.missing.is_empty() && mismatch.unexpected.is_empty() {
        format!("`{} --cast` converts the numbers", command_line())
    } else {
        names_hint(mismatch)
    }
}

/// The hint for names that do not fit.
fn names_hint(mismatch: &WeightsMismatch) -> String {
    let mut hints = Vec::new();
    match (common_prefix(mismatch), is_given("--rename")) {
        (Some(prefix), true) => hints.push(format!(
            "`{prefix:?} = \"\"` under [prefix] in the --rename file removes that prefix"
        )),
        (Some(prefix), false) => {
            let rule = quote_text(&format!("prefix = {{ {prefix:?} = \"\" }}"));
            hints.push(format!(
                "`echo {rule} | {} --rename /dev/stdin` removes that prefix",
                command_line()
            ));
        }
        (None, true) => hints.push("a --rename file with these names".to_owned()),
        (None, false) => hints.push(format!(
            "--rename FILE for other names, see `{} import --help`",
            program()
        )),
    }
    if !is_given("--partial") {
        hints.push("--partial loads the others".to_owned());
    }
    if !mismatch.retyped.is_empty() && !is_given("--cast") {
        hints.push("--cast converts the numbers".to_owned());
    }
    hints.join("; ")
}

/// What all names of the file have in front of those of the model.
fn common_prefix(mismatch: &WeightsMismatch) -> Option<&str> {
    let first = mismatch.unexpected.first()?;
    let mut prefixes = mismatch
        .missing
        .iter()
        .filter_map(|name| first.strip_suffix(name.as_str()));
    prefixes.find(|prefix| {
        let without = |name: &String| name.strip_prefix(prefix).map(str::to_owned);
        let mut names = mismatch.unexpected.iter().map(without);
        names.all(|name| name.is_some_and(|name| mismatch.missing.contains(&name)))
    })
}
