//! Why an export or an import failed.

use std::path::PathBuf;

use s2s_model::{Misfit, tensor_message};

/// Why an export or an import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder for an export has files.
    #[error("{} already exists and is not empty; nothing was changed", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder for an export has files that no export writes.
    #[error("{} is not an export: it has {name}; nothing was changed", path.display())]
    NotAnExport {
        /// The folder.
        path: PathBuf,
        /// A file in it.
        name: String,
    },
    /// A model that the format cannot express.
    #[error("this model cannot be exported: {reason}")]
    Inexpressible {
        /// Why.
        reason: String,
    },
    /// A file that has no weights, or is damaged.
    #[error("{} is not readable as weights: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A pickle that needs code to be run.
    #[error("{} contains code, {name}; it was not run", path.display())]
    Code {
        /// The file.
        path: PathBuf,
        /// The class or function.
        name: String,
    },
    /// Weights that do not fit the model.
    #[error("the weights in {} do not fit the model: {misfit}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        misfit: Box<Misfit>,
    },
    /// A file of names that cannot be used.
    #[error("{}: {reason}", path.display())]
    Renames {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A tensor operation failed.
    #[error("{}", tensor_message(.0))]
    Tensor(#[from] candle_core::Error),
    /// A failure to read or write a file.
    #[error(transparent)]
    RunLog(#[from] s2s_runlog::Error),
    /// A run that cannot be loaded or created.
    #[error(transparent)]
    Train(#[from] s2s_train::Error),
}

/// The result of most functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
