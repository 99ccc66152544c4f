//! The attention weights before the first step.

use serde::{Deserialize, Serialize};

use crate::real::Real;

/// The attention weights before the first step, for mechanisms that read the weights of the step before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// All weights are 0: content alone decides the first position.
    #[default]
    Zeros,
    /// 1 at the first position of each row.
    First,
    /// 1 at the last real position of each row.
    Last,
}

impl Start {
    /// Writes the weights before the first step of a row with `length` real positions.
    pub(crate) fn fill<T: Real>(self, length: usize, weights: &mut [T]) {
        weights.fill(T::ZERO);
        let position = match self {
            Self::Zeros => None,
            Self::First => Some(0),
            Self::Last => length.checked_sub(1),
        };
        if let Some(weight) = position.and_then(|position| weights.get_mut(position)) {
            *weight = T::ONE;
        }
    }
}
