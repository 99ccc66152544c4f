//! The inputs of a recurrent layer's forward and backward pass.

use super::State;
use crate::matrix::Matrix;

/// The input of a layer.
#[derive(Clone, Copy, Debug)]
pub enum RecurrentInput<'a, T> {
    /// `[S, B, I]`.
    Dense(&'a [T]),
    /// Token ids and the embedding that the layer was packed with.
    Embedded {
        /// `[B, S]`; padding must be a valid id, too.
        ids: &'a [u32],
        /// `[V, I]`.
        embedding: &'a [T],
    },
}

/// A batch of padded rows.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentBatch<'a, T> {
    /// The input of the layer.
    pub input: RecurrentInput<'a, T>,
    /// Real positions of each row, `[B]`.
    pub lengths: &'a [usize],
    /// Padded length, `S`.
    pub len: usize,
    /// The state before the first position, `[B, H]` each; 0 if absent. A layer that reads backward has
    /// none.
    pub initial: Option<State<&'a [T]>>,
}

/// The states of a layer and the gradients that reach them, for the backward pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecurrentStates<'a, T> {
    /// The states that the forward pass wrote, `[S, B, ·]`.
    pub(crate) states: &'a [T],
    /// Their gradient, in the same columns.
    pub(crate) d_states: &'a [T],
    /// The layer's columns of both.
    pub(crate) columns: Columns,
    /// The gradient of the last states, `[B, H]` each.
    pub(crate) d_last: State<Matrix<'a, T>>,
}

/// Columns `first..first + H` of a time-major buffer `[S, B, stride]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    /// The first column.
    pub(crate) first: usize,
    /// The number of columns of the buffer.
    pub(crate) stride: usize,
}

impl Columns {
    /// All columns of a buffer that is `units` wide.
    pub(crate) fn all(units: usize) -> Self {
        Self {
            first: 0,
            stride: units,
        }
    }

    /// These columns, of which there are `units`, in a buffer of `rows` rows.
    pub(super) fn of<T>(self, buffer: &[T], rows: usize, units: usize) -> Matrix<'_, T> {
        Matrix::dense(buffer, rows, self.stride).columns(self.first, units)
    }
}
