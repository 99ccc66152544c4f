//! Why weights cannot be loaded.

use std::fmt;

use candle_core::DType;

use crate::{CellKind, tensor_message};

/// Why weights cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// Bytes that are neither safetensors nor an archive of PyTorch, or are damaged.
    #[error("the file is not readable as weights: {0}")]
    Malformed(String),
    /// A pickle that needs code to be run; this class or function.
    #[error(
        "the file contains code, {0}; it was not run\n  try: torch.save(model.state_dict(), ..) in PyTorch"
    )]
    Code(String),
    /// A tensor that is not made of plain numbers in memory, such as a sparse or a quantized one; the function or
    /// the type of PyTorch that makes it.
    #[error(
        "the file has a tensor of a kind that is not supported, {0}\n  try: tensor.to_dense().float(), or dequantize(), in PyTorch"
    )]
    Unsupported(String),
    /// Weights that do not fit the model.
    #[error("the weights do not fit the model: {0}\n  try: {help}", help = .0.help())]
    WeightsMismatch(Box<WeightsMismatch>),
    /// A tensor operation failed.
    #[error("{}", tensor_message(.0))]
    Tensor(#[from] candle_core::Error),
}

/// What does not fit between a file of weights and a model: everything, not only the first.
///
/// It displays the first of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightsMismatch {
    /// The cell whose weights the file has, and the cell of the model, if they differ.
    pub cells: Option<[CellKind; 2]>,
    /// Parameters of the model without a tensor in the file.
    pub missing: Vec<String>,
    /// Tensors of the file without a parameter in the model.
    pub unexpected: Vec<String>,
    /// Tensors of another shape.
    pub reshaped: Vec<ShapeMismatch>,
    /// Tensors of another type.
    pub retyped: Vec<DtypeMismatch>,
    /// Tensors with NaN or infinities.
    pub not_finite: Vec<String>,
    /// Parameters that several tensors of the file would set.
    pub conflicts: Vec<RenameConflict>,
    /// Names and prefixes of the renames that no tensor of the file has.
    pub unmatched: Vec<String>,
}

/// A parameter that two tensors of a file would set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenameConflict {
    /// Its name in the model.
    pub name: String,
    /// The names of the tensors in the file.
    pub found: [String; 2],
}

/// A tensor of another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// Its name in the model. Several, for a matrix whose columns belong to several parameters.
    pub name: String,
    /// Its shape in the file.
    pub found: Vec<usize>,
    /// Its shape in the model.
    pub expected: Vec<usize>,
}

/// A tensor of another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtypeMismatch {
    /// Its name in the model.
    pub name: String,
    /// Its type in the file.
    pub found: String,
    /// Its type in the model.
    pub expected: DType,
    /// Whether numbers of this type can be converted.
    pub is_castable: bool,
}

impl WeightsMismatch {
    /// What to change in a call of [`load_weights`](crate::load_weights), or before it.
    fn help(&self) -> String {
        if self.cells.is_some() || !self.reshaped.is_empty() {
            return "a ModelConfig, and a vocabulary, with the sizes of these weights".to_owned();
        }
        let is_castable = self.retyped.iter().all(|tensor| tensor.is_castable);
        let parts = [
            (
                !self.missing.is_empty() || !self.unexpected.is_empty(),
                "LoadOptions { rename, .. } for other names, or { partial: true, .. } for the others",
            ),
            (
                !self.retyped.is_empty() && is_castable,
                "LoadOptions { cast: true, .. } converts the numbers",
            ),
            (
                !self.conflicts.is_empty(),
                "a LoadOptions::rename with one tensor for each parameter",
            ),
            (!is_castable, "weights that are floating-point numbers"),
            (
                !self.not_finite.is_empty(),
                "weights from before the training diverged; NonFinite::Accept loads these",
            ),
        ];
        let parts = parts.into_iter().filter(|(applies, _)| *applies);
        parts.map(|(_, help)| help).collect::<Vec<_>>().join("; ")
    }

    /// Whether a tensor for this parameter has another shape.
    pub(super) fn has_reshaped(&self, name: &str) -> bool {
        let mut names = self
            .reshaped
            .iter()
            .flat_map(|tensor| tensor.name.split(BESIDE));
        names.any(|other| other == name)
    }
}

/// What separates names of parameters that are the columns of one matrix.
pub(super) const BESIDE: &str = " | ";

impl fmt::Display for WeightsMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells.map(|[found, own]| {
            format!(
                "they are those of a model with cell = \"{found}\", this model has cell = \"{own}\""
            )
        });
        let reshaped = self.reshaped.iter().map(|tensor| {
            let (name, found, expected) = (&tensor.name, &tensor.found, &tensor.expected);
            format!("{name} has shape {found:?}, expected {expected:?}")
        });
        let retyped = self.retyped.iter().map(|tensor| {
            let (name, found, expected) = (&tensor.name, &tensor.found, tensor.expected);
            format!("{name} has type {found}, expected {expected:?}")
        });
        let conflicts = self.conflicts.iter().map(|conflict| {
            let [first, second] = &conflict.found;
            format!(
                "{first} and {second} of the file are both {}",
                conflict.name
            )
        });
        let names = |what: &str, names: &[String]| {
            let names = names.iter().map(|name| name.escape_debug().to_string());
            listed(names.collect(), ", ", 6).map(|names| format!("{what} {names}"))
        };
        let parts = [
            cells,
            listed(conflicts.collect(), "; ", 3),
            names("it lacks", &self.missing),
            names("the model does not have", &self.unexpected),
            names("no tensor matches the renames of", &self.unmatched),
            listed(reshaped.collect(), "; ", 3),
            listed(retyped.collect(), "; ", 3),
            names("numbers that are not finite in", &self.not_finite),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

/// The first parts of a list, if it has any.
fn listed(parts: Vec<String>, separator: &str, max_shown: usize) -> Option<String> {
    let shown = parts[..parts.len().min(max_shown)].join(separator);
    match parts.len().saturating_sub(max_shown) {
        0 => Some(shown).filter(|shown| !shown.is_empty()),
        more => Some(format!("{shown} and {more} more")),
    }
}
