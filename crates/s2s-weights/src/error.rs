//! Why an export or an import failed.

use std::path::PathBuf;

use s2s_train::tensor_message;

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
    #[error("{} has no weights that can be read: {reason}", path.display())]
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
    #[error("{}", misfit.message(path))]
    Misfit {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        misfit: Misfit,
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

/// Why weights do not fit a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Parameters that the file does not have, and tensors that the model does not have.
    Names {
        /// Parameters of the model without a tensor in the file.
        missing: Vec<String>,
        /// Tensors of the file without a parameter in the model.
        unexpected: Vec<String>,
    },
    /// A tensor of another shape.
    Shape {
        /// Its name in the model.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Its shape in the model.
        expected: Vec<usize>,
    },
    /// A tensor of another type.
    Type {
        /// Its name in the model.
        name: String,
        /// Its type in the file.
        found: String,
        /// Whether numbers of this type can be converted.
        is_castable: bool,
    },
    /// A tensor with NaN or infinities.
    NotFinite {
        /// Its name in the model.
        name: String,
    },
}

impl Misfit {
    fn message(&self, path: &std::path::Path) -> String {
        let why = match self {
            Self::Names {
                missing,
                unexpected,
            } => {
                let parts = [
                    ("it lacks", missing),
                    ("the model does not have", unexpected),
                ];
                let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
                let parts: Vec<String> = parts
                    .map(|(what, names)| format!("{what} {}", listed(names)))
                    .collect();
                parts.join("; ")
            }
            Self::Shape {
                name,
                found,
                expected,
            } => format!("{name} has shape {found:?}, expected {expected:?}"),
            Self::Type { name, found, .. } => format!("{name} has type {found}, expected F32"),
            Self::NotFinite { name } => format!("{name} has numbers that are not finite"),
        };
        format!(
            "the weights in {} do not fit the model: {why}",
            path.display()
        )
    }
}

/// The first names of a list.
pub fn listed(names: &[String]) -> String {
    const MAX_SHOWN: usize = 6;
    let shown: Vec<&str> = names.iter().take(MAX_SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(MAX_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The result of most functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
