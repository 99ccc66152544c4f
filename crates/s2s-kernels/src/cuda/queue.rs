//! The queue of a device's work, and memory on the device.

#![expect(unsafe_code, reason = "launches kernels and copies device memory")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, result,
};
use candle_core::{CudaDevice, Device, Result, Storage, Tensor, bail};

/// The kernels of `kernels/`, as `build.rs` compiled them.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

macro_rules! kernels {
    ($($variant:ident = $name:literal,)*) => {
        /// A function of `kernels/`.
        #[derive(Clone, Copy)]
        pub(super) enum Kernel { $($variant,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

kernels! {
    GruForward = "gru_forward",
    GruBackward = "gru_backward",
    LstmForward = "lstm_forward",
    LstmBackward = "lstm_backward",
    BiasTanh = "bias_tanh",
    TanhBackward = "tanh_backward",
    Attend = "attend",
    AttendBackward = "attend_backward",
    ValuesBackward = "values_backward",
    StartWeights = "start_weights",
    Predict = "predict",
    TokenLoss = "token_loss",
    Embed = "embed",
    EmbedBackward = "embed_backward",
    ColumnSums = "column_sums",
    CopyRows = "copy_rows",
    Squares = "squares",
    Total = "total",
    Adam = "adam",
    CopyAll = "copy_all",
    DropoutMask = "dropout_mask",
}

/// The queue of a CUDA device: what is submitted runs in order, and the caller does not wait for it.
///
/// A clone submits to the same queue.
#[derive(Clone)]
pub struct Queue {
    pub(super) device: CudaDevice,
    pub(super) stream: Arc<CudaStream>,
    functions: Arc<[OnceLock<CudaFunction>]>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.device).finish()
    }
}

impl Queue {
    /// The queue of a device that [`open_cuda`](super::open_cuda) opened.
    ///
    /// # Errors
    /// If it is not a CUDA device.
    pub fn new(device: &Device) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        Ok(Self {
            stream: device.cuda_stream(),
            functions: NAMES.iter().map(|_| OnceLock::new()).collect(),
            device,
        })
    }

    /// The device.
    pub fn device(&self) -> Device {
        Device::Cuda(self.device.clone())
    }

    /// Sets every number to 0.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn zero(&self, view: View<'_, f32>) -> Result<()> {
        if view.len == 0 {
            return Ok(());
        }
        self.bind()?;
        let bytes = view.len * size_of::<f32>();
        // SAFETY: a view is a range of live device memory.
        unsafe { result::memset_d8_async(view.pointer, 0, bytes, self.stream.cu_stream()) }.w()
    }

    /// Copies numbers of equal count.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn copy(&self, to: View<'_, f32>, from: View<'_, f32>) -> Result<()> {
        assert_eq!(to.len, from.len, "a copy has the length of its original");
        if to.len == 0 {
            return Ok(());
        }
        self.bind()?;
        let (bytes, stream) = (to.len * size_of::<f32>(), self.stream.cu_stream());
        // SAFETY: both views are ranges of live device memory of that length.
        unsafe { result::memcpy_dtod_async(to.pointer, from.pointer, bytes, stream) }.w()
    }

    /// Makes the device's context that of this thread.
    pub(super) fn bind(&self) -> Result<()> {
        self.stream.context().bind_to_thread().w()
    }

    /// A kernel, which the driver loads at its first use.
    pub(super) fn function(&self, kernel: Kernel) -> Result<&CudaFunction> {
        let (place, name) = (&self.functions[kernel as usize], NAMES[kernel as usize]);
        if let Some(function) = place.get() {
            return Ok(function);
        }
        let function = self
            .device
            .get_or_load_custom_func(name, "s2s-kernels", PTX)?;
        Ok(place.get_or_init(|| function.into_cuda_function()))
    }
}

/// Submits a kernel. Its arguments must be those of its definition, in their order; the caller has
/// checked that the views are as long as the kernel assumes.
macro_rules! launch {
    ($queue:expr, $kernel:ident, $grid:expr, $($argument:expr),* $(,)?) => {{
        use candle_core::cuda_backend::WrapErr;
        use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
        let queue: &$crate::cuda::queue::Queue = $queue;
        let function = queue.function($crate::cuda::queue::Kernel::$kernel)?;
        let mut builder = queue.stream.launch_builder(function);
        $(
            let argument = $crate::cuda::queue::Argument::to_kernel($argument);
            builder.arg(&argument);
        )*
        // SAFETY: see the macro's contract.
        #[expect(unsafe_code, reason = "launches a kernel")]
        unsafe { builder.launch($grid) }.w().map(|_| ())
    }};
}
pub(super) use launch;

/// Threads of a block, where a kernel does not depend on it.
const THREADS: usize = 256;

/// A grid with a thread for each of `n` elements.
pub(super) fn each(n: usize) -> LaunchConfig {
    blocks(n.div_ceil(THREADS), 1, THREADS)
}

/// A grid with a warp for each of `n` rows.
pub(super) fn warps(n: usize) -> LaunchConfig {
    each(32 * n)
}

/// A grid of `x` times `y` blocks of `threads` threads.
pub(super) fn blocks(x: usize, y: usize, threads: usize) -> LaunchConfig {
    let dimension = |n: usize| u32::try_from(n).expect("a grid dimension fits 32 bits");
    LaunchConfig {
        grid_dim: (dimension(x), dimension(y), 1),
        block_dim: (dimension(threads), 1, 1),
        shared_mem_bytes: 0,
    }
}

/// What can be passed to a kernel.
pub(super) trait Argument {
    type Passed: DeviceRepr;
    fn to_kernel(self) -> Self::Passed;
}

