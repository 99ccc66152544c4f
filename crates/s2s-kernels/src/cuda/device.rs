//! Opening a CUDA device.

#![expect(unsafe_code, reason = "calls of the driver that cudarc leaves unsafe")]

use std::ffi::c_void;
use std::ptr;

use candle_core::cuda_backend::cudarc::driver::sys::{
    CUmemPool_attribute_enum, cuDriverGetVersion,
};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result};
use candle_core::{CudaDevice, Device, Error, Result};

use super::load_libraries;

/// The CUDA device of this number, prepared for a training loop.
///
/// All threads share one stream, so that work runs in the order in which it was submitted. Candle's
/// default, a stream for each thread, would let one thread read what another has not yet written.
/// Memory that is freed stays with the process: otherwise the driver would take it back each time
/// the loss is read, and hand it out anew in the next step.
///
/// # Errors
/// If a library of CUDA is missing, there is no such device, or the driver fails.
pub fn open_cuda(index: usize) -> Result<Device> {
    load_libraries().map_err(Error::wrap)?;
    let device = Device::new_cuda_with_stream(index)?;
    let cuda = device.as_cuda_device()?;
    // SAFETY: events order the work of several streams, and this device has one.
    unsafe { cuda.disable_event_tracking() };
    keep_freed_memory(cuda).map_err(Error::wrap)?;
    Ok(device)
}

fn keep_freed_memory(device: &CudaDevice) -> std::result::Result<(), DriverError> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(()); // there is no pool
    }
    let mut threshold = u64::MAX; // bytes that the pool may keep when the stream is synchronized
    let attribute = CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the device is open, and the attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        let value = ptr::from_mut(&mut threshold).cast::<c_void>();
        result::mem_pool::set_attribute(pool, attribute, value)
    }
}

/// Number of CUDA devices that this process may use.
///
/// # Errors
/// If a library of CUDA is missing, the driver does not work, or there is no device.
pub fn cuda_devices() -> Result<usize> {
    load_libraries().map_err(Error::wrap)?;
    let count = CudaContext::device_count().map_err(Error::wrap)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The latest version of CUDA that the driver supports, as major and minor number.
///
/// # Errors
/// If a library of CUDA is missing, or the driver fails.
pub fn driver_cuda_version() -> Result<(u32, u32)> {
    load_libraries().map_err(Error::wrap)?;
    let mut version = 0;
    // SAFETY: it writes one integer, and needs no initialized driver.
    let status = unsafe { cuDriverGetVersion(&raw mut version) };
    status.result().map_err(Error::wrap)?;
    let version = u32::try_from(version).unwrap_or(0); // 13020 is 13.2
    Ok((version / 1000, version % 1000 / 10))
}

/// A device's name, such as "NVIDIA H100 80GB HBM3", and its compute capability.
///
/// # Errors
/// If the device is not a CUDA device, or the driver fails.
pub fn cuda_card(device: &Device) -> Result<(String, (u32, u32))> {
    let stream = device.as_cuda_device()?.cuda_stream();
    let context = stream.context();
    let name = context.name().map_err(Error::wrap)?;
    let capability = context.compute_capability().map_err(Error::wrap)?;
    Ok((
        name,
        (capability.0.unsigned_abs(), capability.1.unsigned_abs()),
    ))
}
