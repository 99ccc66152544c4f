//! The GRU in plain tensor operations.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::{Gru, GruOutput};
use crate::recurrent::reference::{Projection, scan};
use crate::recurrent::{Cell, check_state};
use crate::{Direction, Ragged, RecurrentWeights};

/// The definition of [`gru`](crate::gru()), with the same shapes: `input` is `[B, S, I]`, `initial` `[B, H]`.
///
/// # Errors
/// If the shapes disagree.
pub fn gru(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
    initial: Option<&Tensor>,
) -> Result<GruOutput> {
    weights.check(Gru::GATES, input)?;
    if let Some(initial) = initial {
        check_state(initial, weights, input)?;
    }
    let initial = initial.map(|hidden| [hidden]);
    let hidden_projection = Projection::hidden(weights)?;
    let (states, [last]) = scan(
        input,
        weights,
        rows,
        direction,
        initial,
        |gates, [hidden]| Ok([step(gates, hidden, &hidden_projection)?]),
    )?;
    Ok(GruOutput { states, last })
}

/// One step of a GRU: `input` `[B, I]` and `hidden` `[B, H]` give the next hidden state `[B, H]`.
///
/// # Errors
/// If the shapes disagree.
pub fn gru_cell(input: &Tensor, hidden: &Tensor, weights: &RecurrentWeights) -> Result<Tensor> {
    weights.check(Gru::GATES, input)?;
    let gates = Projection::input(weights)?.forward(input)?; // [B, 3H]
    step(&gates, hidden, &Projection::hidden(weights)?)
}

/// The equations of the module, from the input's part of the gates `[B, 3H]`.
fn step(input_gates: &Tensor, hidden: &Tensor, projection: &Projection) -> Result<Tensor> {
    let hidden_gates = projection.forward(hidden)?; // [B, 3H]
    let width = hidden.dim(1)?;
    let (both, last) = (2 * width, |gates: &Tensor| {
        gates.narrow(1, 2 * width, width)
    });
    let gates = (input_gates.narrow(1, 0, both)? + hidden_gates.narrow(1, 0, both)?)?;
    let gates = sigmoid(&gates)?; // [B, 2H]
    let (reset, update) = (gates.narrow(1, 0, width)?, gates.narrow(1, width, width)?);
    let new = (last(input_gates)? + (reset * last(&hidden_gates)?)?)?.tanh()?;
    &new + (update * (hidden - &new)?)?
}
