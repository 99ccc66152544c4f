//! The scores of additive attention.
//!
//! Bahdanau, Cho, Bengio (2015), arXiv:1409.0473, appendix A.1.2, with both sides projected.
//!
//! ```text
//! score[b,s] = Σ_a energy[a] · tanh(query[b,a] + key[b,s,a])
//! ```

pub(crate) mod additive;
pub(crate) mod kernel;
pub(crate) mod reference;
