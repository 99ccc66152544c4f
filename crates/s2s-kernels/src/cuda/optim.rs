//! The norm of the gradients and Adam's update on the device, over all tensors at once.

#![expect(unsafe_code, reason = "passes structs to kernels")]

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Result, Tensor, Var};

use super::queue::{Argument, Buffer, Queue, View, blocks, launch};
use super::table::{TENSORS, Tensors};
use crate::{AdamStep, Moments};

/// Whether the kernels support these tensors: contiguous, not empty, f32 and on a CUDA device.
pub(crate) fn has_kernel(tensors: &[&Tensor]) -> bool {
    let fits = |t: &&Tensor| {
        t.device().is_cuda() && t.dtype() == DType::F32 && t.elem_count() > 0 && t.is_contiguous()
    };
    !tensors.is_empty() && tensors.iter().all(fits)
}

/// Tensors whose squares a launch sums, as `kernels/optim.cu` defines them.
#[derive(Clone, Copy)]
#[repr(C)]
struct Spans {
    arrays: [u64; TENSORS],
    n: [u64; TENSORS],
    first: [u32; TENSORS],
}

// SAFETY: pointers and integers, as in the kernel's struct.
unsafe impl DeviceRepr for Spans {}

impl Argument for Spans {
    type Passed = Self;
    fn to_kernel(self) -> Self {
        self
    }
}

/// `Σ x²` over tensors, in f64 and in an order that depends on their sizes alone, in the device's memory.
#[derive(Debug)]
pub struct SquaredNorm {
    queue: Queue,
    total: Buffer<f64>,
}

impl SquaredNorm {
    /// Submits the sum; `None` if there is no kernel for these tensors.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn of(tensors: &[Tensor]) -> Result<Option<Self>> {
        match tensors.first() {
            Some(first) if has_kernel(&tensors.iter().collect::<Vec<_>>()) => {
                Self::submit(Queue::new(first.device())?, tensors).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn submit(queue: Queue, tensors: &[Tensor]) -> Result<Self> {
        let sums = squares(&queue, tensors)?;
        let mut total = Buffer::default();
        total.resize(&queue, 1)?;
        let (sums, n) = (sums.all(), sums.all().len);
        launch!(&queue, Total, blocks(1, 1, THREADS), sums, total.all(), n)?;
        Ok(Self { queue, total })
    }

    /// Waits for the sum.
    ///
    /// # Errors
    /// If work before this call failed.
    pub fn wait(&self) -> Result<f64> {
        Ok(self.total.all().download(&self.queue)?[0])
    }
}

/// Numbers that a block adds, and its threads, as in `kernels/optim.cu`.
const SPAN: usize = 8192;
const THREADS: usize = 256;

/// The sums of squares of each span of each tensor.
fn squares(queue: &Queue, tensors: &[Tensor]) -> Result<Buffer<f64>> {
    let views: Vec<_> = tensors.iter().map(View::of).collect::<Result<_>>()?;
    let n_spans = |view: &View<'_, f32>| view.len.div_ceil(SPAN);
    let mut sums = Buffer::<f64>::default();
    sums.resize(queue, views.iter().map(n_spans).sum())?;
    let mut next = 0;
    for views in views.chunks(TENSORS) {
        let mut spans = Spans {
            arrays: [0; TENSORS],
            n: [0; TENSORS],
            first: [0; TENSORS],
        };
        for (index, view) in views.iter().enumerate() {
            (spans.arrays[index], spans.n[index]) = (view.pointer, view.len as u64);
            spans.first[index] = u32::try_from(next).expect("a count of spans fits 32 bits");
            next += n_spans(view);
        }
        let widest = views.iter().map(n_spans).max().unwrap_or(1);
        launch!(
            queue,
            Squares,
            blocks(widest, views.len(), THREADS),
            spans,
            sums.all()
        )?;
    }
    Ok(sums)
}

/// The numbers of an update, as `kernels/optim.cu` defines them.
#[derive(Clone, Copy)]
#[repr(C)]
struct Numbers {
    scale: f32,
    rate: f32,
    kept: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    inverse1: f32,
    inverse2: f32,
    epsilon: f32,
}

// SAFETY: ten numbers, as in the kernel's struct.
unsafe impl DeviceRepr for Numbers {}

impl Argument for Numbers {
    type Passed = Self;
    fn to_kernel(self) -> Self {
        self
    }
}

/// One update of every parameter and its moments, in place, by [`adam`](crate::adam())'s rule, whose scale is
/// multiplied by that which reduces the norm to `clip_norm`, if that is not 0. A norm that is not finite changes
/// nothing. Does not wait for the norm.
///
/// # Errors
/// If a tensor is not contiguous, in f32 and on the device of the norm.
pub fn adam_clipped<'a>(
    params: impl IntoIterator<Item = (&'a Var, &'a Tensor, &'a mut Moments)>,
    step: &AdamStep,
    norm: &SquaredNorm,
    clip_norm: f64,
) -> Result<()> {
    let params: Vec<_> = params.into_iter().collect();
    update(&params, step, Some(norm.total.all()), clip_norm)
}

/// One update of every parameter and its moments, in place.
pub(crate) fn adam(params: &[(&Var, &Tensor, &mut Moments)], step: &AdamStep) -> Result<()> {
    update(params, step, None, 0.0)
}

fn update(
    params: &[(&Var, &Tensor, &mut Moments)],
    step: &AdamStep,
    squared_norm: Option<View<'_, f64>>,
    clip_norm: f64,
) -> Result<()> {
    let Some((first, ..)) = params.first() else {
        return Ok(());
    };
    let queue = Queue::new(first.device())?;
    let numbers = Numbers {
        scale: step.grad_scale as f32,
        rate: step.learning_rate as f32,
        kept: (1.0 - step.learning_rate * step.weight_decay) as f32,
        beta1: step.beta1 as f32,
        rest1: (1.0 - step.beta1) as f32,
        beta2: step.beta2 as f32,
        rest2: (1.0 - step.beta2) as f32,
        inverse1: (1.0 / step.correction1) as f32,
        inverse2: (1.0 / step.correction2) as f32,
        epsilon: step.epsilon as f32,
    };
    for params in params.chunks(TENSORS) {
        let arrays = |(param, grad, moments): &(&Var, &Tensor, &mut Moments)| {
            let views = [param.as_tensor(), grad, &moments.first, &moments.second].map(View::of);
            let [param, grad, first, second] = views;
            let (param, grad, first, second) = (param?, grad?, first?, second?);
            assert_eq!(
                [grad.len, first.len, second.len],
                [param.len; 3],
                "a number for each"
            );
            let pointers = [param, grad, first, second].map(|view| view.pointer);
            Ok((pointers, param.len))
        };
        let arrays: Vec<_> = params.iter().map(arrays).collect::<Result<_>>()?;
        let tensors = Tensors::new(arrays.into_iter());
        launch!(
            &queue,
            Adam,
            tensors.grid(),
            tensors,
            numbers,
            squared_norm,
            clip_norm
        )?;
    }
    Ok(())
}
