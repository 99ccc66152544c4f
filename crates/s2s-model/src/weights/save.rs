//! Parameters to safetensors, with PyTorch's names.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use ::safetensors::SafeTensors;
use candle_core::{CpuStorage, Device, Result, Storage, StorageRef, Tensor};

use crate::Params;

/// The named parameters as a safetensors file.
///
/// # Errors
/// If the device fails.
pub fn save_weights(params: &Params) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    save_tensors(
        params.iter().map(|(name, var)| (name, var.as_tensor())),
        &mut file,
    )?;
    Ok(file)
}

/// Writes tensors with their names into `file`, as safetensors. If it is such a file of the same
/// tensors already, its header stays and only the numbers are written: memory that is new to the
/// system takes several times as long.
///
/// # Errors
/// If the device fails.
pub fn save_tensors<'a, S: AsRef<str> + Ord + fmt::Display>(
    named: impl IntoIterator<Item = (S, &'a Tensor)>,
    file: &mut Vec<u8>,
) -> Result<()> {
    let named: Vec<(S, Tensor)> = named
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_device(&Device::Cpu)?)))
        .collect::<Result<_>>()?;
    let views: Vec<(&S, InPlace<'_>)> = named
        .iter()
        .map(|(name, tensor)| (name, InPlace::of(tensor)))
        .collect();
    match places(file, &views) {
        Some(places) => {
            for ((_, view), place) in views.iter().zip(places) {
                file[place].copy_from_slice(&::safetensors::View::data(view));
            }
        }
        None => *file = ::safetensors::serialize(views, None).map_err(candle_core::Error::wrap)?,
    }
    Ok(())
}

/// Where in a file these tensors stand, if it has them and no others.
fn places<S: AsRef<str>>(file: &[u8], views: &[(&S, InPlace<'_>)]) -> Option<Vec<Range<usize>>> {
    use ::safetensors::View;

    let (header, metadata) = SafeTensors::read_metadata(file).ok()?;
    let begin = size_of::<u64>() + header;
    let place = |(name, view): &(&S, InPlace<'_>)| {
        let info = metadata.info(name.as_ref())?;
        let (start, end) = info.data_offsets;
        let is_alike = info.dtype == view.dtype() && info.shape == view.shape();
        is_alike.then_some(begin + start..begin + end)
    };
    let is_all = metadata.offset_keys().len() == views.len();
    views
        .iter()
        .map(place)
        .collect::<Option<_>>()
        .filter(|_| is_all)
}

/// A tensor whose numbers are written from where they are: candle's own view copies them first.
struct InPlace<'a> {
    tensor: &'a Tensor,
    /// Where they are, and which of those there; for f32 in their order, on the CPU.
    numbers: Option<(StorageRef<'a>, Range<usize>)>,
}

impl<'a> InPlace<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        let numbers = match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => Some((storage, start..end)),
            _ => None,
        };
        Self { tensor, numbers }
    }
}

impl ::safetensors::View for InPlace<'_> {
    fn dtype(&self) -> ::safetensors::Dtype {
        ::safetensors::View::dtype(self.tensor)
    }

    fn shape(&self) -> &[usize] {
        self.tensor.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if let Some((storage, range)) = &self.numbers
            && let Storage::Cpu(CpuStorage::F32(numbers)) = &**storage
        {
            return Cow::Borrowed(bytemuck::cast_slice(&numbers[range.clone()]));
        }
        ::safetensors::View::data(self.tensor)
    }

    fn data_len(&self) -> usize {
        ::safetensors::View::data_len(self.tensor)
    }
}
