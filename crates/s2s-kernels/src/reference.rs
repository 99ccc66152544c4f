//! The definition of every operator, in plain tensor operations: any type, any device,
//! differentiated by candle. The kernels are tested against these functions.

pub use crate::attention::reference::additive_scores;
pub use crate::gru::reference::{gru, gru_cell};
pub use crate::linear::reference::linear;
pub use crate::loss::reference::{token_loss, uniform_loss};
pub use crate::lstm::reference::{lstm, lstm_cell};
pub use crate::norm::reference::layer_norm;
pub use crate::optim::reference::{adam, squared_norm};
