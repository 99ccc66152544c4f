//! A run with imported weights.

use std::path::{Path, absolute};

use s2s_model::Seq2Seq;
use s2s_runlog::Parent;
use s2s_train::{Run, Runtime, Trainer, new_identity};

use crate::Result;

/// Creates a run whose first and best weights are those of `trainer`. It can be evaluated and queried at
/// once; training continues from these weights.
///
/// Before the call, load the weights into the model of `trainer` with
/// [`Found::load_into`](crate::Found::load_into). `given` is the text of the configuration, which is stored
/// in `config.toml` as it is. `file` is recorded as the origin of the weights; it is not read.
///
/// # Errors
/// [`Error::Train`](crate::Error::Train) if the folder is not empty (nothing in it is changed) or cannot be
/// written.
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
