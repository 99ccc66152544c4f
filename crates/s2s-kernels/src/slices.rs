//! The kernels themselves, on slices: no candle, no autograd, no allocation after the first step.
//!
//! A training step packs the weights, runs each operator forward, then each backward in the other
//! order, and finds the gradients in the slices that it named. Operators keep what their backward
//! pass needs; their memory grows to the largest batch seen and is reused.
//!
//! * Activations are **position first**: `[S, B, H]`, the rows of one step are neighbors. What comes
//!   from a batch stays batch first, `[B, S]`: words, lengths, coins, masks.
//! * A gradient is replaced, unless an argument says whether it is replaced or added to.
//! * Dropout masks hold 0 or 1/(1-p) and come from outside.
//! * A [`Team`] has the threads. The results have the same bits for any number of them.
//!
//! Wrong lengths are a mistake in the calling program: they panic.

pub use crate::gru::kernel::{Columns, GruInput, GruLayer, last};
pub use crate::gru::{GruGrads, GruParams};
pub use crate::linear::{Linear, bias_gradient, weight_gradient};
pub use crate::loss::kernel::{TokenSums, token_loss};
pub use crate::optim::kernel::{adam, squared_norm};
pub use crate::real::{Matrix, Output, Real};
pub use crate::table::{gather, position_first, scatter_add};
pub use crate::team::Team;
