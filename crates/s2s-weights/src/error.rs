//! Why an export or an import failed.

use std::path::PathBuf;

use s2s_model::{WeightsMismatch, tensor_message};

/// Why an export or an import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder for an export has one already.
    #[error("{} already has an export; nothing was changed", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder for an export has files that are not those of an export.
    #[error("{} is neither empty nor an export: {reason}; nothing was changed", path.display())]
    NotAnExport {
        /// The folder.
        path: PathBuf,
        /// Why it is not an export.
        reason: String,
    },
    /// The place for an export is not a folder.
    #[error("{} is not a folder; nothing was changed", path.display())]
    NotAFolder {
        /// The place.
        path: PathBuf,
    },
    /// A model that cannot be exported, because the format cannot express it or its configuration does not
    /// describe it.
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
    /// A file whose pickle needs code to be run; no code was run.
    #[error("{} contains code, {name}; it was not run", path.display())]
    Code {
        /// The file.
        path: PathBuf,
        /// The name of the class or function.
        name: String,
    },
    /// A file with a tensor that is not made of plain numbers in memory, such as a sparse or a quantized one.
    #[error("{} has a tensor of a kind that is not supported, {name}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The function or the type of PyTorch that makes such tensors.
        name: String,
    },
    /// Weights that do not fit the model.
    #[error("the weights in {} do not fit the model: {mismatch}", path.display())]
    WeightsMismatch {
        /// The file.
        path: PathBuf,
        /// Everything that does not fit, such as names and shapes.
        mismatch: Box<WeightsMismatch>,
    },
    /// A file for [`read_renames`](crate::read_renames) that is not valid.
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
    /// A file could not be read or written.
    #[error(transparent)]
    RunLog(#[from] s2s_runlog::Error),
    /// A run could not be loaded or created, or a vocabulary has too many words.
    #[error(transparent)]
    Train(#[from] s2s_train::Error),
}

/// The result of most functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
