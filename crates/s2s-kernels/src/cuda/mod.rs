//! CUDA: opening a device, and the kernels of a training step on it.
//!
//! The equations are those of the CPU kernels in [`slices`](crate::slices), and so is the division of
//! the work: whoever calls packs the weights, runs the operators forward and then backward, and
//! provides the memory of the gradients.
//!
//! * All work goes through a [`Queue`], one after the other, without waiting for it. Only
//!   [`View::download`], [`SquaredNorm::wait`] and [`squared_norm`](crate::squared_norm) wait.
//! * Activations are time-major, `[S, B, H]`. Token ids, lengths and dropout masks are batch-major.
//! * A step of a recurrent loop is one product and one kernel. Products are cuBLAS's, in f32 without
//!   TF32; the kernels are in `kernels/` and are compiled by `build.rs`.
//! * No kernel and no product adds in an order that could change from run to run.

mod attention;
mod bidirectional;
mod cell;
mod decoder;
mod device;
mod dropout;
mod libraries;
mod loss;
mod optim;
mod product;
mod queue;
mod table;

pub use attention::{Attended, ScoreKernel};
pub use bidirectional::Bidirectional;
pub use cell::{RecurrentCell, RecurrentViews};
pub use decoder::{
    Decoder, DecoderInputs, DecoderSizes, DecoderViews, Dropout, Memory, MemoryGrads, Targets,
    read_results,
};
pub use device::{cuda_card, cuda_devices, driver_cuda_version, open_cuda};
pub use dropout::fill_dropout_mask;
pub use libraries::{MissingLibrary, load_libraries};
pub use loss::{predict, token_loss};
pub use optim::{SquaredNorm, adam_clipped};
pub(crate) use optim::{adam, has_kernel};
pub use product::{Matrix, Update};
pub use queue::{Buffer, Queue, View};
pub use table::{Copies, Positions, bias_tanh, column_sums, embed, embed_backward, tanh_backward};
