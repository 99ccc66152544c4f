//! Attention mechanisms: scores of a step on slices, each beside its derivatives.
//!
//! [`kernel`] has what all share; a mechanism is a [`Scorer`](kernel::Scorer) with its equations in
//! its own file. Additive scores are a candle operator, too:
//!
//! Bahdanau, Cho, Bengio (2015), arXiv:1409.0473, appendix A.1.2, with both sides projected.
//!
//! ```text
//! score[b,s] = Σ_a energy[a] · tanh(query[b,a] + key[b,s,a])
//! ```

pub(crate) mod additive;
pub(crate) mod dot;
pub(crate) mod dynamic;
mod features;
pub(crate) mod kernel;
pub(crate) mod location;
pub(crate) mod location_relative;
pub(crate) mod none;
pub(crate) mod ntm;
pub(crate) mod operator;
mod queries;
pub(crate) mod reference;
pub(crate) mod shift;
pub(crate) mod start;
#[cfg(test)]
mod tests;
