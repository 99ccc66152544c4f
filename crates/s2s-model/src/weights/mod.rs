//! Parameters to and from files: safetensors, and the state dicts that PyTorch saves.
//!
//! ```text
//! bytes ─> WeightsFile: where each tensor is ─> Renames ─> parameters with the same shapes
//! ```
//!
//! Only the numbers of parameters are loaded, after their shapes were compared. The memory that a file
//! takes is bounded by a small multiple of its size, whatever its header declares. Code in a file never runs.

mod archive;
mod error;
mod file;
mod pickle;
mod renames;
mod save;
mod stored;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

pub use error::{DtypeMismatch, RenameConflict, ShapeMismatch, WeightsError, WeightsMismatch};
pub use file::WeightsFile;
pub use renames::Renames;
pub use save::{save_tensors, save_weights};

use self::renames::Mapping;
use self::stored::{Kind, Stored};
use crate::{CellKind, Params};

/// What to do with NaN and infinities in a file. Training never writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Refuse the file.
    #[default]
    Reject,
    /// Load them.
    Accept,
}

/// What may differ between a file of weights and a model. By default nothing may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Names in the file that differ from those of the parameters.
    pub rename: Renames,
    /// Convert numbers of another precision.
    pub cast: bool,
    /// Load what is there: parameters that the file lacks keep their values, and tensors that the model
    /// lacks are not used.
    pub partial: bool,
    /// What to do with NaN and infinities.
    pub non_finite: NonFinite,
}

/// What was loaded, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Number of parameters with weights from the file.
    pub n_loaded: usize,
    /// Parameters that keep their values, in the model's order.
    pub missing: Vec<String>,
    /// Tensors of the file that the model does not have, in alphabetical order; a renamed one as
    /// `new (old in the file)`.
    pub unused: Vec<String>,
    /// Names and prefixes of [`LoadOptions::rename`] that no tensor of the file has, in alphabetical order.
    pub unmatched: Vec<String>,
}

/// Sets the parameters of a model from the bytes of a file, or none of them: safetensors, or a state dict
/// that `torch.save` wrote.
///
/// ```
/// use candle_core::{DType, Device};
/// use s2s_model::{Init, LoadOptions, Params, Renames, load_weights, save_weights};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut theirs = Params::new(1, DType::F64, &Device::Cpu);
/// theirs.root().get("fc.weight", (2, 3), Init::Normal)?;
/// let mut ours = Params::new(2, DType::F32, &Device::Cpu);
/// ours.root().get("output.weight", (2, 3), Init::Normal)?;
/// ours.root().get("output.bias", 2, Init::Constant { value: 0.0 })?;
///
/// let options = LoadOptions {
///     rename: Renames::default().prefix("fc.", "output."),
///     cast: true,    // they are in double precision
///     partial: true, // they have no bias
///     ..LoadOptions::default()
/// };
/// let loaded = load_weights(&ours, &save_weights(&theirs)?, &options)?;
/// assert_eq!((loaded.n_loaded, loaded.missing), (1, vec!["output.bias".to_owned()]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`WeightsError::WeightsMismatch`] with all names, shapes and types that do not fit; [`WeightsError::Malformed`]
/// and [`WeightsError::Code`] for a file that cannot be read. No parameter is changed then.
pub fn load_weights(
    params: &Params,
    bytes: &[u8],
    options: &LoadOptions,
) -> Result<Loaded, WeightsError> {
    let named: Vec<(&str, &Tensor)> = params
        .iter()
        .map(|(name, var)| (name, var.as_tensor()))
        .collect();
    let (tensors, loaded) = WeightsFile::parse(bytes)?.take(&named, options)?;
    for ((_, var), tensor) in params.iter().zip(&tensors) {
        if let Some(tensor) = tensor {
            var.set(tensor)?;
        }
    }
    Ok(loaded)
}

/// The tensors of a file that has these names, each with the shape, type and device of the
/// tensor given with its name, and no others; in this order.
///
/// # Errors
/// Those of [`load_weights`].
pub fn load_tensors(
    bytes: &[u8],
    like: &[(&str, &Tensor)],
    non_finite: NonFinite,
) -> Result<Vec<Tensor>, WeightsError> {
    let options = LoadOptions {
        non_finite,
        ..LoadOptions::default()
    };
    let (tensors, _) = WeightsFile::parse(bytes)?.take(like, &options)?;
    Ok(tensors.into_iter().flatten().collect()) // all of them: the options are strict
}

