//! Access to the numbers of candle tensors as slices.

use std::cell::Cell;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, DType, InplaceOp1, Layout, Result, Shape, Storage, Tensor, WithDType, bail,
};

/// Whether the kernels support these tensors: f32 on the CPU, and not empty.
pub(crate) fn has_kernel(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|t| t.device().is_cpu() && t.dtype() == DType::F32 && t.elem_count() > 0)
}

/// Calls `read` with the numbers of a contiguous CPU tensor, without a copy.
///
/// # Errors
/// If the tensor is not contiguous, not on the CPU or of another type, or if `read` fails.
pub(crate) fn read<T: WithDType, R>(
    tensor: &Tensor,
    read: impl FnOnce(&[T]) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => read(contiguous(storage, layout)?),
        _ => bail!("expected a CPU tensor, got one on {:?}", tensor.device()),
    }
}

/// Calls `write` with the numbers of a contiguous f32 CPU tensor, which it can change in place.
///
/// All tensors that share the memory see the change.
///
/// # Errors
/// If the tensor is not contiguous, not on the CPU or not f32, or if `write` fails.
pub fn write<F>(tensor: &Tensor, write: F) -> Result<()>
where
    F: FnOnce(&mut [f32]) -> Result<()>,
{
    tensor.inplace_op1(&Write(Cell::new(Some(write))))
}

struct Write<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::F32(all) = storage else {
            bail!("expected an f32 tensor, got {:?}", storage.dtype());
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("expected a contiguous tensor, got {layout:?}");
        };
        let write = self.0.take().expect("an operator runs once");
        write(&mut all[start..end])
    }
}

/// The numbers of a contiguous argument of a custom operator.
pub(crate) fn contiguous<'a, T: WithDType>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, got {layout:?}");
    };
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// The result of a custom operator.
pub(crate) fn output(data: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(data), shape.into()))
}

/// The numbers of a tensor, in row-major order.
pub(crate) fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}