impl<T> Argument for View<'_, T> {
    type Passed = u64;
    fn to_kernel(self) -> u64 {
        self.pointer
    }
}

impl<T> Argument for Option<View<'_, T>> {
    type Passed = u64;
    fn to_kernel(self) -> u64 {
        self.map_or(0, |view| view.pointer)
    }
}

impl Argument for usize {
    type Passed = i32;
    fn to_kernel(self) -> i32 {
        i32::try_from(self).expect("a size fits 31 bits")
    }
}

impl Argument for u64 {
    type Passed = u64;
    fn to_kernel(self) -> u64 {
        self
    }
}

impl Argument for u32 {
    type Passed = u32;
    fn to_kernel(self) -> u32 {
        self
    }
}

impl Argument for f32 {
    type Passed = f32;
    fn to_kernel(self) -> f32 {
        self
    }
}

impl Argument for f64 {
    type Passed = f64;
    fn to_kernel(self) -> f64 {
        self
    }
}

impl Argument for bool {
    type Passed = i32;
    fn to_kernel(self) -> i32 {
        i32::from(self)
    }
}

/// Device memory that grows to the largest size asked for, and is reused. A clone is empty.
#[derive(Debug)]
pub struct Buffer<T> {
    memory: Option<CudaSlice<T>>,
    len: usize,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self {
            memory: None,
            len: 0,
        }
    }
}

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T: DeviceRepr> Buffer<T> {
    /// Makes room for `n` numbers, whose values are arbitrary.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn resize(&mut self, queue: &Queue, n: usize) -> Result<()> {
        if self.memory.as_ref().is_none_or(|memory| memory.len() < n) {
            self.memory = None; // before the allocation, so that both never exist together
            // SAFETY: every kernel writes its output before another reads it.
            self.memory = Some(unsafe { queue.stream.alloc(n.max(1)) }.w()?);
        }
        self.len = n;
        Ok(())
    }

    /// All numbers.
    pub fn all(&self) -> View<'_, T> {
        let pointer = self.memory.as_ref().map_or(0, |memory| {
            let (pointer, _guard) = memory.device_ptr(memory.stream());
            pointer
        });
        View {
            pointer,
            len: self.len,
            memory: PhantomData,
        }
    }

    /// Replaces the contents by `numbers`.
    ///
    /// # Errors
    /// If the device is out of memory, or the driver fails.
    pub fn upload(&mut self, queue: &Queue, numbers: &[T]) -> Result<()> {
        self.resize(queue, numbers.len())?;
        queue.bind()?;
        let (to, stream) = (self.all().pointer, queue.stream.cu_stream());
        // SAFETY: there is room for as many numbers.
        unsafe { result::memcpy_htod_async(to, numbers, stream) }.w()
    }
}

/// Exclusive access to a shared value; a default value takes its place if other clones use it.
pub(super) fn own<T: Default>(shared: &mut Arc<T>) -> &mut T {
    if Arc::get_mut(shared).is_none() {
        *shared = Arc::default();
    }
    Arc::get_mut(shared).expect("nobody else has seen it")
}

/// A range of device memory. Whoever has a view may let kernels read and write it: work in a queue runs
/// in order.
#[derive(Debug)]
pub struct View<'a, T> {
    pub(super) pointer: u64,
    pub(super) len: usize,
    memory: PhantomData<&'a T>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'a, T> View<'a, T> {
    /// Numbers.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// A part of it.
    #[must_use]
    pub fn range(self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} lies outside {} numbers",
            self.len
        );
        Self {
            pointer: self.pointer + (range.start * size_of::<T>()) as u64,
            len: range.len(),
            memory: PhantomData,
        }
    }

    /// Everything from `start` on.
    #[must_use]
    pub fn from(self, start: usize) -> Self {
        self.range(start..self.len)
    }

    /// The first `len` numbers, and the rest.
    #[must_use]
    pub fn split(self, len: usize) -> (Self, Self) {
        (self.range(0..len), self.from(len))
    }

    /// Part `index` of parts of `len` numbers.
    #[must_use]
    pub fn part(self, index: usize, len: usize) -> Self {
        self.range(index * len..(index + 1) * len)
    }
}

impl<T: DeviceRepr + Clone + Default> View<'_, T> {
    /// Waits for all work before this call, and copies the numbers to the host.
    ///
    /// # Errors
    /// If work before this call failed.
    pub fn download(self, queue: &Queue) -> Result<Vec<T>> {
        let mut numbers = vec![T::default(); self.len];
        queue.bind()?;
        // SAFETY: there are as many numbers, and the host memory lives until the queue is empty.
        unsafe { result::memcpy_dtoh_async(&mut numbers, self.pointer, queue.stream.cu_stream()) }
            .w()?;
        queue.stream.synchronize().w()?;
        Ok(numbers)
    }
}

impl<'a> View<'a, u32> {
    /// The same memory for f32 numbers.
    pub fn as_floats(self) -> View<'a, f32> {
        View {
            pointer: self.pointer,
            len: self.len,
            memory: PhantomData,
        }
    }
}

impl<'a> View<'a, f32> {
    /// The numbers of a contiguous f32 tensor on a CUDA device.
    ///
    /// # Errors
    /// If the tensor is not one.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            bail!("expected a CUDA tensor, got one on {:?}", tensor.device());
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("expected a contiguous tensor, got {layout:?}");
        };
        let slice = storage.as_cuda_slice::<f32>()?;
        let stream = storage.device().cuda_stream();
        let (pointer, _guard) = slice.device_ptr(&stream);
        let all = View {
            pointer,
            len: slice.len(),
            memory: PhantomData,
        };
        Ok(all.range(start..end))
    }
}
