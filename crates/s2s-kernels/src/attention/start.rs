//! Where attention looked before its first step.

use serde::{Deserialize, Serialize};

use crate::real::Real;

/// Where attention that remembers looked before its first step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Nowhere: all weights are 0, and the first place is found by content.
    #[default]
    Zeros,
    /// At each row's first position.
    First,
    /// At each row's own last position.
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
