//! Layer normalization of rows of `N` numbers.
//!
//! Ba, Kiros, Hinton (2016), arXiv:1607.06450, as in PyTorch's `nn.LayerNorm`:
//!
//! ```text
//! mean  = Σ_i x[i] / N
//! scale = 1 / √(Σ_i (x[i] - mean)² / N + ε)
//! n[i]  = (x[i] - mean) · scale
//! y[i]  = gain[i] · n[i] + bias[i]
//!
//! d_n[i]    = gain[i] · d_y[i]
//! d_x[i]    = scale · (d_n[i] - Σ_j d_n[j] / N - n[i] · Σ_j d_n[j] n[j] / N)
//! d_gain[i] = Σ_rows d_y[i] · n[i]
//! d_bias[i] = Σ_rows d_y[i]
//! ```

mod kernel;
pub(crate) mod reference;

pub use kernel::{LayerNorm, NormGrads};

/// `ε`, which bounds the scale of a row whose numbers are equal.
const EPSILON: f64 = 1e-5;
