//! A run with imported weights.

use std::path::{Path, absolute};

use s2s_model::Seq2Seq;
use s2s_runlog::Parent;
use s2s_train::{Run, Runtime, Trainer, new_identity};

use crate::Result;

/// Creates a run whose weights are those of `trainer`, which come from `file`. It can be evaluated and
/// queried at once; training continues from these weights. `given` is the text of its configuration.
///
/// # Errors
/// If the folder is not empty (nothing in it is changed) or cannot be written.
pub fn create_run(
    folder: &Path,
    trainer: Trainer<Seq2Seq>,
    given: &str,
    runtime: &Runtime,
    file: &Path,
) -> Result<Run> {
    let mut identity = new_identity(folder);
    let n_tokens = trainer.codec().vocabulary.size() as u64;
    identity.parent = Some(Parent {
        path: absolute(file)
            .unwrap_or_else(|_| file.to_owned())
            .display()
            .to_string(),
        id: None,
        checkpoint: "import".to_owned(),
        step: 0,
        n_matched: n_tokens,
        n_new: 0,
        n_unused: 0,
    });
    let run = Run::create_as(folder, trainer, given, runtime, &identity)?;
    run.keep_as_best()?;
    Ok(run)
}