impl WeightsFile<'_> {
    /// The tensors of the file for these names, shapes, types and devices; `None` where it has none.
    fn take(
        &self,
        like: &[(&str, &Tensor)],
        options: &LoadOptions,
    ) -> Result<(Vec<Option<Tensor>>, Loaded), WeightsError> {
        let (placed, unused, mut mismatch) = self.placed(like, &options.rename);
        let mut missing: Vec<String> = Vec::new();
        let mut tensors = Vec::with_capacity(like.len());
        for (name, like) in like {
            let Some((_, stored)) = placed.get(*name) else {
                if !mismatch.has_reshaped(name) {
                    missing.push((*name).to_owned());
                }
                tensors.push(None);
                continue;
            };
            let own = cell_of(name, like.dims());
            let other = cell_of(name, &stored.shape);
            if let (Some(own), Some(other)) = (own, other.filter(|_| own != other)) {
                mismatch.cells = Some([other, own]);
            }
            if stored.shape != like.dims() {
                mismatch.reshaped.push(ShapeMismatch {
                    name: (*name).to_owned(),
                    found: stored.shape.clone(),
                    expected: like.dims().to_vec(),
                });
                continue;
            }
            let is_castable = matches!(stored.kind, Kind::Float(_));
            let fits = stored.kind == Kind::Float(like.dtype()) || options.cast && is_castable;
            let loaded = fits.then(|| self.load(stored, like)).transpose()?.flatten();
            let Some(tensor) = loaded else {
                mismatch.retyped.push(DtypeMismatch {
                    name: (*name).to_owned(),
                    found: stored.kind.name(),
                    expected: like.dtype(),
                    is_castable,
                });
                continue;
            };
            if options.non_finite == NonFinite::Reject && !is_finite(&tensor)? {
                mismatch.not_finite.push((*name).to_owned());
            }
            tensors.push(Some(tensor));
        }
        let unmatched = options.rename.unmatched(self.tensors().keys());
        let n_loaded = tensors.iter().flatten().count();
        let is_complete = missing.is_empty() && unused.is_empty();
        let are_names_wrong = n_loaded == 0 || !(options.partial || is_complete);
        if are_names_wrong || mismatch != WeightsMismatch::default() {
            if !options.partial || mismatch == WeightsMismatch::default() {
                (mismatch.missing, mismatch.unexpected) = (missing, unused);
            }
            mismatch.unmatched = unmatched;
            return Err(WeightsError::WeightsMismatch(Box::new(mismatch)));
        }
        let loaded = Loaded {
            n_loaded,
            missing,
            unused,
            unmatched,
        };
        Ok((tensors, loaded))
    }

    fn load(&self, stored: &Stored, like: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let loaded = stored.load(self.bytes())?;
        loaded
            .map(|tensor| tensor.to_dtype(like.dtype())?.to_device(like.device()))
            .transpose()
    }

    /// The tensors under the names of the model, with their names in the file; those that the model does not
    /// have, in alphabetical order; and matrices whose columns do not fit, and parameters with two tensors.
    fn placed(
        &self,
        like: &[(&str, &Tensor)],
        renames: &Renames,
    ) -> (
        BTreeMap<String, (&str, Stored)>,
        Vec<String>,
        WeightsMismatch,
    ) {
        let shapes: BTreeMap<&str, &[usize]> = like
            .iter()
            .map(|(name, like)| (*name, like.dims()))
            .collect();
        let (mut placed, mut unused) = (BTreeMap::<String, (&str, Stored)>::new(), Vec::new());
        let mut mismatch = WeightsMismatch::default();
        for (name, stored) in self.tensors() {
            let mut put = |new: &str, stored: Stored| {
                if !shapes.contains_key(new) {
                    unused.push(match name == new {
                        true => name.clone(),
                        false => format!("{new} ({name} in the file)"),
                    });
                } else if let Some((first, _)) = placed.get(new) {
                    mismatch.conflicts.push(RenameConflict {
                        name: new.to_owned(),
                        found: [(*first).to_owned(), name.clone()],
                    });
                } else {
                    placed.insert(new.to_owned(), (name, stored));
                }
            };
            match renames.place(name) {
                Mapping::Same(new) => put(&new, stored.clone()),
                Mapping::Renamed(new) => {
                    let squeezed = stored.squeezed();
                    let fits = shapes
                        .get(new)
                        .is_some_and(|shape| *shape == squeezed.shape);
                    put(new, if fits { squeezed } else { stored.clone() });
                }
                Mapping::Columns(names) => {
                    let width = |name: &String| shapes.get(name.as_str())?.get(1).copied();
                    let Some(widths) = names.iter().map(width).collect::<Option<Vec<_>>>() else {
                        put(&names.join(" | "), stored.clone()); // which the model does not have
                        continue;
                    };
                    let total: usize = widths.iter().sum();
                    if let [rows, columns] = stored.shape[..]
                        && columns != total
                        && !names.is_empty()
                    {
                        mismatch.reshaped.push(ShapeMismatch {
                            name: names.join(" | "),
                            found: vec![rows, columns],
                            expected: vec![rows, total],
                        });
                        continue;
                    }
                    let mut start = 0;
                    for (name, width) in names.iter().zip(widths) {
                        put(name, stored.columns(start, width));
                        start += width;
                    }
                }
            }
        }
        (placed, unused, mismatch)
    }
}

/// Whether all numbers are finite: 0 times any other is not 0.
fn is_finite(tensor: &Tensor) -> candle_core::Result<bool> {
    let zero = (tensor * 0.0)?.sum_all()?.to_dtype(DType::F64)?;
    Ok(zero.to_scalar::<f64>()? == 0.0)
}

/// The cell whose gates a recurrent layer's `weight_hh [G·H, H]` has.
fn cell_of(name: &str, shape: &[usize]) -> Option<CellKind> {
    let [gates, units] = *shape else {
        return None;
    };
    let is_recurrent = name.contains(".weight_hh_l");
    [CellKind::Gru, CellKind::Lstm]
        .into_iter()
        .find(|cell| is_recurrent && cell.gates() * units == gates)
}
